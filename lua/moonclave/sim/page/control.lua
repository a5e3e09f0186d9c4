-- The page's script, last part: pointer, wheel, keys, the fragment, the legend; and the beginning of it all.
return [==[
// ---- moving ----
function show(t0, t1) {
  let wide = Math.max(MINIMUM, Math.min(t1 - t0, (END - BEGIN) * 1.04));
  const slack = wide * .5; // half a view may lie beside the run
  t0 = Math.max(BEGIN - slack, Math.min(t0, END - wide + slack));
  if (wide >= END - BEGIN) t0 = Math.max(Math.min(t0, BEGIN), END - wide);
  view.t0 = t0;
  view.t1 = t0 + wide;
  redraw();
}
function zoom(factor, t) { show(t - (t - view.t0) * factor, t + (view.t1 - t) * factor); }
const showAll = () => show(BEGIN, END);

// Puts the cursor on a row. `still`: the list stays where it is.
function goTo(row, { still = false, quiet = false } = {}) {
  if (COUNT === 0) return;
  view.row = Math.max(0, Math.min(COUNT - 1, row));
  const t = at[view.row], wide = view.t1 - view.t0;
  if (t < view.t0 + wide * .04 || t > view.t1 - wide * .04) show(t - wide / 2, t + wide / 2);
  view.picked = flightOf(view.row);
  showNow();
  showFound();
  if (still) showList(); else follow();
  if (!quiet) remember();
  redraw();
}
function flightOf(row) {
  const kind = KIND_NAMES[kindOf[row]];
  if (kind !== "send" && kind !== "receive" && kind !== "lost" && kind !== "double") return null;
  const message = messages.get(rows[row][5]);
  return message && (message.ends.find((flight) => flight.i === row) || message.ends[0] || null);
}

// The next event that the filters let through.
function stepBy(count) {
  const place = placeInList(view.row), on = shown.rows[place] === view.row;
  const next = count > 0 ? place + count - (on ? 0 : 1) : place + count;
  if (shown.rows.length) goTo(shown.rows[Math.max(0, Math.min(shown.rows.length - 1, next))]);
}

// ---- the fragment: #step=1234, #t=1.234567; several events at one time are told apart by &event= ----
let ours = "";
function remember() {
  const t = at[view.row], first = rowOfTime(t);
  ours = view.row === violationRow && stepAt[view.row] === about.violation.step ? "#step=" + stepAt[view.row]
    : "#t=" + seconds(t) + (first === view.row ? "" : "&event=" + (view.row + 1));
  history.replaceState(null, "", ours);
}
function fromFragment() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const step = Number(parts.get("step")), t = Number(parts.get("t")), event = Number(parts.get("event"));
  if (parts.has("event") && event >= 1 && event <= COUNT) return event - 1;
  if (parts.has("step") && Number.isFinite(step)) return rowOfStep(step);
  if (parts.has("t") && Number.isFinite(t)) return rowOfTime(Math.round(t * 1e6));
  return -1;
}
const NEAR = () => Math.max(about.election_us * 6, 2000); // what a close look shows
function lookAt(row) {
  const t = at[row], wide = Math.min(view.t1 - view.t0, NEAR());
  const t1 = Math.min(t + wide * .38, END + wide * .1);
  show(t1 - wide, t1);
  goTo(row, { quiet: true });
}
addEventListener("hashchange", () => {
  const row = fromFragment();
  if (row >= 0) lookAt(row);
});
if ($("failing")) {
  $("failing").addEventListener("click", (event) => { // also when the fragment says so already
    event.preventDefault();
    history.replaceState(null, "", event.currentTarget.hash);
    lookAt(rowOfStep(about.violation.step));
  });
}

// ---- what is under the pointer ----
function under(px, py) {
  if (px < GUTTER || px > GUTTER + box.wide) return null;
  const inside = (hit) => px >= hit.from && px <= hit.to && py >= hit.top && py <= hit.bottom;
  const fault = [...box.faultHits].reverse().find(inside);
  if (fault) return { span: fault.span, row: fault.span.i };
  const operation = [...box.opHits].reverse().find(inside);
  if (operation) return { operation: operation.operation, row: operation.operation.i };
  if (py < box.lanes || py > box.lanesEnd) return null;
  const flight = box.dense ? null : nearest(px, py);
  if (flight) {
    const [x0, , x1] = line(flight);
    return { flight, row: Math.abs(px - x0) <= Math.abs(px - x1) || flight.open ? flight.message.i : flight.i };
  }
  const node = Math.floor((py - box.lanes) / box.lane), t = timeAt(px);
  if (node < 0 || node >= NODES) return null;
  return { node, t };
}
function nearest(px, py) {
  let best = null, least = 5;
  for (const flight of box.flights) {
    const [x0, y0, x1, y1] = line(flight);
    if (px < Math.min(x0, x1) - 6 || px > Math.max(x0, x1) + 6) continue;
    const dx = x1 - x0, dy = y1 - y0, size = dx * dx + dy * dy || 1;
    const part = Math.max(0, Math.min(1, ((px - x0) * dx + (py - y0) * dy) / size));
    const distance = Math.hypot(px - x0 - part * dx, py - y0 - part * dy);
    if (distance < least) { least = distance; best = flight; }
  }
  return best;
}

// ---- the tip ----
const tip = $("tip");
function tipLines(what) {
  if (what.flight) {
    const { message, lost, open, t0, t1, why } = what.flight, type = message.fields.type.replace(/_/g, " ");
    return [element("b", { text: name(message.from) + " \u2192 " + name(message.to) + "  " + type }),
      element("p", { text: messageWords(message.fields) }),
      element("p", { class: "soft", text: "sent " + seconds(t0) + (lost ? t1 > t0 ? ", lost " + seconds(t1) + ": " + why
        : ", lost: " + why : open ? ", under way at the end" : ", received " + seconds(t1) + " after " + span(t1 - t0))
        + (message.copies > 1 ? ", doubled" : "") })];
  }
  if (what.operation) {
    const op = what.operation, outcome = OUTCOMES[op.outcome];
    return [element("b", { text: op.text || "request " + op.number }),
      element("p", { text: (op.code ? op.code + (op.reply ? "  " + op.reply : "") : "no answer") }),
      element("p", { class: "soft", text: "client " + op.client + " asks " + name(op.node) + ", "
        + asked(op) + " " + op.number + ", " + (op.outcome ? outcome + " after " + span(op.t1 - op.t0) : "pending") }),
      element("p", { class: "soft", text: seconds(op.t0) + " \u2013 " + (op.t1 === Infinity ? "" : seconds(op.t1)) })];
  }
  if (what.span) {
    const lasts = what.span.t1 > what.span.t0;
    return [element("b", { text: what.span.label || "fault: " + what.span.text }),
      element("p", { class: "soft", text: seconds(what.span.t0) + (lasts ? " \u2013 " + seconds(what.span.t1) + "  ("
        + span(what.span.t1 - what.span.t0) + ")" : "") })];
  }
  return nodeTip(what.node, what.t);
}
function nodeTip(node, t) {
  const state = stateAtTime(node, t), pairs = element("div", { class: "pairs" });
  const pair = (key, value) => pairs.append(element("span", { text: key }), element("span", { text: value }));
  const paused = pausedAt(node, t), cut = spanAt(cuts, t);
  if (state.up && state.term) {
    pair("leader", state.leader ? "n" + state.leader : "\u2013");
    pair("vote", state.vote ? "n" + state.vote : "\u2013");
    pair("commit", state.commit);
    pair("applied", state.applied);
    pair("last", state.last);
    pair("durable", state.durable);
  }
  pair("disk log", state.diskLast);
  pair("disk term", state.diskTerm);
  pair("disk queue", state.queue);
  const word = !state.up ? "down" : !state.term ? "blank" : ROLES[state.role] + " of t" + state.term;
  const lines = [element("b", { text: name(node) + "  " + word + (paused ? ", paused" : "") }), pairs,
    element("p", { class: "soft", text: seconds(t) + " s" })];
  if (cut && cut.deaf[node]) lines.push(element("p", { text: "hears not " + nodesOf(cut.deaf[node]) }));
  return lines;
}
function showTip(what, clientX, clientY) {
  tip.hidden = !what;
  if (!what) return;
  tip.replaceChildren(...tipLines(what));
  const wide = tip.offsetWidth, tall = tip.offsetHeight;
  tip.style.left = Math.max(6, Math.min(clientX + 16, innerWidth - wide - 8)) + "px";
  tip.style.top = Math.max(6, clientY + 18 + tall > innerHeight ? clientY - tall - 12 : clientY + 18) + "px";
}

// ---- the pointer: the lanes are dragged, the time above them scrubs, a click picks ----
const pointer = { mode: "", x: 0, t0: 0, t1: 0, moved: false };
function place(event) {
  const bounds = canvas.getBoundingClientRect();
  return [event.clientX - bounds.left, event.clientY - bounds.top];
}
const rowNear = (t) => { const k = rowOfTime(t); return k > 0 && t - at[k - 1] < at[k] - t ? k - 1 : k; };

canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  const [px, py] = place(event);
  canvas.setPointerCapture(event.pointerId);
  Object.assign(pointer, { mode: py < AXIS + PHASES && px >= GUTTER ? "scrub" : "drag", x: px, t0: view.t0, t1: view.t1,
    moved: false });
  if (pointer.mode === "scrub") goTo(rowNear(timeAt(clampX(px))));
});
canvas.addEventListener("pointermove", (event) => {
  const [px, py] = place(event);
  if (pointer.mode === "scrub") { goTo(rowNear(timeAt(clampX(px)))); return; }
  if (pointer.mode === "drag") {
    if (Math.abs(px - pointer.x) > 3) pointer.moved = true;
    if (!pointer.moved) return;
    canvas.classList.add("dragging");
    showTip(null);
    const by = (pointer.x - px) / box.wide * (pointer.t1 - pointer.t0);
    show(pointer.t0 + by, pointer.t1 + by);
    return;
  }
  const what = under(px, py);
  canvas.classList.toggle("scrubbing", py < AXIS + PHASES && px >= GUTTER);
  canvas.classList.toggle("pointing", !!what && what.row !== undefined);
  const picked = what && what.flight || flightOf(view.row);
  if (picked !== view.picked) { view.picked = picked; redraw(); }
  showTip(what, event.clientX, event.clientY);
});
canvas.addEventListener("pointerup", (event) => {
  const [px, py] = place(event), mode = pointer.mode;
  pointer.mode = "";
  canvas.classList.remove("dragging");
  if (mode !== "drag" || pointer.moved || px < GUTTER) return;
  const what = under(px, py);
  goTo(what && what.row !== undefined ? what.row : rowNear(timeAt(px)));
});
canvas.addEventListener("pointercancel", () => { pointer.mode = ""; });
canvas.addEventListener("pointerleave", () => { showTip(null); view.picked = flightOf(view.row); redraw(); });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  showTip(null);
  const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1, wide = view.t1 - view.t0;
  const sideways = event.shiftKey ? event.deltaY || event.deltaX : Math.abs(event.deltaX) > Math.abs(event.deltaY)
    ? event.deltaX : 0;
  if (sideways) {
    const by = sideways * unit / box.wide * wide;
    show(view.t0 + by, view.t1 + by);
    return;
  }
  zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY * unit)) * .0052), timeAt(clampX(place(event)[0])));
}, { passive: false });
canvas.addEventListener("dblclick", (event) => zoom(event.shiftKey ? 3 : 1 / 3, timeAt(clampX(place(event)[0]))));

let mapping = false;
function fromMap(event) {
  const t = mapTime(event.clientX - map.getBoundingClientRect().left), wide = view.t1 - view.t0;
  show(t - wide / 2, t + wide / 2);
}
map.addEventListener("pointerdown", (event) => {
  mapping = true;
  map.setPointerCapture(event.pointerId);
  fromMap(event);
});
map.addEventListener("pointermove", (event) => { if (mapping) fromMap(event); });
map.addEventListener("pointerup", () => { mapping = false; });
map.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * .0052), (view.t0 + view.t1) / 2);
}, { passive: false });

// ---- keys ----
const cursorTime = () => Math.max(view.t0, Math.min(view.t1, at[view.row]));
const KEYS = {
  ArrowRight: (shift) => stepBy(shift ? 10 : 1), ArrowLeft: (shift) => stepBy(shift ? -10 : -1),
  ArrowDown: () => stepBy(1), ArrowUp: () => stepBy(-1),
  PageDown: () => { const wide = view.t1 - view.t0; show(view.t0 + wide * .8, view.t1 + wide * .8); },
  PageUp: () => { const wide = view.t1 - view.t0; show(view.t0 - wide * .8, view.t1 - wide * .8); },
  Home: () => goTo(0), End: () => goTo(COUNT - 1),
  v: () => { if (violationRow >= 0) { lookAt(violationRow); remember(); } },
  "+": () => zoom(.6, cursorTime()), "=": () => zoom(.6, cursorTime()), "-": () => zoom(1 / .6, cursorTime()),
  0: showAll, "/": () => { $("search").focus(); $("search").select(); }, "?": () => legend(),
  n: () => toMatch(1), N: () => toMatch(-1),
  Escape: () => legend(false),
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target === $("search")) return;
  if (event.target instanceof HTMLButtonElement && (event.key === " " || event.key === "Enter")) return;
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act(event.shiftKey);
});
$("fit").addEventListener("click", showAll);
$("in").addEventListener("click", () => zoom(.6, cursorTime()));
$("out").addEventListener("click", () => zoom(1 / .6, cursorTime()));
$("help").addEventListener("click", () => legend());
if ($("copy")) {
  $("copy").addEventListener("click", async () => {
    const text = $("replay").textContent;
    try {
      await navigator.clipboard.writeText(text);
      $("copy").textContent = "copied";
    } catch { // no clipboard here: marked, to be copied by hand
      getSelection().selectAllChildren($("replay"));
    }
    setTimeout(() => { $("copy").textContent = "copy"; }, 1500);
  });
}

// ---- the legend ----
function legend(open = $("legend").hidden) {
  $("legend").hidden = !open;
  $("help").setAttribute("aria-expanded", String(open));
  if (open) drawLegend();
}
function sample(paint) {
  const made = element("canvas"), scale = devicePixelRatio || 1;
  made.width = 46 * scale;
  made.height = 16 * scale;
  const pen = made.getContext("2d");
  pen.scale(scale, scale);
  paint(pen);
  return made;
}
function drawLegend() {
  const row = (paint, text) => element("div", { class: "row" }, sample(paint), element("span", { text }));
  const keys = (list, text) => element("div", { class: "row" }, element("span", {}, ...list.flatMap((key, k) =>
    [k ? " " : "", element("kbd", { text: key })])), element("span", { text }));
  const bar = (fill, alpha = 1, top = 2, tall = 12) => (pen) => {
    pen.globalAlpha = alpha;
    pen.fillStyle = typeof fill === "function" ? fill(pen) : fill;
    pen.fillRect(0, top, 46, tall);
  };
  const arrow = (hue, width, lost) => (pen) => {
    pen.strokeStyle = pen.fillStyle = color(hue);
    pen.lineWidth = width;
    pen.setLineDash(lost ? [4, 3] : []);
    pen.beginPath();
    pen.moveTo(2, 3);
    pen.lineTo(lost ? 34 : 40, 12);
    pen.stroke();
    pen.setLineDash([]);
    pen.beginPath();
    if (lost) { pen.moveTo(31, 9); pen.lineTo(37, 15); pen.moveTo(37, 9); pen.lineTo(31, 15); pen.stroke(); return; }
    pen.moveTo(43, 13);
    pen.lineTo(35, 14.2);
    pen.lineTo(36.8, 7.6);
    pen.fill();
  };
  const hue = termColor(1), next = termColor(2);
  $("legend").replaceChildren(element("div", { class: "columns" },
    element("div", {},
      element("h2", { text: "lanes: the colour is the term" }),
      row(bar(hue, 1, 0, 16), "leads"), row(bar(hue, .34), "follows"),
      row((pen) => {
        bar(hue, .34)(pen);
        pen.clearRect(23, 0, 23, 16);
        pen.fillStyle = next;
        pen.fillRect(23, 2, 23, 12);
      }, "the term changes"),
      row(bar((pen) => hatch(pen, "legend2", hue, 4, hue)), "candidate (wider: pre-candidate)"),
      row(bar((pen) => hatch(pen, "legend", color("--soft"), 5, null)), "paused"),
      row(bar(color("--gap"), 1, 6, 4), "down"),
      row((pen) => {
        pen.fillStyle = color("--ink");
        pen.globalAlpha = .11;
        pen.fillRect(0, 8, 23, 8);
        pen.fillRect(23, 4, 23, 12);
        pen.globalAlpha = 1;
        pen.strokeStyle = color("--faint");
        pen.strokeRect(-1, 3.5, 50, 20);
      }, "committed (filled), applied and last index (lines)"),
      row(bar(color("--cut"), .17), "does not hear some others"),
      row((pen) => { pen.fillStyle = color("--fault"); pen.fill(new Path2D("M18 5h9l-4.5 7z")); }, "a fault strikes"),
      element("h2", { text: "clients" }),
      row(bar(color("--o-yes"), .85), "command answered (paler: a query)"),
      row(bar(color("--o-no"), .85), "certainly not done"),
      row(bar((pen) => hatch(pen, "legend3", color("--o-unknown"), 4, color("--o-unknown"))), "outcome unknown")),
    element("div", {},
      element("h2", { text: "messages" }),
      ...Object.entries(STYLES).map(([style, [shade, width, text]]) =>
        row(arrow(shade, style === "append" ? 2.4 : width), text)),
      row(arrow("--m-append", 1.3, true), "lost"),
      element("h2", { text: "keys" }),
      keys(["\u2190", "\u2192"], "event by event (shift: ten)"), keys(["Home", "End"], "first, last event"),
      keys(["v"], "the failing step"), keys(["+", "-", "0"], "zoom; the whole run"),
      keys(["/", "n", "N"], "search, next, previous"), keys(["Esc"], "close"),
      element("div", { class: "row", text: "Wheel: zoom. Drag: move; on the time above: scrub." }))));
}

// ---- the beginning ----
if (record.dropped > 0) {
  $("note").hidden = false;
  $("note").textContent = "The run was long: this page shows its last " + grouped(COUNT) + " events; the " +
    grouped(record.dropped) + " before them are left out.";
}
new ResizeObserver(() => { mapImage = null; redraw(); showList(); }).observe($("stage"));
new ResizeObserver(() => showList()).observe(list);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  palette.clear();
  mapImage = null;
  showNow();
  if (!$("legend").hidden) drawLegend();
  redraw();
});
// Where the beginning of a run is left out, its first rows tell how things stood.
function firstRow() {
  let row = 0;
  const told = ["phase", "state", "ail", "cut"];
  while (record.dropped > 0 && row < COUNT - 1 && told.includes(KIND_NAMES[kindOf[row]])) row++;
  return row;
}
showAll();
refilter();
(() => {
  const row = fromFragment();
  if (row >= 0) lookAt(row);
  else if (violationRow >= 0) lookAt(violationRow);
  else goTo(firstRow(), { quiet: true });
})();
]==]
