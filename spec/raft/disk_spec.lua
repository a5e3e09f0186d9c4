-- The gate to the disk: numbered writes, what they vouch for, and a disk that is full.
local Cluster = require "support.raft_cluster"
local scenes = require "support.raft_scenes"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT
local RETRY = 500000
local played = scenes.played

local function sequences(server)
  local list = {}
  for i, write in ipairs(server.writes) do list[i] = write.sequence end
  return list
end

local function indexes(write)
  local list = {}
  for i, entry in ipairs(write.entries) do list[i] = entry.index end
  return list
end

describe("writes", function()
  it("are numbered one by one, at most one in a step, each no more than what is new", function()
    local c = played()
    local log = Cluster.log { 1, 1, 1, 2 }
    c:append("b", "a", 1, log, 0, 2)
    c:append("b", "a", 1, log, 2, 1)
    c:append("b", "a", 1, log, 3, 0)
    c:append("c", "a", 2, log, 3, 1)
    assert.same({ 1, 2, 3 }, sequences(c.a))
    assert.same({ 1, 2 }, indexes(c.a.writes[1]))
    assert.same({ 3 }, indexes(c.a.writes[2]))
    assert.same({ 1, "" }, { c.a.writes[1].term, c.a.writes[1].vote })
    assert.is_nil(c.a.writes[2].term)
    assert.same({ 2, 4 }, { c.a.writes[3].term, c.a.writes[3].entries[1].index })
    assert.equal(3, c.a:status().persist_sequence)
  end)

  it("done vouch for what they brought, several by one report", function()
    local c = played()
    local log = Cluster.log { 1, 1, 1 }
    for prev = 0, 2 do c:append("b", "a", 1, log, prev, 1) end
    c.a:persist(2)
    assert.equal(2, c.a:status().durable_index)
    c.a:event { type = "persisted", sequence = 1 } -- old news
    assert.equal(2, c.a:status().durable_index)
    c.a:persist()
    assert.equal(3, c.a:status().durable_index)
  end)

  it("never vouch for an entry that replaced theirs (bug 26)", function()
    local c = played()
    c:append("b", "a", 1, Cluster.log { 1, 1, 1 }, 0, 3)
    local log = Cluster.log { 1, 2, 2, 2 }
    c:append("c", "a", 2, log, 1, 3)
    assert.equal(2, c.a.writes[2].truncate_from)
    c.a:persist(1)
    assert.equal(1, c.a:status().durable_index)
    local answers = c:take("c", "append_result")
    for _, answer in ipairs(answers) do assert(answer.match <= 1) end
    c.a:persist(1)
    assert.equal(4, c.a:status().durable_index)
    answers = c:take("c", "append_result")
    assert.equal(4, answers[#answers].match)
  end)

  it("truncated twice over while they are out stand for what is left", function()
    local c = played()
    c:append("b", "a", 1, Cluster.log { 1, 1, 1, 1 }, 0, 4)
    c:append("c", "a", 2, Cluster.log { 1, 1, 1, 2 }, 3, 1)
    c:append("b", "a", 3, Cluster.log { 1, 3 }, 1, 1)
    for _, expected in ipairs { 1, 1, 2 } do
      c.a:persist(1)
      assert.equal(expected, c.a:status().durable_index)
    end
    assert.same({ 1, 3 }, Cluster.terms(c.a.disk.log))
  end)

  it("a commit waits for a quorum of durable logs, its application for one's own", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:elect "a"
    c:advance(HEARTBEAT)
    c.b.stuck, c.c.stuck = true, true
    c.a:propose "x"
    c:settle()
    assert.equal(1, c.a:status().commit_index)
    c.b:persist()
    c:settle()
    c:advance(HEARTBEAT)
    assert.same({ 2, 2, 1 }, { c.a.applied, c.b.applied, c.c.applied })
    assert.equal(2, c.c:status().commit_index)
    c.c:persist()
    assert.equal(2, c.c.applied)
  end)
end)

describe("a restart", function()
  it("has what was written, and nothing else", function()
    local c = played { disks = { a = { term = 1 } } }
    local log = Cluster.log { 1, 1, 1 }
    c:append("b", "a", 1, log, 0, 2, { commit = 2 })
    c.a:persist()
    c:append("b", "a", 1, log, 2, 1, { commit = 3 })
    c.a:restart()
    local status = c.a:status()
    assert.same({ 1, 2, 1, 2, 0 }, { status.term, status.last_index, status.last_term, status.durable_index,
      status.commit_index })
    assert.is_nil(c.a.core:entry(2))
  end)

  it("of every server at once keeps every acknowledged entry", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:elect "a"
    for i = 1, 5 do c.a:propose("x" .. i) end
    c:settle()
    assert.equal(6, c.a:status().commit_index)
    for _, server in ipairs(c.servers) do server:restart() end
    c:drop()
    c:advance(5 * T)
    assert.equal(7, c:leader():status().commit_index)
    for _, server in ipairs(c.servers) do
      assert.equal(7, server.applied)
      for i = 1, 5 do assert.equal("x" .. i, server.disk.log[i + 1].payload) end
    end
  end)

  it("on a disk that contradicts itself is refused", function()
    local core = require "moonclave.core"
    local function start(durable)
      local _, code = core.new { id = "a" }:step { type = "start", now_us = 1, seed = 1, durable = durable }
      return code
    end
    assert.equal("ok", start { term = 1, last_index = 1, runs = { { first = 1, term = 1 } } })
    assert.equal("corrupt", start { term = 1, last_index = 1 })
    assert.equal("corrupt", start { term = 1, last_index = 1, runs = { { first = 2, term = 1 } } })
    assert.equal("corrupt", start { term = 2, last_index = 9,
      runs = { { first = 1, term = 2 }, { first = 2, term = 1 } } })
    assert.equal("corrupt", start { term = 1, last_index = 1, runs = { { first = 1, term = 2 } } })
    assert.equal("corrupt", start { term = 1, last_index = 3, snapshot = { index = 4, term = 1 } })
    assert.equal("corrupt", start { term = 1, snapshot = { configuration = "no msgpack at all" } })
    assert.equal("corrupt", start { term = 1, last_index = 1, runs = { { first = 1, term = 1 } },
      configurations = { { type = 1, index = 2, term = 1, payload = Cluster.configuration { "a" } } } })
  end)
end)

describe("a full disk", function()
  it("makes a leader step down, tell the best of the others to campaign, and refuse proposals", function()
    local c = played()
    c:crown "a"
    c.a:persist()
    c:ack("b", "a", 1)
    c.a:propose "x"
    c:take "b"
    c.a:refuse()
    local status = c.a:status()
    assert.same({ "follower", 1, "", true }, { status.role, status.term, status.leader, status.disk_full })
    local told = c:take "b"
    assert.same({ 1, "timeout_now", 1 }, { #told, told[1].type, told[1].term })
    assert.equal(0, #c:take("c", "timeout_now")) -- it has not answered in this term
    assert.equal("disk_full", (c.a:propose "y"))
    c.a:read(1)
    assert.equal("failed", c.a.reads[1])
  end)

  it("keeps a server from campaigning, until a retry gets through", function()
    local c = played()
    c:append("b", "a", 1, Cluster.log { 1 }, 0, 1)
    c.a:refuse()
    local refused_us = c.now_us
    assert.equal(refused_us + RETRY, c.a.deadline_us)
    c.now_us = refused_us + RETRY - 1
    c.a:timer()
    assert.equal(0, #c.a.writes)
    for _ = 1, 5 do
      c.now_us = c.now_us + 2 * T
      c.a:timer()
      assert.equal("follower", c.a:role())
      c.a:refuse()
    end
    c.now_us = c.now_us + RETRY
    c.a:timer()
    c.a:persist()
    assert.is_false(c.a:status().disk_full)
    assert(c.a.deadline_us >= c.now_us + T)
    c:timeout "a"
    assert.equal("pre-candidate", c.a:role())
  end)

  it("is tried again with all that is not durable: hard state, truncation, entries", function()
    local c = played { disks = { a = { term = 1, log = Cluster.log { 1, 1, 1 } } } }
    local log = Cluster.log { 1, 2, 2, 2 }
    c:append("b", "a", 2, log, 1, 2)
    c:append("b", "a", 2, log, 3, 1)
    assert.same({ 1, 2 }, sequences(c.a))
    c.a:refuse()
    assert.equal(1, c.a:status().durable_index)
    c.now_us = c.now_us + RETRY
    c.a:timer()
    local write = c.a.writes[1]
    assert.same({ 3, 2, "", 2 }, { write.sequence, write.term, write.vote, write.truncate_from })
    assert.same({ 2, 3, 4 }, indexes(write))
    c.a:persist()
    assert.same({ 1, 2, 2, 2 }, Cluster.terms(c.a.disk.log))
    assert.equal(4, c.a:status().durable_index)
    local answers = c:take "b"
    assert.equal(4, answers[#answers].match)
  end)

  it("that refuses the second of two writes leaves the first one standing", function()
    local c = played()
    local log = Cluster.log { 1, 1, 1 }
    c:append("b", "a", 1, log, 0, 1)
    c:append("b", "a", 1, log, 1, 2)
    local second = table.remove(c.a.writes)
    c.a:event { type = "persist_refused", sequence = second.sequence }
    c.now_us = c.now_us + RETRY
    c.a:timer()
    assert.same({ 1, 3 }, sequences(c.a))
    assert.same({ 2, 3 }, indexes(c.a.writes[2]))
    c.a:persist(1)
    assert.same({ 1, true }, { c.a:status().durable_index, c.a:status().disk_full })
    c.a:persist(1)
    assert.same({ 3, false }, { c.a:status().durable_index, c.a:status().disk_full })
    c.a:event { type = "persist_refused", sequence = 2 } -- old news
    assert.is_false(c.a:status().disk_full)
  end)

  it("lets no held message go before the retry is durable", function()
    local c = played()
    c.a:receive { type = "request_vote", from = "b", term = 4, last_index = 0, last_term = 0 }
    c.a:refuse()
    c.now_us = c.now_us + RETRY
    c.a:timer()
    c.a:refuse()
    assert.equal(0, #c:take "b")
    c.now_us = c.now_us + RETRY
    c.a:timer()
    c.a:persist()
    assert.is_true(c:take "b" [1].granted)
  end)

  it("takes no new entries, answers no append that brings them, but hears its leader", function()
    local c = played()
    local log = Cluster.log { 1, 1, 1, 1 }
    c:append("b", "a", 1, log, 0, 1)
    c.a:persist()
    c:append("b", "a", 1, log, 1, 1)
    c.a:refuse()
    c:take "b"
    local bytes = c.a:status().tail_bytes
    for _ = 1, 20 do
      c.now_us = c.now_us + HEARTBEAT
      c:append("b", "a", 1, log, 2, 2)
    end
    assert.same({ 2, bytes, "b" }, { c.a:status().last_index, c.a:status().tail_bytes, c.a:status().leader })
    assert.equal(0, #c:take "b")
    c:append("b", "a", 1, log, 2, 0, { round = 5 })
    local answer = c:take "b" [1]
    assert.same({ true, 1, 5 }, { answer.success, answer.match, answer.round })
    c.a:receive { type = "request_vote", from = "c", term = 9, last_index = 9, last_term = 9 }
    assert.equal(1, c.a:status().term) -- still true to its leader
  end)

  it("does not let what is held grow with what comes in", function()
    local c = played()
    c:append("b", "a", 1, {}, 0, 0)
    c.a:refuse()
    for round = 1, 100 do c:append("b", "a", 1, {}, 0, 0, { round = round }) end
    c.now_us = c.now_us + RETRY
    c.a:timer()
    c.a:persist()
    local answers = c:take "b"
    assert.same({ 1, 100 }, { #answers, answers[1].round })
  end)

  it("of one leader hands the cluster to another, and it comes back by itself", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:elect "a"
    c:advance(HEARTBEAT)
    c.a.full = true
    c.a:propose "x"
    c:advance(6 * T)
    local leader = c:leader()
    assert(leader and leader.id ~= "a")
    assert.equal("ok", (leader:propose "y"))
    c:settle()
    assert.equal(leader:status().last_index, leader:status().commit_index)
    c.a.full = false
    c:advance(2 * T)
    assert.same({ false, leader:status().commit_index }, { c.a:status().disk_full, c.a.applied })
  end)

  it("of a follower costs its leader one append for each heartbeat, not a window", function()
    local c = Cluster.new { ids = { "a", "b", "c" }, settings = { append_bytes_max = 100 } }
    c:elect "a"
    c:advance(2 * HEARTBEAT)
    c.c.full = true
    for i = 1, 20 do
      c.a:propose("x" .. i)
      c:settle()
    end
    c:advance(2 * HEARTBEAT)
    local sent, queue = 0, c.queue
    c.queue = function(self, server, message)
      if message.to == "c" and message.type == "append" and #message.entries > 0 then sent = sent + 1 end
      return queue(self, server, message)
    end
    c:advance(10 * HEARTBEAT)
    assert(sent <= 11, sent)
    assert.equal("leader", c.a:role())
    c.c.full = false
    c:advance(2 * T)
    assert.equal(21, c.c.applied)
  end)

  it("of a lone server is survived: it leads again, and nothing of its log is lost", function()
    local c = Cluster.new { ids = { "a" } }
    c:settle()
    c.a:propose "x"
    c.a:refuse()
    assert.same({ "follower", "disk_full" }, { c.a:role(), (c.a:propose "y") })
    c:advance(4 * T)
    assert.equal("leader", c.a:role())
    assert.same({ 1, 1, 2 }, Cluster.terms(c.a.disk.log))
    assert.equal(3, c.a.applied)
  end)
end)
