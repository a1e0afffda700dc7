"use strict";
// What all charts share. Texts of the data go into text nodes, never into markup.
const data = JSON.parse(document.getElementById("data").textContent);

function svg(parent, name, attributes = {}, text = null) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  parent.append(node);
  return node;
}

function html(parent, name, attributes = {}, text = null) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  parent.append(node);
  return node;
}

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

function short(value) {
  if (value === null || value === undefined) return "not finite";
  const size = Math.abs(value);
  if (value !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

// About `count` round numbers from low to high.
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

function powers(low, high) {
  const found = [];
  for (let e = Math.ceil(Math.log10(low)); e <= Math.log10(high); e++) found.push(10 ** e);
  return found.length > 1 ? found : ticks(low, high, 4);
}

const redraws = [];
function onChange(draw) {
  redraws.push(draw);
  draw();
}
function redrawAll() {
  for (const draw of redraws) draw();
}
let width = document.documentElement.clientWidth;
addEventListener("resize", () => {
  if (document.documentElement.clientWidth !== width) {
    width = document.documentElement.clientWidth;
    redrawAll();
  }
});
for (const media of ["(prefers-color-scheme: dark)", "print"]) matchMedia(media).addEventListener("change", redrawAll);

// Makes a chart a slider over its positions: pointer, touch and keys move it, and screen readers read what it says.
function slider(chart, label, count, show) {
  const state = { at: null };
  chart.setAttribute("tabindex", "0");
  chart.setAttribute("role", "slider");
  chart.setAttribute("aria-label", label);
  chart.setAttribute("aria-valuemin", "0");
  chart.setAttribute("aria-valuemax", "0");
  chart.setAttribute("aria-valuenow", "0");
  chart.setAttribute("aria-valuetext", "use the arrow keys");
  state.go = (index) => {
    state.at = clamp(index, 0, Math.max(0, count() - 1));
    chart.setAttribute("aria-valuemax", String(Math.max(0, count() - 1)));
    chart.setAttribute("aria-valuenow", String(state.at));
    chart.setAttribute("aria-valuetext", show(state.at));
  };
  chart.addEventListener("keydown", (event) => {
    const at = state.at ?? -1;
    const moves = {
      ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1,
      PageUp: at + 10, PageDown: at - 10, Home: 0, End: count() - 1,
    };
    if (event.key in moves && !event.altKey && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      state.go(moves[event.key]);
    }
  });
  return state;
}

// Where a pointer is in the coordinates of an SVG's view box.
function place(chart, event) {
  const box = chart.getBoundingClientRect();
  return [
    ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width,
    ((event.clientY - box.top) / box.height) * chart.viewBox.baseVal.height,
  ];
}
