-- Edges of restoring: what is read, what is believed, and what becomes of those who waited. Most were a guard that
-- nothing else missed (scripts/mutants).
local base = require "moonclave.base"
local state = require "moonclave.state"
local sessions = require "moonclave.sessions"
local support = require "host.snapshot_support"
local world = require "host.world"
local NEVER, lone, write = support.NEVER, support.lone, support.write

local PIECE = 131072

-- A node that is down, and its snapshot { meta, bytes }.
local function down(options)
  options = options or {}
  local w = world.new { nodes = 1, settings = NEVER }
  for k, v in pairs(options.node or {}) do w.n1.options[k] = v end
  w:bootstrap()
  w:elect "n1"
  write(w, options.count or 5, options.size)
  w.n1:admin "snapshot"
  w:settle()
  w.n1:crash()
  return w, w.n1.disk.snapshots[w.n1.disk.snapshot.index]
end

-- Starts n1 on another snapshot; what it ends with: code, text.
local function ends(w, bytes, meta)
  local index = w.n1.disk.snapshot.index
  local changed = {}
  for k, v in pairs(w.n1.disk.snapshot) do changed[k] = v end
  changed.size = #bytes
  for k, v in pairs(meta or {}) do changed[k] = v end
  local sound = w.n1.disk.snapshots[index]
  w.n1.disk.snapshots[index] = { meta = changed, bytes = bytes }
  w.n1:start { durable = { snapshot = changed } }
  for _ = 1, 5 do if not w.n1.fatal then w:settle() end end
  local fatal = w.n1.fatal or {}
  w.n1:crash()
  w.n1.disk.snapshots[index] = sound
  return fatal.code, fatal.text
end

-- The snapshot with its first tree, which has this hash, edited; and the hash that it has then.
local function with_system(bytes, hash, edit)
  local restore, tree = state.restore(), state.new()
  local ok, used = restore:feed(bytes)
  assert(ok)
  assert(restore:finish(hash, tree))
  tree:begin()
  edit(tree:root())
  tree:commit()
  return tree:encode() .. bytes:sub(used + 1), { system_hash = tree:hash() }
end

describe("a node that starts from a snapshot", function()
  it("reads it piece by piece, the next one ahead, and nothing behind its end", function()
    local w <close> = lone()
    write(w, 60, 8000)
    w.n1:admin "snapshot"
    w:settle()
    local size = w.n1.disk.snapshot.size
    w.n1:crash()
    w.n1:start()
    local offsets = {}
    for _ = 1, 20 do
      for _, job in ipairs(w.n1.jobs) do offsets[#offsets + 1] = job.offset end
      if not w.n1:work(1) then break end
    end
    local wanted = {}
    for offset = 0, size - 1, PIECE do wanted[#wanted + 1] = offset end
    assert.same(wanted, offsets)
    assert.is_true(#wanted > 3)
    assert.is_false(w.n1.host:status().snapshot.restoring)
  end)

  it("makes nothing of a report that it does not wait for", function()
    local w <close>, snapshot = down { count = 60, size = 8000 }
    w.n1:start()
    local first = w.n1.jobs[1]
    w.n1.host:snapshot_done { kind = "read", token = first.token + 1, bytes = "nonsense" }
    assert.is_nil(w.n1.fatal)
    w:settle()
    assert.equal(60, #w.n1.machine.commands)
    w.n1.host:snapshot_done { kind = "read", token = first.token, bytes = snapshot.bytes:sub(1, 10) }
    assert.is_nil(w.n1.fatal)
    assert.equal(60, #w.n1.machine.commands)
  end)

  it("does not take more, or nothing, for what was asked", function()
    for _, report in ipairs { { code = "unavailable" }, { bytes = "" }, { more = true } } do
      local w <close>, snapshot = down()
      w.n1:start()
      local job = w.n1.jobs[1]
      w.n1.host:snapshot_done { kind = "read", token = job.token, code = report.code,
        bytes = report.more and snapshot.bytes .. "x" or report.bytes }
      assert.equal("corrupt", w.n1.fatal.code)
      assert.matches("it is not all there", w.n1.fatal.text)
    end
  end)

  it("believes no tree that ends early, and none that goes on", function()
    local w <close>, snapshot = down()
    local code, text = ends(w, snapshot.bytes:sub(1, 20))
    assert.same({ "corrupt", true }, { code, text:find("ends in the middle", 1, true) ~= nil })
    code, text = ends(w, snapshot.bytes .. "x")
    assert.same({ "corrupt", true }, { code, text:find("bytes behind it", 1, true) ~= nil })
    assert.equal("corrupt", (ends(w, snapshot.bytes, { system_hash = 1 })))
    assert.equal("corrupt", (ends(w, snapshot.bytes, { state_hash = 1 })))
    assert.is_nil((ends(w, snapshot.bytes)))
  end)

  it("wants every part of the system tree, each of its kind", function()
    local w <close>, snapshot = down()
    local function says(edit)
      local bytes, meta = with_system(snapshot.bytes, snapshot.meta.system_hash, edit)
      return (ends(w, bytes, meta))
    end
    assert.is_nil(says(function() end))
    for _, key in ipairs { "app", "settings", "format_level", "clock_ms", "chain", "sessions", "entry" } do
      assert.equal("corrupt", says(function(root) root:put(key, nil) end), key)
      assert.equal("corrupt", says(function(root) root:put(key, "a text") end), key)
    end
    for _, key in ipairs { "bundle", "config", "hash", "index", "entry" } do
      assert.equal("corrupt", says(function(root) root:get("app"):put(key, nil) end), key)
      assert.equal("corrupt", says(function(root) root:get("app"):put(key, true) end), key)
    end
    assert.equal("corrupt", says(function(root) root:get("app"):put("error", 5) end))
    for _, where in ipairs { "root", "app" } do
      local function entry(root) return (where == "app" and root:get "app" or root):get "entry" end
      for _, key in ipairs { "index", "seed", "sequence", "session", "term", "time_ms" } do
        assert.equal("corrupt", says(function(root)
          entry(root):put(key, nil)
          entry(root):put("other", 1) -- as many as before
        end), key)
      end
      assert.equal("corrupt", says(function(root) entry(root):put("other", 1) end))
    end
    assert.equal("corrupt", says(function(root) root:put("sessions", 1) end))
    assert.equal("version", says(function(root) root:put("format_level", 99) end))
    assert.equal("corrupt", says(function(root) root:get("settings"):put(1, 5) end))
    assert.equal("corrupt", says(function(root) root:get("settings"):put("session_window", "x") end))
    assert.equal("version", says(function(root) root:get("settings"):put("session_window", 0) end))
    assert.equal("version", says(function(root) root:get("settings"):put("request_timeout_ms", 5000) end))
    assert.equal("version", says(function(root) root:get("settings"):put(("s"):rep(64), 1) end))
    assert.equal("version", says(function(root) root:get("settings"):put(("s"):rep(63), 1) end))
  end)

  it("goes by the cluster's settings, not its own; one that is not told has the table's", function()
    local w <close>, snapshot = down()
    local bytes, meta = with_system(snapshot.bytes, snapshot.meta.system_hash, function(root)
      root:get("settings"):put("session_window", 77)
      root:get("settings"):put("session_timeout_ms", nil)
    end)
    local index = snapshot.meta.index
    local changed = {}
    for k, v in pairs(snapshot.meta) do changed[k] = v end
    changed.size, changed.system_hash = #bytes, meta.system_hash
    w.n1.disk.snapshots[index] = { meta = changed, bytes = bytes }
    w.n1:start { durable = { snapshot = changed },
      settings = { session_window = 5, session_timeout_ms = 9000, request_timeout_ms = 777 } }
    w:settle()
    local now = w.n1.machine.settings
    assert.same({ 77, 3600000, 777 }, { now.session_window, now.session_timeout_ms, now.request_timeout_ms })
  end)

  it("whose app did not load anywhere has no state to read", function()
    local w <close>, snapshot = down { node = { bundle = "BROKEN" }, count = 0 }
    assert.equal("corrupt", (ends(w, snapshot.bytes .. "\x90")))
    assert.is_nil((ends(w, snapshot.bytes)))
  end)

  it("whose code does not load here, though it did where the snapshot was taken, ends", function()
    local w <close>, snapshot = down()
    w.n1.on_load = function() return "another Lua" end
    local code, text = ends(w, snapshot.bytes)
    assert.equal("corrupt", code)
    assert.matches("cannot be restored: .*another Lua", text)
  end)
end)

describe("commands that a leader's snapshot covers", function()
  it("are unknown, or sent again where they are done once; those behind it wait for what is there", function()
    local w <close> = world.new { nodes = 3, settings = NEVER }
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    local opened = w.n1:submit(sessions.body "open", { kind = "session" })
    w:settle()
    local session = base.unpack(w.n1.replies[opened].body).session
    w:advance(150)
    w:isolate "n1"
    local plain = w.n1:submit "first"
    w.n1:turn()
    local once = w.n1:submit("second", { session = session, sequence = 1, timeout_ms = 60000 })
    w.n1:turn()
    local behind = w.n1:submit("third", { timeout_ms = 60000 })
    w.n1:turn()
    w.n1:flush()
    local at = w.n1.host:status().last_index - 2 -- plain's
    w:elect "n2" -- whose first entry is where `plain` is
    write(w, 1, 20, w.n2)
    assert.equal(at + 1, w.n2.host:status().applied_index)
    w.n2:admin "snapshot"
    w:settle()
    assert.equal(at + 1, w.n2.disk.base.index)
    w:heal "n1"
    for _ = 1, 30 do
      w:advance(100)
      if w.n1.machine.restored_at then break end
    end
    w:settle()
    assert.equal("timeout", w.n1.replies[plain].code)
    for _ = 1, 20 do w:advance(100) end
    assert.equal("ok", w.n1.replies[once].code)
    assert.matches("second$", w.n1.replies[once].body)
    assert.equal("unavailable", w.n1.replies[behind].code) -- another entry took its place: certainly not done
    local count = 0
    for _, command in ipairs(w.n1.machine.commands) do if command.body == "second" then count = count + 1 end end
    assert.equal(1, count)
  end)
end)
