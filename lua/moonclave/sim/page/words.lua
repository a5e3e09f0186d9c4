-- The page's script: every event in words, and the groups that the list's filters know.
return [==[
// ---- words ----
const seconds = (t) => (t / 1e6).toFixed(6);
const grouped = (n) => String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ",");
function span(us) {
  if (us < 1000) return Math.round(us) + " \u00b5s";
  if (us < 1e6) return (us / 1000).toFixed(us < 1e4 ? 2 : us < 1e5 ? 1 : 0) + " ms";
  return (us / 1e6).toFixed(2) + " s";
}
const plural = (n, word) => n + " " + word + (n === 1 ? "" : word.endsWith("y") ? "" : "s");
const entries = (n) => n + (n === 1 ? " entry" : " entries");

const MESSAGE_WORDS = {
  request_vote: (m) => (m.pre ? "would you vote for me? t" : "vote for me, t") + m.term + ", last " + m.lastIndex + ":"
    + m.lastTerm,
  vote: (m) => (m.pre ? "pre-vote " : "vote ") + (m.granted ? "granted" : "refused") + ", t" + m.term,
  append: (m) => (m.entries ? entries(m.entries) + " " + range(m.prevIndex + 1, m.prevIndex + m.entries) : "heartbeat")
    + ", t" + m.term + ", after " + m.prevIndex + ":" + m.prevTerm + ", commit " + m.commit + ", round " + m.round,
  append_result: (m) => (m.success ? "holds up to " + m.match : "no, conflict at " + m.conflictIndex + ":"
    + m.conflictTerm + ", last " + m.lastIndex) + ", t" + m.term + ", after " + m.prevIndex + ", round " + m.round,
  install_snapshot: (m) => (m.bytes ? "snapshot of " + m.index + ": bytes " + range(m.offset, m.offset + m.bytes - 1)
    + " of " + m.size : "snapshot of " + m.index + ", " + m.size + " bytes: from where?") + ", t" + m.term
    + ", attempt " + m.attempt,
  snapshot_result: (m) => ["wants snapshot of " + m.index + " from " + m.offset, "holds up to " + m.match
    + " by snapshot", "takes no snapshot of " + m.index][m.status] + ", t" + m.term + ", attempt " + m.attempt,
  forward: () => "a client's request",
  forward_reply: () => "its reply",
};
const range = (from, to) => from === to ? "" + from : from + "\u2013" + to;

// Without who sends it to whom.
function messageWords(fields) {
  const words = MESSAGE_WORDS[fields.type];
  return words ? words(fields) : fields.type.replace(/_/g, " ") + ", t" + fields.term;
}

const STATE_WORDS = {
  up: (v) => v ? "up" : "down", role: (v) => ROLES[v], term: (v) => "t" + v,
  vote: (v) => v ? "vote n" + v : "no vote", leader: (v) => v ? "leader n" + v : "no leader",
  commit: (v) => "commit " + v, applied: (v) => "applied " + v, last: (v) => "last " + v,
  durable: (v) => "durable " + v, diskTerm: (v) => "disk t" + v, diskLast: (v) => "disk log " + v,
  queue: (v) => "disk queue " + v,
};
const WRITES = ["write", "bootstrap", "read"];
const requestText = (number) => { const r = requests.get(number); return r && r.text ? ": " + r.text : ""; };
function way(fields) {
  const message = messages.get(fields.number);
  return message ? messageWords(message.fields) : "sent before this record begins";
}
const ASKS = ["command", "query", "request about a session", "command under a key"];
const asked = (fields) => (fields.query ? (CONSISTENCY[fields.consistency] + " query").trim() : ASKS[fields.asks]);
const SETTLED = { pending: "is pending", answered: "is answered", definite: "is certainly not done",
  unknown: "has an unknown outcome" };

const WORDS = {
  start: (f) => "starts for the " + f.number + ". time, disk at t" + f.a + ", log " + f.b,
  stop: () => "is told to stop",
  stopped: () => "has stopped",
  crash: (f) => "crashes" + (f.text ? " " + f.text : ""),
  fatal: (f) => "gives up: " + f.text,
  kept: (f) => "its disk keeps " + f.a + " of " + plural(f.a + f.b, "write") + " under way",
  role: (f) => "is " + ROLES[f.a] + " of t" + f.number + (f.peer >= 0 ? ", leader " + name(f.peer) : ""),
  state: (f) => f.changes.map(([field, value]) => STATE_WORDS[field](value)).join(", "),
  send: (f) => "\u2192 " + name(f.peer) + "  " + messageWords(f),
  receive: (f) => "\u2190 " + name(f.node) + "  " + way(f),
  double: (f) => "\u21c9 " + name(f.peer) + "  doubled: " + way(f),
  lost: (f) => "\u21e2 " + name(f.peer) + "  lost (" + f.text + "): " + way(f),
  hello: (f) => "hello of " + name(f.peer) + ": " + f.text,
  parted: (f) => "loses the connection to " + name(f.peer),
  persist: (f) => "disk write " + f.number + ": " + [f.c ? "term and vote" : "", f.a ? "cut from " + f.a : "",
    f.b ? entries(f.b) : ""].filter(Boolean).join(", "),
  bootstrap: () => "bootstraps the cluster",
  written: (f) => "disk " + WRITES[f.a] + " " + f.number + (f.text === "ok" ? " is done" : " fails: " + f.text),
  reported: (f) => "hears of disk " + WRITES[f.a] + " " + f.number + (f.text === "ok" ? "" : ": " + f.text),
  snapshot: (f) => "snapshot of " + f.number + " is " + f.text + ": it starts from there",
  compacted: (f) => "its log up to " + f.number + " is gone",
  restored: (f) => "its state is that of the snapshot of " + f.number + "  (state " + f.hash + ")",
  apply: (f) => "applies " + f.number + ": " + (f.body || bodies.get(f.number) || "") + "  (state " + f.hash + ")",
  ask: (f) => "client " + f.client + " " + asked(f) + " " + f.number + ": " + f.body,
  reply: (f) => "answers " + f.number + ": " + f.text + (f.body ? "  " + f.body : ""),
  settle: (f) => "client " + f.client + ": " + f.number + " " + SETTLED[OUTCOMES[f.outcome]] + requestText(f.number),
  fault: (f) => "fault: " + f.text,
  cut: (f) => f.deaf.some((bits) => bits) ? "cut off: " + cutWords(f.deaf) + (f.until ? ", until "
    + seconds(f.until) : "") : "everyone hears everyone again",
  ail: (f) => f.text + (f.until ? " until " + seconds(f.until) : ""),
  well: (f) => "no more: " + f.text,
  phase: (f) => "phase: " + f.text + (f.a ? ", healthy " + nodesOf(f.a) : ""),
  log: (f) => "log: " + f.text,
  violation: (f) => "VIOLATES " + f.text,
};

// Where an event is listed: what is received, at the one who receives it.
const listedAt = (i) => KIND_NAMES[kindOf[i]] === "receive" ? peerOf[i] : nodeOf[i];
function words(i) {
  const kind = KIND_NAMES[kindOf[i]];
  return WORDS[kind] ? WORDS[kind](read(i)) : kind;
}

let lowered = null; // every event's words for searching, made once
function searchText(i) {
  if (!lowered) lowered = new Array(COUNT);
  return lowered[i] ??= (name(listedAt(i)) + " " + words(i)).toLowerCase();
}

// ---- groups ----
const GROUPS = [
  ["appends", "log messages"], ["votes", "votes"], ["other", "other messages"], ["roles", "roles"], ["state", "state"],
  ["disk", "disk"], ["apply", "applies"], ["clients", "clients"], ["faults", "faults"], ["life", "processes"],
  ["links", "connections"], ["log", "log"],
];
const GROUP_OF_KIND = {
  role: "roles", state: "state", persist: "disk", bootstrap: "disk", written: "disk", reported: "disk", kept: "disk",
  snapshot: "disk", compacted: "disk", restored: "apply",
  apply: "apply", ask: "clients", reply: "clients", settle: "clients", fault: "faults", cut: "faults", ail: "faults",
  well: "faults", phase: "faults", violation: "faults", start: "life", stop: "life", stopped: "life", crash: "life",
  fatal: "life", hello: "links", parted: "links", log: "log",
};
const groupNumber = new Map(GROUPS.map(([group], k) => [group, k]));
const groupOf = new Uint8Array(COUNT);
for (let i = 0; i < COUNT; i++) {
  let group = GROUP_OF_KIND[KIND_NAMES[kindOf[i]]];
  if (!group) {
    const message = messages.get(rows[i][5]), type = message && message.fields.type;
    group = type === "append" || type === "append_result" ? "appends" : type === "vote" || type === "request_vote"
      ? "votes" : "other";
  }
  groupOf[i] = groupNumber.get(group);
}
]==]
