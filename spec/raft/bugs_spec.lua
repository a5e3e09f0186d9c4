-- The hard-won bugs, by number: each happened to a system in production. One story each, told so that it fails on the
-- core without the guard (the mutants of base/mutant.h name theirs; scripts/mutants runs them all).
--
-- Told elsewhere:
--   5, 6, 8, 32                   bugs_transfer_spec.lua: transfer of leadership, and leases in it
--   9, 10, 11, 12, 28, 29, 31     snapshot_spec.lua: snapshots, and installing them
--   12, 13, 15, 20                bugs_membership_spec.lua: what a leader may propose, who may be heard
-- 24 and 25 speak of compacted logs: here the commit index stands where the snapshot would; snapshot_spec.lua has one.
-- 38 is the host's, for the core knows ids and not disks: it is told over the host's world.
local Cluster = require "support.raft_cluster"
local world = require "host.world"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT

local function played(options)
  options = options or {}
  options.ids, options.run = options.ids or { "a", "b", "c" }, options.run or { "a" }
  return Cluster.new(options)
end

-- A leader whose NOOP is committed, with b and c played.
local function leader(options)
  local c = played(options)
  c:crown "a"
  c.a:persist()
  local last = c.a:status().last_index
  c:ack("b", "a", last)
  c:ack("c", "a", last)
  c:take "b"
  c:take "c"
  return c
end

local function ask(c, from, term, fields)
  local message = { type = "request_vote", from = from, term = term, last_index = 0, last_term = 0 }
  for name, value in pairs(fields or {}) do message[name] = value end
  c.a:receive(message)
end

local function refusal(c, from, fields)
  local message = { type = "append_result", from = from, term = c.a:status().term, success = false, prev_index = 0,
    last_index = 0, conflict_index = 1, conflict_term = 0 }
  for name, value in pairs(fields) do message[name] = value end
  c.a:receive(message)
end

describe("bug", function()
  it("1: an entry of a prior term on a majority was committed by counting, and then replaced", function()
    local c = played { disks = { a = { term = 3, log = Cluster.log { 1, 2 } } } }
    c:crown "a"
    assert.equal(4, c.a:status().term)
    for _, peer in ipairs { "b", "c" } do c:ack(peer, "a", 2) end
    assert.same({ 0, 0 }, { c.a:status().commit_index, c.a.applied })
    c.a:persist()
    c:ack("b", "a", 3) -- its own entry commits all before it
    assert.same({ 3, 3 }, { c.a:status().commit_index, c.a.applied })
  end)

  it("2: a new leader answered reads before it had committed anything", function()
    local c = played { disks = { a = { log = Cluster.log { 1, 1 } } } }
    c:crown "a"
    c.a:read(1)
    for round = 0, 1 do c:ack("b", "a", 2, { round = round }) end
    assert.is_nil(c.a.reads[1])
    c.a:persist()
    c:ack("b", "a", 3)
    c:ack("b", "a", 3, { round = 1 })
    assert.equal(3, c.a.reads[1])
  end)

  it("3: a lone server's read was given an index that a crash forgot", function()
    local c = Cluster.new { ids = { "a" } }
    c:settle()
    c.a:propose "x"
    c.a:propose "y"
    c.a:persist(1)
    c.a:read(1)
    assert.same({ 2, 2 }, { c.a:status().commit_index, c.a.reads[1] }) -- y is not on the disk yet
    c.a:restart()
    assert.equal(2, c.a:status().last_index) -- and nothing that was shown is gone
  end)

  it("4: an old acknowledgement confirmed a newer read", function()
    local c = leader()
    c.a:read(1)
    c.a:read(2) -- while round 1 is under way: b's word about that is older than this
    c:ack("b", "a", 1, { round = 1 })
    assert.same({ 1, nil }, { c.a.reads[1], c.a.reads[2] })
    c:ack("b", "a", 1, { round = 1 })
    assert.is_nil(c.a.reads[2])
    c:ack("c", "a", 1, { round = 2 })
    assert.equal(1, c.a.reads[2])
  end)

  it("7: the term moved on between reading it and appending; here a step is whole", function()
    local c = leader()
    c:append("b", "a", 2, c.a.disk.log, 1, 0) -- the term is b's now
    local code = c.a:propose "x"
    assert.same({ "not_leader", 1 }, { code, c.a:status().last_index })
    c:crown "a"
    local entries
    code, entries = c.a:propose "y"
    assert.same({ "ok", 3, 3 }, { code, entries[1].index, entries[1].term })
    assert.same({ 1, 3, 3 }, { c.a.core:entry(1).term, c.a.core:entry(2).term, c.a.core:entry(3).term })
  end)

  it("7, at the host: who waited at an index was answered by another leader's entry", function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    w:isolate "n1"
    local lost = w.n1:submit("lost", { timeout_ms = 60000 })
    w:settle()
    w:elect "n2"
    w:heal "n1"
    w:advance(150)
    assert.equal("unavailable", w.n1:answer(lost))
  end)

  it("13: a restart forgot a configuration that was appended and not committed", function()
    local log = Cluster.log({ 1, 1 }, { [2] = Cluster.configuration_entry(1, { "a", "b" }) })
    local c = played()
    c:append("b", "a", 1, log, 0, 2)
    c.a:persist()
    c.a:restart()
    assert.same({ { "a", "b" }, 2 }, { c.a:status().configuration.voters, c.a:status().configuration_index })
  end)

  it("14: a new leader ignored an uncommitted configuration that it had inherited", function()
    local log = Cluster.log({ 1, 1 }, { [2] = Cluster.configuration_entry(1, { "a", "b", "c", "d", "e" }) })
    local c = played { ids = { "a", "b", "c", "d", "e" }, members = { "a", "b", "c" }, disks = { a = { log = log } } }
    c:timeout "a"
    c.a:receive { type = "vote", from = "b", term = 2, pre = true, granted = true }
    assert.equal("pre-candidate", c.a:role()) -- two of three, not of five
    c.a:receive { type = "vote", from = "d", term = 2, pre = true, granted = true }
    c.a:persist()
    for _, id in ipairs { "b", "d" } do c.a:receive { type = "vote", from = id, term = 2, granted = true } end
    c.a:persist()
    c:ack("b", "a", 3)
    assert.equal(0, c.a:status().commit_index)
    c:ack("d", "a", 3)
    assert.equal(3, c.a:status().commit_index)
  end)

  it("16: a server campaigned by a configuration it had not applied; here it need not be applied", function()
    local log = Cluster.log({ 1 }, { Cluster.configuration_entry(1, { voters = { "b", "c" }, learners = { "a" } }) })
    local c = played()
    c:append("b", "a", 1, log, 0, 1)
    c.a:persist()
    c:timeout "a" -- it may be the only one that has the entry: until that is known to be committed it campaigns
    assert.equal("pre-candidate", c.a:role())
    c:append("b", "a", 1, log, 1, 0, { commit = 1 })
    assert.equal(0, c.a:status().applied_index)
    c:timeout "a" -- its vote is gone, applied or not
    assert.equal("follower", c.a:role())
  end)

  it("17: a promoted learner that did not know it yet refused to vote", function()
    local c = played { members = { voters = { "b", "c" }, learners = { "a" } } }
    ask(c, "b", 1)
    c.a:persist()
    assert.is_true(c:take("b", "vote")[1].granted)
  end)

  it("18: a pre-candidate whose term was behind was never told so", function()
    local c = played { disks = { a = { term = 7 } } }
    ask(c, "b", 3, { pre = true, last_index = 9, last_term = 2 })
    local answer = c:take "b" [1]
    assert.same({ false, 7 }, { answer.granted, answer.term })
    c:timeout "a"
    c.a:receive { type = "vote", from = "b", term = 9, pre = true, granted = false }
    assert.same({ "follower", 9 }, { c.a:role(), c.a:status().term }) -- and whoever is told learns it
  end)

  it("18: a long log of an old term and a short one of a new term held each other off for ever", function()
    for _, first in ipairs { "a", "b" } do
      local c = played { run = { "a", "b", "c" }, disks = {
        a = { term = 1, log = Cluster.log { 1, 1, 1 } }, b = { term = 5, log = Cluster.log { 1 } } } }
      c.c:crash()
      for _, id in ipairs { first, "a", "a", "a" } do
        if not c:leader() then
          c:timeout(id)
          c:settle()
        end
      end
      assert.equal("a", c:leader().id)
      c:close()
    end
  end)

  it("19: followers refused the pre-vote of their own leader", function()
    local c = played()
    c:append("b", "a", 1, Cluster.log { 1 }, 0, 1)
    c.a:persist()
    c:take "b"
    ask(c, "b", 2, { pre = true, last_index = 1, last_term = 1 })
    assert.is_true(c:take "b" [1].granted)
  end)

  it("19: a granted pre-vote put the voter's own campaign off", function()
    local c = played()
    local deadline = c.a.deadline_us
    c.now_us = deadline - 1
    ask(c, "b", 1, { pre = true })
    assert.is_true(c:take "b" [1].granted)
    c.now_us = deadline
    c.a:timer()
    assert.equal("pre-candidate", c.a:role())
  end)

  it("21: a vote was cleared on learning who leads, and given again", function()
    local c = played { ids = { "a", "b", "c", "d", "e" } }
    ask(c, "b", 1)
    c.a:persist()
    c:append("c", "a", 1, Cluster.log { 1 }, 0, 1)
    assert.equal("b", c.a:status().vote)
    c.a:persist()
    c.a:restart() -- knows no leader any more, and has still voted
    ask(c, "d", 1, { last_index = 1, last_term = 1 })
    c.a:persist()
    assert.is_false(c:take("d", "vote")[1].granted)
  end)

  it("22: a follower committed what an append had not let it verify", function()
    local c = played { disks = { a = { log = Cluster.log { 1, 1, 1 } } } }
    local log = Cluster.log { 1, 1, 2, 2 }
    c:append("b", "a", 2, log, 1, 1, { commit = 4 })
    assert.equal(2, c.a:status().commit_index) -- its own third entry is another one
    local d = played { disks = { a = { term = 1, log = Cluster.log { 1, 1 } } } }
    d:append("b", "a", 2, log, 2, 1)
    d.a:refuse() -- a full disk takes nothing, and so verifies nothing
    d:append("b", "a", 2, Cluster.log { 1, 1, 2, 2 }, 3, 1, { commit = 4 })
    assert.equal(3, d.a:status().commit_index)
  end)

  it("23: a late, shorter append cut off a suffix that had been acknowledged", function()
    local c = played()
    local log = Cluster.log { 1, 1, 1, 1 }
    c:append("b", "a", 1, log, 0, 4)
    c.a:persist()
    c:append("b", "a", 1, log, 0, 2)
    assert.same({ 4, 0 }, { c.a:status().last_index, #c.a.writes })
  end)

  it("24: an append from index 0 brought back what was there already", function()
    local c = played()
    local log = Cluster.log { 1, 1, 1 }
    c:append("b", "a", 1, log, 0, 3, { commit = 3 })
    c.a:persist()
    c:append("b", "a", 1, log, 0, 3)
    assert.same({ 3, 0, 3 }, { c.a:status().last_index, #c.a.writes, c.a.applied })
  end)

  it("25: an append below what is committed was refused, and the refusal thought stray", function()
    local c = played()
    local log = Cluster.log { 1, 1, 1 }
    c:append("b", "a", 1, log, 0, 3, { commit = 3 })
    c.a:persist()
    c:take "b"
    c:append("b", "a", 1, log, 1, 1)
    local answer = c:take "b" [1]
    assert.same({ true, 3 }, { answer.success, answer.match })
  end)

  it("26: a write that had failed vouched for what a peer still held", function()
    local c = leader()
    c.a:propose "x"
    c.a:refuse() -- rolled back
    c:ack("b", "a", 2)
    assert.same({ "follower", 1, 1 }, { c.a:role(), c.a:status().commit_index, c.a:status().durable_index })
    c.a:restart()
    assert.same({ 1, 1 }, { c.a:status().last_index, #c.a.disk.log })
  end)

  it("26, at the host: a node went on after a write that had failed", function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    w:elect "n1"
    w.n1:submit "x"
    w.n1:turn()
    w.n1.host:persisted(w.n1.writes[1].sequence, "io_error", "it clicks")
    assert.equal("io_error", w.n1.fatal and w.n1.fatal.code)
    assert.is_false(w.n1.host:turn())
  end)

  it("26: the report of an old write vouched for the entry that had replaced its own", function()
    local c = played()
    c:append("b", "a", 1, Cluster.log { 1, 1, 1 }, 0, 3)
    c:append("c", "a", 2, Cluster.log { 1, 2, 2 }, 1, 2)
    c.a:persist(1)
    assert.equal(1, c.a:status().durable_index)
    for _, answer in ipairs(c:take("c", "append_result")) do assert(answer.match <= 1) end
  end)

  it("27: the log grew between being compared and the vote; here it is looked at as it is", function()
    local c = played { disks = { a = { log = Cluster.log { 1 } } } }
    c:append("b", "a", 1, Cluster.log { 1, 1, 1 }, 1, 2) -- not written yet
    c.now_us = c.now_us + 3 * T
    ask(c, "c", 2, { last_index = 2, last_term = 1 })
    c.a:persist()
    assert.is_false(c:take("c", "vote")[1].granted)
  end)

  it("30: a whole window of appends was lost, and replication stood still", function()
    local c = played { run = { "a", "b", "c" }, settings = { append_window = 2 } }
    c:elect "a"
    c:advance(HEARTBEAT)
    c.a:propose "x"
    c.a:propose "y"
    c.a:propose "z"
    c:drop()
    c:advance(3 * HEARTBEAT)
    assert.same({ 4, 4, 4 }, { c.a.applied, c.b.applied, c.c.applied })
  end)

  it("33: a vote was sent before it was on the disk", function()
    local c = played { disks = { a = { term = 3 } } }
    ask(c, "b", 4)
    assert.equal(0, #c:take "b")
    c.a:persist()
    assert.is_true(c:take "b" [1].granted)
  end)

  it("34: a candidate asked for votes before its term was on the disk", function()
    local c = played { disks = { a = { term = 3 } } }
    c:timeout "a"
    c:take "b"
    c.a:receive { type = "vote", from = "b", term = 4, pre = true, granted = true }
    assert.equal(0, #c:take("b", "request_vote"))
    c.a:persist()
    assert.equal(4, c:take("b", "request_vote")[1].term)
  end)

  it("35: a restarted server voted a second time in its term", function()
    local c = played()
    ask(c, "b", 4)
    c.a:persist()
    c.a:restart()
    ask(c, "c", 4)
    c.a:persist()
    assert.is_false(c:take "c" [1].granted)
  end)

  it("36: a heartbeat carried a commit index past what its follower had", function()
    local c = leader()
    c.a:propose "x"
    c.a:persist()
    c:ack("c", "a", 2)
    c:take "b"
    c.a:unreachable "b"
    c.now_us = c.now_us + HEARTBEAT
    c.a:timer()
    assert.same({ 2, 1 }, { c.a:status().commit_index, c:take "b" [1].commit })
  end)

  it("37: those who have no vote were counted in the quorum", function()
    local c = played { ids = { "a", "b", "c", "d", "e" },
      members = { voters = { "a", "b", "c" }, learners = { "d", "e" } } }
    c:crown "a"
    c.a:persist()
    for _, id in ipairs { "d", "e" } do c:ack(id, "a", 1, { round = 1 }) end
    c.a:read(1)
    assert.same({ 0, nil }, { c.a:status().commit_index, c.a.reads[1] })
    c:ack("b", "a", 1)
    assert.equal(1, c.a:status().commit_index)
    local even = played { ids = { "a", "b", "c", "d" } } -- nor is half of an even number one
    even:timeout "a"
    even.a:receive { type = "vote", from = "b", term = 1, pre = true, granted = true }
    assert.equal("pre-candidate", even.a:role())
  end)

  it("38: a wiped voter came back under its old id, and voted again", function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    w:elect "n1"
    w.n3:crash()
    w.n3:wipe()
    w.n3:start()
    local ok, code = w:connect("n3", "n1")
    assert.same({ nil, "wiped" }, { ok, code })
    assert.is_true(w.n3.host:status().wiped)
    w:settle()
    w:advance(3000)
    assert.same({ "blank", 0 }, { w.n3.host:status().role, w.n3.disk.cluster })
  end)

  it("39: a follower acknowledged what the end of its log then lost", function()
    local c = played()
    local log = Cluster.log { 1, 1, 1 }
    c:append("b", "a", 1, log, 0, 1)
    c.a:persist()
    c:append("b", "a", 1, log, 1, 2)
    c:append("b", "a", 1, log, 3, 0) -- a heartbeat, answered at once
    local acknowledged = 0
    for _, answer in ipairs(c:take("b", "append_result")) do acknowledged = math.max(acknowledged, answer.match) end
    c.a:restart()
    assert.same({ 1, 1 }, { acknowledged, c.a:status().last_index })
  end)

  it("39: a leader goes on with a follower that asks again for what it had acknowledged", function()
    local c = leader()
    c.a:propose "x"
    c.a:persist()
    c:ack("b", "a", 2)
    refusal(c, "b", { prev_index = 2 })
    assert.same({ 2, 2 }, { c.a:status().peers.b.match, c.a:status().commit_index })
  end)
end)
