-- Edges of snapshots at the leader, and of what they leave of a log. Each was a guard that nothing else missed
-- (scripts/mutants).
local Cluster = require "support.raft_cluster"
local core = require "moonclave.core"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT
local WANTED, INSTALLED, REFUSED = Cluster.WANTED, Cluster.INSTALLED, Cluster.REFUSED

local MEMBERS = { "a", "b", "c" }

local function applied(c) c.a:event { type = "applied", index = c.a.applied } end

local function compact(c)
  while #c.a.compactions > 0 do c.a:compact() end
end

-- Commands up to `last`, committed with c's help and applied; a snapshot at the end.
local function grow(c, last, by)
  while c.a:status().last_index < last do
    assert.equal("ok", (c.a:propose("x" .. c.a:status().last_index)))
  end
  c.a:persist()
  for _, id in ipairs(by or { "c" }) do c:ack(id, "a", last) end
  applied(c)
  c.a:take_snapshot()
end

-- a leads b and c; its log ends with a snapshot at 10, and nothing of it is left.
local function leader(settings, ids)
  settings = settings or {}
  settings.snapshot_chunk_bytes = settings.snapshot_chunk_bytes or 10
  local c = Cluster.new { ids = ids or MEMBERS, run = { "a" }, settings = settings }
  c:crown "a"
  grow(c, 10, ids and { "c", "d" })
  compact(c)
  for _, id in ipairs(ids or MEMBERS) do c:take(id) end
  return c
end

-- It refuses what was sent after `prev_index`, and asks for `index` on.
local function refuse(c, from, prev_index, index)
  return c.a:receive { type = "append_result", from = from, term = c.a:status().term, success = false,
    prev_index = prev_index, last_index = index - 1, conflict_index = index, conflict_term = 0 }
end

local function peer(c, id) return c.a:status().peers[id] end

local function offers(c, id)
  local found = {}
  for _, message in ipairs(c:take(id or "b", "install_snapshot")) do
    if message.chunk == "" then found[#found + 1] = message end
  end
  return found
end

local function ask(c, id)
  refuse(c, id or "b", peer(c, id or "b").next - 1, 1)
  return assert(offers(c, id)[1], "no snapshot is offered")
end

local function answer(c, offer, fields)
  local message = { type = "snapshot_result", from = "b", term = c.a:status().term, status = WANTED,
    index = offer.meta.index, snapshot_term = offer.meta.term, attempt = offer.attempt, offset = 0 }
  for name, value in pairs(fields or {}) do message[name] = value end
  return c.a:receive(message)
end

local function installed(c, id, match)
  return c.a:receive { type = "snapshot_result", from = id, term = c.a:status().term, status = INSTALLED,
    index = 10, match = match }
end

local function pass(c, us)
  c.now_us = c.now_us + us
  c.a:timer()
end

describe("a log that has been cut", function()
  local log = Cluster.log { 1, 1, 2, 2, 2, 4, 4 }

  -- a follows b, and has cut its log at `index`.
  local function cut(index)
    local c = Cluster.new { ids = MEMBERS, run = { "a" }, disks = { a = { log = log } } }
    c:append("b", "a", 4, log, index, 0, { commit = index })
    c.a:persist()
    applied(c)
    c.a:take_snapshot()
    compact(c)
    c:take "b"
    assert.equal(index + 1, c.a:status().first_index)
    return c
  end

  it("knows the terms of what is left, and of the entry before that, wherever it was cut", function()
    for index = 1, 7 do
      local c = cut(index)
      for _ = 1, 2 do
        for i = 1, 7 do assert.equal(i < index and 0 or log[i].term, c.a.core:term(i)) end
        assert.equal(4, c.a:status().last_term)
        c.a:restart()
      end
      c:close()
    end
  end)

  it("says where a leader's log may still agree with it, and no earlier than where it begins", function()
    for index = 1, 6 do
      local c = cut(index)
      for term = 1, 3 do -- of a leader whose entry 7 is of that term
        c.a:receive { type = "append", from = "b", term = 4, prev_index = 7, prev_term = term, commit = 0, round = 0,
          entries = {} }
        local best = index
        for i = index + 1, 7 do
          if log[i].term <= term then best = i end
        end
        local result = c:take("b", "append_result")[1]
        assert.same({ false, best + 1, log[best].term },
          { result.success, result.conflict_index, result.conflict_term })
      end
      c:close()
    end
  end)

  it("goes on in the term it was cut in, or in another, and can be cut again", function()
    for _, term in ipairs { 4, 5 } do
      local longer = Cluster.log { 1, 1, 2, 2, 2, 4, 4, term, term }
      local c = cut(7)
      c:append("b", "a", term, longer, 7, 2, { commit = 8 })
      c.a:persist()
      applied(c)
      assert.same({ 4, term, term }, { c.a.core:term(7), c.a.core:term(8), c.a.core:term(9) })
      c.a:take_snapshot()
      compact(c)
      assert.same({ 9, 0, term, term }, { c.a:status().first_index, c.a.core:term(7), c.a.core:term(8),
        c.a.core:term(9) })
      c:append("c", "a", 6, Cluster.log { 1, 1, 2, 2, 2, 4, 4, term, 6 }, 8, 1)
      assert.same({ term, 6, 9 }, { c.a.core:term(8), c.a.core:term(9), c.a:status().last_index })
      c:close()
    end
  end)

  it("keeps the configurations that its beginning still has, and each is in force where it was", function()
    local mine = Cluster.log({ 1, 1, 1, 1, 1, 1 }, { [2] = Cluster.configuration_entry(1, { "a", "b" }),
      [4] = Cluster.configuration_entry(1, MEMBERS), [6] = Cluster.configuration_entry(1, { "a", "c" }) })
    local c = Cluster.new { ids = MEMBERS, run = { "a" }, settings = { trailing_entries = 4 },
      disks = { a = { log = mine } } }
    c:append("b", "a", 1, mine, 5, 0, { commit = 5 })
    applied(c)
    c.a:take_snapshot()
    compact(c)
    assert.equal(2, c.a:status().first_index)
    c.a:restart()
    assert.same({ 6, { "a", "c" } }, { c.a:status().configuration_index, c.a:status().configuration.voters })
    assert.equal(4, c.a.core:prepare(5).configuration_index)
    c:append("b", "a", 2, Cluster.log { 1, 1, 1, 1, 1, 2 }, 5, 1) -- the last one is undone
    assert.same({ 4, MEMBERS }, { c.a:status().configuration_index, c.a:status().configuration.voters })
  end)
end)

describe("a disk whose log and snapshot contradict each other", function()
  local function start(change)
    local snapshot = Cluster.snapshot_of(Cluster.log { 1, 1, 2 }, 3, Cluster.configuration(MEMBERS)).meta
    local durable = { term = 2, vote = "", snapshot = snapshot, base = { index = 1, term = 1, chain = 5 },
      last_index = 4, last_chain = 7, last_time_ms = 0, configurations = {},
      runs = { { first = 2, term = 1 }, { first = 3, term = 2 } } }
    change(durable)
    local raft = core.new { id = "a", election_timeout_us = T, heartbeat_us = HEARTBEAT }
    local _, code, text = raft:step { type = "start", now_us = 1, seed = 1, durable = durable }
    raft:close()
    return code, text
  end

  it("is not started from: a log that begins behind the snapshot, or has another term at its end", function()
    assert.equal("ok", (start(function() end)))
    local code, text = start(function(durable)
      durable.base = { index = 4, term = 2, chain = 5 }
      durable.last_index, durable.runs = 5, { { first = 5, term = 2 } }
    end)
    assert.same({ "corrupt", "the log begins behind 4, its snapshot ends at 3" }, { code, text })
    code, text = start(function(durable) durable.runs = { { first = 2, term = 1 }, { first = 4, term = 2 } } end)
    assert.same({ "corrupt", "the log has term 1 at 3, where its snapshot ends in term 2" }, { code, text })
  end)
end)

describe("a snapshot taken", function()
  it("a second time of the same index is not another one", function()
    local c = leader()
    local meta = {}
    for name, value in pairs(c.a.disk.snapshot.meta) do meta[name] = value end
    meta.size = 1
    c.a:event { type = "snapshot_taken", snapshot = meta }
    local size = #c.a.disk.snapshot.bytes
    assert.equal(size, ask(c).meta.size)
    assert.same({ 10, 0, size }, { peer(c, "b").snapshot_index, peer(c, "b").snapshot_offset,
      peer(c, "b").snapshot_size })
  end)

  it("by one who led before is held up by nothing that was on its way then", function()
    local c = leader()
    ask(c)
    local log = c.a.disk.log
    c:append("c", "a", 2, Cluster.log { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2 }, 10, 0)
    assert.equal("follower", c.a:role())
    for index = 11, 12 do
      local entry = { index = index, type = Cluster.TYPE.command, term = 2, payload = "x", time_ms = 0 }
      entry.chain = require "moonclave.formats".entry_chain(entry, log[index - 1].chain)
      c.a:receive { type = "append", from = "c", term = 2, prev_index = index - 1, prev_term = index == 11 and 1 or 2,
        commit = index, round = 0, entries = { entry } }
      c.a:persist()
    end
    applied(c)
    c.a:take_snapshot()
    assert.same({ { type = "compact", up_to = 12, snapshot_from = 12 }, 13 },
      { c.a.compactions[1], c.a:status().first_index })
  end)
end)

describe("a transfer", function()
  it("begins for one who lacks just the entry before the log's first", function()
    local c = leader()
    grow(c, 12)
    compact(c)
    c:ack("b", "a", 11)
    local probe = peer(c, "b").next - 1
    refuse(c, "b", probe, 12)
    assert.same({ "snapshot", 12 }, { peer(c, "b").progress, offers(c)[1].meta.index })
  end)

  it("begins at once, though entries behind the snapshot were tried", function()
    for _, wanted in ipairs { 5, 10 } do
      local c = Cluster.new { ids = MEMBERS, run = { "a" } }
      c:crown "a"
      c.a:persist()
      c:ack("b", "a", 1) -- and is sent all that follows
      grow(c, 10)
      compact(c)
      for _ = 1, 2 do c.a:propose "behind it" end
      assert.same({ "replicate", 13, 11 }, { peer(c, "b").progress, peer(c, "b").next, c.a:status().first_index })
      c:take "b"
      refuse(c, "b", 12, wanted) -- what was on its way is lost
      assert.equal("snapshot", peer(c, "b").progress)
      assert.same({ 0, 1 }, { #c:take("b", "append"), #offers(c) })
      c:close()
    end
  end)

  it("that was given up begins again when the follower speaks, though it lacks but one entry", function()
    local c = leader()
    c:ack("b", "a", 10)
    grow(c, 11)
    compact(c)
    c.a:unreachable "b"
    refuse(c, "b", peer(c, "b").next - 1, 11)
    assert.equal("snapshot", peer(c, "b").progress)
    while peer(c, "b").progress == "snapshot" do
      c:ack("c", "a", 11)
      pass(c, HEARTBEAT)
    end
    assert.same({ "probe", 11 }, { peer(c, "b").progress, peer(c, "b").next })
    offers(c)
    c:ack("b", "a", 10)
    assert.same({ "snapshot", 1 }, { peer(c, "b").progress, #offers(c) })
  end)

  it("is given up ten election timeouts after the follower was heard, and not before", function()
    local c = leader()
    ask(c)
    local heard_us = c.now_us
    while c.now_us < heard_us + 10 * T - HEARTBEAT do
      pass(c, HEARTBEAT)
      c:ack("c", "a", 10)
    end
    assert.equal("snapshot", peer(c, "b").progress)
    c.now_us = heard_us + 10 * T - 1
    c.a:timer()
    assert.equal("snapshot", peer(c, "b").progress)
    pass(c, 1)
    assert.equal("probe", peer(c, "b").progress)
  end)

  it("is of the newest snapshot for as long as nothing of it has arrived", function()
    local c = leader()
    ask(c)
    grow(c, 12)
    pass(c, 2 * HEARTBEAT)
    local offer = offers(c)[1]
    assert.same({ 12, 13 }, { offer.meta.index, peer(c, "b").next })
    answer(c, offer, { offset = 5 })
    while #c.a.chunk_reads > 0 do c.a:answer_chunk_read() end
    grow(c, 14)
    pass(c, 4 * HEARTBEAT) -- it may be more patient by now
    assert.equal(12, offers(c)[1].meta.index) -- some of it is there
  end)

  it("waits where all of it is there: nothing is read, and nothing offered, before the follower is late", function()
    local c = leader()
    local offer = ask(c)
    local size = offer.meta.size
    answer(c, offer, { offset = size })
    assert.equal(size, peer(c, "b").snapshot_offset)
    pass(c, 2 * HEARTBEAT - 1)
    assert.same({ 0, 0 }, { #c.a.chunk_reads, #offers(c) })
    pass(c, 1)
    assert.same({ 0, 1 }, { #c.a.chunk_reads, #offers(c) })
  end)

  it("waits for a slow disk of its own: that is no silence of the follower's", function()
    local c = leader()
    local offer = ask(c)
    answer(c, offer)
    assert.equal(1, #c.a.chunk_reads)
    for _ = 1, 4 do
      c:ack("c", "a", 10)
      pass(c, HEARTBEAT)
    end
    assert.equal(0, #offers(c))
    c.a:answer_chunk_read()
    local chunk = c:take("b", "install_snapshot")[1]
    assert.same({ offer.attempt, 10 }, { chunk.attempt, #chunk.chunk })
  end)

  it("is not moved by an answer about more than the snapshot has: the one that it wants is taken", function()
    local c = leader()
    local offer = ask(c)
    answer(c, offer, { offset = offer.meta.size + 1 })
    answer(c, offer)
    assert.same({ 1, 0, 0 }, { #c.a.chunk_reads, c.a.chunk_reads[1].offset, #offers(c) })
  end)

  it("begins a new attempt when more is said to be there than was sent in this one", function()
    local c = leader()
    local offer = ask(c)
    answer(c, offer)
    c.a:answer_chunk_read()
    assert.equal(10, #c:take("b", "install_snapshot")[1].chunk)
    answer(c, offer, { offset = 10 })
    c.a.chunk_reads = {}
    answer(c, offer, { offset = 15 })
    assert.equal(offer.attempt + 1, offers(c)[1].attempt)
  end)

  it("is not ended by an installed snapshot that is older than what the log begins with", function()
    local c = leader()
    ask(c)
    installed(c, "b", 5)
    assert.same({ "snapshot", 5, 0 }, { peer(c, "b").progress, peer(c, "b").match, #offers(c) })
    local since_us = c.now_us
    while c.now_us < since_us + 4 * T do -- it says so again and again, and gets nowhere
      pass(c, HEARTBEAT)
      c:ack("c", "a", 10)
      installed(c, "b", 5)
    end
    assert.is_true(peer(c, "b").stuck)
    installed(c, "b", 10)
    assert.same({ "replicate", 11, false }, { peer(c, "b").progress, peer(c, "b").next, peer(c, "b").stuck })
  end)

  it("that is done is done: later answers about it neither send anything again nor do harm", function()
    local c = leader()
    local offer = ask(c)
    installed(c, "b", 10)
    c.a:propose "behind it"
    assert.equal(11, c:take("b", "append")[1].entries[1].index)
    installed(c, "b", 10)
    assert.same({ 12, 1, 0 }, { peer(c, "b").next, peer(c, "b").in_flight, #c:take("b", "append") })
    c.a:persist()
    c:ack("b", "a", 11)
    grow(c, 12)
    compact(c) -- and its snapshot is gone
    c.a:timer()
    answer(c, offer)
    answer(c, offer, { status = REFUSED })
    assert.same({ "replicate", 0, 0 }, { peer(c, "b").progress, #c.a.chunk_reads, #offers(c) })
  end)

  it("ends with an append that brings the follower to where the log begins, though not to its end", function()
    local c = leader()
    for _ = 1, 3 do c.a:propose "behind it" end
    ask(c)
    c:ack("b", "a", 10)
    local message = c:take("b", "append")
    assert.equal("replicate", peer(c, "b").progress)
    assert.equal(11, message[#message].entries[1].index)
  end)

  it("to two at once, a newer snapshot taken meanwhile, is of the older one for both", function()
    local c = leader({}, { "a", "b", "c", "d", "e" })
    local first, second = ask(c, "b"), ask(c, "e")
    for id, offer in pairs { b = first, e = second } do answer(c, offer, { from = id, offset = 1 }) end
    grow(c, 12, { "c", "d" })
    c.a:timer()
    while #c.a.chunk_reads > 0 do c.a:answer_chunk_read() end
    for _, id in ipairs { "b", "e" } do
      local chunk = c:take(id, "install_snapshot")[1]
      assert.same({ 10, 1 }, { chunk.meta.index, chunk.offset })
    end
  end)
end)

describe("a transfer to the only other server, a learner,", function()
  it("goes on with its snapshot, though newer ones are taken", function()
    local c = Cluster.new { ids = { "a", "b" }, run = { "a" }, members = { voters = { "a" }, learners = { "b" } } }
    c:crown "a"
    grow(c, 10, {})
    compact(c)
    local offer = ask(c)
    answer(c, offer, { offset = 1 })
    c.a.chunk_reads[1].max_bytes = 1
    for last = 12, 16, 2 do grow(c, last, {}) end
    c.a:answer_chunk_read()
    local chunk = c:take("b", "install_snapshot")[1]
    assert.same({ 10, 1, 10 }, { chunk.meta.index, chunk.offset, peer(c, "b").snapshot_index })
    assert.equal(11, c.a:status().first_index)
  end)
end)

describe("a follower that has come back by a snapshot", function()
  local function returned()
    local c = leader()
    ask(c)
    grow(c, 12)
    compact(c)
    assert.equal(11, c.a:status().first_index)
    installed(c, "b", 10)
    compact(c)
    assert.equal(11, c.a:status().first_index)
    return c
  end

  it("lets the log go once it has caught up with the newest, and its owner is told", function()
    local c = returned()
    c:ack("b", "a", 12)
    assert.same({ type = "compact", up_to = 12, snapshot_from = 12 }, c.a.compactions[1])
    compact(c)
    assert.is_true(c.a.disk.log[12].gone)
  end)

  it("is from then on one like the others: the next snapshot does not wait for it", function()
    local c = returned()
    c:ack("b", "a", 12)
    grow(c, 15)
    assert.equal(16, c.a:status().first_index)
    grow(c, 17)
    assert.equal(18, c.a:status().first_index)
  end)

  it("holds up nothing any more when it has been silent for long", function()
    local c = returned()
    local since_us = c.now_us
    while c.now_us < since_us + 10 * T do
      assert.equal(11, c.a:status().first_index)
      pass(c, HEARTBEAT)
      c:ack("c", "a", 12)
    end
    assert.equal(13, c.a:status().first_index)
  end)
end)

describe("a server that was removed while a snapshot was on its way to it", function()
  local function removed()
    local c = leader({}, { "a", "b", "c", "d" })
    local offer = ask(c)
    answer(c, offer)
    assert.equal(1, #c.a.chunk_reads)
    assert.equal("ok", (c.a:configure { "a", "c", "d" }))
    c.a:persist()
    for _, id in ipairs { "c", "d" } do c:ack(id, "a", 11) end
    local until_us = c.now_us + 4 * T
    while c.now_us < until_us do
      for _, id in ipairs { "c", "d" } do c:ack(id, "a", 11) end
      assert.equal("departed", peer(c, "b").standing)
      pass(c, HEARTBEAT)
    end
    assert.is_nil(peer(c, "b"))
    c:take "b"
    return c
  end

  it("is not sent what is read for it when its time is over", function()
    local c = removed()
    c.a:answer_chunk_read()
    assert.equal(0, #c:take "b")
  end)

  it("keeps nothing from being compacted then", function()
    local c = removed()
    applied(c)
    c.a:take_snapshot()
    assert.same({ { type = "compact", up_to = 11, snapshot_from = 11 }, 12 },
      { c.a.compactions[#c.a.compactions], c.a:status().first_index })
  end)
end)
