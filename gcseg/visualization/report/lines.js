// Curves of the training.
for (const chart of data.charts) lineChart(chart);

function lineChart(chart) {
  const figure = document.getElementById(`chart-${chart.id}`);
  html(figure, "h3", {}, chart.title);
  const controls = html(figure, "p", { class: "controls" });
  let logarithmic = false;
  chart.series.forEach((series, index) => {
    series.shown = true;
    // Colours go by name, so that the other run's curve has the colour of ours.
    series.colour = chart.series.findIndex((s) => s.name === series.name) % 6;
    const button = html(controls, "button", { type: "button", "aria-pressed": "true", class: "key" });
    const line = svg(svg(button, "svg", { width: 22, height: 8, "aria-hidden": "true" }), "path", { d: "M0 4H22" });
    line.setAttribute("class", `curve c${series.colour}${series.other ? " other" : ""}`);
    html(button, "span", {}, series.other ? `${series.name} (other run)` : series.name);
    button.addEventListener("click", () => {
      series.shown = !series.shown;
      button.setAttribute("aria-pressed", String(series.shown));
      draw();
    });
  });
  if (chart.log) {
    const button = html(controls, "button", { type: "button", "aria-pressed": "false" }, "logarithmic");
    button.addEventListener("click", () => {
      logarithmic = !logarithmic;
      button.setAttribute("aria-pressed", String(logarithmic));
      draw();
    });
  }
  const plot = svg(figure, "svg", { class: "plot" });
  const readout = html(figure, "output", { "aria-live": "off" }, "Point at the chart, tap it, or use the arrow keys.");
  let geometry = null;
  const state = slider(plot, `${chart.title} over the training`, () => geometry.steps.length, show);
  plot.addEventListener("pointermove", point);
  plot.addEventListener("pointerdown", point);
  onChange(draw);

  function point(event) {
    const step = geometry.step(place(plot, event)[0]);
    state.go(nearest(geometry.steps, step));
  }

  function draw() {
    const w = Math.max(260, figure.clientWidth), h = 240, left = 52, right = 10, top = 8, bottom = 26;
    const shown = chart.series.filter((s) => s.shown);
    const usable = (v) => v !== null && (!logarithmic || v > 0);
    const values = shown.flatMap((s) => s.values.filter(usable));
    const steps = [...new Set(shown.flatMap((s) => s.steps))].sort((a, b) => a - b);
    const [first, last] = steps.length ? [steps[0], steps[steps.length - 1]] : [0, 1];
    let low = values.length ? Math.min(...values) : logarithmic ? 0.1 : 0, high = values.length ? Math.max(...values) : 1;
    if (low === high) [low, high] = logarithmic ? [low / 2, high * 2] : [low - (Math.abs(low) / 2 || 1), high + (Math.abs(high) / 2 || 1)];
    const scale = logarithmic ? Math.log : (v) => v;
    const x = (step) => left + ((step - first) / (last - first || 1)) * (w - left - right);
    const y = (v) => top + (1 - (scale(v) - scale(low)) / (scale(high) - scale(low))) * (h - top - bottom);
    geometry = { steps, x, y, h, top, bottom, shown, step: (px) => first + ((px - left) / (w - left - right)) * (last - first) };
    plot.replaceChildren();
    plot.setAttribute("viewBox", `0 0 ${w} ${h}`);
    for (const v of logarithmic ? powers(low, high) : ticks(low, high, 5)) {
      svg(plot, "line", { class: "grid", x1: left, x2: w - right, y1: y(v), y2: y(v) });
      svg(plot, "text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, short(v));
    }
    for (const v of ticks(first, last, Math.max(2, w / 110)).filter(Number.isInteger)) {
      svg(plot, "text", { x: x(v), y: h - 8, "text-anchor": v === last && v !== first ? "end" : "middle" }, v.toLocaleString("en"));
    }
    for (const step of data.marks.filter((s) => s >= first && s <= last)) {
      svg(svg(plot, "line", { class: "mark", x1: x(step), x2: x(step), y1: top, y2: h - bottom }), "title", {}, `resumed at ${step}`);
    }
    for (const step of chart.id === "loss" ? data.gaps.filter((s) => s >= first && s <= last) : []) {
      const at = x(step), base = h - bottom;
      svg(svg(plot, "path", { class: "gap", d: `M${at - 4} ${base}L${at + 4} ${base}L${at} ${base - 8}Z` }), "title", {}, `not finite at ${step}`);
    }
    for (const series of shown) {
      let path = "", down = false, dots = [];
      series.values.forEach((v, i) => {
        if (usable(v)) {
          path += `${down ? "L" : "M"}${x(series.steps[i]).toFixed(1)} ${y(v).toFixed(1)}`;
          if (!down) dots.push(i); else dots.pop();
          down = true;
        } else down = false;
      });
      const kind = `curve c${series.colour}${series.other ? " other" : ""}`;
      svg(plot, "path", { class: kind, d: path });
      const marked = series.values.length <= 40 ? series.values.map((_, i) => i).filter((i) => usable(series.values[i])) : dots;
      for (const i of marked) svg(plot, "circle", { class: `dot c${series.colour}`, r: 2.5, cx: x(series.steps[i]), cy: y(series.values[i]) });
    }
    geometry.cursor = svg(plot, "g", { class: "cursor" });
    if (state.at !== null && steps.length) state.go(state.at);
  }

  function show(index) {
    const step = geometry.steps[index];
    if (step === undefined) return "no curve is shown";
    geometry.cursor.replaceChildren();
    svg(geometry.cursor, "line", { x1: geometry.x(step), x2: geometry.x(step), y1: geometry.top, y2: geometry.h - geometry.bottom });
    const parts = [];
    for (const series of geometry.shown) {
      const i = series.steps.indexOf(step);
      if (i < 0) continue;
      parts.push(`${series.name}${series.other ? " (other run)" : ""} ${short(series.values[i])}`);
    }
    readout.textContent = `${step.toLocaleString("en")}: ${parts.join(", ")}`;
    return readout.textContent;
  }
}

function nearest(sorted, value) {
  let low = 0, high = sorted.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low > 0 && value - sorted[low - 1] < sorted[low] - value ? low - 1 : low;
}

// The reliability diagram: bars of accuracy against the diagonal, and below how many pixels a bin has.
if (data.reliability) reliabilityChart(document.getElementById("reliability"), data.reliability, data.otherReliability);

function reliabilityChart(figure, found, other) {
  const bins = found.count.length, total = found.count.reduce((a, b) => a + b, 0);
  const plot = svg(figure, "svg", { class: "plot square" });
  const readout = html(figure, "output", { "aria-live": "off" }, "Point at a bin, tap it, or use the arrow keys.");
  const w = 400, h = 420, left = 44, right = 8, top = 8, side = w - left - right, floor = top + side * 0.82;
  const x = (v) => left + v * side, y = (v) => floor - v * (floor - top);
  plot.setAttribute("viewBox", `0 0 ${w} ${h}`);
  for (const v of [0, 0.2, 0.4, 0.6, 0.8, 1]) {
    svg(plot, "line", { class: "grid", x1: x(0), x2: x(1), y1: y(v), y2: y(v) });
    svg(plot, "text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, `${100 * v}`);
    svg(plot, "text", { x: x(v), y: floor + 16, "text-anchor": v === 1 ? "end" : "middle" }, `${100 * v}`);
  }
  svg(plot, "text", { x: x(0.5), y: floor + 32, "text-anchor": "middle" }, "confidence, %");
  svg(plot, "text", { transform: `translate(11 ${y(0.5)}) rotate(-90)`, "text-anchor": "middle" }, "accuracy, %");
  const most = Math.max(...found.count), strip = h - floor - 46;
  for (let i = 0; i < bins; i++) {
    const box = { x: x(i / bins) + 1, width: side / bins - 2 };
    if (found.count[i]) {
      const accuracy = found.right[i] / found.count[i];
      svg(plot, "rect", { ...box, class: "bin", y: y(accuracy), height: floor - y(accuracy) });
      const high = (found.count[i] / most) * strip;
      svg(plot, "rect", { ...box, class: "amount", y: h - high, height: high });
    }
  }
  svg(plot, "line", { class: "diagonal", x1: x(0), y1: y(0), x2: x(1), y2: y(1) });
  if (other) {
    const points = other.count.map((n, i) => (n ? `${x(other.confidence[i] / n)},${y(other.right[i] / n)}` : null)).filter((p) => p);
    svg(plot, "polyline", { class: "curve c1 other", points: points.join(" ") });
  }
  const cursor = svg(plot, "rect", { class: "frame", y: top, height: h - top, x: -99, width: side / bins });
  const state = slider(plot, "accuracy by confidence", () => bins, (i) => {
    cursor.setAttribute("x", x(i / bins));
    const n = found.count[i], range = `${((100 * i) / bins).toFixed(0)} to ${((100 * (i + 1)) / bins).toFixed(0)}%`;
    readout.textContent = n
      ? `confidence ${range}: ${((100 * found.right[i]) / n).toFixed(1)}% right at a mean confidence of ` +
        `${((100 * found.confidence[i]) / n).toFixed(1)}%; ${((100 * n) / total).toFixed(2)}% of the pixels`
      : `confidence ${range}: no pixels`;
    return readout.textContent;
  });
  for (const kind of ["pointermove", "pointerdown"]) {
    plot.addEventListener(kind, (event) => state.go(Math.floor(((place(plot, event)[0] - left) / side) * bins)));
  }
}
