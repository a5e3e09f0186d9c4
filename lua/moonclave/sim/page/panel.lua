-- The page's script: beside the lanes: how all stood at the cursor, the list of events, filters, search, the schedule.
return [==[
// ---- elements ----
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") made.textContent = value;
    else if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// ---- now ----
const COLUMNS = [["term", "term"], ["vote", "vote"], ["commit", "commit"], ["applied", "appl."], ["last", "last"],
  ["durable", "dur."], ["diskLast", "disk"], ["queue", "queue"]];

function showNow() {
  const i = view.row, t = at[i], kind = KIND_NAMES[kindOf[i]];
  $("when").replaceChildren(seconds(t) + " s", element("span", { text: "step " + grouped(stepAt[i]) }),
    element("span", { text: "event " + grouped(i + 1) + " / " + grouped(COUNT) }));
  $("what").textContent = (listedAt(i) >= 0 ? name(listedAt(i)) + "  " : "") + words(i);
  $("what").style.color = kind === "violation" ? "var(--bad)" : "";
  const head = element("tr", {}, element("th"), element("th", { text: "role" }),
    ...COLUMNS.map(([, text]) => element("th", { text })));
  const lines = [];
  for (let node = 0; node < NODES; node++) lines.push(stateLine(node, i));
  $("states").replaceChildren(head, ...lines);
  const cut = spanAt(cuts, t);
  $("hearing").textContent = cut ? "cut off: " + cut.text + (cut.until ? ", until " + seconds(cut.until) : "") : "";
}

function stateLine(node, i) {
  const state = stateAt(node, i), list = states[node];
  const before = state.i === i ? stateAt(node, i - 1) : state; // what has changed just now stands out
  const dot = element("i");
  const strength = state.role === LEADER ? " 100%" : " 45%";
  dot.style.background = state.up ? "color-mix(in srgb, " + termColor(state.term) + strength + ", transparent)"
    : "var(--gap)";
  const cell = (field, text, off) => element("td", { text,
    class: before[field] !== state[field] && list.length ? "new" : off ? "off" : "" });
  const paused = pausedAt(node, at[i]);
  const role = !state.up ? "down" : paused ? "paused" : !state.term ? "blank"
    : state.role === LEADER ? "leads" : state.role ? (state.role === 1 ? "pre" : "runs")
    : state.leader ? "\u2192 n" + state.leader : "follows";
  const off = !state.up;
  return element("tr", {}, element("td", {}, dot, name(node)), cell("role", role, off),
    ...COLUMNS.map(([field]) => {
      const own = field === "diskLast" || field === "queue"; // the disk's, process or not
      const text = field === "vote" ? (state.vote ? "n" + state.vote : "\u2013") : String(state[field]);
      return cell(field, off && !own ? "\u2013" : text, off && !own);
    }));
}

// ---- the list: only what can be seen of it is in the document ----
const ROW = 20;
const shown = { groups: new Set(GROUPS.map((_, k) => k)), nodes: new Set(Array.from({ length: NODES }, (_, n) => n)),
  rows: new Uint32Array(0) };
const search = { text: "", hits: [] };
const list = $("list"), long = $("long");

function visible(i) {
  if (i === violationRow) return true;
  if (!shown.groups.has(groupOf[i])) return false;
  return nodeOf[i] < 0 || shown.nodes.has(nodeOf[i]) || (peerOf[i] >= 0 && shown.nodes.has(peerOf[i]));
}

function refilter() {
  const rowsShown = [];
  for (let i = 0; i < COUNT; i++) if (visible(i)) rowsShown.push(i);
  shown.rows = Uint32Array.from(rowsShown);
  long.style.height = shown.rows.length * ROW + "px";
  research();
  follow();
}

const CLASSES = { violation: "violation", fault: "fault", cut: "fault", ail: "fault", phase: "fault", state: "state" };

function showList() {
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
  const end = Math.min(shown.rows.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 4);
  const hits = new Set(search.text ? search.hits : []);
  const lines = [];
  for (let k = first; k < end; k++) {
    const i = shown.rows[k], where = listedAt(i), kind = KIND_NAMES[kindOf[i]];
    const text = words(i);
    const made = element("div", { class: "event " + (CLASSES[kind] || "") + (i === view.row ? " at" : "")
      + (hits.has(i) ? " hit" : ""), title: text, role: "option", "aria-selected": String(i === view.row) },
      element("span", { class: "t", text: seconds(at[i]) }), element("span", { class: "n", text: name(where) }),
      element("span", { class: "x", text }));
    made.style.top = k * ROW + "px";
    if (where >= 0) made.children[1].style.color = "var(--ink)";
    made.dataset.row = i;
    lines.push(made);
  }
  long.replaceChildren(...lines);
}

// The cursor's place in the list: of its row, or of where it would be.
const placeInList = (i) => below(shown.rows, i);

// Scrolls the list to the cursor.
function follow() {
  const place = placeInList(view.row) * ROW, room = list.clientHeight;
  const top = list.scrollTop;
  if (place < top + ROW * 2 || place > top + room - ROW * 3) list.scrollTop = place - room / 2 + ROW;
  showList();
}

// ---- search ----
function research() {
  const text = search.text = $("search").value.trim().toLowerCase();
  search.hits = text ? Array.from(shown.rows).filter((i) => searchText(i).includes(text)) : [];
  showFound();
}

function showFound() {
  const count = search.hits.length;
  const place = below(search.hits, view.row);
  $("found").textContent = !search.text ? "" : !count ? "none" : search.hits[place] === view.row
    ? grouped(place + 1) + " of " + grouped(count) : grouped(count);
  $("before").disabled = $("after").disabled = !count;
}

function toMatch(direction) {
  if (!search.hits.length) return;
  const place = below(search.hits, view.row, direction > 0);
  const k = direction > 0 ? place % search.hits.length : (place - 1 + search.hits.length) % search.hits.length;
  goTo(search.hits[k]);
}

// ---- filters ----
function chips(holder, items, set) {
  const buttons = items.map(([key, text]) => element("button", { type: "button", text, "aria-pressed": "true",
    title: "click: on or off; double click: this alone",
    onclick: () => { set.has(key) ? set.delete(key) : set.add(key); press(); },
    ondblclick: () => {
      const alone = set.size === 1 && set.has(key);
      set.clear();
      for (const [other] of items) if (alone || other === key) set.add(other);
      press();
    } }));
  function press() {
    buttons.forEach((button, k) => button.setAttribute("aria-pressed", String(set.has(items[k][0]))));
    refilter();
    redraw();
  }
  $(holder).replaceChildren(...buttons);
}
const present = new Set(groupOf);
chips("kinds", GROUPS.map(([, text], k) => [k, text]).filter(([k]) => present.has(k)), shown.groups);
chips("nodes", Array.from({ length: NODES }, (_, n) => [n, name(n)]), shown.nodes);

list.addEventListener("scroll", showList, { passive: true });
list.addEventListener("click", (event) => {
  const line = event.target.closest(".event");
  if (line) goTo(Number(line.dataset.row), { still: true });
});
let typing = 0;
function typed() {
  typing = 0;
  research();
  if (search.hits.length && search.hits[below(search.hits, view.row)] !== view.row) toMatch(1);
  showList();
  redraw();
}
$("search").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(typed, 140); });
$("search").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && typing) { clearTimeout(typing); typed(); }
  else if (event.key === "Enter") toMatch(event.shiftKey ? -1 : 1);
  if (event.key === "Escape") { $("search").value = ""; research(); showList(); redraw(); canvas.focus(); }
  event.stopPropagation();
});
$("after").addEventListener("click", () => toMatch(1));
$("before").addEventListener("click", () => toMatch(-1));

// ---- what the shrinker has left ----
for (const item of about.schedule || []) {
  const row = item.step != null ? rowOfStep(item.step) : item.time_us != null ? rowOfTime(item.time_us) : -1;
  const inner = [element("span", { text: item.text })];
  if (row >= 0) inner.push(element("span", { class: "at", text: seconds(at[row]) }));
  $("schedule").append(element("li", {}, row >= 0
    ? element("button", { type: "button", onclick: () => goTo(row) }, ...inner) : element("div", {}, ...inner)));
}
$("plan").hidden = !about.schedule;
]==]
