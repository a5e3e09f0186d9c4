-- The page's script, first part: the record (src/module/simrecord.h) read into what the rest asks of it.
return [==[
// ---- the record ----
const $ = (id) => document.getElementById(id);
const about = JSON.parse($("about").textContent);
const record = JSON.parse($("record").textContent);
const rows = record.rows, COUNT = rows.length, NODES = record.nodes;
const STRINGS = record.strings, TYPES = record.types;
const KIND_NAMES = record.kinds.map((kind) => kind[0]);
const FORMATS = record.kinds.map((kind) => kind[1]);
const name = (node) => node < 0 ? "" : "n" + (node + 1);

const at = new Float64Array(COUNT), stepAt = new Float64Array(COUNT);
const kindOf = new Uint8Array(COUNT), nodeOf = new Int8Array(COUNT), peerOf = new Int8Array(COUNT);

const STATE = ["up", "role", "term", "vote", "leader", "commit", "applied", "last", "durable", "diskTerm", "diskLast",
  "queue"];
const NOTHING = Object.fromEntries(STATE.map((field) => [field, 0]));
const ROLES = ["follower", "pre-candidate", "candidate", "leader"];
const LEADER = 3;
const OUTCOMES = ["pending", "answered", "definite", "unknown"];
const CONSISTENCY = ["", "lease", "stale"];
const MESSAGE_FIELDS = {
  request_vote: ["term", "pre", "lastIndex", "lastTerm"],
  vote: ["term", "pre", "granted"],
  append: ["term", "prevIndex", "prevTerm", "entries", "commit", "round", "firstTerm"],
  append_result: ["term", "success", "prevIndex", "match", "lastIndex", "conflictIndex", "conflictTerm", "round"],
  install_snapshot: ["term", "index", "size", "attempt", "offset", "bytes"],
  snapshot_result: ["term", "index", "status", "attempt", "offset", "match"],
};
const string = (place) => place < 0 ? "" : STRINGS[place];

// The fields of a row by name. The letters are simrecord.h's.
function read(i) {
  const row = rows[i], fields = { node: -1, peer: -1 };
  let j = 3;
  for (const letter of FORMATS[row[2]]) {
    switch (letter) {
    case "n": fields.node = row[j++]; break;
    case "p": fields.peer = row[j++]; break;
    case "#": fields.number = row[j++]; break;
    case "h": fields.hash = row[j++]; break;
    case "u": fields.until = row[j++]; break;
    case "t": fields.text = string(row[j++]); break;
    case "y": fields.body = string(row[j++]); break;
    case "M": {
      const type = row[j++];
      fields.type = TYPES[type];
      if (type === 0) { fields.type = string(row[j++]); break; }
      const names = MESSAGE_FIELDS[fields.type] || ["term"];
      for (const field of names) fields[field] = row[j++];
      break;
    }
    case "S":
      fields.changes = [];
      while (j < row.length) fields.changes.push([STATE[row[j++]], row[j++]]);
      break;
    case "R":
      fields.client = row[j++];
      fields.asks = row[j++];
      fields.query = fields.asks === 1;
      fields.consistency = row[j++];
      fields.outcome = row[j++];
      fields.invoked = row[j++];
      break;
    case "C": fields.deaf = row.slice(j, j + NODES); j += 7; break;
    default: fields[letter] = row[j++];
    }
  }
  return fields;
}

// ---- what the rows make together ----
const states = Array.from({ length: NODES }, () => []);   // per node: { i, t, and the fields of STATE }
const pauses = Array.from({ length: NODES }, () => []);   // { t0, t1 }
const messages = new Map();                               // by number: { i, t, from, to, style, fields, ends: [] }
const flights = [];                                       // { message, t0, t1, lost, open, i }
const requests = new Map();                               // by number
const cuts = [], ails = [], strikes = [], phases = [];    // { t0, t1, i, ... }
const bodies = new Map();                                 // by index: what is applied there
let violationRow = -1, clients = 0;

// One of these per message: the colour and width of its arrow, and the row of the legend.
const STYLES = {
  append: ["--m-append", 1.6, "entries"], beat: ["--m-beat", 1, "heartbeat, or nothing new"],
  result: ["--m-result", 1, "answer: holds them"], vote: ["--m-vote", 1.3, "asks for a vote"],
  granted: ["--m-granted", 1.3, "vote granted"], no: ["--m-no", 1.2, "refused, or does not match"],
  forward: ["--m-forward", 1.2, "forwarded request, its reply"], other: ["--m-other", 1.3, "other messages"],
};
function styleOf(fields) {
  switch (fields.type) {
  case "append": return fields.entries > 0 ? "append" : "beat";
  case "append_result": return fields.success ? "result" : "no";
  case "request_vote": return "vote";
  case "vote": return fields.granted ? "granted" : "no";
  case "forward": case "forward_reply": return "forward";
  default: return "other";
  }
}

const takers = {
  state(i, t, fields) {
    const list = states[fields.node], before = list.length ? list[list.length - 1] : NOTHING;
    const state = Object.assign({}, before, Object.fromEntries(fields.changes), { i, t });
    list.push(state);
  },
  send(i, t, fields) {
    messages.set(fields.number, { i, t, from: fields.node, to: fields.peer, style: styleOf(fields), fields, ends: [],
      copies: 1 });
  },
  double(i, t, fields) {
    const message = messages.get(fields.number);
    if (message) message.copies = 2;
  },
  receive(i, t, fields) { arrive(i, t, fields, false); },
  lost(i, t, fields) { arrive(i, t, fields, true); },
  phase(i, t, fields) {
    if (phases.length) phases[phases.length - 1].t1 = t;
    phases.push({ t0: t, t1: Infinity, i, text: fields.text, healthy: fields.a });
  },
  fault(i, t, fields) { strikes.push({ t0: t, t1: t, i, text: fields.text, nodes: [] }); },
  cut(i, t, fields) {
    const open = cuts[cuts.length - 1];
    if (open && open.t1 === Infinity) open.t1 = t;
    if (fields.deaf.some((bits) => bits)) {
      cuts.push({ t0: t, t1: Infinity, i, deaf: fields.deaf, until: fields.until, text: cutWords(fields.deaf) });
    }
  },
  ail(i, t, fields) {
    const end = fields.a ? t : fields.until || Infinity;
    const ail = { t0: t, t1: end, i, node: fields.node, text: fields.text, until: fields.until };
    for (const open of ails) {
      if (open.node === ail.node && open.text === ail.text && open.t1 > t) open.t1 = t;
    }
    ails.push(ail);
    if (ail.text === "paused") pauses[ail.node].push(ail);
  },
  well(i, t, fields) {
    for (const open of ails) {
      if (open.node === fields.node && open.text === fields.text && open.t1 > t) open.t1 = t;
    }
  },
  crash(i, t, fields) {
    for (const pause of pauses[fields.node]) if (pause.t1 > t) pause.t1 = t;
  },
  apply(i, t, fields) { if (fields.body) bodies.set(fields.number, fields.body); },
  ask(i, t, fields) {
    clients = Math.max(clients, fields.client + 1);
    requests.set(fields.number, { number: fields.number, client: fields.client, node: fields.node, query: fields.query,
      asks: fields.asks, consistency: fields.consistency, text: fields.body || "", t0: fields.invoked, asked: t,
      t1: Infinity, outcome: 0, code: "", reply: "", i, end: -1 });
  },
  reply(i, t, fields) {
    const request = requests.get(fields.number);
    if (request) Object.assign(request, { code: fields.text, reply: fields.body });
  },
  settle(i, t, fields) {
    if (!requests.has(fields.number)) takers.ask(i, fields.invoked, fields);
    Object.assign(requests.get(fields.number), { t1: t, outcome: fields.outcome, end: i });
  },
  violation(i) { if (violationRow < 0) violationRow = i; },
};
takers.stopped = takers.crash;

function arrive(i, t, fields, lost) {
  const message = messages.get(fields.number);
  if (!message) return;
  const flight = { message, t0: message.t, t1: t, lost, open: false, i, why: fields.text };
  message.ends.push(flight);
  flights.push(flight);
}

// Who does not hear whom, in the fewest words: "n1 n2 | n3" where the two sides hear nothing of each other.
function cutWords(deaf) {
  const side = new Array(NODES).fill(-1);
  let sides = 0;
  for (let n = 0; n < NODES; n++) {
    if (side[n] >= 0) continue;
    const wait = [n];
    side[n] = sides;
    while (wait.length) {
      const a = wait.pop();
      for (let b = 0; b < NODES; b++) {
        if (side[b] < 0 && (!(deaf[a] >> b & 1) || !(deaf[b] >> a & 1))) { side[b] = sides; wait.push(b); }
      }
    }
    sides++;
  }
  const inner = deaf.some((bits, a) => side.some((s, b) => s === side[a] && bits >> b & 1));
  const groups = Array.from({ length: sides }, (_, s) => side.flatMap((of, n) => of === s ? [name(n)] : []).join(" "));
  if (sides > 1 && !inner) return groups.join(" | ");
  const lines = deaf.flatMap((bits, n) => bits ? [name(n) + " hears not " + nodesOf(bits)] : []);
  return lines.join(", ");
}
const nodesOf = (bits) => Array.from({ length: NODES }, (_, n) => n).filter((n) => bits >> n & 1).map(name).join(" ");

(() => {
  let t = record.time, step = record.step;
  for (let i = 0; i < COUNT; i++) {
    const row = rows[i];
    t += row[0];
    step += row[1];
    at[i] = t;
    stepAt[i] = step;
    kindOf[i] = row[2];
    const format = FORMATS[row[2]], inNode = format.indexOf("n"), inPeer = format.indexOf("p");
    nodeOf[i] = inNode === 0 ? row[3] : -1;
    peerOf[i] = inPeer === 1 ? row[4] : format === "n#ap" ? row[6] : -1;
    const take = takers[KIND_NAMES[row[2]]];
    if (take) take(i, t, read(i));
  }
})();
const BEGIN = COUNT ? at[0] : 0, END = COUNT ? Math.max(at[COUNT - 1], BEGIN + 1) : 1;
const operations = [...requests.values()].sort((a, b) => a.t0 - b.t0);
for (const message of messages.values()) {
  if (message.ends.length < message.copies) {
    flights.push({ message, t0: message.t, t1: END, lost: false, open: true, i: message.i });
  }
}
flights.sort((a, b) => a.t0 - b.t0);
for (const list of [cuts, ails, phases]) for (const span of list) if (span.t1 === Infinity) span.t1 = END;
const flightStarts = Float64Array.from(flights, (flight) => flight.t0);
const latest = (() => { // the latest end among the flights up to each: where a search to the left may stop
  const list = new Float64Array(flights.length);
  flights.forEach((flight, k) => { list[k] = Math.max(flight.t1, k ? list[k - 1] : 0); });
  return list;
})();

// ---- questions ----

// How many of an ascending list are less than `value`; with `orEqual`, at most it.
function below(list, value, orEqual = false, key = (item) => item) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1, v = key(list[middle]);
    if (v < value || (orEqual && v === value)) low = middle + 1; else high = middle;
  }
  return low;
}

// How a node stood after row i; and before anything was told of it.
function stateAt(node, i) {
  const list = states[node], k = below(list, i, true, (state) => state.i);
  return k > 0 ? list[k - 1] : NOTHING;
}
function stateAtTime(node, t) {
  const list = states[node], k = below(list, t, true, (state) => state.t);
  return k > 0 ? list[k - 1] : NOTHING;
}
const spanAt = (list, t) => list.find((span) => span.t0 <= t && t < span.t1);
const pausedAt = (node, t) => spanAt(pauses[node], t);

// The first row of a step or later; the failing one where that is asked for.
function rowOfStep(step) {
  if (violationRow >= 0 && stepAt[violationRow] === step) return violationRow;
  return Math.min(below(stepAt, step), COUNT - 1);
}
const rowOfTime = (t) => Math.min(below(at, t), COUNT - 1);
]==]
