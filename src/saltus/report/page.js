"use strict";
// What every page needs, and the readout of fans. spots.js and film.js follow in scripts of their own.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (name, parent, className, text) => {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
};
const data = (figure, kind) => JSON.parse(figure.querySelector("script." + kind).textContent);
const raised = power => [...String(power)].map(c => c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]).join("");
const short = value => {
  if (value === null) return "–";
  const [mantissa, power] = String(+value.toPrecision(4)).split("e");
  const scale = power ? "10" + raised(+power) : "";
  const text = !power ? mantissa : /^-?1$/.test(mantissa) ? mantissa.slice(0, -1) + scale : mantissa + "·" + scale;
  return text.replace("-", "−");
};
const rough = value => value > 100 ? Math.round(value).toLocaleString("en") : short(+value.toPrecision(3));
const repaint = [];

// ---- light and dark
const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
const button = document.querySelector(".theme");
const relight = () => {
  button.textContent = isDark() ? "Light" : "Dark";
  repaint.forEach(paint => paint());
};
button.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  relight();
});
system.addEventListener("change", relight);

// ---- copy buttons: the old way serves pages opened from a disk
const copy = async text => {
  try { await navigator.clipboard.writeText(text); } catch {
    const area = make("textarea", document.body);
    area.value = text;
    area.select();
    document.execCommand("copy");
    area.remove();
  }
};
for (const item of all(".copy")) item.addEventListener("click", async () => {
  await copy(item.closest(".copyable").querySelector("code").textContent);
  item.textContent = "Copied";
  setTimeout(() => { item.textContent = "Copy"; }, 1500);
});

// ---- the readout under the pointer of a fan
const nearest = (places, place) => {
  let low = 0, high = places.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (places[middle] <= place) low = middle; else high = middle;
  }
  return place - places[low] <= places[high] - place ? low : high;
};
for (const figure of all("figure.fans")) {
  const { panels } = data(figure, "readout");
  for (const panel of panels) { // at: where a curve's points stand, from 0 to 1 along the axis
    const along = panel.log ? Math.log : value => value;
    const low = along(panel.low), high = along(panel.high);
    panel.curves = panel.curves.filter(curve => curve.x.length);
    for (const curve of panel.curves) curve.at = curve.x.map(x => (along(x) - low) / (high - low));
    panel.value = share => (panel.log ? Math.exp : value => value)(low + share * (high - low));
    panel.last = Math.max(...panel.stairs.map(each => (along(each.times.at(-1)) - low) / (high - low)));
  }
  const plots = all(".plot", figure);
  let rules = [], tip = null, place = null;
  const clear = () => { rules.forEach(rule => rule.remove()); tip?.remove(); rules = []; tip = null; };
  const show = (index, wanted) => {
    clear();
    const { curves, stairs, name, log, value, last } = panels[index];
    if (!curves.length && !stairs.length) return;
    // Curves are read at their points; stairs have a value anywhere.
    if (!curves.length) wanted = Math.min(wanted, last);
    const [at, x] = !curves.length ? [wanted, value(wanted)] : curves.map(c => nearest(c.at, wanted)).map((i, c) => [curves[c].at[i], curves[c].x[i]])
      .reduce((a, b) => Math.abs(b[0] - wanted) < Math.abs(a[0] - wanted) ? b : a);
    place = { index, share: at };
    plots.forEach((plot, other) => {
      if (panels[other].name !== name || panels[other].log !== log) return;
      const rule = make("div", plot, "rule");
      rule.style.left = 100 * at + "%";
      rules.push(rule);
    });
    tip = make("div", plots[index], "tip");
    make("b", tip, "", `${name} ${Number.isInteger(x) ? x.toLocaleString("en") : curves.length ? short(x) : rough(x)}`);
    const table = make("table", tip);
    for (const curve of curves) {
      const i = nearest(curve.at, at);
      if (at > curve.at.at(-1) || at < curve.at[0]) continue;
      const row = make("tr", table, curve.color);
      const seeds = Array.isArray(curve.seeds) ? curve.seeds[i] : curve.seeds;
      make("td", row, "", curve.label).style.color = "var(--k)";
      make("td", row).append(make("b", row, "", short(curve.median[i])));
      make("td", row, "", seeds > 1
        ? `half of ${seeds} seeds: ${short(curve.from[i])} to ${short(curve.to[i])}`
        : seeds ? "1 seed" : "computed");
    }
    for (const each of stairs) {
      const i = each.x.findLastIndex(from => from <= x), seeds = each.times.length;
      const over = x > each.times.at(-1) * (1 + 1e-9); // known beyond the end only where all are there
      if (i < 0 || (over && each.share.at(-1) > 0)) continue;
      const row = make("tr", table, each.color);
      make("td", row, "", each.label).style.color = "var(--k)";
      make("td", row).append(make("b", row, "", short(each.share[i])));
      make("td", row, "", over ? `all of ${seeds} seeds` :
        `${each.confidence}: ${short(each.from[i])} to ${short(each.to[i])}; ` +
        `${each.times.filter(time => time >= x).length} of ${seeds} seeds at risk`);
    }
    const box = plots[index].getBoundingClientRect(), width = tip.offsetWidth;
    const left = Math.min(box.left + place.share * box.width - width / 2, root.clientWidth - width - 10);
    tip.style.left = Math.max(8, left) - box.left + "px";
  };
  document.addEventListener("pointerdown", event => {
    if (!plots.some(plot => plot.contains(event.target))) clear();
  });
  plots.forEach((plot, index) => {
    const follow = event => {
      const box = plot.getBoundingClientRect();
      show(index, Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
    };
    plot.addEventListener("pointermove", follow);
    plot.addEventListener("pointerdown", follow);
    // A finger that was lifted leaves its readout; one put down elsewhere takes it away.
    plot.addEventListener("pointerleave", event => { if (event.pointerType !== "touch") clear(); });
    plot.addEventListener("blur", () => { if (place?.index === index) clear(); });
    plot.addEventListener("keydown", event => {
      const move = { ArrowLeft: -0.01, ArrowRight: 0.01 }[event.key];
      if (event.key === "Escape") clear();
      if (!move) return;
      event.preventDefault();
      const share = place && place.index === index ? place.share : 0.5;
      const at = panels[index].curves[0]?.at;
      const gap = at ? Math.max(0.01, 0.51 * (at.at(-1) - at[0]) / (at.length - 1)) : 0.02;
      show(index, Math.min(1, Math.max(0, share + Math.sign(move) * gap)));
    });
  });
}
