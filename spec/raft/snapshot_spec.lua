-- Snapshots: what may be compacted, how a snapshot travels, and what is left of a log that it replaces. The numbered
-- bugs are in bugs/snapshots.lua.
local Cluster = require "support.raft_cluster"
local scene = require "support.raft_snapshot_scene"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT
local WANTED, INSTALLED, REFUSED = Cluster.WANTED, Cluster.INSTALLED, Cluster.REFUSED

local MEMBERS, follower, applied, leader = scene.MEMBERS, scene.follower, scene.applied, scene.leader
local ask, want, answer, send_all = scene.ask, scene.want, scene.answer, scene.send_all

local function read_all(c)
  while #c.a.chunk_reads > 0 do c.a:answer_chunk_read() end
end

-- What b, played, would have installed of these messages; nil where a byte is missing.
local function assembled(messages)
  local bytes = ""
  for _, message in ipairs(messages) do
    if message.offset == #bytes then bytes = bytes .. message.chunk end
  end
  return bytes
end

local function installed(c, from, match, fields)
  local message = { type = "snapshot_result", from = from, term = c.a:status().term, status = INSTALLED,
    index = match, match = match }
  for name, value in pairs(fields or {}) do message[name] = value end
  return c.a:receive(message)
end

describe("a snapshot taken", function()
  it("lets the log before it go, but for a few entries for slow followers", function()
    for trailing = 0, 4, 2 do
      local c = leader(9, { trailing_entries = trailing })
      assert.same({ 10 - trailing, 10 }, { c.a.compactions[1].up_to, c.a.compactions[1].snapshot_from })
      local status = c.a:status()
      assert.same({ 10, 1, 11 - trailing, 10 },
        { status.snapshot_index, status.snapshot_term, status.first_index, status.last_index })
      c.a:compact()
      c.a:restart()
      status = c.a:status()
      assert.same({ 10, 11 - trailing, 10, 10 },
        { status.snapshot_index, status.first_index, status.commit_index, status.last_index })
      c:close()
    end
  end)

  it("is begun with what the core knows of an index", function()
    local log = Cluster.log({ 1, 1, 2, 2 }, { [2] = Cluster.configuration_entry(1, MEMBERS) })
    local c = follower(log)
    c:append("b", "a", 2, log, 4, 0, { commit = 4 })
    for index, wanted in ipairs { { 1, 0 }, { 1, 2 }, { 2, 2 }, { 2, 2 } } do
      local meta = c.a.core:prepare(index)
      assert.same(wanted, { meta.term, meta.configuration_index })
      assert.equal(Cluster.configuration(MEMBERS), meta.configuration)
    end
    assert.equal(log[4].chain, c.a.core:prepare(4).chain)
  end)

  it("changes nothing that is in force, before or after a restart", function()
    local log = Cluster.log({ 1, 1, 1, 1, 1 }, { [2] = Cluster.configuration_entry(1, { "a", "b" }),
      [4] = Cluster.configuration_entry(1, MEMBERS) })
    local c = follower(log)
    c:append("b", "a", 1, log, 5, 0, { commit = 3 })
    c.a:take_snapshot()
    assert.equal(2, c.a.disk.snapshot.meta.configuration_index)
    for _ = 1, 2 do
      assert.same({ 4, MEMBERS }, { c.a:status().configuration_index, c.a:status().configuration.voters })
      c.a:compact()
      c.a:restart()
      c.a.compactions[1] = { up_to = 3, snapshot_from = 3 }
    end
  end)

  it("that is not newer is ignored", function()
    local c = leader(9)
    local meta = c.a.disk.snapshot.meta
    c.a.compactions = {}
    c.a:event { type = "snapshot_taken", snapshot = meta }
    meta.index = 4
    c.a:event { type = "snapshot_taken", snapshot = meta }
    assert.same({ 0, 10 }, { #c.a.compactions, c.a:status().snapshot_index })
  end)

  it("is what a single server starts from", function()
    local c = Cluster.new { ids = { "a" }, settings = { trailing_entries = 1 } }
    c:advance(3 * T)
    for i = 1, 5 do
      c.a:propose("x" .. i)
      c:settle()
    end
    c.a:take_snapshot()
    c:settle()
    c.a:restart()
    c:settle()
    c:advance(3 * T)
    c.a:propose "y"
    c:settle()
    assert.same({ 6, 6, 8 }, { c.a:status().snapshot_index, c.a:status().first_index, c.a.applied })
    c:close()
  end)
end)

describe("a leader, of a follower that needs what was compacted,", function()
  it("offers it the snapshot, and sends it as the follower wants it", function()
    local c = leader(9)
    local offer = ask(c)
    assert.same({ 0, "", 10 }, { offer.offset, offer.chunk, offer.meta.index })
    assert.equal(0, #c.a.chunk_reads) -- nothing is read before it is wanted
    want(c, offer, 0)
    read_all(c)
    local chunks = c:take("b", "install_snapshot")
    local snapshot = c.a.disk.snapshot
    assert.equal(snapshot.bytes, assembled(chunks))
    assert.is_true(chunks[#chunks].last)
    assert.is_false(chunks[1].last)
    installed(c, "b", 10)
    assert.same({ "replicate", 10, 11 }, { c.a:status().peers.b.progress, c.a:status().peers.b.match,
      c.a:status().peers.b.next })
    c.a:propose "more"
    assert.equal(10, c:take("b", "append")[1].prev_index)
  end)

  it("goes on where an earlier attempt ended", function()
    local c = leader(9)
    local offer = ask(c)
    want(c, offer, 17)
    read_all(c)
    assert.equal(17, c:take("b", "install_snapshot")[1].offset)
  end)

  it("keeps to its window, in chunks, one read at a time", function()
    local c = leader(9, { snapshot_chunk_bytes = 2, snapshot_window = 3 })
    local offer = ask(c)
    want(c, offer, 0)
    assert.equal(1, #c.a.chunk_reads)
    read_all(c)
    assert.equal(3, #c:take("b", "install_snapshot"))
    want(c, offer, 2)
    read_all(c)
    assert.equal(1, #c:take("b", "install_snapshot"))
    want(c, offer, 8)
    read_all(c)
    assert.equal(3, #c:take("b", "install_snapshot"))
    assert.equal(8, c.a:status().peers.b.snapshot_offset)
  end)

  it("begins a new attempt when a chunk is lost, and believes the old one no more", function()
    local c = leader(9, { snapshot_chunk_bytes = 4 })
    local offer = ask(c)
    want(c, offer, 0)
    read_all(c)
    c:take "b"
    want(c, offer, 4)
    want(c, offer, 4) -- said again: there is a gap
    local again = c:take("b", "install_snapshot")[1]
    assert.same({ "", offer.attempt + 1 }, { again.chunk, again.attempt })
    want(c, offer, 4)
    want(c, offer, 8)
    read_all(c)
    assert.equal(0, #c:take("b", "install_snapshot"))
    want(c, again, 4)
    read_all(c)
    assert.equal(4, c:take("b", "install_snapshot")[1].offset)
  end)

  it("begins a new attempt when it hears nothing, however often it speaks", function()
    local c = leader(9)
    ask(c)
    for i = 1, 5 do c.a:read(i) end
    assert.equal(0, #c:take("b", "install_snapshot"))
    c:ack("c", "a", 10)
    for _ = 1, 3 do
      c.now_us = c.now_us + HEARTBEAT
      c.a:timer()
    end
    assert.equal(1, #c:take("b", "install_snapshot"))
  end)

  it("waits longer for each answer that has not come, so that one that is slow still counts", function()
    local c = leader(9)
    local offers, sent = { ask(c) }, { 0 }
    for beat = 1, 40 do
      c.now_us = c.now_us + HEARTBEAT
      c:ack("c", "a", 10)
      c.a:timer()
      for _, offer in ipairs(c:take("b", "install_snapshot")) do
        offers[#offers + 1], sent[#sent + 1] = offer, beat
      end
      if #offers > 0 and sent[#sent] + 5 == beat then want(c, offers[#offers], 4) end -- five heartbeats on the way
      if #c.a.chunk_reads > 0 then break end
    end
    assert.same({ 0, 2, 6 }, sent)
    read_all(c)
    assert.equal(4, c:take("b", "install_snapshot")[1].offset)
  end)

  it("sends into the dark nothing but offers, and goes on with the same snapshot when it is heard", function()
    local c = leader(9)
    local offer = ask(c)
    want(c, offer, 0)
    c.a:answer_chunk_read()
    want(c, offer, 10)
    c:take "b"
    c.a:unreachable "b"
    c.a:propose "later"
    c.a:persist()
    c:ack("c", "a", 11)
    applied(c)
    c.a:take_snapshot()
    assert.equal(0, #c:take("b", "install_snapshot"))
    c.now_us = c.now_us + 2 * HEARTBEAT
    c.a:timer()
    local again = c:take("b", "install_snapshot")[1]
    assert.same({ "", 10 }, { again.chunk, again.meta.index })
    want(c, again, 10)
    read_all(c)
    assert.equal(10, c:take("b", "install_snapshot")[1].offset)
  end)

  it("does not compact what follows a snapshot on its way, and keeps it until it has arrived (bug 32)", function()
    local c = leader(9)
    local offer = ask(c)
    want(c, offer, 0)
    c.a:compact()
    for i = 1, 5 do
      c.a:propose("y" .. i)
      c.a:persist()
      c:ack("c", "a", 10 + i)
      applied(c)
      c.a:take_snapshot()
    end
    while #c.a.compactions > 0 do c.a:compact() end
    assert.same({ 11, 15 }, { c.a:status().first_index, c.a:status().snapshot_index })
    read_all(c)
    assert.equal(c.a.disk.snapshots[10].bytes, assembled(c:take("b", "install_snapshot")))
    installed(c, "b", 10)
    assert.equal(11, c:take("b", "append")[1].entries[1].index)
    assert.same({ type = "compact", up_to = 10, snapshot_from = 15 }, c.a.compactions[1])
    c:ack("b", "a", 13) -- it has not caught up
    assert.equal(14, c.a:status().first_index)
    c:ack("b", "a", 15)
    assert.equal(16, c.a:status().first_index)
  end)

  it("gives up on one that has been silent for long, and begins with the newest when it is back", function()
    local c = leader(9)
    ask(c)
    c.a:compact()
    c.a:propose "later"
    c.a:persist()
    c:ack("c", "a", 11)
    applied(c)
    c.a:take_snapshot()
    assert.equal(11, c.a:status().first_index)
    for _ = 1, 11 * T // HEARTBEAT do
      c.now_us = c.now_us + HEARTBEAT
      c:ack("c", "a", 11)
      c.a:timer()
    end
    assert.same({ "probe", 12 }, { c.a:status().peers.b.progress, c.a:status().first_index })
    c:take "b"
    c.a:receive { type = "append_result", from = "b", term = 1, success = false, prev_index = 11, last_index = 0,
      conflict_index = 1 }
    assert.equal(11, c:take("b", "install_snapshot")[1].meta.index)
  end)

  it("tries again later where it is refused, and with another snapshot where one cannot be read", function()
    local c = leader(9)
    local offer = ask(c)
    c.a:receive { type = "snapshot_result", from = "b", term = 1, status = REFUSED, index = 10, snapshot_term = 1,
      attempt = offer.attempt }
    assert.equal(0, #c:take("b", "install_snapshot"))
    c.now_us = c.now_us + 2 * HEARTBEAT
    c.a:timer()
    offer = c:take("b", "install_snapshot")[1]
    want(c, offer, 0)
    c.a:answer_chunk_read ""
    assert.equal(0, #c:take("b", "install_snapshot"))
    c.now_us = c.now_us + 2 * HEARTBEAT
    c.a:timer()
    assert.equal("", c:take("b", "install_snapshot")[1].chunk)
  end)

  it("ends a transfer when an append shows that it is not needed", function()
    local c = leader(9)
    ask(c)
    c:ack("b", "a", 10)
    assert.same({ "replicate", 11 }, { c.a:status().peers.b.progress, c.a:status().peers.b.next })
  end)

  it("is not led astray by answers about other snapshots, terms and attempts", function()
    local c = leader(9)
    local offer = ask(c)
    for _, fields in ipairs { { index = 9 }, { attempt = 99 }, { offset = 1000 }, { from = "x" }, { term = 0 } } do
      local message = { type = "snapshot_result", from = "b", term = 1, status = WANTED, index = 10,
        snapshot_term = 1, attempt = offer.attempt, offset = 5 }
      for name, value in pairs(fields) do message[name] = value end
      c.a:receive(message)
      assert.equal(0, #c.a.chunk_reads)
    end
    installed(c, "b", 11)
    assert.equal("snapshot", c.a:status().peers.b.progress)
  end)
end)

describe("a follower that is sent a snapshot", function()
  local log, configuration, snapshot = scene.log, scene.configuration, scene.snapshot

  it("takes it chunk by chunk, installs it, and goes on by appends", function()
    collectgarbage() -- the cores of other stories
    local blobs = require "moonclave.core".blobs()
    local c = follower {}
    send_all(c, 2, snapshot)
    assert.equal(5, c.a:status().installing_index)
    assert.equal(1, #c.a.installs)
    assert.equal(WANTED, answer(c).status)
    c.a:install()
    assert.same({ 5, 5, 5, 6, 5 }, { c.a:status().snapshot_index, c.a:status().last_index,
      c.a:status().commit_index, c.a:status().first_index, c.a:status().applied_index })
    local result = answer(c)
    assert.same({ INSTALLED, 5 }, { result.status, result.match })
    c:append("b", "a", 2, log, 5, 1, { commit = 6 })
    c.a:persist()
    assert.equal(6, c.a.applied)
    c.a:restart()
    assert.same({ 5, 6, 5 }, { c.a:status().snapshot_index, c.a:status().last_index, c.a:status().commit_index })
    c:close()
    assert.equal(blobs, require "moonclave.core".blobs())
  end)

  it("says no earlier than written how far it is", function()
    local c = follower {}
    c:chunk("b", "a", 2, snapshot, 1)
    c.a:persist()
    assert.is_nil(answer(c))
    c.a:write_chunk()
    assert.same({ WANTED, 0 }, { answer(c).status, c.a.disk.incoming.bytes and 0 })
    c:chunk("b", "a", 2, snapshot, 1, 0, 7)
    c:chunk("b", "a", 2, snapshot, 1, 7, 7)
    assert.is_nil(answer(c))
    c.a:write_chunk()
    assert.equal(7, answer(c).offset)
  end)

  it("takes chunks in their order only, and tells of gaps", function()
    local c = follower {}
    c:chunk("b", "a", 2, snapshot, 1)
    c.a:persist()
    c.a:write_chunk()
    answer(c)
    c:chunk("b", "a", 2, snapshot, 1, 7, 7)
    assert.equal(0, answer(c).offset)
    c:chunk("b", "a", 2, snapshot, 1, 0, 7)
    c:chunk("b", "a", 2, snapshot, 1, 0, 7)
    c:chunk("b", "a", 2, snapshot, 2, 7, 7) -- of an attempt that has not been offered
    assert.equal(1, #c.a.chunk_writes)
  end)

  it("keeps what it has of the same snapshot across attempts, leaders and restarts", function()
    local c = follower {}
    c:chunk("b", "a", 2, snapshot, 1)
    c.a:persist()
    c.a:write_chunk()
    c:chunk("b", "a", 2, snapshot, 1, 0, 9)
    c.a:write_chunk()
    c:chunk("b", "a", 2, snapshot, 2)
    c.a:write_chunk()
    assert.equal(9, answer(c).offset)
    c.a:restart()
    c:chunk("c", "a", 3, snapshot, 1)
    c.a:persist()
    c.a:write_chunk()
    assert.equal(9, c:take("c", "snapshot_result")[1].offset)
    local other = Cluster.snapshot_of(log, 6, configuration)
    c:chunk("c", "a", 3, other, 2)
    c.a:write_chunk()
    assert.equal(0, c:take("c", "snapshot_result")[1].offset)
  end)

  it("does not take an answer about one snapshot's chunk for another's", function()
    local c = follower {}
    local long = Cluster.snapshot_of(log, 4, configuration)
    local short = Cluster.snapshot_of(log, 6, configuration)
    assert(#short.bytes < #long.bytes)
    c:chunk("b", "a", 2, long, 1)
    c.a:persist()
    c.a:write_chunk()
    c:chunk("b", "a", 2, long, 1, 0, #short.bytes)
    c:chunk("b", "a", 2, short, 2, 5, 5) -- its offer was lost
    answer(c)
    c.a:write_chunk() -- as many bytes as the other one has
    assert.same({ 6, 0 }, { c.a:status().installing_index, #c.a.installs })
    assert.is_nil(answer(c))
    send_all(c, 2, short, 3)
    c.a:install()
    assert.equal(6, c.a:status().last_index)
  end)

  it("refuses where its disk is full, and begins again", function()
    local c = follower {}
    c:chunk("b", "a", 2, snapshot, 1)
    c.a:persist()
    c.a:fail_chunk()
    assert.equal(REFUSED, answer(c).status)
    send_all(c, 2, snapshot, 2)
    c.a:fail_install()
    assert.equal(REFUSED, answer(c).status)
    c:append("b", "a", 2, log, 0, 3) -- the log is not held up
    assert.equal(3, c.a:status().last_index)
    send_all(c, 2, snapshot, 3)
    c.a:persist()
    c.a:install()
    assert.equal(5, c.a:status().last_index)
  end)

  it("does not let its log change between the last byte and the install", function()
    local c = follower {}
    c:append("b", "a", 2, log, 0, 2)
    c:chunk("b", "a", 2, snapshot, 1)
    c.a:write_chunk()
    c:chunk("b", "a", 2, snapshot, 1, 0, #snapshot.bytes)
    c.a:write_chunk()
    assert.equal(0, #c.a.installs) -- the write of the append, and of the term, come first
    c.a:persist()
    assert.equal(1, #c.a.installs)
    c:append("b", "a", 2, log, 2, 4, { commit = 6 })
    assert.same({ 2, 0 }, { c.a:status().last_index, c.a:status().commit_index })
    c:timeout "a"
    assert.equal("follower", c.a:role())
    c.a:receive { type = "request_vote", from = "c", term = 7, last_index = 9, last_term = 6 }
    c.a:install()
    c.a:persist()
    assert.same({ 5, 7 }, { c.a:status().last_index, c.a.disk.term })
    assert.is_true(c:take("c", "vote")[1].granted)
  end)

  it("does not give up its log when it campaigns", function()
    local c = follower {}
    c:append("b", "a", 2, log, 0, 2)
    c.a:persist()
    c:chunk("b", "a", 2, snapshot, 1)
    c.a:write_chunk()
    c:chunk("b", "a", 2, snapshot, 1, 0, #snapshot.bytes)
    c:timeout "a"
    assert.equal("pre-candidate", c.a:role())
    c.a:write_chunk()
    assert.equal(0, #c.a.installs)
    c:append("b", "a", 2, log, 2, 2)
    assert.equal(4, c.a:status().last_index)
    send_all(c, 2, snapshot, 2)
    c.a:persist()
    assert.equal(1, #c.a.installs)
  end)

  it("drops noise: chunks past the end, of no index, of later terms, damaged ones", function()
    local c = follower {}
    local function offer(fields, meta_fields)
      local meta = {}
      for name, value in pairs(snapshot.meta) do meta[name] = value end
      for name, value in pairs(meta_fields or {}) do meta[name] = value end
      local message = { type = "install_snapshot", from = "b", to = "a", term = 2, meta = meta, attempt = 1,
        offset = 0, chunk = "" }
      for name, value in pairs(fields) do message[name] = value end
      assert.equal("ok", (c.a:receive(message)))
      assert.equal(0, #c.a.chunk_writes)
    end
    offer({}, { index = 0 })
    offer({}, { term = 3 })
    offer({ offset = 3 })
    offer({ offset = 1000, chunk = "x" })
    offer({ chunk = snapshot.bytes .. "x" })
    offer({ checksum = 1 })
    offer({ chunk = "abc", checksum = 1 })
    assert.equal("corrupt", (c:chunk("b", "a", 2, { bytes = "x", meta = {
      index = 5, term = 1, size = 1, configuration = "no configuration" } }, 1)))
  end)

  it("tells a leader of old that its time is over, and stops before two of one term", function()
    local c = follower({}, { term = 9 })
    c:chunk("b", "a", 2, snapshot, 1)
    assert.same({ REFUSED, 9 }, { answer(c).status, c.a:status().term })
    c:chunk("b", "a", 9, snapshot, 1)
    assert.equal("corrupt", (c:chunk("c", "a", 9, snapshot, 1)))
  end)

end)

describe("a follower that was away for long", function()
  it("comes back through a snapshot, and the cluster goes on", function()
    local c = Cluster.new { ids = MEMBERS, settings = { snapshot_chunk_bytes = 3, snapshot_window = 2 } }
    c:elect "a"
    c:isolate "c"
    for i = 1, 10 do
      c.a:propose("x" .. i)
      c:settle()
      c.a:take_snapshot()
      c:settle()
    end
    c:advance(T // 2)
    c:heal()
    c:advance(6 * T)
    local leads = c:leader()
    leads:propose "y"
    c:settle()
    c:advance(2 * HEARTBEAT)
    assert.equal(leads.applied, c.c.applied)
    assert.is_true(c.c:status().snapshot_index > 0)
    c:close()
  end)
end)
