-- Edges: limits to the unit, equal ones, the first and the last. Each of these was a guard that nothing else missed
-- (scripts/mutants).
local Cluster = require "support.raft_cluster"
local core = require "moonclave.core"
local scenes = require "support.raft_scenes"
local HEARTBEAT = Cluster.HEARTBEAT
local played, leader = scenes.played, scenes.leader

local function emitted(server, type)
  local count = 0
  for _, effect in ipairs(server.effects) do if effect.type == type then count = count + 1 end end
  return count
end

local function indexes(message)
  local list = {}
  for i, entry in ipairs(message.entries) do list[i] = entry.index end
  return list
end

describe("a follower", function()
  it("answers an append of what is durable already at once", function()
    local c = played()
    local log = Cluster.log { 1, 1 }
    c:append("b", "a", 1, log, 0, 2)
    c.a:persist()
    c:take "b"
    c:append("b", "a", 1, log, 1, 1)
    assert.same({ true, 2 }, { c.a.effects[1].message.success, c:take "b" [1].match })
  end)

  it("has nothing that may agree where all of its terms are newer", function()
    local c = played { disks = { a = { log = Cluster.log { 3, 3, 4 } } } }
    c.a:receive { type = "append", from = "b", term = 5, prev_index = 3, prev_term = 2, entries = {} }
    c.a:persist()
    local answer = c:take "b" [1]
    assert.same({ false, 1, 0 }, { answer.success, answer.conflict_index, answer.conflict_term })
  end)

  it("follows its leader into that one's next term", function()
    local c = played()
    c:append("b", "a", 1, Cluster.log { 1 }, 0, 1)
    c:append("b", "a", 2, Cluster.log { 1, 2 }, 1, 1)
    assert.same({ 2, "b" }, { c.a:status().term, c.a:status().leader })
    c.a:persist()
    local answers = c:take "b"
    assert.same({ 2, 2 }, { answers[#answers].term, answers[#answers].match })
  end)

  it("finds that an entry in the middle is another one", function()
    local c = played()
    c:append("b", "a", 1, Cluster.log { 1, 1, 1 }, 0, 3)
    local forged = Cluster.log({ 1, 1, 1 }, { [2] = { payload = "forged" } })
    assert.equal("corrupt", (c:append("b", "a", 1, forged, 0, 2)))
  end)

  it("that led before gives back what it kept of its peers when it learns of other members", function()
    local c = leader()
    for i = 1, 20 do c.a:propose("x" .. i) end -- in flight
    local log = Cluster.log({ 1, 2 }, { [2] = Cluster.configuration_entry(2, { "a", "b" }) })
    log[1] = c.a.core:entry(1)
    log[2].chain = require "moonclave.formats".entry_chain(log[2], log[1].chain)
    assert.equal("ok", (c:append("b", "a", 2, log, 1, 1)))
    assert.same({ "a", "b" }, c.a:status().configuration.voters)
  end)

  it("drops an entry of no term", function()
    local c = played()
    c:append("b", "a", 1, Cluster.log { 0 }, 0, 1)
    assert.same({ 0, "" }, { c.a:status().last_index, c.a:status().leader })
  end)

  it("can lose all of its log, from the first entry on", function()
    local c = played { disks = { a = { log = Cluster.log { 1, 1, 1 } } } }
    c:append("b", "a", 2, Cluster.log { 2, 2 }, 0, 2)
    c.a:persist()
    assert.same({ 2, 2 }, Cluster.terms(c.a.disk.log))
    c:append("c", "a", 3, Cluster.log { 3 }, 0, 1)
    c.a:persist()
    assert.same({ 3 }, Cluster.terms(c.a.disk.log))
  end)
end)

describe("a leader", function()
  it("that hears again what it knows has nothing to tell", function()
    local c = leader()
    c.now_us = c.now_us + HEARTBEAT // 4
    c.a:timer() -- the commit of its NOOP is told
    c:take "b"
    c:ack("b", "a", 1)
    assert.same({ 0, 0 }, { emitted(c.a, "deadline"), emitted(c.a, "send") })
    c.now_us = c.now_us + HEARTBEAT // 4
    c.a:timer()
    assert.equal(0, #c:take "b")
  end)

  it("fills an append to the byte", function()
    local half = ("x"):rep(1000 - 72) -- and the header
    local c = leader { settings = { append_bytes_max = 2000 } }
    c.a:propose(half, half, half)
    local sent = c:take "b"
    assert.same({ { 2, 3 }, { 4 } }, { indexes(sent[1]), indexes(sent[2]) })
  end)

  it("takes proposals up to the byte, and one of any size where nothing waits", function()
    local half = ("x"):rep(1000 - 72)
    local c = leader { settings = { uncommitted_bytes_max = 2000 } }
    assert.equal("ok", (c.a:propose(half, half)))
    assert.equal("overloaded", (c.a:propose ""))
    assert.equal(2000, c.a:status().uncommitted_bytes)
    c.a:persist()
    c:ack("b", "a", 3)
    assert.equal(0, c.a:status().uncommitted_bytes)
    assert.equal("overloaded", (c.a:propose(half .. "x", half)))
    assert.equal("ok", (c.a:propose(("x"):rep(5000))))
    assert.equal("overloaded", (c.a:propose ""))
  end)
end)

describe("a window in bytes", function()
  it("is full when it is full to the byte", function()
    local c = leader { settings = { append_bytes_max = 1000 } }
    for _ = 1, 20 do c.a:propose(("x"):rep(1000 - 72)) end
    assert.equal(16, #c:take "b")
  end)
end)

describe("a commit", function()
  it("that an append has told already is not told again", function()
    local c = leader()
    c.a:propose "x"
    c.a:persist()
    c:ack("b", "a", 2)
    c.a:propose "y"
    local told = c:take "b"
    assert.equal(2, told[#told].commit)
    c.now_us = c.now_us + HEARTBEAT // 4
    c.a:timer()
    assert.equal(0, #c:take "b")
  end)
end)

describe("a pre-vote", function()
  it("for the present term is not given where the vote is gone", function()
    local c = played { disks = { a = { term = 4, vote = "b" } } }
    for from, granted in pairs { b = true, c = false } do
      c.a:receive { type = "request_vote", pre = true, from = from, term = 4, last_index = 0, last_term = 0 }
      assert.equal(granted, c:take(from, "vote")[1].granted)
    end
  end)

  it("request in the present term leaves a candidate what it is", function()
    local c = played { disks = { a = { term = 3 } } }
    c:timeout "a"
    c.a:receive { type = "vote", from = "b", term = 4, pre = true, granted = true }
    assert.equal("candidate", c.a:role())
    for _, pre in ipairs { true, false } do
      c.a:receive { type = "request_vote", pre = pre, from = "c", term = 4, last_index = 0, last_term = 0 }
      assert.same({ "candidate", "a" }, { c.a:role(), c.a:status().vote })
    end
  end)
end)

describe("the tail in memory", function()
  it("is kept to the byte", function()
    local c = leader { settings = { tail_bytes_max = 2000 } }
    local half = ("x"):rep(1000 - 72)
    c.a:propose(half, half)
    c.a:persist()
    c:ack("b", "a", 3)
    c.a:event { type = "applied", index = 3 }
    assert.equal(2000, c.a:status().tail_bytes)
    assert.is_nil(c.a.core:entry(1))
    assert(c.a.core:entry(2))
  end)
end)

describe("a disk", function()
  local function start(durable)
    durable.term = durable.term or 5
    local _, code = core.new { id = "a" }:step { type = "start", now_us = 1, seed = 1, durable = durable }
    return code
  end
  local function configuration(index)
    return { type = 1, index = index, term = 3, payload = Cluster.configuration { "a" } }
  end

  it("may hold entries of its snapshot's term, and none older", function()
    local function log(term)
      return { last_index = 5, snapshot = { index = 4, term = 3 }, runs = { { first = 5, term = term } } }
    end
    assert.same({ "corrupt", "ok", "ok" }, { start(log(2)), start(log(3)), start(log(4)) })
    assert.equal("corrupt", start(log(6))) -- past the stored term
  end)

  it("has no two runs of one term, nor two at one index, nor any past its end", function()
    local function runs(...) return { last_index = 3, runs = { ... } } end
    assert.equal("ok", start(runs({ first = 1, term = 1 }, { first = 2, term = 2 }, { first = 3, term = 4 })))
    assert.equal("corrupt", start(runs({ first = 1, term = 1 }, { first = 2, term = 1 })))
    assert.equal("corrupt", start(runs({ first = 1, term = 1 }, { first = 1, term = 2 })))
    assert.equal("corrupt", start(runs({ first = 1, term = 1 }, { first = 4, term = 2 })))
    assert.equal("corrupt", start(runs({ first = 1, term = 0 })))
  end)

  it("has its configurations in order, behind its snapshot and within its log", function()
    local function with(...)
      return { last_index = 7, snapshot = { index = 4, term = 3 }, runs = { { first = 5, term = 3 } },
        configurations = { ... } }
    end
    assert.equal("ok", start(with(configuration(5), configuration(7))))
    assert.equal("corrupt", start(with(configuration(4))))
    assert.equal("corrupt", start(with(configuration(5), configuration(5))))
    assert.equal("corrupt", start(with(configuration(8))))
    local garbage = configuration(6)
    garbage.payload = "no configuration"
    assert.equal("corrupt", start(with(garbage)))
    local other = configuration(6)
    other.type = 4
    assert.equal("corrupt", start(with(other)))
  end)

  it("has its snapshot's chain to go on from, when all behind it is cut off", function()
    local log = Cluster.log { 1, 1, 1, 1, 2, 3 }
    local function cut_off(forged)
      local a = core.new { id = "a" }
      local snapshot = { index = 4, term = 1, chain = log[4].chain,
        configuration = Cluster.configuration { "a", "b" } }
      a:step { type = "start", now_us = 1, seed = 1, durable = { term = 3, snapshot = snapshot, last_index = 5,
        last_chain = log[5].chain, runs = { { first = 5, term = 2 } } } }
      local other = Cluster.log({ 1, 1, 1, 1, 3 }, forged and { [2] = { payload = "forged" } } or nil)
      local append = { type = "append", from = "b", to = "a", term = 3, prev_index = 4, prev_term = 1,
        entries = { other[5] } }
      local _, code = a:step { type = "receive", now_us = 2, message = append }
      return code
    end
    assert.same({ "ok", "corrupt" }, { cut_off(false), cut_off(true) })
  end)

  it("that ends before its snapshot is refused, and one that ends with it is not", function()
    assert.equal("ok", start { last_index = 4, snapshot = { index = 4, term = 3 } })
    assert.equal("corrupt", start { last_index = 3, snapshot = { index = 4, term = 3 } })
  end)
end)
