"use strict";
// What is read out of cells, points and rows: the spot nearest to the pointer, or to the arrow keys.
// spots of a plot: [x, y, head, [[label, color, number, what else], …]], in fractions of the plot.
const readSpots = (plot, spots, along, clearOthers) => {
  let tip = null, ring = null, current = null;
  const clear = () => { tip?.remove(); ring?.remove(); tip = ring = current = null; };
  const show = index => {
    clearOthers();
    if (!spots.length) return;
    const [x, y, head, rows] = spots[index];
    current = index;
    ring = make("div", plot, along === "y" ? "ring across" : "ring");
    if (along !== "y") ring.style.left = 100 * x + "%";
    ring.style.top = 100 * y + "%";
    tip = make("div", plot, "tip");
    make("b", tip, "", head);
    const table = make("table", tip);
    for (const [label, color, value, more] of rows) {
      const row = make("tr", table, color);
      if (label) make("td", row, "", label).style.color = color ? "var(--k)" : "";
      make("td", row).append(make("b", row, "", value));
      make("td", row, "", more);
    }
    const box = plot.getBoundingClientRect(), width = tip.offsetWidth;
    const left = Math.min(box.left + x * box.width - width / 2, root.clientWidth - width - 10);
    tip.style.left = Math.max(8, left) - box.left + "px";
    tip.style.top = y * box.height + 20 + "px";
  };
  const nearestTo = event => {
    const box = plot.getBoundingClientRect();
    const px = event.clientX - box.left, py = event.clientY - box.top;
    let found = 0, least = Infinity;
    spots.forEach(([x, y], index) => {
      const far = (along === "y" ? 0 : (x * box.width - px) ** 2) + (y * box.height - py) ** 2;
      if (far < least) [found, least] = [index, far];
    });
    return found;
  };
  const follow = event => show(nearestTo(event));
  plot.addEventListener("pointermove", follow);
  plot.addEventListener("pointerdown", follow);
  plot.addEventListener("pointerleave", event => { if (event.pointerType !== "touch") clear(); });
  plot.addEventListener("blur", clear);
  plot.addEventListener("keydown", event => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Escape") clear();
    if (!way || !spots.length) return;
    event.preventDefault();
    if (current === null) return show(0);
    // The nearest of those that lie that way: more ahead than aside.
    const [x, y] = spots[current];
    let found = current, least = Infinity;
    spots.forEach(([ox, oy], index) => {
      const ahead = (ox - x) * way[0] + (oy - y) * way[1];
      const aside = along === "y" ? 0 : Math.abs((ox - x) * way[1]) + Math.abs((oy - y) * way[0]);
      if (ahead > 1e-6 && aside <= ahead + 1e-6 && ahead + 2 * aside < least) [found, least] = [index, ahead + 2 * aside];
    });
    show(found);
  });
  document.addEventListener("pointerdown", event => { if (!plot.contains(event.target)) clear(); });
  return clear;
};
for (const figure of all("figure.spotted")) {
  const { plots, along } = data(figure, "spots"), clears = [];
  const clearAll = () => clears.forEach(clear => clear());
  all(".plot", figure).forEach((plot, index) => clears.push(readSpots(plot, plots[index], along, clearAll)));
}
