-- Edges of a snapshot that comes in: what is answered once, what is another snapshot, what changes nothing any more.
-- Each was a guard that nothing else missed (scripts/mutants).
local Cluster = require "support.raft_cluster"
local WANTED, INSTALLED, REFUSED = Cluster.WANTED, Cluster.INSTALLED, Cluster.REFUSED

local MEMBERS = { "a", "b", "c" }
local log = Cluster.log { 1, 1, 1, 2, 2, 2 }
local configuration = Cluster.configuration(MEMBERS)
local snapshot = Cluster.snapshot_of(log, 5, configuration)
local half = #snapshot.bytes // 2

-- a, alone among played peers, with this log; as a follower of b in a term of its own.
local function follower(mine, options)
  options = options or {}
  return Cluster.new { ids = MEMBERS, run = { "a" }, settings = options.settings,
    disks = { a = { log = mine, term = options.term } } }
end

local function answers(c, from)
  return c:take(from or "b", "snapshot_result")
end

-- One that has been offered the snapshot by b in term 2, attempt 1, and has said that it has nothing of it.
local function offered(mine, options)
  local c = follower(mine or {}, options)
  c:chunk("b", "a", 2, snapshot, 1)
  c.a:persist()
  c.a:write_chunk()
  assert.same({ WANTED, 0 }, { answers(c)[1].status, #c.a.disk.incoming.bytes })
  return c
end

-- All of it has been given out to be written.
local function given(mine, options)
  local c = offered(mine, options)
  c:chunk("b", "a", 2, snapshot, 1, 0, #snapshot.bytes)
  assert.equal(1, #c.a.chunk_writes)
  return c
end

describe("an offer", function()
  it("of a leader in a later term is taken, though another one led the follower before", function()
    local c = offered()
    assert.equal("ok", (c:chunk("c", "a", 3, snapshot, 1)))
    assert.same({ "c", 3 }, { c.a:status().leader, c.a:status().term })
    c.a:persist()
    c.a:write_chunk()
    assert.equal(WANTED, answers(c, "c")[1].status)
  end)

  it("of the same leader in a later term brings the term, and its attempts are counted anew", function()
    local c = follower {}
    c:chunk("b", "a", 2, snapshot, 7)
    c.a:persist()
    c.a:write_chunk()
    answers(c)
    c:chunk("b", "a", 3, snapshot, 1) -- it was restarted, and leads again
    assert.same({ 3, 1 }, { c.a:status().term, #c.a.chunk_writes })
    c.a:persist()
    c.a:write_chunk()
    local answer = answers(c)[1]
    assert.same({ 3, 1, WANTED }, { answer.term, answer.attempt, answer.status })
  end)

  it("does not end what the follower has asked of its leader", function()
    local c = offered()
    c.a:read(1, "round", true)
    local question = c:take("b", "read_index")[1]
    c:chunk("b", "a", 2, snapshot, 1, 0, half)
    c:chunk("b", "a", 2, snapshot, 2)
    assert.is_nil(c.a.reads[1])
    c.a:receive { type = "read_index_result", from = "b", term = 2, identity = question.identity, success = true,
      index = 5 }
    assert.equal(5, c.a.reads[1])
  end)

  it("that comes twice, or after a newer one, is asked of the disk once", function()
    local c = offered()
    for _, attempt in ipairs { 1, 3, 3, 2 } do c:chunk("b", "a", 2, snapshot, attempt) end
    assert.equal(1, #c.a.chunk_writes)
    c.a:write_chunk()
    local answer = answers(c)
    assert.same({ 1, 3 }, { #answer, answer[1].attempt })
  end)

  it("of a snapshot that differs in anything is of another one, and the disk is asked about that", function()
    local other = { index = 6, term = 1, chain = 1, format_level = 0, system_hash = 1, state_hash = 1,
      size = #snapshot.bytes + 1, configuration_index = 1, configuration = Cluster.configuration { "a", "b" } }
    for name, value in pairs(other) do
      local c = offered()
      local meta = {}
      for key, was in pairs(snapshot.meta) do meta[key] = was end
      assert.not_equal(meta[name], value)
      meta[name] = value
      c:chunk("b", "a", 2, { meta = meta, bytes = "" }, 1)
      assert.equal(1, #c.a.chunk_writes, name)
      assert.equal(value, c.a.chunk_writes[1].snapshot[name])
      c:close()
    end
  end)

  it("of no index or no term is answered by nothing at all", function()
    for _, name in ipairs { "index", "term" } do
      local c = follower {}
      local meta = {}
      for key, was in pairs(snapshot.meta) do meta[key] = was end
      meta[name] = 0
      c:chunk("b", "a", 2, { meta = meta, bytes = "" }, 1)
      c.a:persist()
      assert.same({ 0, 0, 0 }, { #c.a.chunk_writes, #answers(c), c.a:status().installing_index })
    end
  end)

  it("of a snapshot that has no bytes is all of it", function()
    local c = follower {}
    local meta = {}
    for key, was in pairs(snapshot.meta) do meta[key] = was end
    meta.size = 0
    c:chunk("b", "a", 2, { meta = meta, bytes = "" }, 1)
    c.a:persist()
    c.a:write_chunk()
    assert.equal(1, #c.a.installs)
  end)

  it("of where the follower's own snapshot ends is answered: it is here", function()
    local c = follower(log)
    c:append("b", "a", 2, log, 5, 0, { commit = 5 })
    c.a:event { type = "applied", index = 5 }
    c.a:take_snapshot()
    c.a:compact()
    assert.same({ 6, 5 }, { c.a:status().first_index, c.a:status().commit_index })
    c:take "b"
    c:chunk("b", "a", 2, snapshot, 1)
    assert.same({ 0, INSTALLED }, { #c.a.chunk_writes, answers(c)[1].status })
  end)

  it("of an entry that is in the log, but not on the disk yet, is answered once it is", function()
    local c = follower {}
    c:append("b", "a", 2, log, 0, 6)
    c:chunk("b", "a", 2, snapshot, 1)
    assert.equal(0, #c.a.chunk_writes)
    c.a:persist()
    assert.equal(0, #answers(c))
    c:chunk("b", "a", 2, snapshot, 2)
    local answer = answers(c)[1]
    assert.same({ INSTALLED, 6 }, { answer.status, answer.match })
  end)
end)

describe("a chunk", function()
  it("that comes before the disk has said what it has is not taken", function()
    local c = follower {}
    c:chunk("b", "a", 2, snapshot, 1)
    c:chunk("b", "a", 2, snapshot, 1, 0, half)
    assert.equal(1, #c.a.chunk_writes) -- the offer's
    c.a:persist()
    c.a:write_chunk()
    c:chunk("b", "a", 2, snapshot, 1, 0, half)
    assert.equal(half, #c.a.chunk_writes[1].bytes)
  end)

  it("from behind the end, or past it, is noise: no answer, no write", function()
    local c = offered()
    local function send(offset, chunk)
      c.a:receive { type = "install_snapshot", from = "b", term = 2, meta = snapshot.meta, attempt = 1,
        offset = offset, chunk = chunk }
      assert.same({ 0, 0 }, { #answers(c), #c.a.chunk_writes })
    end
    send(#snapshot.bytes + 1, "x")
    send(1000, "x")
    send(0, snapshot.bytes .. "x")
    c:chunk("b", "a", 2, snapshot, 1, 0, half)
    c.a:write_chunk()
    answers(c)
    send(half, snapshot.bytes:sub(half + 1) .. "x")
  end)

  it("is taken again from where the disk is, when that has less than it was given", function()
    local c = offered()
    c:chunk("b", "a", 2, snapshot, 1, 0, half)
    c:chunk("b", "a", 2, snapshot, 1, half, 5)
    c.a.disk.incoming.bytes = "" -- a file system came back without it
    table.remove(c.a.chunk_writes, 1)
    c.a:write_chunk()
    local answer = answers(c)
    assert.same({ WANTED, 0 }, { answer[#answer].status, answer[#answer].offset })
    c:chunk("b", "a", 2, snapshot, 1, 0, half)
    assert.same({ 1, 0, half }, { #c.a.chunk_writes, c.a.chunk_writes[1].offset, #c.a.chunk_writes[1].bytes })
  end)

  it("is not waited for where a later one is on its way to the disk", function()
    local c = offered()
    c:chunk("b", "a", 2, snapshot, 1, 0, 5)
    c:chunk("b", "a", 2, snapshot, 1, 5, 5)
    c.a:write_chunk()
    assert.equal(5, answers(c)[1].offset)
    c:chunk("b", "a", 2, snapshot, 1, 10, 5)
    assert.same({ 2, 10 }, { #c.a.chunk_writes, c.a.chunk_writes[2].offset })
    assert.equal(0, #answers(c))
  end)
end)

describe("what the disk says of a chunk", function()
  it("of a snapshot that is not needed any more is heard by nobody", function()
    local c = given()
    c:append("b", "a", 2, log, 0, 6, { commit = 6 })
    c.a:persist()
    c:chunk("b", "a", 2, snapshot, 2)
    assert.equal(INSTALLED, answers(c)[1].status)
    c.a:write_chunk()
    assert.same({ 0, 0, 6 }, { #answers(c), #c.a.installs, c.a:status().last_index })
    c:chunk("b", "a", 2, Cluster.snapshot_of(log, 5, configuration), 3)
    assert.equal(INSTALLED, answers(c)[1].status)
  end)

  it("of an older offer is not said of the newer one: neither that it has failed, nor how far it is", function()
    local c = follower {}
    c:chunk("b", "a", 2, snapshot, 1)
    c:chunk("b", "a", 2, snapshot, 2)
    c.a:persist()
    c.a:fail_chunk()
    assert.same({ 0, 5 }, { #answers(c), c.a:status().installing_index })
    c.a:write_chunk()
    local answer = answers(c)[1]
    assert.same({ WANTED, 2 }, { answer.status, answer.attempt })
  end)

  it("after all of it is there changes nothing, whatever it is", function()
    for _, before in ipairs { true, false } do
      local c = offered()
      c:append("b", "a", 2, log, 0, 1)
      c:chunk("b", "a", 2, snapshot, 1, 0, half)
      c:chunk("b", "a", 2, snapshot, 1, half, #snapshot.bytes)
      local first, last = c.a.chunk_writes[1], c.a.chunk_writes[2]
      c.a.chunk_writes, c.a.disk.incoming.bytes = {}, snapshot.bytes
      c.a:event { type = "chunk_written", token = last.token, offset = #snapshot.bytes }
      if before then c.a:persist() end -- the install is given out before, or after
      c:take "b"
      c.a:event { type = "chunk_written", token = first.token, offset = half }
      c.a:event { type = "chunk_written", token = first.token, offset = #snapshot.bytes }
      c.a:event { type = "snapshot_failed", token = first.token }
      c.a:persist()
      assert.same({ 0, 1 }, { #answers(c), #c.a.installs })
      c.a:install()
      assert.equal(INSTALLED, answers(c)[1].status)
      c:close()
    end
  end)

  it("is not told to a leader whose term is over", function()
    local c = offered()
    c:chunk("b", "a", 2, snapshot, 1, 0, half)
    c:append("c", "a", 3, log, 0, 0)
    c.a:persist()
    c.a:write_chunk()
    assert.same({ 0, 0 }, { #answers(c), #answers(c, "c") })
    c:chunk("c", "a", 3, snapshot, 1)
    c.a:write_chunk()
    assert.equal(half, answers(c, "c")[1].offset)
  end)

  it("is of no weight when an append has brought the last entry meanwhile", function()
    local c = given()
    c:append("b", "a", 2, log, 0, 6)
    c.a:persist()
    c.a:write_chunk()
    local answer = answers(c)[1]
    assert.same({ INSTALLED, 6, 0, 6 }, { answer.status, answer.match, #c.a.installs, c.a:status().last_index })
    assert.same({ 5, 0 }, { c.a:status().commit_index, c.a:status().installing_index })
  end)

  it("is told to nobody when the append that has brought it was another leader's", function()
    local c = given()
    c:append("c", "a", 3, log, 0, 6)
    c.a:persist()
    c.a:write_chunk()
    assert.same({ 0, 0, 0 }, { #answers(c), #answers(c, "c"), #c.a.installs })
    assert.same({ 6, 0 }, { c.a:status().last_index, c.a:status().commit_index })
  end)
end)

describe("an install", function()
  it("under way is not disturbed: by offers, chunks, or a newer snapshot", function()
    local c = given()
    c.a:write_chunk()
    assert.equal(1, #c.a.installs)
    c:take "b"
    local newer = Cluster.snapshot_of(log, 6, configuration)
    c:chunk("b", "a", 2, snapshot, 2)
    c:chunk("b", "a", 2, snapshot, 2, 0, half)
    c:chunk("b", "a", 2, newer, 3)
    assert.same({ 0, 0, 1, 5 }, { #answers(c), #c.a.chunk_writes, #c.a.installs, c.a:status().installing_index })
    c.a:install()
    assert.equal(INSTALLED, answers(c)[1].status)
    c:chunk("b", "a", 2, newer, 4)
    assert.equal(6, c.a.chunk_writes[1].snapshot.index)
  end)

  it("waits for a disk that was full, for what it refused is still to be written", function()
    local c = offered({}, { settings = { disk_retry_us = 1000 } })
    c:append("b", "a", 2, log, 0, 2)
    c.a:refuse()
    c:chunk("b", "a", 2, snapshot, 1, 0, #snapshot.bytes)
    c.a:write_chunk()
    assert.same({ true, 0 }, { c.a:status().disk_full, #c.a.installs })
    c.now_us = c.now_us + 1000
    c.a:timer()
    assert.equal(0, #c.a.installs)
    c.a:persist()
    assert.equal(1, #c.a.installs)
    c.a:install()
    assert.equal(5, c.a:status().last_index)
  end)

  it("that failed is the leader's to try again, and what was written is still there", function()
    local c = given()
    c.a:write_chunk()
    c:take "b"
    c.a:fail_install()
    local answer = answers(c)[1]
    assert.same({ REFUSED, 5, 1, 0 }, { answer.status, answer.index, answer.attempt, c.a:status().installing_index })
    c:chunk("b", "a", 2, snapshot, 2)
    c.a:write_chunk()
    c.a:install()
    assert.equal(5, c.a:status().last_index)
  end)
end)
