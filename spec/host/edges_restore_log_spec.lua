-- Edges of a restore through the log: what is a step, what ends a restore, and what ends the node. Most were a guard
-- that nothing else missed (scripts/mutants).
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local state = require "moonclave.state"
local support = require "host.snapshot_support"
local world = require "host.world"
local NEVER, lone, write = support.NEVER, support.lone, support.write

local RESTORE = 8

local function cluster(options)
  options = options or {}
  local w = world.new { nodes = options.nodes or 1, settings = options.settings or NEVER }
  for _, node in ipairs(w.nodes) do node.options.bundle = options.bundle end
  w:bootstrap()
  w:elect "n1"
  w:settle()
  return w
end

-- The state of n1 as a backup has it: { meta, bytes }.
local function backup_of(w)
  w.n1:admin "snapshot"
  w:settle()
  local found = w.n1.disk.snapshots[w.n1.disk.snapshot.index]
  return { meta = found.meta, bytes = found.bytes }
end

-- A backup of `count` commands.
local function backup(count, options)
  local from <close> = cluster(options)
  write(from, count)
  return backup_of(from)
end

local function with_meta(sound, changes)
  local meta = {}
  for k, v in pairs(sound.meta) do meta[k] = v end
  for k, v in pairs(changes) do meta[k] = v end
  return { meta = meta, bytes = changes.bytes or sound.bytes }
end

-- The backup with its first tree edited: edit(root); meta and hash are right again.
local function with_system(sound, edit)
  local restore, tree = state.restore(), state.new()
  local _, used = restore:feed(sound.bytes)
  assert(restore:finish(sound.meta.system_hash, tree))
  tree:begin()
  edit(tree:root())
  tree:commit()
  local bytes = tree:encode() .. sound.bytes:sub(used + 1)
  return with_meta(sound, { bytes = bytes, size = #bytes, system_hash = tree:hash() })
end

-- The backup with another tree in place of the sessions.
local function with_sessions(sound, edit)
  local first, second, tree = state.restore(), state.restore(), state.new()
  local _, system_size = first:feed(sound.bytes)
  local _, sessions_size = second:feed(sound.bytes:sub(system_size + 1))
  tree:begin()
  edit(tree:root())
  tree:commit()
  local changed = with_system(sound, function(root) root:put("sessions", tree:hash()) end)
  local bytes = changed.bytes:sub(1, -(#sound.bytes - system_size) - 1) .. tree:encode() ..
    sound.bytes:sub(system_size + sessions_size + 1)
  return with_meta(changed, { bytes = bytes, size = #bytes })
end

-- What n1 was told of one step, whose bytes these are: code, body.
local function raw(w, bytes)
  local ticket = w.n1:submit("\x92" .. base.pack "restore" .. bytes, { kind = "admin", timeout_ms = 60000 })
  w:settle()
  return w.n1:told(ticket)
end

local function step(w, ...) return raw(w, base.pack { ... }) end

local function begin(w, what, nonce)
  local code, body = step(w, "begin", nonce or 7, 1, formats.meta_encode(what.meta))
  assert.equal("ok", code)
  return body.id
end

-- All of it, up to what it is told at the end: code, body.
local function restore(w, what)
  local id = begin(w, what)
  local code, body = step(w, "chunk", id, 0, what.bytes)
  if code ~= "ok" then return code, body end
  return step(w, "commit", id)
end

local function staged(w) return w.n1.host:status().snapshot.staged end

-- An entry behind everything that is on the disk of n1, which is down.
local function append(w, payload)
  local entries = w.n1.disk.entries
  local last = formats.entry_decode(entries[#entries])
  local entry = { type = RESTORE, index = #entries + 1, term = last.term, time_ms = last.time_ms, payload = payload }
  entry.chain = formats.entry_chain(entry, last.chain)
  entries[#entries + 1] = formats.entry_encode(entry)
end

-- n1 alone, which finds these payloads in its log and applies them.
local function finds(...)
  local w = lone()
  write(w, 1)
  w.n1:crash()
  for _, payload in ipairs { ... } do append(w, payload) end
  w.n1:start()
  support.until_fatal(w)
  return w
end

local ABOVE = "\xcf\xff\xff\xff\xff\xff\xff\xff\xfe" -- 2^64 - 2

describe("a step of a restore", function()
  it("is written in one way, else nothing is proposed", function()
    local w <close> = lone()
    write(w, 1)
    local meta = formats.meta_encode(backup_of(w).meta)
    local last = w.n1.host:status().last_index
    local function refused(bytes, what)
      local code, body = raw(w, bytes)
      assert.equal("bad_request", code, what)
      assert.matches("a restore is asked for as", body.message, 1, true)
    end
    for i, arguments in ipairs {
      {}, { "abort" }, { "abort", 1, 0, "x" }, { "commit", 1, 0, "x" }, { "commit", 1, 2 }, { "chunk", 1 },
      { "begin", 1 }, { "begin", 1, 1 }, { "abort", "x" }, { "abort", -1 }, { "commit", 1.0 }, { "chunk", 1, "0", "x" },
      { "chunk", 1, -1, "x" }, { "chunk", 1, true, "x" }, { "chunk", 1, 0.0, "x" }, { "chunk", 1, 0, {} },
      { "begin", 1, "1", meta }, { "begin", 1, 1.0, meta }, { "begin", 1, false, meta }, { "begin", 1, 1, 7 },
      { "stop", 1 }, { "", 1 }, { 7, 1 },
    } do refused(base.pack(arguments), "no " .. i) end
    refused(base.pack "abort")
    refused(base.pack(base.object { abort = 1 }))
    refused("\x94" .. base.pack "chunk" .. base.pack(1) .. ABOVE .. base.pack "x")
    assert.equal(last, w.n1.host:status().last_index)
  end)

  it("has the cluster's id as whoever sends it has integers, and any nonce", function()
    local w <close> = lone()
    write(w, 1)
    local meta = base.pack(formats.meta_encode(backup_of(w).meta))
    local function begun(nonce, from)
      local code, body = raw(w, "\x94" .. base.pack "begin" .. nonce .. from .. meta)
      assert.equal("ok", code)
      local entry = formats.entry_decode(w.n1.disk.entries[body.id])
      assert.equal("ok", (step(w, "abort", body.id)))
      return entry.payload
    end
    local head = "\x94" .. base.pack "begin"
    assert.equal(head .. base.pack(7) .. base.pack(-2) .. meta, begun(base.pack(7), ABOVE))
    assert.equal(head .. base.pack(7) .. base.pack(-2) .. meta, begun(base.pack(7), base.pack(-2)))
    assert.equal(head .. base.pack(7) .. base.pack(0) .. meta, begun(base.pack(7), base.pack(0)))
    assert.equal(head .. base.pack(0) .. base.pack(5) .. meta, begun(base.pack(0), base.pack(5)))
    assert.equal(head .. ABOVE .. base.pack(5) .. meta, begun(ABOVE, base.pack(5)))
  end)

  it("in another way, in the log, is a newer program's", function()
    local payloads = {
      base.pack { "abort", 1 } .. "x", base.pack { "abort" }, base.pack { "commit", 1, 0, "x" },
      base.pack { "abort", "x" }, base.pack { "chunk", 1, -1, "x" }, base.pack { "chunk", 1, 0 },
      base.pack { "chunk", 1, 0, "x" }:sub(1, -2),
      base.pack { "chunk", 1, 0, 5 }, base.pack(base.object { abort = 1 }), base.pack "abort", "", "\xc1",
      base.pack { "chunk", 1 }, "\x94" .. base.pack "chunk" .. base.pack(1),
    }
    for i, payload in ipairs(payloads) do
      local w <close> = finds(payload)
      assert.equal("version", w.n1.fatal and w.n1.fatal.code, "no " .. i)
      assert.matches("restores a backup in a way", w.n1.fatal.text)
    end
  end)

  it("that names no restore does nothing", function()
    local w <close> = lone()
    write(w, 2)
    for _, arguments in ipairs { { "chunk", 0, 0, "x" }, { "commit", 0 }, { "abort", 0 }, { "chunk", 9, 0, "x" },
      { "commit", 9 }, { "abort", 9 } } do
      local code, body = raw(w, base.pack(arguments))
      assert.equal("not_found", code, arguments[1])
      assert.matches("no such restore is under way", body.message)
    end
    assert.equal("ok", (restore(w, backup_of(w))))
    assert.equal("not_found", (step(w, "commit", 0)))
    assert.equal(2, #w.n1.machine.commands)
  end)

  it("gives up the restore that it names, or any", function()
    local w <close> = lone()
    write(w, 1)
    local what = backup_of(w)
    for _, named in ipairs { true, false } do
      local id = begin(w, what)
      step(w, "chunk", id, 0, what.bytes)
      local code, body = step(w, "abort", named and id or 0)
      assert.same({ "ok", { id = id } }, { code, body })
      assert.equal(0, staged(w))
      assert.is_nil(w.n1.machine.staged)
    end
    assert.equal(2, w.n1:logged "is given up$")
  end)

  it("of two in the log that begin, the second is refused, though it has no other number", function()
    local w <close> = lone()
    write(w, 1)
    local meta = formats.meta_encode(backup_of(w).meta)
    assert.equal("ok", (step(w, "begin", 0, 1, meta)))
    assert.equal("conflict", (step(w, "begin", 1, 1, meta)))
    assert.equal("ok", (step(w, "begin", 0, 1, meta)))
  end)
end)

describe("what begins a restore, in the log", function()
  local meta = formats.meta_encode(backup(1).meta)

  it("ends the node where only a newer program can read it", function()
    local w <close> = finds(base.pack { "begin", 7, 1, "\2" .. meta:sub(2) })
    assert.equal("version", w.n1.fatal.code)
  end)

  it("is refused where it is damaged, and the node goes on", function()
    local w <close> = finds(base.pack { "begin", 7, 1, meta:sub(1, -2) .. "?" })
    assert.is_nil(w.n1.fatal)
    assert.equal(0, w.n1:logged "is being restored")
    assert.equal("not_found", (step(w, "abort", 0)))
    assert.equal("ok", (restore(w, backup(3))))
    assert.equal(3, #w.n1.machine.commands)
  end)
end)

describe("time", function()
  it("gives up no restore where there is none", function()
    local w <close> = lone()
    write(w, 1)
    w.wall = w.wall + 600000
    write(w, 1)
    w.wall = w.wall + 600000
    write(w, 1)
    assert.equal(0, w.n1:logged "gives up")
  end)
end)

describe("what comes in", function()
  local sound = backup(3)

  local function refused(w, what, why)
    local code, body = restore(w, what)
    assert.equal("bad_request", code)
    assert.matches(why, body.message, 1, true)
    assert.equal(0, staged(w))
    assert.is_nil(w.n1.machine.staged)
    assert.is_nil(w.n1.fatal)
    assert.equal("not_found", (step(w, "abort", 0)))
  end

  it("is as long as was said: no byte more", function()
    local w <close> = lone()
    for _, size in ipairs { #sound.bytes - 1, 50, 0 } do
      refused(w, with_meta(sound, { size = size }), "there are bytes behind its end")
    end
    refused(w, with_meta(sound, { size = #sound.bytes + 1, bytes = sound.bytes .. "x" }), "bytes behind its last tree")
  end)

  it("is all there at the commit, to the last byte and the last tree", function()
    local w <close> = lone()
    local most = #sound.bytes - 1
    local id = begin(w, sound)
    assert.equal("ok", (step(w, "chunk", id, 0, sound.bytes:sub(1, most))))
    local code, body = step(w, "commit", id)
    assert.equal("conflict", code)
    assert.matches("only " .. most .. " of its " .. most + 1 .. " bytes", body.message, 1, true)
    assert.equal(most, staged(w)) -- it waits
    assert.equal("ok", (step(w, "abort", id)))
    local state_at = #sound.bytes - 20 -- three commands of 26 bytes and more are behind it
    for _, size in ipairs { 0, 30, state_at } do
      local what = with_meta(sound, { size = size, bytes = sound.bytes:sub(1, size) })
      refused(w, what, size == state_at and "cannot be restored" or "it ends in the middle")
    end
  end)

  it("is what was written, each tree", function()
    local w <close> = lone()
    refused(w, with_meta(sound, { system_hash = sound.meta.system_hash + 1 }), "its hash is another")
    refused(w, with_system(sound, function(root) root:put("sessions", 5) end), "its hash is another")
    refused(w, with_system(sound, function(root) root:put("chain", nil) end), "cannot be restored")
    refused(w, with_sessions(sound, function(root) root:put("version", 1) end), "cannot be restored")
    refused(w, with_meta(sound, { state_hash = sound.meta.state_hash + 1 }), "cannot be restored")
    assert.equal("ok", (restore(w, sound)))
  end)

  it("has no sessions of a newer program, nor is anything of it", function()
    for _, edit in ipairs {
      function(what) return with_system(what, function(root) root:put("format_level", 99) end) end,
      function(what) return with_sessions(what, function(root) root:put("version", 99) end) end,
    } do
      local w <close> = lone()
      local ticket = w.n1:submit(base.pack { "restore", { "begin", 7, 1, formats.meta_encode(edit(sound).meta) } },
        { kind = "admin" })
      w:settle()
      local _, body = w.n1:told(ticket)
      w.n1:submit(base.pack { "restore", { "chunk", body.id, 0, edit(sound).bytes } }, { kind = "admin" })
      w:settle()
      assert.equal("version", w.n1.fatal.code)
      assert.equal(0, w.n1:logged "is given up")
    end
  end)

  it("may have settings that this program does not know, where they are not taken", function()
    local newer = with_system(sound, function(root) root:get("settings"):put("of_a_newer_one", 1) end)
    local w <close> = lone()
    assert.equal("ok", (restore(w, newer)))
    assert.equal(3, #w.n1.machine.commands)
    local without <close> = cluster { bundle = "" }
    restore(without, newer)
    assert.equal("version", without.n1.fatal.code)
  end)

  it("says what the machine says of it", function()
    local w <close> = lone()
    w.n1.on_stage = function(what) if what == "feed" then return "corrupt", "it is crooked" end end
    refused(w, sound, "it is crooked")
    w.n1.on_stage = function(what) if what == "take" then return "corrupt", "it is crooked in the end" end end
    refused(w, sound, "it is crooked in the end")
    w.n1.on_stage = nil
    assert.equal("ok", (restore(w, sound)))
  end)

  it("ends a node that has no memory for it, and that one only", function()
    for _, at in ipairs { "feed", "take" } do
      local w <close> = cluster { nodes = 3 }
      w.n2.on_stage = function(what) if what == at then return "internal", "no memory" end end
      assert.equal("ok", (restore(w, sound)))
      w:advance(150)
      assert.equal("internal", w.n2.fatal.code)
      assert.matches("no memory for the state machine at index " .. w.n2.host:status().applied_index + 1,
        w.n2.fatal.text, 1, true)
      assert.equal(0, w.n2:logged "is given up")
      assert.is_nil(w.n3.fatal)
      assert.equal(3, #w.n3.machine.commands)
    end
  end)

  it("has an app that loaded there and does not here: nothing has changed", function()
    local from <close> = world.new { nodes = 1, settings = NEVER }
    from.n1.options.bundle = "BROKEN"
    from.n1.on_load = function() end
    from:bootstrap()
    from:elect "n1"
    write(from, 1)
    local w <close> = lone()
    write(w, 2)
    local code, body = restore(w, backup_of(from))
    assert.equal("script_error", code)
    assert.matches("fsm.lua:1: it is broken", body.message, 1, true)
    assert.equal(2, #w.n1.machine.commands)
  end)
end)

describe("the app of a backup", function()
  local sound = backup(2, { settings = { snapshot_log_bytes = 1 << 40, session_window = 5, trailing_entries = 0,
    snapshot_chunk_bytes = 1 << 20 } })

  it("runs under the cluster's settings, or the backup's where there are none", function()
    local w <close> = cluster()
    assert.equal("ok", (restore(w, sound)))
    assert.same({ 128, 128 }, { w.n1.machine.staged_under.session_window, w.n1.machine.taken_under.session_window })
    local without <close> = cluster { bundle = "" }
    assert.equal("ok", (restore(without, sound)))
    local machine = without.n1.machine
    assert.same({ 5, 5 }, { machine.staged_under.session_window, machine.taken_under.session_window })
  end)

  it("takes the place of what is freed a piece a turn, until it is gone", function()
    local w <close> = lone()
    write(w, 6)
    local id = begin(w, sound)
    step(w, "chunk", id, 0, sound.bytes)
    w.n1:submit(base.pack { "restore", { "commit", id } }, { kind = "admin" })
    w.n1.host:turn()
    w.n1:flush()
    assert.is_true(w.n1.host:turn())
    assert.same({ 2, 5 }, { #w.n1.machine.commands, w.n1.machine.replaced })
    for left = 4, 1, -1 do
      assert.is_true(w.n1.host:turn())
      assert.equal(left, w.n1.machine.replaced)
    end
    assert.is_false(w.n1.host:turn())
    assert.is_false(w.n1.host:turn())
    assert.equal(0, w.n1.machine.replaced)
  end)
end)
