// The confusion matrix, on a canvas: 150 classes are 22,500 cells.
if (data.confusion) confusionMatrix(document.getElementById("matrix"), document.getElementById("matrix-readout"));

function confusionMatrix(canvas, readout) {
  const { classes, confusion } = data, size = classes.length;
  const totals = confusion.map((row) => row.reduce((a, b) => a + b, 0));
  const named = size <= 40;
  let cell = 0, edge = 0, at = null;
  onChange(draw);
  canvas.addEventListener("pointermove", (event) => event.pointerType === "mouse" && point(event));
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("keydown", (event) => {
    const [t, p] = at ?? [0, -1];
    const moves = {
      ArrowUp: [t - 1, p], ArrowDown: [t + 1, p], ArrowLeft: [t, p - 1], ArrowRight: [t, p + 1],
      Home: [t, 0], End: [t, size - 1], PageUp: [t - 10, p], PageDown: [t + 10, p],
    };
    if (event.key in moves && !event.altKey && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      go(...moves[event.key]);
    }
  });

  function point(event) {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left - edge) / cell), row = Math.floor((event.clientY - box.top - edge) / cell);
    if (column >= 0 && row >= 0 && column < size && row < size) go(row, column);
  }

  function go(t, p) {
    at = [clamp(t, 0, size - 1), clamp(p, 0, size - 1)];
    draw();
    const [row, column] = at, count = confusion[row][column];
    const share = totals[row] ? `${((100 * count) / totals[row]).toFixed(2)}% of the true class` : "the class has no labelled pixel";
    const words = row === column ? "right: " : "wrong: ";
    readout.textContent = `${words}true ${classes[row]}, predicted ${classes[column]}: ${count.toLocaleString("en")} pixels, ${share}`;
  }

  function draw() {
    const style = getComputedStyle(canvas), room = canvas.parentElement.clientWidth;
    const context = canvas.getContext("2d");
    context.font = "11px system-ui, sans-serif";
    edge = named ? Math.min(120, 12 + Math.max(...classes.map((name) => context.measureText(name).width))) : 4;
    cell = Math.max(named ? 13 : 4, Math.floor(Math.min(36, 700 / size, (room - edge - 2) / size)));
    const extent = edge + cell * size + 2, ratio = devicePixelRatio || 1;
    canvas.style.width = canvas.style.height = `${extent}px`;
    canvas.width = canvas.height = Math.round(extent * ratio);
    context.scale(ratio, ratio);
    const [right, wrong, ground, ink] = ["--right", "--wrong", "--cell", "--ink"].map((name) => style.getPropertyValue(name));
    context.fillStyle = ground;
    context.fillRect(edge, edge, cell * size, cell * size);
    const gap = cell > 8 ? 1 : 0;
    for (let t = 0; t < size; t++) {
      for (let p = 0; p < size; p++) {
        const share = totals[t] ? confusion[t][p] / totals[t] : 0;
        if (!share) continue;
        context.globalAlpha = 0.08 + 0.92 * Math.sqrt(share); // small confusions are what one looks for
        context.fillStyle = t === p ? right : wrong;
        context.fillRect(edge + p * cell, edge + t * cell, cell - gap, cell - gap);
      }
    }
    context.globalAlpha = 1;
    context.fillStyle = context.strokeStyle = ink;
    if (named) {
      context.font = "11px system-ui, sans-serif";
      context.textBaseline = "middle";
      classes.forEach((name, i) => {
        context.textAlign = "right";
        context.fillText(fitted(context, name), edge - 5, edge + (i + 0.5) * cell);
        context.save();
        context.translate(edge + (i + 0.5) * cell, edge - 5);
        context.rotate(-Math.PI / 2);
        context.textAlign = "left";
        context.fillText(fitted(context, name), 0, 0);
        context.restore();
      });
    }
    if (at) {
      context.lineWidth = 2;
      context.strokeRect(edge + at[1] * cell, edge + at[0] * cell, cell, cell);
    }
  }

  function fitted(context, name) {
    let text = name;
    while (text.length > 1 && context.measureText(text).width > edge - 8) text = `${text.replace(/…$/, "").slice(0, -1)}…`;
    return text;
  }
}
