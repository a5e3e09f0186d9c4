-- A backup restored through the log: all replicas switch at one index or none does, whatever happens in between.
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local sessions = require "moonclave.sessions"
local support = require "host.snapshot_support"
local world = require "host.world"
local NEVER, lone, write = support.NEVER, support.lone, support.write

local function cluster(settings)
  local w = world.new { nodes = 3, settings = settings or NEVER }
  w:bootstrap()
  w:elect "n1"
  w:settle()
  return w
end

-- The node's state as a backup has it: { meta, bytes }.
local function backup_of(w, node)
  node = node or w.n1
  node:admin "snapshot"
  w:settle()
  local found = node.disk.snapshots[node.disk.snapshot.index]
  return { meta = found.meta, bytes = found.bytes, cluster = node.disk.cluster }
end

-- One step, asked of a node; what it was told: code, body.
local function step(w, node, ...)
  local ticket = node:submit(base.pack { "restore", { ... } }, { kind = "admin", timeout_ms = 60000 })
  w:settle()
  if #w.nodes > 1 then w:advance(150) end -- the others hear of the commit
  return node:told(ticket)
end

local function begin(w, backup, node, nonce)
  local code, body = step(w, node or w.n1, "begin", nonce or 7, backup.cluster, formats.meta_encode(backup.meta))
  return body.id, code, body
end

local function send(w, backup, id, node, from, to, piece)
  from, to, piece = from or 0, to or #backup.bytes, piece or 100
  while from < to do
    local size = math.min(piece, to - from)
    local code, body = step(w, node or w.n1, "chunk", id, from, backup.bytes:sub(from + 1, from + size))
    if code ~= "ok" then return code, body end
    from = from + size
    assert.equal(from, body.bytes)
  end
  return "ok"
end

local function restore(w, backup, node)
  local id = begin(w, backup, node)
  local sent, why = send(w, backup, id, node)
  assert.equal("ok", sent, why and why.message)
  local code, body = step(w, node or w.n1, "commit", id)
  assert.equal("ok", code, body.message)
  return body.index, id
end

local function bodies(node)
  local list = {}
  for i, command in ipairs(node.machine.commands) do list[i] = command.body:match "^put %d+" or command.body end
  return table.concat(list, ",")
end

local function all_agree(w)
  if #w.nodes > 1 then w:advance(150) end
  local first = w.n1.host:status()
  for _, node in ipairs(w.nodes) do
    if node.host then
      local status = node.host:status()
      assert.same({ first.applied_index, first.chain, first.state_hash, first.app.version },
        { status.applied_index, status.chain, status.state_hash, status.app.version })
    end
  end
end

local function down(w, node)
  node:crash()
  for _, other in ipairs(w.nodes) do if other ~= node then w:lose(node.id, other.id) end end
end

local function up(w, node)
  node:start()
  w:connect_all()
  w:advance(500)
end

local function payloads(node)
  local list = {}
  for _, bytes in ipairs(node.disk.entries) do
    local entry = bytes ~= "" and formats.entry_decode(bytes)
    if entry and entry.type == 8 then list[#list + 1] = entry.payload end
  end
  return list
end

describe("a restore through the log", function()
  it("switches all replicas at the commit, and the log goes on", function()
    local w <close> = cluster()
    write(w, 5)
    local backup = backup_of(w)
    write(w, 3)
    local before = w.n2.host:status()
    local index = restore(w, backup)
    assert.is_true(index > before.applied_index)
    for _, node in ipairs(w.nodes) do
      assert.equal("put 1,put 2,put 3,put 4,put 5", bodies(node))
      assert.equal(index, node.machine.taken_at.index)
      assert.equal(index, node.host:status().app.version)
      assert.equal(2, #node.loaded) -- what serves clients is told of the app again
      assert.is_nil(node.machine.staged)
    end
    all_agree(w)
    write(w, 1)
    all_agree(w)
    assert.equal("put 1,put 2,put 3,put 4,put 5,put 1", bodies(w.n3))
  end)

  it("is written as the page says", function()
    local w <close> = lone()
    write(w, 1)
    local backup = backup_of(w)
    local meta = formats.meta_encode(backup.meta)
    local id = begin(w, backup)
    step(w, w.n1, "chunk", id, 0, "\xff")
    id = begin(w, backup) -- what was no tree has ended the first one
    send(w, backup, id, nil, 0, nil, 1 << 20)
    step(w, w.n1, "commit", id)
    step(w, w.n1, "abort", 300)
    local found = payloads(w.n1)
    local function hex(text) return (text:gsub("..", function(two) return string.char(tonumber(two, 16)) end)) end
    local numbers = base.pack(backup.cluster)
    assert.equal(hex "94a5626567696e07" .. numbers .. base.pack(meta), found[1])
    assert.equal(hex "94a56368756e6b" .. base.pack(id - 2) .. hex "00c401ff", found[2])
    assert.equal(hex "92a6636f6d6d6974" .. base.pack(id), found[5])
    assert.equal(hex "92a561626f7274cd012c", found[6])
  end)

  it("takes pieces of any size, twice and overlapping, and none behind a gap", function()
    local w <close> = lone()
    write(w, 4)
    local backup = backup_of(w)
    local id = begin(w, backup)
    assert.equal("ok", (send(w, backup, id, nil, 0, 50, 7)))
    assert.equal("ok", (send(w, backup, id, nil, 0, 50, 50)))
    local code, body = step(w, w.n1, "chunk", id, 60, "x")
    assert.equal("conflict", code)
    assert.matches("bytes from 50 on are next", body.message)
    code, body = step(w, w.n1, "commit", id)
    assert.equal("conflict", code)
    assert.matches("only 50 of its", body.message)
    code, body = step(w, w.n1, "chunk", id, 40, backup.bytes:sub(41, 80))
    assert.equal("ok", code)
    assert.equal(80, body.bytes)
    assert.equal(80, w.n1.host:status().snapshot.staged)
    send(w, backup, id, nil, 80)
    assert.equal("ok", (step(w, w.n1, "commit", id)))
    assert.equal("put 1,put 2,put 3,put 4", bodies(w.n1))
  end)

  it("is the only one; the same question again is the same restore", function()
    local w <close> = lone()
    write(w, 2)
    local backup = backup_of(w)
    local id = begin(w, backup, nil, 7)
    local again, code, body = begin(w, backup, nil, 8)
    assert.is_nil(again)
    assert.equal("conflict", code)
    assert.matches("begun at index " .. id, body.message)
    assert.equal(id, begin(w, backup, nil, 7))
    assert.equal("not_found", (step(w, w.n1, "chunk", id + 1, 0, "x")))
    assert.equal("not_found", (step(w, w.n1, "commit", id + 1)))
    assert.equal("not_found", (step(w, w.n1, "abort", id + 1)))
    send(w, backup, id)
    local _, done = step(w, w.n1, "commit", id)
    local _, told = step(w, w.n1, "commit", id)
    assert.equal(done.index, told.index) -- not done a second time
    assert.is_true(begin(w, backup, nil, 8) > done.index)
  end)

  it("changes nothing when it is given up", function()
    local w <close> = cluster()
    write(w, 3)
    local backup = backup_of(w)
    write(w, 2)
    local hash = w.n1.host:status().state_hash
    local id = begin(w, backup)
    send(w, backup, id)
    assert.equal("ok", (step(w, w.n2, "abort", 0)))
    assert.equal("not_found", (step(w, w.n1, "commit", id)))
    assert.equal(hash, w.n1.host:status().state_hash)
    assert.equal("put 1,put 2,put 3,put 1,put 2", bodies(w.n3))
    assert.is_nil(w.n3.machine.staged)
    all_agree(w)
    backup_of(w) -- snapshots are taken again
  end)

  it("is refused where something in it is damaged, alike everywhere", function()
    local w <close> = cluster()
    write(w, 3)
    local sound = backup_of(w)
    write(w, 1)
    for _, at in ipairs { 3, #sound.bytes // 2, #sound.bytes - 3 } do
      local byte = string.char(sound.bytes:byte(at) ~ 1)
      local bytes = sound.bytes:sub(1, at - 1) .. byte .. sound.bytes:sub(at + 1)
      local damaged = { meta = sound.meta, cluster = 1, bytes = bytes }
      local id = begin(w, damaged, nil, at)
      local code, body = send(w, damaged, id)
      if code == "ok" then code, body = step(w, w.n1, "commit", id) end
      assert.equal("bad_request", code)
      assert.matches("nothing has changed", body.message)
      assert.equal("not_found", (step(w, w.n1, "commit", id)))
      for _, node in ipairs(w.nodes) do
        assert.equal("put 1,put 2,put 3,put 1", bodies(node))
        assert.is_nil(node.machine.staged)
        assert.is_nil(node.fatal)
      end
      all_agree(w)
    end
    local longer = { meta = sound.meta, cluster = 1, bytes = sound.bytes .. "x" }
    assert.equal("bad_request", (send(w, longer, (begin(w, longer, nil, 99)))))
  end)

  it("is refused by the leader where a newer program made it, or where it is no such request", function()
    local w <close> = lone()
    write(w, 1)
    local backup = backup_of(w)
    local last = w.n1.host:status().last_index
    local meta = formats.meta_encode(backup.meta)
    assert.equal("version", (step(w, w.n1, "begin", 1, 1, "\2" .. meta:sub(2))))
    assert.equal("bad_request", (step(w, w.n1, "begin", 1, 1, meta:sub(1, -2) .. "?")))
    assert.equal("bad_request", (step(w, w.n1, "begin", 1, 1)))
    assert.equal("bad_request", (step(w, w.n1, "stop", 1)))
    assert.equal("bad_request", (step(w, w.n1, "commit", -1)))
    assert.equal("bad_request", (step(w, w.n1, "chunk", 1, 0, 5)))
    assert.equal(last, w.n1.host:status().last_index)
  end)

  it("in a way that this program does not know ends the node", function()
    local w <close> = lone()
    write(w, 1)
    local status = w.n1.host:status()
    local last = formats.entry_decode(w.n1.disk.entries[#w.n1.disk.entries])
    local entry = { type = 8, flags = 0, term = status.term, index = status.last_index + 1, time_ms = last.time_ms,
      seed = 1, session = 0, sequence = 0, payload = base.pack { "merge", 1 } }
    entry.chain = formats.entry_chain(entry, last.chain)
    w.n1:crash()
    w.n1.disk.entries[#w.n1.disk.entries + 1] = formats.entry_encode(entry)
    w.n1:start()
    support.until_fatal(w)
    assert.equal("version", w.n1.fatal.code)
    assert.matches("a newer one does", w.n1.fatal.text)
  end)
end)

describe("in the middle of a restore", function()
  it("another leader goes on with it", function()
    local w <close> = cluster()
    write(w, 4)
    local backup = backup_of(w)
    write(w, 2)
    local id = begin(w, backup)
    send(w, backup, id, nil, 0, 150, 50)
    down(w, w.n1)
    w:elect "n2"
    w:settle()
    send(w, backup, id, w.n3, 100) -- what was perhaps lost is sent again, by way of a follower
    local code = step(w, w.n3, "commit", id)
    assert.equal("ok", code)
    assert.equal("put 1,put 2,put 3,put 4", bodies(w.n2))
    up(w, w.n1)
    assert.equal("put 1,put 2,put 3,put 4", bodies(w.n1))
    all_agree(w)
  end)

  it("no snapshot is taken; whoever starts again has all of it in the log", function()
    local w <close> = cluster { snapshot_log_bytes = 1, trailing_entries = 0, snapshot_chunk_bytes = 1 << 20 }
    write(w, 4)
    local backup = backup_of(w)
    write(w, 1)
    local id = begin(w, backup)
    local newest = w.n2.disk.snapshot.index
    send(w, backup, id, nil, 0, 120, 10)
    write(w, 1)
    assert.is_true(newest < id)
    assert.equal(newest, w.n2.disk.snapshot.index)
    local ticket = w.n2:admin "snapshot"
    w:settle()
    local code, body = w.n2:told(ticket)
    assert.equal("unavailable", code)
    assert.matches("a backup is being restored", body.message)
    down(w, w.n2)
    up(w, w.n2)
    assert.equal(120, w.n2.host:status().snapshot.staged)
    send(w, backup, id, nil, 120)
    step(w, w.n1, "commit", id)
    for _, node in ipairs(w.nodes) do assert.equal("put 1,put 2,put 3,put 4", bodies(node)) end
    assert.is_true(w.n2.disk.snapshot.index > id) -- as soon as it was over
    all_agree(w)
  end)

  it("one that is given a snapshot of before it finds it in the log", function()
    local w <close> = cluster { snapshot_log_bytes = 1 << 40, trailing_entries = 0, snapshot_chunk_bytes = 1 << 20 }
    write(w, 2)
    down(w, w.n3)
    write(w, 3)
    local backup = backup_of(w)
    write(w, 1)
    local id = begin(w, backup)
    send(w, backup, id, nil, 0, 100)
    up(w, w.n3)
    assert.equal(100, w.n3.host:status().snapshot.staged)
    assert.equal(1, w.n3:logged "starts from the snapshot")
    send(w, backup, id, nil, 100)
    step(w, w.n1, "commit", id)
    assert.equal("put 1,put 2,put 1,put 2,put 3", bodies(w.n3))
    all_agree(w)
  end)

  it("a snapshot that was being written is given up at the commit, and taken anew for who waits for it", function()
    local w <close> = lone()
    write(w, 3)
    local backup = backup_of(w)
    write(w, 60, 8000)
    local ticket = w.n1:admin "snapshot"
    w.n1:turn() -- it has begun, and no disk has done anything
    w.n1.host:submit(1000, { kind = "admin", timeout_ms = 60000,
      body = base.pack { "restore", { "begin", 7, 1, formats.meta_encode(backup.meta) } } })
    w.n1.asked[1000] = true
    w.n1:turn()
    w.n1:flush()
    w.n1:turn()
    local id = base.unpack(w.n1.replies[1000].body).id
    for i, arguments in ipairs { { "chunk", id, 0, backup.bytes }, { "commit", id } } do
      w.n1.asked[1000 + i] = true
      w.n1.host:submit(1000 + i, { kind = "admin", timeout_ms = 60000, body = base.pack { "restore", arguments } })
      w.n1:turn()
      w.n1:flush()
      w.n1:turn()
      assert.equal("ok", w.n1.replies[1000 + i].code)
    end
    assert.is_nil(w.n1:told(ticket))
    w:settle()
    local code, body = w.n1:told(ticket)
    assert.equal("ok", code)
    assert.equal(w.n1.host:status().applied_index, body.index)
    w.n1:crash()
    w.n1:start()
    w:settle()
    assert.equal("put 1,put 2,put 3", bodies(w.n1))
  end)

  it("silence gives it up, by the replicated clock", function()
    local w <close> = cluster()
    write(w, 3)
    local backup = backup_of(w)
    local id = begin(w, backup)
    w.wall = w.wall + 119999
    assert.equal("ok", (send(w, backup, id, nil, 0, 100)))
    w.wall = w.wall + 119999
    write(w, 1)
    assert.equal(100, w.n2.host:status().snapshot.staged)
    w.wall = w.wall + 1
    write(w, 1)
    w:advance(150)
    for _, node in ipairs(w.nodes) do
      assert.equal(0, node.host:status().snapshot.staged)
      assert.is_nil(node.machine.staged)
      assert.equal(1, node:logged "gives up the restore")
    end
    assert.equal("not_found", (step(w, w.n1, "chunk", id, 100, "x")))
    all_agree(w)
  end)
end)

describe("what is restored", function()
  it("outlives a start from a snapshot, and so does what is told of it", function()
    local w <close> = lone()
    write(w, 3)
    local backup = backup_of(w)
    write(w, 2)
    local index, id = restore(w, backup)
    write(w, 1)
    backup_of(w)
    w.n1:crash()
    w.n1:start()
    w:elect "n1"
    w:settle()
    assert.equal("put 1,put 2,put 3,put 1", bodies(w.n1))
    assert.equal(index, w.n1.host:status().app.version)
    local code, body = step(w, w.n1, "commit", id)
    assert.equal("ok", code)
    assert.equal(index, body.index)
  end)

  it("ends sessions, and keeps the keys of the backup only", function()
    local w <close> = cluster()
    local function keyed(name, body)
      local session, sequence = sessions.key(name)
      local ticket = w.n1:submit(body, { kind = "keyed", session = session, sequence = sequence })
      w:settle()
      return w.n1:answer(ticket)
    end
    local function in_session(session, sequence, body)
      local ticket = w.n1:submit(body, { session = session, sequence = sequence })
      w:settle()
      return w.n1:answer(ticket)
    end
    local function open()
      local ticket = w.n1:submit(sessions.body "open", { kind = "session" })
      w:settle()
      return select(2, w.n1:told(ticket)).session
    end
    local old = open()
    in_session(old, 1, "put in old")
    local first = keyed("before", "put before")
    local backup = backup_of(w)
    local young = open()
    in_session(young, 1, "put in young")
    keyed("after", "put after")
    restore(w, backup)
    assert.equal("session_expired", in_session(old, 1, "put in old"))
    assert.equal("session_expired", in_session(old, 2, "put in old again"))
    assert.equal("session_expired", in_session(young, 1, "put in young"))
    assert.equal(first, keyed("before", "put before")) -- it is in the state: not done again
    assert.equal("ok done 3 put after", keyed("after", "put after")) -- it was not: done
    w:advance(150)
    assert.equal("put in old,put before,put after", bodies(w.n2))
    assert.is_true(open() > young)
    all_agree(w)
    local status = w.n2.host:status().sessions
    assert.same({ 1, 2 }, { status.open, status.keys })
  end)

  it("never sets the replicated clock back, and sets it forward", function()
    local w <close> = lone()
    write(w, 1)
    local early = backup_of(w)
    w.wall = w.wall + 100000000
    write(w, 1)
    local late = backup_of(w)
    restore(w, early)
    assert.is_true(w.n1.host:status().time_ms >= w.wall)
    local other <close> = lone()
    write(other, 1)
    restore(other, late)
    assert.equal(w.wall, other.n1.host:status().time_ms)
    write(other, 1)
    assert.equal(w.wall, other.n1.host:status().time_ms)
    other.wall = w.wall + 5
    write(other, 1)
    assert.equal(w.wall + 5, other.n1.host:status().time_ms)
  end)

  it("brings app and settings into a cluster that has none", function()
    local from <close> = lone { snapshot_log_bytes = 1 << 40, trailing_entries = 0, snapshot_chunk_bytes = 1 << 20,
      session_window = 5 }
    write(from, 3)
    local backup = backup_of(from)
    local w <close> = world.new { nodes = 3, settings = NEVER }
    for _, node in ipairs(w.nodes) do node.options.bundle = "" end
    w:bootstrap()
    w:elect "n1"
    w:settle()
    assert.is_false(w.n1.host:status().app.loaded)
    restore(w, backup)
    for _, node in ipairs(w.nodes) do
      assert.equal("put 1,put 2,put 3", bodies(node))
      assert.equal("BUNDLE", node.machine.bundle)
      assert.is_true(node.host:status().app.loaded)
      assert.equal(5, node.settings.session_window) -- whoever runs the node is told
    end
    local ticket = w.n1:submit(sessions.body "open", { kind = "session" })
    w:settle()
    assert.equal(5, select(2, w.n1:told(ticket)).window)
    all_agree(w)
  end)

  it("leaves a cluster its own settings", function()
    local from <close> = lone { snapshot_log_bytes = 1 << 40, trailing_entries = 0, snapshot_chunk_bytes = 1 << 20,
      session_window = 5 }
    write(from, 3)
    local w <close> = lone()
    restore(w, backup_of(from))
    local ticket = w.n1:submit(sessions.body "open", { kind = "session" })
    w:settle()
    assert.equal(128, select(2, w.n1:told(ticket)).window)
  end)

  it("is nothing where the app in it does not load", function()
    local from <close> = world.new { nodes = 1, settings = NEVER }
    from.n1.options.bundle = "BROKEN"
    from:bootstrap()
    from:elect "n1"
    from:settle()
    local w <close> = lone()
    write(w, 2)
    local backup = backup_of(from)
    local code, body = send(w, backup, (begin(w, backup)))
    assert.equal("script_error", code)
    assert.matches("did not load there either", body.message)
    assert.equal("put 1,put 2", bodies(w.n1))
    assert.equal(0, w.n1.host:status().snapshot.staged)
  end)

  it("heals a cluster whose app does not load", function()
    local from <close> = lone()
    write(from, 2)
    local w <close> = world.new { nodes = 3, settings = NEVER }
    for _, node in ipairs(w.nodes) do node.options.bundle = "BROKEN" end
    w:bootstrap()
    w:elect "n1"
    w:settle()
    restore(w, backup_of(from))
    write(w, 1)
    all_agree(w)
    for _, node in ipairs(w.nodes) do assert.equal("put 1,put 2,put 1", bodies(node)) end
  end)
end)

describe("a backup of a node", function()
  local function ask(node, stale)
    return node:submit(base.pack { "backup", {} }, { kind = "admin", timeout_ms = 60000, stale = stale })
  end

  it("of a follower holds all that was acknowledged before it was asked for", function()
    local w <close> = cluster()
    write(w, 2)
    w:isolate "n2"
    local ticket = w.n1:submit "put late"
    w:settle()
    assert.matches("^ok", w.n1:answer(ticket)) -- by n1 and n3
    local asked, stale = ask(w.n2), ask(w.n2, true)
    w.n2:turn()
    w.n2:work()
    w:settle()
    assert.is_nil(w.n2:told(asked)) -- it cannot know
    local _, older = w.n2:told(stale)
    w:heal "n2"
    w:advance(1000)
    local code, body = w.n2:told(asked)
    assert.equal("ok", code)
    assert.is_true(body.index > older.index)
    assert.equal(w.n1.host:status().applied_index, body.index)
    assert.same(formats.meta_encode(w.n2.disk.snapshot), body.meta)
    assert.equal(w.n2.disk.cluster, body.cluster)
  end)

  it("is the newest snapshot where nothing has come since, also after a start", function()
    local w <close> = lone()
    write(w, 3)
    local first, again = ask(w.n1), nil
    w:settle()
    again = ask(w.n1)
    w:settle()
    assert.same({ w.n1:told(first) }, { w.n1:told(again) })
    w.n1:crash()
    w.n1:start()
    w:elect "n1"
    w:settle()
    local stale = ask(w.n1, true)
    w:settle()
    local _, before = w.n1:told(again)
    assert.is_nil(before)
    local code, body = w.n1:told(stale)
    assert.equal("ok", code)
    assert.equal(formats.meta_encode(w.n1.disk.snapshot), body.meta)
  end)
end)
