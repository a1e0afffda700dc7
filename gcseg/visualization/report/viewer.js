// The picture viewer: the four pictures of an image, zoomed and moved together.
if (cards.length) pictureViewer();

function pictureViewer() {
  const dialog = html(document.body, "dialog", { id: "viewer", "aria-labelledby": "viewer-title" });
  const bar = html(dialog, "div", { class: "bar-top" });
  const title = html(bar, "h2", { id: "viewer-title" });
  const button = (label, name, action) => {
    const made = html(bar, "button", { type: "button", "aria-label": label, title: label }, name);
    made.addEventListener("click", action);
    return made;
  };
  button("previous image (left arrow)", "‹", () => step(-1));
  button("next image (right arrow)", "›", () => step(1));
  button("zoom out (-)", "−", () => zoom(1 / 1.5));
  button("zoom in (+)", "+", () => zoom(1.5));
  button("whole picture (0)", "1:1", reset);
  const mix = html(bar, "label", {}, "classes over photograph ");
  const strength = html(mix, "input", { type: "range", min: "0", max: "100", value: "70" });
  const close = button("close (Esc)", "✕", () => dialog.close());
  const panes = html(dialog, "div", { class: "panes" });
  html(dialog, "p", { class: "note" }, "Arrow keys: other images. + and -: zoom. Shift and arrow keys: move. 0: whole picture. Esc: close.");
  const say = html(dialog, "output", { class: "hidden", "aria-live": "polite" });
  let current = null, factor = 1, offset = [0, 0], opener = null;
  strength.addEventListener("input", mixed);
  mixed();

  for (const card of cards) {
    const open = card.querySelector(".open");
    open.setAttribute("aria-label", `Zoom into ${card.querySelector(".name").textContent}`);
    open.addEventListener("click", () => show(card, open));
    card.querySelector(".tiles").addEventListener("click", () => show(card, open));
  }
  dialog.addEventListener("close", () => {
    panes.replaceChildren();
    opener?.focus();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const slides = event.target === strength && event.key.startsWith("Arrow");
    const far = 40 / factor;
    const actions = event.shiftKey
      ? { ArrowLeft: () => move(far, 0), ArrowRight: () => move(-far, 0), ArrowUp: () => move(0, far), ArrowDown: () => move(0, -far) }
      : { ArrowLeft: () => step(-1), ArrowRight: () => step(1) };
    const action = { ...actions, "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: reset }[event.key];
    if (action && !slides) {
      event.preventDefault();
      action();
    }
  });

  function mixed() {
    panes.style.setProperty("--mix", String(strength.value / 100));
  }

  function show(card, from) {
    current = card;
    opener = from;
    title.textContent = card.querySelector(".name").textContent;
    panes.replaceChildren();
    // Two rows of pictures fit the window.
    const sized = card.querySelector("img");
    panes.style.maxWidth = `calc((100dvh - 10rem) * ${sized.naturalWidth / sized.naturalHeight || 2})`;
    const photograph = card.querySelector(".photograph img");
    for (const tile of card.querySelectorAll(".tile")) {
      const kind = tile.classList[1], image = tile.querySelector("img");
      const pane = html(panes, "figure");
      html(pane, "figcaption", {}, kind);
      const view = html(pane, "div", { class: "view" });
      const stage = html(view, "div", { class: "stage" });
      if (photograph) html(stage, "img", { src: photograph.src, alt: kind === "photograph" ? photograph.alt : "", draggable: "false" });
      if (image && kind !== "photograph") html(stage, "img", { src: image.src, alt: image.alt, class: "map", draggable: "false" });
      drag(view);
    }
    if (!dialog.open) {
      dialog.showModal();
      close.focus();
    }
    reset();
    say.textContent = `${title.textContent}, ${card.querySelector(".score").textContent}`;
  }

  function step(by) {
    const shown = cards.filter((card) => !card.hidden);
    const index = shown.indexOf(current) + by;
    show(shown[(index + shown.length) % shown.length], opener);
  }

  function zoom(by, at = [0.5, 0.5]) {
    const view = panes.querySelector(".view"), before = factor;
    if (!view) return;
    factor = clamp(factor * by, 1, 16);
    // What is at `at` stays there.
    const [w, h] = [view.clientWidth, view.clientHeight];
    offset = [offset[0] + at[0] * w * (1 / factor - 1 / before), offset[1] + at[1] * h * (1 / factor - 1 / before)];
    move(0, 0);
    say.textContent = `zoom ${factor.toFixed(1)}`;
  }

  function move(dx, dy) {
    const view = panes.querySelector(".view");
    if (!view) return;
    const limit = (v, length) => clamp(v, length / factor - length, 0);
    offset = [limit(offset[0] + dx, view.clientWidth), limit(offset[1] + dy, view.clientHeight)];
    panes.style.setProperty("--zoom", String(factor));
    for (const stage of panes.querySelectorAll(".stage")) {
      stage.style.transform = `scale(${factor}) translate(${offset[0]}px, ${offset[1]}px)`;
    }
  }

  function reset() {
    factor = 1;
    offset = [0, 0];
    move(0, 0);
  }

  // One finger or the mouse moves, two fingers and the wheel zoom.
  function drag(view) {
    const fingers = new Map();
    const inside = (x, y) => {
      const box = view.getBoundingClientRect();
      return [(x - box.left) / box.width, (y - box.top) / box.height];
    };
    view.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, inside(event.clientX, event.clientY));
    }, { passive: false });
    view.addEventListener("dblclick", (event) => zoom(2, inside(event.clientX, event.clientY)));
    view.addEventListener("pointerdown", (event) => {
      view.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
    });
    view.addEventListener("pointermove", (event) => {
      const from = fingers.get(event.pointerId);
      if (!from) return;
      const to = [event.clientX, event.clientY];
      if (fingers.size === 1) move((to[0] - from[0]) / factor, (to[1] - from[1]) / factor);
      else {
        const [id] = [...fingers.keys()].filter((key) => key !== event.pointerId), other = fingers.get(id);
        const apart = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]) || 1;
        zoom(apart(to) / apart(from), inside((to[0] + other[0]) / 2, (to[1] + other[1]) / 2));
      }
      fingers.set(event.pointerId, to);
    });
    for (const kind of ["pointerup", "pointercancel"]) view.addEventListener(kind, (event) => fingers.delete(event.pointerId));
  }
}
