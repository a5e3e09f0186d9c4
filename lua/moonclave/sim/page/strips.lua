-- The page's script: what is above and below the lanes: time, phases, faults, clients, and the map of the whole run.
return [==[
// ---- time and phases ----
function drawAxis() {
  const wide = view.t1 - view.t0;
  const target = wide / Math.max(2, box.wide / 105), power = 10 ** Math.floor(Math.log10(target));
  const step = Math.max(1, [1, 2, 5, 10].map((k) => k * power).find((tick) => tick >= target));
  ink.font = font(10.5);
  ink.textBaseline = "middle";
  ink.textAlign = "left";
  const digits = Math.max(0, Math.min(6, 6 - Math.floor(Math.log10(step) + 1e-9)));
  for (let t = Math.ceil(view.t0 / step) * step; t <= view.t1; t += step) {
    const px = Math.round(x(t)) + .5;
    ink.fillStyle = color("--rule");
    ink.fillRect(px - .5, AXIS - 5, 1, box.height);
    const text = (t / 1e6).toFixed(digits) + " s";
    ink.fillStyle = color("--soft");
    if (px + ink.measureText(text).width + 6 < box.width) ink.fillText(text, px + 4, AXIS / 2 + 1);
  }
  for (const phase of phases) {
    if (phase.t1 < view.t0 || phase.t0 > view.t1) continue;
    const from = Math.max(GUTTER, x(phase.t0)), to = Math.min(GUTTER + box.wide, x(phase.t1));
    ink.fillStyle = color("--side");
    ink.fillRect(from, AXIS, to - from, PHASES - 2);
    if (x(phase.t0) >= GUTTER) {
      ink.fillStyle = color("--faint");
      ink.fillRect(from, AXIS, 1, PHASES - 2);
      ink.globalAlpha = .35;
      ink.fillRect(from, AXIS + PHASES, 1, box.height);
      ink.globalAlpha = 1;
    }
    clipped(phase.text, from + 6, to - 4, AXIS + PHASES / 2 - .5, color("--soft"), font(10.5));
  }
}

// Text in the room it has, or none.
function clipped(text, from, to, y, fill, face) {
  if (to - from < 12) return;
  ink.font = face;
  ink.fillStyle = fill;
  ink.textAlign = "left";
  ink.textBaseline = "middle";
  let shown = text;
  if (ink.measureText(text).width > to - from) {
    let low = 0, high = text.length;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (ink.measureText(text.slice(0, middle) + "\u2026").width <= to - from) low = middle; else high = middle - 1;
    }
    if (low < 5) return;
    shown = text.slice(0, low) + "\u2026";
  }
  ink.fillText(shown, from, y);
}

// ---- faults ----
function drawFaults() {
  box.faultHits = [];
  for (const span of faultSpans) {
    if (span.t1 < view.t0 || span.t0 > view.t1) continue;
    const from = Math.max(GUTTER, x(span.t0)), to = Math.min(GUTTER + box.wide, Math.max(x(span.t1), x(span.t0) + 2));
    const top = box.faults + span.row * FAULT + 1, hue = color(span.hue);
    ink.globalAlpha = .17;
    ink.fillStyle = hue;
    ink.fillRect(from, top, to - from, FAULT - 2);
    ink.globalAlpha = 1;
    if (x(span.t0) >= GUTTER) ink.fillRect(from, top, 1.5, FAULT - 2);
    clipped(span.label, from + 5, to - 3, top + FAULT / 2 - .5, hue, font(10.5, 500));
    box.faultHits.push({ from, to: Math.max(to, from + 4), top, bottom: top + FAULT, span });
  }
  ink.fillStyle = color("--fault");
  for (const strike of strikes) { // each a small wedge that points at its moment
    if (strike.t0 < view.t0 || strike.t0 > view.t1) continue;
    const px = x(strike.t0), top = box.lanes - 8;
    ink.beginPath();
    ink.moveTo(px - 3.5, top);
    ink.lineTo(px + 3.5, top);
    ink.lineTo(px, top + 6.5);
    ink.fill();
    box.faultHits.push({ from: px - 4, to: px + 4, top: top - 2, bottom: top + 8, span: strike });
  }
  if (faultSpans.length === 0 && strikes.length === 0) {
    clipped("no faults", GUTTER + 6, box.width, box.faults + FAULT / 2, color("--faint"), font(10.5));
  }
}

// ---- clients ----
function drawClients() {
  box.opHits = [];
  if (!clients) return;
  const row = box.opRow, tall = Math.max(2.5, row - (row > 7 ? 3 : 1));
  for (const operation of operations) {
    const end = operation.t1 === Infinity ? END : operation.t1;
    if (end < view.t0 || operation.t0 > view.t1) continue;
    const from = Math.max(GUTTER - 1, x(operation.t0));
    const to = Math.min(GUTTER + box.wide + 1, Math.max(x(end), from + 1.5));
    const top = box.ops + operation.client * row;
    const hue = color(["--o-unknown", "--o-yes", "--o-no", "--o-unknown"][operation.outcome]);
    ink.fillStyle = operation.outcome === 3 ? hatch(ink, "unknown", hue, 4, hue) : hue;
    ink.globalAlpha = operation.outcome === 0 ? .2 : operation.query && operation.outcome !== 3 ? .38 : .85;
    ink.fillRect(from, top, to - from, tall);
    ink.globalAlpha = 1;
    if (operation.query || operation.outcome === 0) {
      ink.strokeStyle = hue;
      ink.lineWidth = 1;
      if (to - from > 3) ink.strokeRect(from + .5, top + .5, to - from - 1, tall - 1);
    }
    if (row >= 12 && to - from > 40) {
      clipped(operation.text, from + 4, to - 3, top + tall / 2 + .5, operation.query || operation.outcome !== 1
        ? color("--ink") : color("--paper"), font(10));
    }
    box.opHits.push({ from: from - 1, to: to + 1, top, bottom: top + row, operation });
  }
}

// ---- the gutter, the cursor, the violation ----
function drawGutter() {
  ink.fillStyle = color("--paper");
  ink.fillRect(0, 0, GUTTER - 1, box.height);
  ink.fillStyle = color("--line");
  ink.fillRect(GUTTER - 1, AXIS, 1, box.height);
  ink.textBaseline = "middle";
  ink.textAlign = "left";
  const side = (text, y, fill = color("--faint")) => {
    ink.font = font(10.5);
    ink.fillStyle = fill;
    ink.fillText(text, 14, y);
  };
  side("time", AXIS / 2 + 1);
  side("phase", AXIS + PHASES / 2 - .5);
  side("faults", box.faults + FAULT / 2);
  if (clients) side(clients === 1 ? "clients" : clients + " clients", box.ops - 9);
  if (clients && box.opRow >= 9) {
    for (let client = 0; client < clients; client++) side("client " + client, box.ops + (client + .42) * box.opRow);
  }
  for (let node = 0; node < NODES; node++) {
    const state = stateAt(node, view.row), middle = barMiddle(node);
    ink.fillStyle = state.up ? termColor(state.term) : color("--gap");
    ink.globalAlpha = state.up && state.role !== LEADER ? .5 : 1;
    ink.fillRect(0, laneTop(node) + 1, 4, box.lane - 1);
    ink.globalAlpha = 1;
    ink.font = font(13, 650);
    ink.fillStyle = color("--ink");
    ink.fillText(name(node), 14, box.lane < 34 ? middle : middle - 9);
    if (box.lane < 34) continue;
    ink.font = font(10.5);
    ink.fillStyle = color("--soft");
    ink.fillText(standing(node, state), 14, middle + 6);
  }
}
const standing = (node, state) => !state.up ? "down" : pausedAt(node, at[view.row]) ? "paused" : !state.term ? "blank"
  : ["follows", "pre", "runs", "leads"][state.role] + " t" + state.term;

function drawCursor() {
  const violation = about.violation ? about.violation.invariant : "violation";
  if (violationRow >= 0) flag(at[violationRow], color("--bad"), violation);
  const px = x(at[view.row]);
  if (px < GUTTER - 1 || px > GUTTER + box.wide + 1) return;
  ink.fillStyle = color("--accent");
  ink.fillRect(Math.round(px) - .5, AXIS - 2, 1.5, box.height);
  ink.beginPath();
  ink.moveTo(px - 5, AXIS - 8);
  ink.lineTo(px + 5, AXIS - 8);
  ink.lineTo(px, AXIS - 1);
  ink.fill();
}

function flag(t, hue, text) {
  const px = x(t);
  if (px < GUTTER || px > GUTTER + box.wide + 1) return;
  ink.fillStyle = hue;
  ink.fillRect(px - 1, AXIS, 2, box.height);
  ink.font = font(10.5, 650);
  const wide = ink.measureText(text).width + 10, left = Math.min(px - 1, GUTTER + box.wide - wide);
  ink.fillRect(left, AXIS, wide, PHASES - 2);
  ink.fillStyle = color("--paper");
  ink.textAlign = "left";
  ink.textBaseline = "middle";
  ink.fillText(text, left + 5, AXIS + PHASES / 2 - .5);
}

// ---- the map: the whole run, small ----
const map = $("map"), mapInk = map.getContext("2d");
let mapImage = null;
const mapX = (t) => GUTTER + (t - BEGIN) / (END - BEGIN) * (map.clientWidth - GUTTER - EDGE);
const mapTime = (px) => BEGIN + (px - GUTTER) / (map.clientWidth - GUTTER - EDGE) * (END - BEGIN);

// What does not move is drawn once per size and theme.
function drawWhole() {
  const scale = devicePixelRatio || 1, wide = map.clientWidth, tall = map.clientHeight;
  map.width = Math.round(wide * scale);
  map.height = Math.round(tall * scale);
  mapImage = document.createElement("canvas");
  mapImage.width = map.width;
  mapImage.height = map.height;
  const pen = mapImage.getContext("2d");
  pen.scale(scale, scale);
  pen.globalAlpha = .16;
  for (const span of faultSpans) {
    pen.fillStyle = color(span.hue);
    pen.fillRect(mapX(span.t0), 7, Math.max(1, mapX(span.t1) - mapX(span.t0)), tall - 14);
  }
  pen.globalAlpha = 1;
  const row = (tall - 22) / NODES, thick = Math.min(7, Math.max(2, row - 2));
  for (let node = 0; node < NODES; node++) {
    const list = states[node], top = 9 + node * row;
    for (let k = 0; k < list.length; k++) {
      const state = list[k], from = mapX(state.t), to = mapX(k + 1 < list.length ? list[k + 1].t : END);
      const leads = state.role === LEADER;
      pen.globalAlpha = !state.up ? .9 : leads ? 1 : .32;
      pen.fillStyle = state.up ? termColor(state.term) : color("--gap");
      const size = state.up ? thick : 1.5;
      pen.fillRect(from, top + (thick - size) / 2, Math.max(to - from, leads ? .8 : .2), size);
    }
  }
  pen.globalAlpha = 1;
  pen.fillStyle = color("--fault");
  for (const strike of strikes) pen.fillRect(mapX(strike.t0) - .5, tall - 11, 1, 5);
  pen.fillStyle = color("--faint");
  for (const phase of phases.slice(1)) pen.fillRect(mapX(phase.t0), 4, 1, tall - 8);
  pen.font = font(10.5);
  pen.textBaseline = "middle";
  pen.fillText("whole run", 14, tall / 2 - 7);
  pen.fillText(span(END - BEGIN), 14, tall / 2 + 7);
}

function drawMap() {
  const scale = devicePixelRatio || 1, wide = map.clientWidth, tall = map.clientHeight;
  if (!mapImage || mapImage.width !== Math.round(wide * scale)) drawWhole();
  mapInk.setTransform(1, 0, 0, 1, 0, 0);
  mapInk.clearRect(0, 0, map.width, map.height);
  mapInk.drawImage(mapImage, 0, 0);
  mapInk.setTransform(scale, 0, 0, scale, 0, 0);
  mapInk.fillStyle = color("--match");
  for (const i of search.hits.length < 2000 ? search.hits : []) mapInk.fillRect(mapX(at[i]) - 1, 2, 2, 5);
  const from = mapX(view.t0), to = mapX(view.t1);
  mapInk.fillStyle = color("--paper");
  mapInk.globalAlpha = .36;
  mapInk.fillRect(GUTTER, 1, from - GUTTER, tall - 2);
  mapInk.fillRect(to, 1, wide - EDGE - to, tall - 2);
  mapInk.globalAlpha = 1;
  mapInk.strokeStyle = color("--accent");
  mapInk.lineWidth = 1.2;
  mapInk.strokeRect(from - .5, 2.5, Math.max(3, to - from + 1), tall - 5);
  if (violationRow >= 0) {
    mapInk.fillStyle = color("--bad");
    mapInk.fillRect(mapX(at[violationRow]) - 1, 0, 2, tall);
  }
  mapInk.fillStyle = color("--accent");
  mapInk.fillRect(mapX(at[view.row]) - .75, 0, 1.5, tall);
}

// ---- all of it ----
function draw() {
  layout();
  ink.clearRect(0, 0, box.width, box.height);
  ink.fillStyle = color("--paper");
  ink.fillRect(0, 0, box.width, box.height);
  drawAxis();
  drawFaults();
  drawLanes();
  drawMessages();
  drawClients();
  drawPicked(view.picked);
  drawCursor();
  drawGutter();
  drawMap();
  $("range").textContent = seconds(view.t0) + " \u2013 " + seconds(view.t1) + " s  (" + span(view.t1 - view.t0) + ")"
    + (box.dense ? "  \u00b7  " + grouped(box.flights.length) + " messages: zoom in to see them" : "");
}
let due = false;
function redraw() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => { due = false; draw(); });
}
]==]
