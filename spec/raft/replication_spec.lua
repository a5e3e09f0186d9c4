-- Replication: what a leader sends and believes, what a follower takes and acknowledges.
local Cluster = require "support.raft_cluster"
local scenes = require "support.raft_scenes"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT
local played = scenes.played

-- A leader whose peers b and c have its NOOP and are replicated to.
local function leader(options)
  local c = played(options)
  c:crown "a"
  c.a:persist()
  local last = c.a:status().last_index
  c:ack("b", "a", last)
  c:ack("c", "a", last)
  assert.equal("replicate", c.a:status().peers.b.progress)
  c:take "b"
  c:take "c"
  return c
end

local function indexes(message)
  local list = {}
  for i, entry in ipairs(message.entries) do list[i] = entry.index end
  return list
end

local function apply(c) c.a:event { type = "applied", index = c.a.applied } end

describe("a leader", function()
  it("sends beside its own write, and counts itself only when that is durable (Ongaro 10.2.1)", function()
    local c = leader()
    c.a:propose "x"
    assert.equal("persist", c.a.effects[1].type)
    assert.same({ 2 }, indexes(c:take "b" [1]))
    assert.equal(1, #c.a.writes)
    c:ack("b", "a", 2) -- one of three, as far as the leader's disk is concerned
    assert.equal(1, c.a:status().commit_index)
    c.a:persist()
    assert.equal(2, c.a:status().commit_index)
  end)

  it("commits by the others' disks where its own is slow, and applies once it has it too", function()
    local c = leader()
    c.a:propose "x"
    c:ack("b", "a", 2)
    c:ack("c", "a", 2)
    assert.same({ 2, 1 }, { c.a:status().commit_index, c.a.applied })
    c.a:persist()
    assert.equal(2, c.a.applied)
  end)

  it("keeps many appends in flight, and one write in each step", function()
    local c = leader()
    for i = 1, 10 do c.a:propose("x" .. i) end
    local sent = c:take "b"
    assert.equal(10, #sent)
    assert.equal(10, #c.a.writes)
    assert.equal(10, c.a:status().peers.b.in_flight)
    c:ack("b", "a", 8)
    assert.equal(3, c.a:status().peers.b.in_flight)
  end)

  it("sends a batch as one message, in one write", function()
    local c = leader()
    local batch = {}
    for i = 1, 300 do batch[i] = "command " .. i end
    c.a:propose(table.unpack(batch))
    local sent = 0
    local messages = c:take "b"
    for _, message in ipairs(messages) do sent = sent + #message.entries end
    assert.equal(300, sent)
    assert(#messages <= 2, #messages) -- the ring may wrap once
    assert.equal(1, #c.a.writes)
  end)

  it("holds to its window in messages; what gathers behind it leaves as one", function()
    local c = leader { settings = { append_window = 2 } }
    for i = 1, 6 do c.a:propose("x" .. i) end
    local sent = c:take "b"
    assert.same({ { 2 }, { 3 } }, { indexes(sent[1]), indexes(sent[2]) })
    assert.equal(2, #sent)
    c:ack("b", "a", 2)
    assert.same({ 4, 5, 6, 7 }, indexes(c:take "b" [1]))
  end)

  it("holds to its window in bytes", function()
    local c = leader { settings = { append_bytes_max = 1000 } }
    for _ = 1, 100 do c.a:propose(("x"):rep(900)) end
    assert.equal(17, #c:take "b") -- sixteen full appends, and the one that crossed the line
    c:ack("b", "a", 2)
    assert.equal(1, #c:take "b")
  end)

  it("cuts appends at append_bytes_max, but sends an entry larger than that", function()
    local c = leader { settings = { append_bytes_max = 1000 } }
    c.a:propose(("x"):rep(400), ("y"):rep(400), ("z"):rep(400), ("w"):rep(5000))
    local sent = c:take "b"
    assert.same({ { 2, 3 }, { 4 }, { 5 } }, { indexes(sent[1]), indexes(sent[2]), indexes(sent[3]) })
  end)

  it("tells an idle follower of a commit soon, not a heartbeat later", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:elect "a"
    c:advance(HEARTBEAT)
    c.a:propose "x"
    c:settle()
    c:advance(HEARTBEAT // 4)
    assert.same({ 2, 2 }, { c.b.applied, c.c.applied })
  end)

  it("never sends a commit index past what its message verifies (bugs 22, 36)", function()
    local c = leader()
    c.a:propose "x"
    c.a:persist()
    c:ack("c", "a", 2)
    c:take "b"
    c.a:unreachable "b"
    c.now_us = c.now_us + HEARTBEAT
    c.a:timer()
    local heartbeat = c:take "b" [1]
    assert.same({ 1, 1, 0 }, { heartbeat.prev_index, heartbeat.commit, #heartbeat.entries })
  end)

  it("is not confused by answers that are late, doubled, out of order or absurd", function()
    local c = leader()
    for i = 1, 5 do c.a:propose("x" .. i) end
    c.a:persist()
    c:ack("b", "a", 4)
    c:ack("b", "a", 2)
    assert.equal(4, c.a:status().peers.b.match)
    c:ack("b", "a", 4)
    assert.same({ 4, 7 }, { c.a:status().peers.b.match, c.a:status().peers.b.next })
    c:ack("b", "a", 99)
    c:ack("z", "a", 6)
    c:ack("b", "a", 6, { term = 0 })
    c.a:receive { type = "append_result", from = "b", term = 1, success = false, prev_index = 3, last_index = 1,
      conflict_index = 2, conflict_term = 1 } -- about an append long matched
    assert.same({ 4, 7, "replicate" },
      { c.a:status().peers.b.match, c.a:status().peers.b.next, c.a:status().peers.b.progress })
    assert.equal(4, c.a:status().commit_index)
  end)

  it("asks again where the newest refusal points, once for a whole window of refusals", function()
    local c = leader()
    for i = 1, 3 do c.a:propose("x" .. i) end
    c:take "b"
    for prev = 2, 4 do -- the append of entry 2 was lost; the two behind it and a heartbeat are refused
      c.a:receive { type = "append_result", from = "b", term = 1, success = false, prev_index = prev, last_index = 1,
        conflict_index = 2, conflict_term = 1 }
    end
    local sent = c:take "b"
    assert.equal(1, #sent)
    assert.same({ 2, 3, 4 }, indexes(sent[1]))
    c:ack("b", "a", 4)
    assert.equal("replicate", c.a:status().peers.b.progress)
  end)

  it("probing, is not set off by an answer to something else", function()
    local c = leader()
    for i = 1, 4 do c.a:propose("x" .. i) end
    c:ack("b", "a", 3)
    c.a:receive { type = "append_result", from = "b", term = 1, success = false, prev_index = 5, last_index = 3,
      conflict_index = 4, conflict_term = 1 }
    c:take "b"
    c:ack("b", "a", 2, { prev_index = 1, last_index = 3 })
    c:ack("b", "a", 3, { prev_index = 5 })
    assert.equal(0, #c:take "b")
    c:ack("b", "a", 3) -- a heartbeat's
    assert.same({ 4, 5 }, indexes(c:take "b" [1]))
    assert.equal("probe", c.a:status().peers.b.progress)
  end)

  it("sends nothing but heartbeats to an unreachable peer, until that answers", function()
    local c = leader()
    c.a:propose "x"
    c.a:unreachable "b"
    c:take "b"
    c.a:propose "y"
    assert.equal(0, #c:take "b")
    c.now_us = c.now_us + HEARTBEAT
    c.a:timer()
    assert.equal(0, #c:take "b" [1].entries)
    c:ack("b", "a", 1)
    assert.same({ 2, 3 }, indexes(c:take "b" [1]))
  end)

  it("does not answer in a circle a follower that has lost what it acknowledged", function()
    local c = leader()
    c.a:propose "x"
    c.a:persist()
    c:ack("b", "a", 2)
    c.a:propose "y"
    c:take "b"
    for prev_index = 3, 2, -1 do
      for _ = 1, 5 do
        c.a:receive { type = "append_result", from = "b", term = 1, success = false, prev_index = prev_index,
          last_index = 0, conflict_index = 1, conflict_term = 0 }
      end
    end
    local sent = c:take "b"
    -- Once: back from replicating to what is not matched. And a heartbeat, of a round that will tell if it is so.
    assert.same({ 2, { 3 }, {} }, { #sent, indexes(sent[1]), indexes(sent[2]) })
    assert.same({ 1, 1 }, { sent[1].round, sent[2].round })
    assert.equal(2, c.a:status().peers.b.match)
  end)
end)

describe("a lost window", function()
  it("is found by the next heartbeat and sent again (bug 30)", function()
    local c = Cluster.new { ids = { "a", "b", "c" }, settings = { append_window = 3 } }
    c:elect "a"
    c:advance(HEARTBEAT)
    c:isolate "a"
    for i = 1, 8 do c.a:propose("x" .. i) end
    c.a:persist()
    c:heal()
    c:advance(3 * HEARTBEAT)
    assert.same({ 9, 9, 9 }, { c.a.applied, c.b.applied, c.c.applied })
  end)

  it("does not stall a probe either", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:isolate "c"
    c:elect "a"
    c.a:propose "x"
    c:advance(5 * HEARTBEAT)
    c:heal()
    c:advance(4 * HEARTBEAT)
    assert.same({ 2, "replicate" }, { c.c.applied, c.a:status().peers.c.progress })
  end)
end)

describe("a follower", function()
  it("acknowledges when it is durable, one answer for all that became so together", function()
    local c = played()
    local log = Cluster.log { 1, 1, 1, 1, 1 }
    c:append("b", "a", 1, log, 0, 2)
    c:append("b", "a", 1, log, 2, 2)
    c:append("b", "a", 1, log, 4, 1)
    assert.equal(0, #c:take "b")
    c.a:persist(2)
    local answers = c:take "b"
    assert.same({ 1, 4 }, { #answers, answers[1].match })
    c.a:persist(1)
    assert.equal(5, c:take "b" [1].match)
  end)

  it("answers a heartbeat at once, with what is durable and the round", function()
    local c = played()
    local log = Cluster.log { 1, 1, 1 }
    c:append("b", "a", 1, log, 0, 1)
    c.a:persist()
    c:take "b"
    c:append("b", "a", 1, log, 1, 2)
    c:append("b", "a", 1, log, 3, 0, { round = 7 })
    local answer = c:take "b" [1]
    assert.same({ true, 1, 7, 3 }, { answer.success, answer.match, answer.round, answer.last_index })
  end)

  it("holds even that while the term is not durable", function()
    local c = played()
    c:append("b", "a", 3, {}, 0, 0, { round = 7 })
    assert.equal(0, #c:take "b")
    c.a:persist()
    assert.equal(7, c:take "b" [1].round)
  end)

  it("keeps a suffix that a late, shorter append does not mention (bug 23)", function()
    local c = played()
    local log = Cluster.log { 1, 1, 1, 1 }
    c:append("b", "a", 1, log, 0, 4)
    c.a:persist()
    c:append("b", "a", 1, log, 0, 2)
    c:append("b", "a", 1, log, 1, 0)
    assert.same({ 4, 4, 0 }, { c.a:status().last_index, #c.a.disk.log, #c.a.writes })
    assert.equal(4, c:take "b" [2].match)
  end)

  it("answers for what is committed without looking, so that prev 0 brings nothing back (bugs 24, 25)", function()
    local c = played()
    local log = Cluster.log { 1, 1, 1, 1 }
    c:append("b", "a", 1, log, 0, 4, { commit = 4 })
    c.a:persist()
    c:take "b"
    c:append("b", "a", 1, log, 0, 4)
    c:append("b", "a", 1, log, 0, 0)
    for _, answer in ipairs(c:take "b") do assert.same({ true, 4 }, { answer.success, answer.match }) end
    assert.equal(0, #c.a.writes)
  end)

  it("stops rather than replace what is committed", function()
    for _, append in ipairs { { 2, 1 }, { 3, 0 }, { 0, 3 } } do
      local c = played()
      c:append("b", "a", 1, Cluster.log { 1, 1, 1 }, 0, 3, { commit = 3 })
      c.a:persist()
      local code, text = c:append("c", "a", 2, Cluster.log { 1, 1, 2 }, append[1], append[2])
      assert.equal("corrupt", code)
      assert(text:find("3 is committed here", 1, true), text)
      assert.equal(0, #c.a.effects)
      c:close()
    end
  end)

  it("stops where a second leader speaks in one term", function()
    local c = played()
    c:append("b", "a", 1, Cluster.log { 1 }, 0, 1)
    assert.equal("corrupt", (c:append("c", "a", 1, Cluster.log { 1 }, 0, 1)))
  end)

  it("stops where equal terms at equal indexes turn out to be other entries", function()
    local c = played()
    c:append("b", "a", 1, Cluster.log { 1, 1 }, 0, 2)
    local other = Cluster.log({ 1, 1, 1 }, { [2] = { payload = "forged" } })
    assert.equal("corrupt", (c:append("b", "a", 1, other, 1, 1)))
    local d = played()
    d:append("b", "a", 1, Cluster.log { 1, 1 }, 0, 2)
    assert.equal("corrupt", (d:append("b", "a", 1, other, 2, 1)))
  end)

  it("knows its chain after a restart", function()
    local c = played { disks = { a = { log = Cluster.log { 1, 1 } } } }
    local other = Cluster.log({ 1, 1, 1 }, { [1] = { payload = "forged" } })
    assert.equal("corrupt", (c:append("b", "a", 1, other, 2, 1)))
    local d = played { disks = { a = { log = Cluster.log { 1, 1 } } } }
    assert.equal("ok", (d:append("b", "a", 1, Cluster.log { 1, 1, 1 }, 2, 1)))
  end)

  it("picks the chain up again after a truncation below what it has in memory", function()
    local c = played { disks = { a = { log = Cluster.log { 1, 1, 1, 1 } } } }
    local log = Cluster.log { 1, 1, 2, 2, 2 }
    assert.equal("ok", (c:append("b", "a", 2, log, 2, 2)))
    c.a:persist()
    assert.equal("ok", (c:append("b", "a", 2, log, 4, 1)))
    c.a:persist()
    assert.equal(log[5].chain, c.a.disk.log[5].chain)
    local forged = Cluster.log({ 1, 1, 2, 2, 2, 2 }, { [4] = { payload = "forged" } })
    assert.equal("corrupt", (c:append("b", "a", 2, forged, 5, 1)))
  end)

  it("drops an append that is no append", function()
    local c = played()
    local log = Cluster.log { 1, 1, 2, 1 }
    local hole = Cluster.log { 1, 1, 1 }
    hole[2] = hole[3]
    c:append("b", "a", 3, log, 0, 4)    -- terms that go back
    c:append("b", "a", 1, log, 0, 3)    -- an entry of a later term than its leader's
    c:append("b", "a", 1, hole, 0, 3)   -- a hole
    assert.same({ 0, 0, "" }, { c.a:status().last_index, c.a:status().term, c.a:status().leader })
  end)

  it("refuses with the last entry that may still agree, so that a leader goes back by terms", function()
    local c = played { disks = { a = { log = Cluster.log { 1, 1, 2, 2, 2, 4, 4, 4 } } } }
    local function refusal(prev, prev_term)
      c.a:receive { type = "append", from = "b", term = 5, prev_index = prev, prev_term = prev_term, entries = {} }
      c.a:persist()
      local answer = c:take "b" [1]
      assert.is_false(answer.success)
      return { answer.conflict_index, answer.conflict_term, answer.last_index }
    end
    assert.same({ 9, 4, 8 }, refusal(20, 5))  -- too short
    assert.same({ 6, 2, 8 }, refusal(8, 3))   -- terms above the leader's are passed over
    assert.same({ 3, 1, 8 }, refusal(7, 1))
    assert.same({ 9, 4, 8 }, refusal(8, 5))
  end)

  it("takes few rounds to agree, whichever of the two has the many terms", function()
    local one, many = {}, {}
    for i = 1, 200 do one[i], many[i] = 1, 1 end
    for i = 101, 200 do one[i], many[i] = 2, i end
    for _, swapped in ipairs { false, true } do
      local newest = swapped and { 300, one, many } or { 300, many, one }
      table.insert(newest[2], 250) -- the leader's log is the newer one
      local c = Cluster.new { ids = { "a", "b", "c" }, disks = {
        a = { term = 300, log = Cluster.log(newest[2]) }, c = { term = 300, log = Cluster.log(newest[2]) },
        b = { term = 300, log = Cluster.log(newest[3]) } } }
      c:isolate "b"
      c:elect "a"
      c:heal()
      local refusals, queue = 0, c.queue
      c.queue = function(self, server, message)
        if message.type == "append_result" and not message.success then refusals = refusals + 1 end
        return queue(self, server, message)
      end
      c:advance(4 * HEARTBEAT)
      assert.same(Cluster.terms(c.a.disk.log), Cluster.terms(c.b.disk.log))
      assert(refusals <= 4, refusals)
      table.remove(newest[2])
      c:close()
    end
  end)
end)

-- Snapshots themselves are in snapshot_spec.lua.
describe("a log that begins after a snapshot", function()
  local core = require "moonclave.core"
  local log = Cluster.log { 1, 1, 2, 2, 2, 3, 3 }

  local function server()
    local a = core.new { id = "a" }
    a:step { type = "start", now_us = 1, seed = 1, durable = { term = 3, last_index = 5, last_chain = log[5].chain,
      snapshot = { index = 5, term = 2, chain = log[5].chain,
        configuration = Cluster.configuration { "a", "b", "c" } } } }
    return a
  end

  local function append(a, prev_index, count, fields)
    local message = { type = "append", from = "b", to = "a", term = 3, prev_index = prev_index,
      prev_term = prev_index > 0 and log[prev_index].term or 0, commit = 0, round = 0, entries = {} }
    for index = prev_index + 1, prev_index + count do message.entries[#message.entries + 1] = log[index] end
    for name, value in pairs(fields or {}) do message[name] = value end
    local effects, code = a:step { type = "receive", now_us = 1, message = message }
    local found = { code = code }
    for _, effect in ipairs(effects) do found[effect.type] = effect.message or effect end
    return found
  end

  it("knows that what the snapshot holds is the leader's (bugs 24, 25)", function()
    for prev_index = 0, 4 do
      local a = server()
      local effects = append(a, prev_index, 0)
      assert.same({ true, 5 }, { effects.send.success, effects.send.match })
      effects = append(a, prev_index, 7 - prev_index)
      assert.same({ 6, 7 }, { effects.persist.entries[1].index, effects.persist.entries[2].index })
      assert.is_nil(effects.persist.truncate_from)
      a:close()
    end
  end)

  it("begins where the snapshot ends, and not on another term", function()
    local a = server()
    local status = a:status()
    assert.same({ 6, 5, 2, 5, 5 },
      { status.first_index, status.last_index, status.last_term, status.commit_index, status.durable_index })
    assert.same({ 2, 0, 0 }, { a:term(5), a:term(4), a:term(6) })
    assert.equal("ok", append(a, 5, 2).code)
    assert.equal("corrupt", append(server(), 5, 1, { prev_term = 1 }).code)
    local forged = Cluster.log({ 1, 1, 2, 2, 2, 3 }, { [3] = { payload = "forged" } })
    assert.equal("corrupt", append(server(), 5, 0, { entries = { forged[6] } }).code)
  end)

  it("does not send what it has not: the peer is offered the snapshot, once, and hears heartbeats", function()
    local a = server()
    local sent = {}
    local function step(event)
      event.now_us = event.now_us or 3000000
      for _, effect in ipairs((a:step(event))) do
        if effect.type == "send" then sent[#sent + 1] = effect.message end
        assert.not_equal("read_log", effect.type)
      end
    end
    local function refuse(prev_index)
      step { type = "receive", message = { type = "append_result", from = "b", to = "a", term = 4, success = false,
        prev_index = prev_index, last_index = 2, conflict_index = 3, conflict_term = 1 } }
    end
    step { type = "timer" }
    step { type = "receive", message = { type = "vote", from = "b", to = "a", term = 4, pre = true, granted = true } }
    step { type = "persisted", sequence = 1 }
    step { type = "receive", message = { type = "vote", from = "b", to = "a", term = 4, granted = true } }
    assert.equal("leader", a:status().role)
    sent = {}
    refuse(5)
    refuse(5)
    assert.equal(1, #sent)
    assert.same({ "install_snapshot", 5, "" }, { sent[1].type, sent[1].meta.index, sent[1].chunk })
    step { type = "timer", now_us = 3000000 + HEARTBEAT }
    local heartbeat = sent[2].type == "append" and sent[2] or sent[3]
    assert.same({ 5, 2, 0 }, { heartbeat.prev_index, heartbeat.prev_term, #heartbeat.entries })
  end)
end)

describe("entries on the disk only", function()
  local function restarted(settings)
    local terms = {}
    for i = 1, 20 do terms[i] = 1 end
    return Cluster.new { ids = { "a", "b", "c" }, settings = settings,
      disks = { a = { log = Cluster.log(terms) }, b = { log = Cluster.log(terms) } } }
  end

  it("are read for whoever needs them, one read at a time for each peer", function()
    local c = restarted { append_bytes_max = 200 }
    c:elect "a"
    c:advance(5 * HEARTBEAT)
    assert.same(Cluster.terms(c.a.disk.log), Cluster.terms(c.c.disk.log))
    assert.equal(21, c.c.applied)
    assert.equal(0, #c.a.log_reads)
  end)

  it("an answer that is no longer wanted is not used", function()
    local c = restarted { append_bytes_max = 200 }
    c.c:crash()
    c:elect "a"
    c.c:restart()
    for _ = 1, 10 do
      if #c.a.log_reads == 0 then
        c.now_us = c.now_us + HEARTBEAT
        c.a:timer()
        c:deliver()
        c.b:persist()
        c.c:persist()
        c:deliver()
      end
    end
    assert.equal(1, #c.a.log_reads)
    c.a:unreachable "c"
    c:drop()
    local sent = #c.messages
    c.a:answer_log_read()
    assert.equal(sent, #c.messages)
    c:advance(5 * HEARTBEAT)
    assert.equal(21, c.c.applied)
  end)

  it("an answer to what was wanted before the follower said more is not used either", function()
    local c = played { disks = { a = { log = Cluster.log { 1, 1, 1, 1 } } } }
    c:crown "a"
    c:take "b"
    local function refuse(prev_index)
      c.a:receive { type = "append_result", from = "b", term = 2, success = false, prev_index = prev_index,
        last_index = prev_index - 1, conflict_index = prev_index, conflict_term = 1 }
    end
    refuse(4)
    refuse(3)
    assert.same({ 1, 4 }, { #c.a.log_reads, c.a.log_reads[1].first })
    c.a:answer_log_read()
    assert.equal(0, #c:take "b")
    assert.equal(3, c.a.log_reads[1].first)
    c.a:answer_log_read()
    assert.same({ 3, 4 }, indexes(c:take "b" [1]))
  end)

  it("an answer in another term, and one to nobody, are ignored", function()
    local c = played { disks = { a = { log = Cluster.log { 1, 1, 1 } } } }
    c:crown "a"
    c.a:receive { type = "append_result", from = "b", term = 2, success = false, prev_index = 3, last_index = 0,
      conflict_index = 1, conflict_term = 0 }
    local read = c.a.log_reads[1]
    assert.same({ 1, 3 }, { read.first, read.last })
    c:append("c", "a", 5, Cluster.log { 1, 1, 1 }, 3, 0)
    c.a:answer_log_read()
    c.a:event { type = "log_read", token = 99, entries = {} }
    assert.equal(0, #c:take("b", "append") - 1) -- the NOOP of its own term, nothing since
  end)

  it("that are gone leave the peer waiting, not the leader", function()
    local c = played { disks = { a = { log = Cluster.log { 1, 1, 1 } } } }
    c:crown "a"
    c:take "b"
    c.a:receive { type = "append_result", from = "b", term = 2, success = false, prev_index = 3, last_index = 0,
      conflict_index = 1, conflict_term = 0 }
    c.a:answer_log_read {}
    c.a:propose "x"
    assert.equal(0, #c:take "b")
    assert.equal(0, #c.a.log_reads)
  end)

  it("are not believed when the disk gives others than it was asked for", function()
    local c = played { disks = { a = { log = Cluster.log { 1, 1, 1 } } } }
    c:crown "a"
    c.a:receive { type = "append_result", from = "b", term = 2, success = false, prev_index = 3, last_index = 0,
      conflict_index = 1, conflict_term = 0 }
    local code = c.a:answer_log_read(Cluster.log { 2, 2, 2 })
    assert.equal("corrupt", code)
  end)
end)

describe("the tail in memory", function()
  it("keeps what is not applied or not durable, however little room it is given", function()
    local c = leader { settings = { tail_bytes_max = 0 } }
    for i = 1, 5 do c.a:propose("x" .. i) end
    apply(c)
    assert.is_nil(c.a.core:entry(1))
    for index = 2, 6 do assert.equal(index, c.a.core:entry(index).index) end
    c:ack("b", "a", 6)
    c:ack("c", "a", 6)
    apply(c)
    assert(c.a.core:entry(2))
    c.a:persist()
    assert(c.a.core:entry(2)) -- committed and durable, but not applied
    apply(c)
    assert.same({ 0 }, { c.a:status().tail_bytes })
    assert.is_nil(c.a.core:entry(6))
  end)

  it("keeps the newest of the rest up to tail_bytes_max", function()
    local c = leader { settings = { tail_bytes_max = 1000 } }
    for i = 1, 50 do c.a:propose("x" .. i) end
    c.a:persist()
    c:ack("b", "a", 51)
    apply(c)
    local bytes = c.a:status().tail_bytes
    assert(bytes <= 1000 and bytes > 800, bytes)
    assert(c.a.core:entry(51) and not c.a.core:entry(2))
  end)

  it("no payload outlives its core", function()
    collectgarbage()
    local core = require "moonclave.core"
    local before = core.blobs()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:elect "a"
    for i = 1, 100 do c.a:propose("x" .. i) end
    c:deliver()
    assert(core.blobs() > before)
    c:close()
    assert.equal(before, core.blobs())
  end)
end)

describe("a former leader", function()
  it("returns and gives up its uncommitted entries", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:elect "a"
    c:isolate "a"
    c.a:propose("lost 1", "lost 2")
    c.a:persist()
    c:advance(4 * T)
    local new = c:leader()
    assert.not_equal("a", new.id)
    new:propose "kept"
    c:settle()
    c:heal()
    c:advance(6 * HEARTBEAT)
    assert.same({ "follower", new.id }, { c.a:role(), c.a:status().leader })
    assert.equal("kept", c.a.disk.log[#c.a.disk.log].payload)
    for _, entry in ipairs(c.a.disk.log) do assert.is_nil(entry.payload:find "lost") end
  end)

  -- Bug 7, a new term between reading the old one and appending, cannot be: a step is whole.
  it("that was elected again has forgotten the progress of its former term", function()
    local c = leader()
    c:ack("b", "a", 1)
    c:append("c", "a", 2, c.a.disk.log, 1, 0)
    c:crown "a"
    assert.same({ 0, "probe" }, { c.a:status().peers.b.match, c.a:status().peers.b.progress })
    c:ack("b", "a", 1, { term = 1 })
    assert.equal(0, c.a:status().peers.b.match)
  end)
end)
