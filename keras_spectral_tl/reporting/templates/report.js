"use strict";
// Zooming of the charts and the choice of a theme. Without it the page is complete.

const theme = document.getElementById("theme");
const themes = ["system", "light", "dark"];
theme.hidden = false;
theme.addEventListener("click", () => {
  const now = document.documentElement.dataset.theme || "system";
  const next = themes[(themes.indexOf(now) + 1) % themes.length];
  document.documentElement.dataset.theme = next;
  theme.textContent = `Theme: ${next}`;
});

const short = value => Number(value.toPrecision(6)).toString();

function ticks(axis, from, to) {
  // Between two places of an axis, 0 to 1: the same rules as in the static drawing.
  const at = place => axis.log
    ? axis.low * (axis.high / axis.low) ** place : axis.low + place * (axis.high - axis.low);
  const place = value => axis.log
    ? Math.log(value / axis.low) / Math.log(axis.high / axis.low)
    : (value - axis.low) / (axis.high - axis.low);
  const [low, high] = [at(from), at(to)];
  if (axis.names.length) return axis.names.map((name, i) => [place(i), name]);
  const values = [];
  if (axis.log && high / low >= 10) {
    const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
    const factors = high / low < 100 ? [1, 2, 5] : [1];
    const step = Math.max(1, Math.floor((last - first) / 5));
    for (let p = first; p <= last; p += step)
      for (const factor of factors) values.push(factor * 10 ** p);
  } else {
    const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map(f => f * power).find(s => s >= rough);
    for (let n = Math.ceil(low / step); n <= Math.floor(high / step); n++) values.push(n * step);
  }
  return values.map(value => [place(value), short(value)]);
}

for (const chart of document.querySelectorAll("svg.chart")) {
  const plot = chart.querySelector(".plot"), axes = JSON.parse(chart.dataset.axes);
  const box = ["x", "y", "width", "height"].map(name => Number(plot.getAttribute(name)));
  const view = {x: 0, y: 0, size: 1};  // of the plot, from its upper left corner
  const hint = document.createElement("p");
  hint.className = "hint";
  hint.textContent = "Click, then wheel or + − zooms, dragging or arrows move, 0 resets.";
  chart.after(hint);

  function redraw() {
    view.size = Math.min(1, Math.max(view.size, 0.002));
    for (const name of ["x", "y"]) view[name] = Math.min(1 - view.size, Math.max(0, view[name]));
    plot.setAttribute("viewBox",
      [view.x, view.y, view.size, view.size].map(part => 1000 * part).join(" "));
    chart.classList.toggle("zoomed", view.size < 1);
    const bottom = 1 - view.y - view.size;
    const across = p => box[0] + (p - view.x) / view.size * box[2];
    const down = p => box[1] + (1 - (p - bottom) / view.size) * box[3];
    mark("x", ticks(axes.x, view.x, view.x + view.size), p => [across(p), box[1] + box[3]]);
    mark("y", ticks(axes.y, bottom, bottom + view.size), p => [box[0], down(p)]);
    for (const text of chart.querySelectorAll(".names text")) {
      const [x, y] = [across(text.dataset.x), down(text.dataset.y)];
      text.setAttribute("x", x - box[0]);
      text.setAttribute("y", y - box[1]);
      text.style.display = inside(x, y) ? "" : "none";
    }
  }
  function inside(x, y) {
    return x >= box[0] - 0.5 && x <= box[0] + box[2] + 0.5
      && y >= box[1] - 0.5 && y <= box[1] + box[3] + 0.5;
  }
  function mark(name, found, where) {
    const group = chart.querySelector(`g.${name}`), example = group.firstElementChild;
    if (!example) return;
    const marks = found.map(([place, label]) => {
      const [x, y] = where(place), tick = example.cloneNode(true);
      tick.setAttribute("transform", `translate(${x.toFixed(1)},${y.toFixed(1)})`);
      tick.querySelector("text").textContent = label;
      return inside(x, y) ? tick : null;
    });
    if (marks.some(tick => tick)) group.replaceChildren(...marks.filter(tick => tick));
  }
  function zoom(factor, at = [0.5, 0.5]) {
    const size = Math.min(1, Math.max(view.size * factor, 0.002));
    view.x += at[0] * (view.size - size);
    view.y += at[1] * (view.size - size);
    view.size = size;
    redraw();
  }
  function place(event) {
    const area = plot.querySelector("rect").getBoundingClientRect();
    const whole = area.width;  // of the zoomed rectangle: its screen size is whole / view.size
    return [(event.clientX - area.left) / whole, (event.clientY - area.top) / area.height]
      .map((part, i) => (part - [view.x, view.y][i]) / view.size);
  }
  function reset() { Object.assign(view, {x: 0, y: 0, size: 1}); redraw(); }

  chart.addEventListener("wheel", event => {
    if (document.activeElement !== chart && !event.ctrlKey && view.size === 1) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, place(event));
  }, {passive: false});
  chart.addEventListener("dblclick", event => view.size < 1 ? reset() : zoom(0.4, place(event)));
  const held = new Map();
  plot.addEventListener("pointerdown", event => {
    held.set(event.pointerId, place(event));
    if (view.size < 1) plot.setPointerCapture(event.pointerId);
  });
  plot.addEventListener("pointermove", event => {
    if (!held.has(event.pointerId)) return;
    const [before, now] = [held.get(event.pointerId), place(event)];
    const other = [...held.entries()].find(([id]) => id !== event.pointerId);
    if (other) {
      const apart = at => Math.hypot(at[0] - other[1][0], at[1] - other[1][1]);
      zoom(apart(before) / Math.max(apart(now), 0.01), other[1]);
    } else {
      view.x += (before[0] - now[0]) * view.size;
      view.y += (before[1] - now[1]) * view.size;
      redraw();
    }
    held.set(event.pointerId, place(event));
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"])
    plot.addEventListener(end, event => held.delete(event.pointerId));
  chart.addEventListener("keydown", event => {
    const step = 0.1 * view.size;
    const keys = {
      "+": () => zoom(0.8), "=": () => zoom(0.8), "-": () => zoom(1.25), "0": reset,
      ArrowLeft: () => { view.x -= step; redraw(); }, ArrowRight: () => { view.x += step; redraw(); },
      ArrowUp: () => { view.y -= step; redraw(); }, ArrowDown: () => { view.y += step; redraw(); },
    };
    if (!keys[event.key] || (event.key.startsWith("Arrow") && view.size === 1)) return;
    event.preventDefault();
    keys[event.key]();
  });
}
