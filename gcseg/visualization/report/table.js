// Sorting of the class table, by value and not by text; what has no value comes last either way.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const numeric = head.dataset.kind === "number", before = head.getAttribute("aria-sort");
      const order = before === "none" ? (numeric ? "descending" : "ascending") : before === "ascending" ? "descending" : "ascending";
      for (const other of heads) other.setAttribute("aria-sort", other === head ? order : "none");
      const sign = order === "ascending" ? 1 : -1;
      const value = (row) => (numeric ? row.cells[column].dataset.value : row.cells[column].textContent);
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y));
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}

// Images that have a class.
const filter = document.getElementById("class-filter");
const cards = [...document.querySelectorAll(".card")];
if (filter) {
  const count = document.getElementById("filter-count");
  const apply = () => {
    for (const card of cards) card.hidden = filter.value !== "" && !card.dataset.classes.split(" ").includes(filter.value);
    count.textContent = `${cards.filter((card) => !card.hidden).length} of ${cards.length} images`;
  };
  filter.addEventListener("change", apply);
  apply();
}
