-- Scenes with snapshots, for raft/snapshot_spec.lua and the bugs of snapshots: a server that leads, or follows, among
-- played peers.
local assert = require "luassert"
local Cluster = require "support.raft_cluster"
local WANTED = Cluster.WANTED

local MEMBERS = { "a", "b", "c" }
-- What the leader of term 2 has, and its snapshot.
local log = Cluster.log { 1, 1, 1, 2, 2, 2 }
local configuration = Cluster.configuration(MEMBERS)
local snapshot = Cluster.snapshot_of(log, 5, configuration)

-- a, alone among played peers, with this log; as a follower of b in a term of its own.
local function follower(its_log, options)
  options = options or {}
  return Cluster.new { ids = MEMBERS, run = { "a" }, settings = options.settings,
    disks = { a = { log = its_log, term = options.term } } }
end

local function applied(c) c.a:event { type = "applied", index = c.a.applied } end

-- a leads b and c, which it believes to have `match`; the log has `count` commands, a snapshot is at its end.
local function leader(count, settings)
  settings = settings or {}
  settings.snapshot_chunk_bytes = settings.snapshot_chunk_bytes or 10
  local c = Cluster.new { ids = MEMBERS, run = { "a" }, settings = settings }
  c:crown "a"
  for i = 1, count do c.a:propose("x" .. i) end
  c.a:persist()
  c:ack("c", "a", count + 1)
  applied(c)
  c.a:take_snapshot()
  c:take "b"
  c:take "c"
  return c
end

-- b asks for what only the snapshot holds; the offer that follows.
local function ask(c, from)
  local last = c.a:status().last_index
  c.a:receive { type = "append_result", from = from or "b", term = c.a:status().term, success = false,
    prev_index = c.a:status().peers[from or "b"].next - 1, last_index = 0, conflict_index = 1, conflict_term = 0 }
  assert.equal("snapshot", c.a:status().peers[from or "b"].progress, "last " .. last)
  return c:take(from or "b", "install_snapshot")[1]
end

local function want(c, offer, offset, from)
  return c.a:receive { type = "snapshot_result", from = from or "b", term = c.a:status().term, status = WANTED,
    index = offer.meta.index, snapshot_term = offer.meta.term, attempt = offer.attempt, offset = offset }
end

-- What a has last told b, of a snapshot.
local function answer(c)
  local results = c:take("b", "snapshot_result")
  return results[#results]
end

-- All of it, in chunks of `size`, from an offer on; written, not yet installed.
local function send_all(c, term, which, attempt, size)
  c:chunk("b", "a", term, which, attempt or 1)
  c.a:persist()
  c.a:write_chunk()
  local offset = #c.a.disk.incoming.bytes
  while offset < #which.bytes do
    c:chunk("b", "a", term, which, attempt or 1, offset, size or 10)
    c.a:write_chunk()
    offset = offset + (size or 10)
  end
end

return { MEMBERS = MEMBERS, log = log, configuration = configuration, snapshot = snapshot, follower = follower,
  applied = applied, leader = leader, ask = ask, want = want, answer = answer, send_all = send_all }
