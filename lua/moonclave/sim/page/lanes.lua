-- The page's script: the view, the layout, and the lanes: processes, roles and terms, logs, messages.
return [==[
// ---- the view: what part of the time is shown, and where the cursor is ----
const view = { t0: BEGIN, t1: END, row: 0, pointer: null, picked: null };
const canvas = $("lanes"), ink = canvas.getContext("2d");
const box = {}; // where things are, in CSS pixels
const GUTTER = 96, EDGE = 14, AXIS = 24, PHASES = 17, FAULT = 16, MINIMUM = 20; // MINIMUM: microseconds in view
const x = (t) => GUTTER + (t - view.t0) / (view.t1 - view.t0) * box.wide;
const timeAt = (px) => view.t0 + (px - GUTTER) / box.wide * (view.t1 - view.t0);
const clampX = (px) => Math.max(GUTTER, Math.min(GUTTER + box.wide, px));

// ---- colours: the style sheet's ----
const palette = new Map();
const color = (variable) => {
  if (!palette.has(variable)) {
    palette.set(variable, getComputedStyle(document.documentElement).getPropertyValue(variable).trim());
  }
  return palette.get(variable);
};
const SANS = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', 'Noto Sans', sans-serif";
const font = (size, weight = 400) => weight + " " + size + "px " + SANS;
const termColor = (term) => term ? color("--t" + (term - 1) % 8) : color("--faint");

function hatch(context, key, stroke, gap, back) {
  const name = "hatch " + key + stroke + gap + back;
  if (palette.has(name)) return palette.get(name);
  const tile = document.createElement("canvas"), scale = devicePixelRatio || 1;
  tile.width = tile.height = Math.round(gap * scale);
  const pen = tile.getContext("2d"), size = tile.width;
  if (back) { pen.globalAlpha = .22; pen.fillStyle = back; pen.fillRect(0, 0, size, size); pen.globalAlpha = 1; }
  pen.strokeStyle = stroke;
  pen.lineWidth = 1.3 * scale;
  pen.beginPath();
  for (const shift of [-size, 0, size]) { pen.moveTo(shift, size); pen.lineTo(shift + size, 0); }
  pen.stroke();
  const pattern = context.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix().scale(1 / scale));
  palette.set(name, pattern);
  return pattern;
}

// ---- layout ----
const faultSpans = [...cuts.map((cut) => ({ ...cut, label: cut.text, hue: "--cut" })),
  ...ails.filter((ail) => ail.t1 > ail.t0)
    .map((ail) => ({ ...ail, label: name(ail.node) + " " + ail.text, hue: "--fault" }))]
  .sort((a, b) => a.t0 - b.t0);
const faultRows = (() => { // each in the first row that is free
  const ends = [];
  for (const span of faultSpans) {
    let row = ends.findIndex((end) => end <= span.t0);
    if (row < 0) row = ends.length;
    ends[row] = span.t1;
    span.row = Math.min(row, 3);
  }
  return Math.min(ends.length, 4);
})();

function layout() {
  const scale = devicePixelRatio || 1, bounds = canvas.getBoundingClientRect();
  box.width = bounds.width;
  box.height = bounds.height;
  if (canvas.width !== Math.round(bounds.width * scale) || canvas.height !== Math.round(bounds.height * scale)) {
    canvas.width = Math.round(bounds.width * scale);
    canvas.height = Math.round(bounds.height * scale);
  }
  ink.setTransform(scale, 0, 0, scale, 0, 0);
  box.wide = Math.max(60, box.width - GUTTER - EDGE);
  box.faults = AXIS + PHASES;
  box.lanes = box.faults + Math.max(1, faultRows) * FAULT + 8;
  box.opRow = clients ? Math.max(4, Math.min(16, 120 / clients)) : 0;
  if (box.height < 460) box.opRow = Math.min(box.opRow, 60 / clients);
  box.ops = box.height - box.opRow * clients - 8;
  box.lanesEnd = clients ? box.ops - 20 : box.height - 8;
  box.lane = (box.lanesEnd - box.lanes) / NODES;
  box.bar = Math.max(5, Math.min(16, box.lane * .24));
}
const laneTop = (node) => box.lanes + node * box.lane;
const barTop = (node) => laneTop(node) + box.lane * .82 - box.bar / 2 - 3;
const barMiddle = (node) => barTop(node) + box.bar / 2;

// ---- the lanes ----

// What part of an ascending list of states lies in view: from the one that holds at its left edge.
function inView(list) {
  const first = Math.max(0, below(list, view.t0, true, (state) => state.t) - 1);
  return [first, below(list, view.t1, true, (state) => state.t)];
}

function drawLanes() {
  const scale = logScale();
  for (let node = 0; node < NODES; node++) {
    ink.fillStyle = color("--rule");
    ink.fillRect(0, Math.round(laneTop(node)), box.width, 1);
    drawDeafness(node);
    if (box.lane >= 34) drawLog(node, scale);
    drawProcess(node);
  }
  ink.fillStyle = color("--rule");
  ink.fillRect(0, Math.round(box.lanesEnd), box.width, 1);
}

// The same for all lanes, so that they compare: the indexes in view.
function logScale() {
  let low = Infinity, high = 0;
  for (let node = 0; node < NODES; node++) {
    const list = states[node], [first, end] = inView(list);
    for (let k = first; k < end; k++) {
      const state = list[k];
      if (!state.up || !state.last) continue;
      low = Math.min(low, state.commit, state.last);
      high = Math.max(high, state.last);
    }
  }
  if (low > high) return null;
  if (high - low < 6) low = Math.max(0, high - 6);
  return { low, high };
}

// A small rising graph: what is committed filled, what is applied a line, the end of the log above them.
function drawLog(node, scale) {
  if (!scale) return;
  const list = states[node], [first, end] = inView(list);
  const bottom = barTop(node) - 4, tall = bottom - laneTop(node) - (box.lane < 64 ? 6 : 18); // room for words above it
  const y = (index) => bottom - Math.max(0, index - scale.low) / (scale.high - scale.low) * tall;
  const path = (field, fill) => {
    let drawn = false, since = -Infinity; // steps closer than a pixel's part are drawn as one
    for (let k = first; k < end; k++) {
      const state = list[k];
      const from = clampX(x(state.t)), to = clampX(k + 1 < list.length ? x(list[k + 1].t) : x(END));
      if (!state.up) {
        if (drawn && fill) ink.lineTo(from, bottom);
        drawn = false;
        continue;
      }
      if (drawn && to - since < .6 && k + 1 < end && list[k + 1].up) continue;
      since = to;
      const level = y(state[field]);
      if (!drawn) { ink.moveTo(from, fill ? bottom : level); drawn = true; }
      ink.lineTo(from, level);
      ink.lineTo(to, level);
      if (fill && (k + 1 === end || !list[k + 1].up)) ink.lineTo(to, bottom);
    }
  };
  ink.beginPath();
  path("commit", true);
  ink.globalAlpha = .11;
  ink.fillStyle = color("--ink");
  ink.fill();
  ink.globalAlpha = .75;
  ink.lineWidth = 1;
  ink.strokeStyle = color("--faint");
  ink.beginPath();
  path("last", false);
  ink.stroke();
  ink.globalAlpha = .8;
  ink.strokeStyle = color("--soft");
  ink.lineWidth = 1.2;
  ink.beginPath();
  path("applied", false);
  ink.stroke();
  ink.globalAlpha = 1;
}

function drawProcess(node) {
  const list = states[node], [first, end] = inView(list);
  const top = barTop(node);
  ink.save();
  ink.beginPath();
  ink.rect(GUTTER, laneTop(node), box.wide, box.lane);
  ink.clip();
  const pieces = [];
  let k = first;
  while (k < end) { // one piece for all that looks the same
    const state = list[k];
    let next = k + 1;
    while (next < list.length && sameLook(state, list[next])) next++;
    const from = Math.max(x(state.t), GUTTER - 2), to = Math.min(next < list.length ? x(list[next].t) : x(END),
      GUTTER + box.wide + 2);
    if (to > GUTTER - 1 && from < box.width) {
      drawPiece(state, from, Math.max(to, from + .75), top);
      pieces.push([state, from, to]);
    }
    k = next;
  }
  for (const pause of pauses[node]) {
    if (pause.t1 < view.t0 || pause.t0 > view.t1) continue;
    const from = x(pause.t0), to = Math.max(x(pause.t1), from + 1);
    ink.fillStyle = color("--paper");
    ink.globalAlpha = .55;
    ink.fillRect(from, top, to - from, box.bar);
    ink.globalAlpha = 1;
    ink.fillStyle = hatch(ink, "pause", color("--soft"), 5, null);
    ink.fillRect(from, top, to - from, box.bar);
    for (const piece of pieces) { // its label goes to the larger part that the pause leaves of it
      if (piece[1] >= to || piece[2] <= from) continue;
      if (from - piece[1] > piece[2] - to) piece[2] = from; else piece[1] = to;
    }
    label("paused", from, to, top + box.bar / 2, color("--ink"), 600, true);
  }
  for (const [state, from, to] of pieces) labelPiece(state, from, to, top);
  ink.restore();
}
const sameLook = (a, b) => a.up === b.up && a.role === b.role && a.term === b.term;

function drawPiece(state, from, to, top) {
  const wide = to - from, bar = box.bar;
  if (!state.up) { // a dark gap
    ink.fillStyle = color("--gap");
    ink.fillRect(from, top + bar * .36, wide, bar * .28);
    return;
  }
  const hue = termColor(state.term), leads = state.role === LEADER, runs = state.role === 1 || state.role === 2;
  if (leads) {
    ink.fillStyle = hue;
    ink.fillRect(from, top - 3, wide, bar + 6);
  } else if (runs) {
    ink.fillStyle = hatch(ink, state.role, hue, state.role === 2 ? 4 : 6, hue);
    ink.fillRect(from, top, wide, bar);
  } else {
    ink.globalAlpha = .34;
    ink.fillStyle = hue;
    ink.fillRect(from, top, wide, bar);
    ink.globalAlpha = 1;
  }
  if (from > GUTTER) { ink.fillStyle = color("--paper"); ink.fillRect(from, top - 3, .75, bar + 6); }
}

function labelPiece(state, from, to, top) {
  const middle = top + box.bar / 2, leads = state.role === LEADER, runs = state.role === 1 || state.role === 2;
  if (!state.up) {
    if (to - from < 48 || box.bar < 10) return;
    const centre = (Math.max(from, GUTTER) + Math.min(to, GUTTER + box.wide)) / 2;
    ink.fillStyle = color("--paper");
    ink.fillRect(centre - 17, top, 34, box.bar);
    label("down", from, to, middle, color("--soft"), 400);
    return;
  }
  const role = leads ? "leads " : runs ? (state.role === 1 ? "pre " : "runs ") : "";
  const text = state.term ? role + "t" + state.term : "blank";
  label(text, from, to, middle, leads ? color("--paper") : color("--ink"), leads ? 650 : 450, runs);
}

// In the middle of what is visible of a piece, where it fits.
function label(text, from, to, y, fill, weight, halo = false) {
  if (box.bar < 10) return;
  const left = Math.max(from, GUTTER), right = Math.min(to, GUTTER + box.wide);
  ink.font = font(10.5, weight);
  const wide = ink.measureText(text).width;
  if (right - left < wide + 6) return;
  ink.textAlign = "center";
  ink.textBaseline = "middle";
  if (halo) {
    ink.globalAlpha = .8;
    ink.strokeStyle = color("--paper");
    ink.lineWidth = 4;
    ink.lineJoin = "round";
    ink.strokeText(text, (left + right) / 2, y + .5);
    ink.globalAlpha = 1;
  }
  ink.fillStyle = fill;
  ink.fillText(text, (left + right) / 2, y + .5);
}

// While a node does not hear others, its lane is shaded and says whom.
function drawDeafness(node) {
  for (const cut of cuts) {
    if (!cut.deaf[node] || cut.t1 < view.t0 || cut.t0 > view.t1) continue;
    const from = Math.max(GUTTER, x(cut.t0)), to = Math.min(GUTTER + box.wide, Math.max(x(cut.t1), x(cut.t0) + 1));
    ink.globalAlpha = .09;
    ink.fillStyle = color("--cut");
    ink.fillRect(from, laneTop(node) + 1, to - from, box.lane - 1);
    ink.globalAlpha = 1;
    const text = "hears not " + nodesOf(cut.deaf[node]);
    ink.font = font(10);
    if (box.lane < 64 || to - from < ink.measureText(text).width + 10) continue;
    ink.fillStyle = color("--cut");
    ink.textAlign = "left";
    ink.textBaseline = "top";
    ink.fillText(text, from + 5, laneTop(node) + 4);
  }
}

// ---- messages ----

// The flights that touch the view, newest last.
function flightsInView() {
  const list = [], end = below(flightStarts, view.t1, true);
  for (let k = end - 1; k >= 0 && latest[k] >= view.t0; k--) {
    if (flights[k].t1 >= view.t0) list.push(flights[k]);
  }
  return list.reverse();
}

// Its line on the screen. One that is lost ends on its way; one lost at once is a short stub.
function line(flight) {
  const { from, to } = flight.message, down = to > from;
  const half = down ? box.bar / 2 : -box.bar / 2, y0 = barMiddle(from) + half, y1 = barMiddle(to) - half;
  const x0 = x(flight.t0);
  let x1 = x(flight.t1), part = 1;
  if (flight.lost && flight.t1 - flight.t0 < 1) {
    part = flight.why === "no connection" ? .16 : .3;
    x1 = x0 + Math.min(8, Math.abs(y1 - y0) * part * .4);
  } else if (flight.lost) {
    part = .8;
  }
  return [x0, y0, flight.lost && part === .8 ? x0 + (x1 - x0) * part : x1, y0 + (y1 - y0) * part];
}

function drawMessages() {
  box.flights = flightsInView();
  box.dense = box.flights.length > 5000;
  if (box.dense) return;
  const count = box.flights.length;
  const alpha = Math.max(.06, Math.min(.92, 260 / count)), heads = count < 500;
  ink.save();
  ink.beginPath();
  ink.rect(GUTTER, box.lanes, box.wide, box.lanesEnd - box.lanes);
  ink.clip();
  for (const [style, [hue, width]] of Object.entries(STYLES)) {
    for (const lost of [false, true]) {
      const some = box.flights.filter((flight) => flight.message.style === style && flight.lost === lost);
      if (some.length) drawFlights(some, color(hue), width, lost, style === "append" ? Math.min(1, alpha * 1.5) : alpha,
        heads);
    }
  }
  ink.restore();
}

function drawFlights(some, hue, width, lost, alpha, heads) {
  ink.globalAlpha = alpha;
  ink.strokeStyle = ink.fillStyle = hue;
  ink.lineWidth = width;
  ink.setLineDash(lost && heads ? [4, 3] : []);
  ink.beginPath();
  for (const flight of some) {
    const [x0, y0, x1, y1] = shortened(line(flight));
    ink.moveTo(x0, y0);
    ink.lineTo(x1, y1);
  }
  ink.stroke();
  ink.setLineDash([]);
  if (heads) {
    ink.beginPath();
    for (const flight of some) if (!flight.open) head(line(flight), lost, width);
    if (lost) ink.stroke(); else ink.fill();
  }
  ink.globalAlpha = 1;
}

// What of a line is in view: dashing one that is a million pixels long takes its time.
function shortened([x0, y0, x1, y1]) {
  const left = GUTTER - 40, right = GUTTER + box.wide + 40, slope = (y1 - y0) / (x1 - x0 || 1);
  const cut = (px, py) => px < left ? [left, y0 + (left - x0) * slope] : px > right ? [right, y0 + (right - x0) * slope]
    : [px, py];
  return [...cut(x0, y0), ...cut(x1, y1)];
}

// An arrow's head; a cross where it is lost.
function head([x0, y0, x1, y1], lost, width) {
  if (lost) {
    const r = 2.6;
    ink.moveTo(x1 - r, y1 - r);
    ink.lineTo(x1 + r, y1 + r);
    ink.moveTo(x1 + r, y1 - r);
    ink.lineTo(x1 - r, y1 + r);
    return;
  }
  const angle = Math.atan2(y1 - y0, x1 - x0), size = 5.5 + width;
  ink.moveTo(x1, y1);
  for (const turn of [-.38, .38]) ink.lineTo(x1 - size * Math.cos(angle + turn), y1 - size * Math.sin(angle + turn));
  ink.closePath();
}

// What the pointer or the cursor is on, over all else.
function drawPicked(flight) {
  if (!flight) return;
  const [hue, width] = STYLES[flight.message.style], ends = line(flight);
  ink.save();
  ink.beginPath();
  ink.rect(GUTTER, box.lanes, box.wide, box.lanesEnd - box.lanes);
  ink.clip();
  ink.strokeStyle = color("--paper");
  ink.lineWidth = width + 5;
  ink.beginPath();
  ink.moveTo(ends[0], ends[1]);
  ink.lineTo(ends[2], ends[3]);
  ink.stroke();
  drawFlights([flight], color(hue), width + 1.2, flight.lost, 1, true);
  ink.restore();
}
]==]
