"use strict";
// Films: maps on canvases and moving points behind one slider; the loss says where one is.
const rgb = name => getComputedStyle(root).getPropertyValue(name).split(",").map(Number);
const bytesOf = text => Uint8Array.from(atob(text), character => character.charCodeAt(0));
const lastBy = (steps, step) => {
  let found = 0;
  steps.forEach((value, index) => { if (value <= step) found = index; });
  return found;
};
const playMotion = matchMedia("(prefers-reduced-motion: reduce)");

for (const figure of all("figure.films")) {
  const { takes } = data(figure, "film");
  for (const track of takes.flatMap(take => take.tracks)) {
    const bytes = bytesOf(track.codes);
    track.bytes = track.kind === "maps" ? bytes : new DataView(bytes.buffer);
  }
  const slider = figure.querySelector(".steps"), choice = figure.querySelector("select.view");
  const output = figure.querySelector(".step"), play = figure.querySelector(".play");
  const losses = all(".film-loss > [data-takes]", figure);
  const take = () => takes[choice ? choice.value : 0];
  const place = () => slider ? Number(slider.value) : take().steps.length - 1;
  const step = () => take().steps[place()];

  // ---- maps
  const cards = all("canvas", figure);
  const trackOf = canvas => take().tracks[canvas.dataset.track];
  const frameOf = (canvas, track) => {
    const [heads, rows, columns] = track.shape;
    return (lastBy(track.steps, step()) * heads + Number(canvas.dataset.head)) * rows * columns;
  };
  const signed = track => track.ends.length === 3;
  const share = (track, byte) => byte === 0 ? NaN : signed(track) ? (byte - 128) / 127 : (byte - 1) / 254;
  const valueOf = (track, byte) => {
    const far = share(track, byte), [from, to] = signed(track) ? track.ends.slice(1) : track.ends;
    return track.log ? from * (to / from) ** far : from + far * (to - from);
  };
  const paintCard = canvas => {
    const track = trackOf(canvas), [, rows, columns] = track.shape, start = frameOf(canvas, track);
    const size = Math.max(4, Math.floor(640 / Math.max(rows, columns)));
    canvas.width = columns * size;
    canvas.height = rows * size;
    canvas.style.aspectRatio = `${columns} / ${rows}`;
    const context = canvas.getContext("2d");
    const blank = rgb("--blank"), colors = { true: rgb("--positive"), false: rgb("--negative") };
    for (let cell = 0; cell < rows * columns; cell++) {
      const value = share(track, track.bytes[start + cell]), far = Math.abs(value);
      if (isNaN(value)) continue; // the hatched ground of the page shows
      const color = blank.map((from, channel) => Math.round(from + far * (colors[value >= 0][channel] - from)));
      context.fillStyle = `rgb(${color})`;
      context.fillRect((cell % columns) * size, Math.floor(cell / columns) * size, size, size);
    }
    context.strokeStyle = getComputedStyle(root).getPropertyValue("--ink");
    context.globalAlpha = 0.55;
    context.lineWidth = Math.max(1, size / 12);
    for (const [row, column] of track.needed)
      context.strokeRect(column * size + 0.5, row * size + 0.5, size - 1, size - 1);
    context.globalAlpha = 1;
    canvas.previousElementSibling.firstChild.textContent = track.of;
    const foot = canvas.nextElementSibling, name = which => `rgb(${rgb(which)})`;
    foot.replaceChildren();
    foot.append(short(+track.ends[0].toPrecision(3)));
    make("i", foot).style.background = signed(track)
      ? `linear-gradient(90deg,${name("--negative")},${name("--blank")},${name("--positive")})`
      : `linear-gradient(90deg,${name("--blank")},${name("--positive")})`;
    foot.append(short(+track.ends.at(-1).toPrecision(3)));
    const shown = track.steps[lastBy(track.steps, step())];
    const late = step() > track.steps.at(-1) ? `its end, ${shown}` : shown === step() ? "" : `step ${shown}`;
    make("span", foot, "extra", late).dataset.rest = late;
  };
  for (const canvas of cards) {
    let cell = null;
    const say = (row, column) => {
      const track = trackOf(canvas), [, rows, columns] = track.shape;
      cell = [Math.min(rows - 1, Math.max(0, row)), Math.min(columns - 1, Math.max(0, column))];
      const value = valueOf(track, track.bytes[frameOf(canvas, track) + cell[0] * columns + cell[1]]);
      const [down, across] = cell.map((place, axis) => track.names?.[axis]?.[place] ?? `${track.axes[axis]} ${place}`);
      canvas.nextElementSibling.querySelector(".extra").textContent =
        `${down}, ${across}: ${isNaN(value) ? "–" : short(+value.toPrecision(2))}`;
    };
    const rest = () => {
      cell = null;
      const extra = canvas.nextElementSibling.querySelector(".extra");
      extra.textContent = extra.dataset.rest;
    };
    const follow = event => {
      const box = canvas.getBoundingClientRect(), [, rows, columns] = trackOf(canvas).shape;
      say(Math.floor((event.clientY - box.top) / box.height * rows), Math.floor((event.clientX - box.left) / box.width * columns));
    };
    canvas.addEventListener("pointermove", follow);
    canvas.addEventListener("pointerdown", follow);
    canvas.addEventListener("pointerleave", event => { if (event.pointerType !== "touch") rest(); });
    canvas.addEventListener("blur", rest);
    canvas.addEventListener("keydown", event => {
      const way = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (event.key === "Escape") rest();
      if (!way) return;
      event.preventDefault();
      if (cell) say(cell[0] + way[0], cell[1] + way[1]); else say(0, 0);
    });
  }

  // ---- points: the dots of the page itself are moved
  const clouds = all(".cloud .plot", figure).map((plot, index) => {
    const track = () => take().tracks.filter(each => each.kind === "cloud")[index];
    const cloud = { dots: all(".dots", plot), spots: [], track, clear: () => {} };
    cloud.clear = readSpots(plot, cloud.spots, "xy", () => clouds.forEach(each => each.clear()));
    return cloud;
  });
  const FINE = 65535;
  const moveCloud = cloud => {
    const track = cloud.track(), frame = lastBy(track.steps, step()), [left, right, bottom, top] = track.frame;
    cloud.clear();
    cloud.spots.length = 0;
    cloud.dots.forEach((dot, index) => {
      const at = 4 * (frame * track.points + index);
      const x = track.bytes.getUint16(at, true) / (FINE - 1), y = track.bytes.getUint16(at + 2, true) / (FINE - 1);
      dot.setAttribute("visibility", x > 1 ? "hidden" : "visible");
      if (x > 1) return;
      dot.setAttribute("d", `M${Math.round(2000 * x)} ${Math.round(1000 * y)}l0 0`);
      const [head, kind, color, value] = track.names[index];
      const where = `at ${short(+(left + x * (right - left)).toPrecision(3))}, ${short(+(top - y * (top - bottom)).toPrecision(3))}`;
      cloud.spots.push([x, y, head, [[kind, color, value, where]]]);
    });
  };

  // ---- the slider
  const paint = () => {
    if (output) output.textContent = "step " + step().toLocaleString("en");
    slider?.setAttribute("aria-valuetext", "step " + step());
    cards.forEach(paintCard);
    clouds.forEach(moveCloud);
    losses.forEach(loss => {
      const mine = loss.dataset.takes.split(" ").includes(String(takes.indexOf(take())));
      loss.hidden = !mine;
      loss.querySelector(".rule")?.remove();
      const along = mine && take().along ? take().along[place()] : null;
      if (along !== null && along >= 0 && along <= 1)
        make("div", loss.querySelector(".plot"), "rule").style.left = 100 * along + "%";
    });
  };
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; play.textContent = "Play"; };
  play?.addEventListener("click", () => {
    if (timer) return stop();
    const last = take().steps.length - 1;
    if (place() === last) slider.value = 0;
    play.textContent = "Pause";
    paint();
    // Whoever asked for less motion gets a slow change of pictures.
    timer = setInterval(() => {
      slider.value = place() + 1;
      paint();
      if (place() === last) stop();
    }, playMotion.matches ? 700 : 160);
  });
  slider?.addEventListener("input", () => { if (timer) stop(); paint(); });
  let before = takes[0];
  choice?.addEventListener("change", () => {
    if (timer) stop();
    // Another seed is shown at the same share of its frames: each leaps at its own step.
    const share = place() / Math.max(1, before.steps.length - 1);
    before = take();
    slider.max = before.steps.length - 1;
    slider.value = Math.round(share * (before.steps.length - 1));
    paint();
  });
  losses.forEach(loss => loss.querySelector(".plot").addEventListener("pointerdown", event => {
    const along = take().along, box = event.currentTarget.getBoundingClientRect();
    if (!along || !slider) return;
    if (timer) stop();
    const wanted = (event.clientX - box.left) / box.width;
    slider.value = along.reduce((best, at, index) => Math.abs(at - wanted) < Math.abs(along[best] - wanted) ? index : best, 0);
    paint();
  }));
  repaint.push(paint);
}
relight();
