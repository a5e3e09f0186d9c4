-- Snapshots as the host sees them: when one is taken, what is in it, the way back, one that a leader sends.
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local sessions = require "moonclave.sessions"
local support = require "host.snapshot_support"
local world = require "host.world"
local write = support.write

local SMALL = { snapshot_log_bytes = 2000, trailing_entries = 2, snapshot_chunk_bytes = 64, snapshot_window = 2 }

local function lone(settings) return support.lone(settings or SMALL) end

local function three(settings)
  local w = world.new { nodes = 3, settings = settings or SMALL }
  w:bootstrap()
  w:elect "n1"
  w:settle()
  return w
end

-- All that its machine has done, in a few words.
local function bodies(node)
  local list = {}
  for i, command in ipairs(node.machine.commands) do list[i] = command.body end
  return #list .. " commands, " .. base.hash(table.concat(list, ","))
end

local function ask(node) return node:admin "snapshot" end

local function job(node, kind)
  for at, one in ipairs(node.jobs) do if one.kind == kind then return one, at end end
end

describe("a snapshot", function()
  it("is taken once the log is long, and the log before it goes", function()
    local w <close> = lone()
    write(w, 8)
    assert.is_nil(w.n1.disk.snapshot)
    write(w, 40)
    local meta = assert(w.n1.disk.snapshot)
    local status = w.n1.host:status()
    assert.equal(meta.index, status.snapshot.index)
    assert.equal(meta.size, status.snapshot.size)
    assert.equal(#w.n1.disk.snapshots[meta.index].bytes, meta.size)
    assert.equal(meta.index - 2, w.n1.disk.base.index) -- trailing_entries
    assert.equal(meta.index - 1, status.first_index)
    assert.is_true(status.snapshot.taken >= 1)
    assert.is_false(status.snapshot.taking)
    assert.equal(meta.chain, formats.entry_decode(w.n1.disk.entries[meta.index]).chain)
  end)

  it("is not due again before the log is as long as that one was", function()
    local w <close> = lone { snapshot_log_bytes = 1, trailing_entries = 0 }
    write(w, 30, 500)
    local taken = w.n1.host:status().snapshot.taken
    local size = w.n1.host:status().snapshot.size
    assert.is_true(size > 3000 and taken < 12, taken .. " taken, the last has " .. size)
    local before = w.n1.host:status().snapshot
    assert.is_true(before.log_bytes < before.size + 1000)
  end)

  it("leaves what slow followers may need, in entries and in bytes", function()
    local w <close> = lone { snapshot_log_bytes = 4000, trailing_entries = 1000, trailing_bytes = 3200 }
    write(w, 60, 100)
    local kept = w.n1.disk.snapshot.index - w.n1.disk.base.index
    local bytes = 0
    for i = w.n1.disk.base.index + 1, w.n1.disk.snapshot.index do bytes = bytes + #w.n1.disk.entries[i] end
    assert.is_true(bytes >= 2800 and bytes <= 3600, ("%d entries, %d bytes"):format(kept, bytes))
    assert.is_true(kept > 10)
    local v <close> = lone { snapshot_log_bytes = 4000, trailing_entries = 3, trailing_bytes = 3200 }
    write(v, 60, 100)
    assert.equal(3, v.n1.disk.snapshot.index - v.n1.disk.base.index)
  end)

  it("is what a start begins with: the same state, chain and answers", function()
    local w <close> = lone()
    write(w, 60)
    local applied, chain, told = w.n1.host:status().applied_index, w.n1.host:status().chain, bodies(w.n1)
    local before = w.n1.host:status().app
    w.n1:crash()
    w.n1:start()
    assert.is_true(w.n1.host:status().snapshot.restoring)
    assert.is_false(w.n1.host:ready())
    w:elect "n1"
    w:settle()
    local status = w.n1.host:status()
    assert.is_false(status.snapshot.restoring)
    assert.equal(told, bodies(w.n1))
    assert.is_true(status.applied_index > applied)
    assert.same(before, status.app)
    assert.equal(1, w.n1.machine.load_count)
    assert.is_true(w.n1:counters().applied < 30) -- not the whole log
    assert.equal(1, #w.n1.loaded)
    assert.are_not.equal(chain, status.chain) -- one entry more: a new leader's
  end)

  it("has the same bytes on every node at the same index", function()
    local w <close> = three()
    write(w, 60)
    local seen = 0
    for index, one in pairs(w.n1.disk.snapshots) do
      for _, id in ipairs { "n2", "n3" } do
        local other = w[id].disk.snapshots[index]
        if other then
          seen = seen + 1
          assert.equal(one.bytes, other.bytes)
          assert.same(one.meta, other.meta)
        end
      end
    end
    assert.equal(2, seen)
  end)

  it("carries sessions: what was done once before it is not done again after it", function()
    local w <close> = lone()
    local opened = w.n1:submit(sessions.body "open", { kind = "session" })
    w:settle()
    local session = base.unpack(w.n1.replies[opened].body).session
    local first = w.n1:submit("put once", { session = session, sequence = 1 })
    w:settle()
    local told = w.n1.replies[first].body
    write(w, 60)
    w.n1:crash()
    w.n1:start()
    w:elect "n1"
    local count = #w.n1.machine.commands
    local again = w.n1:submit("put once", { session = session, sequence = 1 })
    w:settle()
    assert.matches("^done 1 put once$", told)
    assert.equal(told, w.n1.replies[again].body)
    assert.equal(count, #w.n1.machine.commands)
    assert.equal(1, w.n1.host:status().sessions.open)
  end)

  it("lets commands and queries wait while it is being restored, and answers them then", function()
    local w <close> = lone()
    write(w, 60)
    w.n1:crash()
    w.n1:start()
    w.n1.held = true
    w.now = math.max(w.now, w.n1.timer)
    w.n1.host:timer()
    local stale = w.n1:submit("get", { kind = "query", stale = true })
    local command = w.n1:submit "put late"
    w.n1:turn()
    w.n1:flush()
    w.n1:turn()
    assert.is_nil(w.n1.replies[stale])
    assert.is_nil(w.n1.replies[command])
    w.n1.held = false
    w:settle()
    assert.matches("^answer %d+ get$", w.n1.replies[stale].body)
    assert.matches("put late$", w.n1.replies[command].body)
  end)

  it("of an app that did not load says so again", function()
    local w <close> = world.new { nodes = 1, settings = SMALL }
    w.n1.options.bundle = "BROKEN"
    w:bootstrap()
    w:elect "n1"
    local ticket = ask(w.n1)
    w:settle()
    assert.equal("ok", w.n1.replies[ticket].code)
    local app = w.n1.host:status().app
    w.n1:crash()
    w.n1:start()
    w:elect "n1"
    w:settle()
    assert.same(app, w.n1.host:status().app)
    assert.equal("fsm.lua:1: it is broken", w.n1.host:status().app.error)
    local command = w.n1:submit "x"
    w:settle()
    assert.equal("script_error", w.n1.replies[command].code)
  end)

  it("that is damaged ends the node, whatever is wrong with it", function()
    local w <close> = lone()
    write(w, 60)
    w.n1:crash()
    local whole = w.n1.disk.snapshots[w.n1.disk.snapshot.index]
    local sound = whole.bytes
    local function ends(bytes, size)
      whole.bytes = bytes
      w.n1:start { durable = { snapshot = setmetatable({ size = size or #sound }, { __index = whole.meta }) } }
      for _ = 1, 5 do if not w.n1.fatal then w:settle() end end
      local fatal = w.n1.fatal
      w.n1:crash()
      return fatal
    end
    for key, value in pairs(whole.meta) do whole.meta[key] = value end
    assert.is_nil(ends(sound))
    for at = 1, #sound, 7 do
      local flipped = sound:sub(1, at - 1) .. string.char(sound:byte(at) ~ 1) .. sound:sub(at + 1)
      local fatal = ends(flipped)
      assert.is_truthy(fatal, "byte " .. at)
      assert.is_true(fatal.code == "corrupt" or fatal.code == "version", fatal.code .. " byte " .. at)
      assert.matches("^the snapshot at index %d+ cannot be restored: ", fatal.text)
    end
    assert.equal("corrupt", ends(sound:sub(1, -2), #sound - 1).code)
    assert.equal("corrupt", ends(sound .. "\0", #sound + 1).code)
    assert.equal("corrupt", ends(sound:sub(1, -2)).code)
  end)
end)

describe("a snapshot by hand", function()
  it("is answered with index and size, by this node itself", function()
    local w <close> = three()
    write(w, 3)
    local ticket = ask(w.n2)
    w:settle()
    local reply = w.n2.replies[ticket]
    assert.equal("ok", reply.code)
    assert.same({ index = w.n2.disk.snapshot.index, size = w.n2.disk.snapshot.size }, base.unpack(reply.body))
    assert.is_nil(w.n1.disk.snapshot)
    local again = ask(w.n2) -- nothing has been applied since
    w:settle()
    assert.same(reply, w.n2.replies[again])
    assert.equal(1, w.n2.host:status().snapshot.taken)
  end)

  it("waits for one that begins after it was asked for", function()
    local w <close> = lone { snapshot_log_bytes = 1 << 30 }
    write(w, 3)
    local first = ask(w.n1)
    w.n1:turn() -- begins
    local second
    w.n1.held = true
    w.n1:submit "between"
    w.n1:turn()
    w.n1:flush()
    w.n1:turn()
    second = ask(w.n1)
    w.n1:turn()
    w.n1.held = false
    w:settle()
    local one, two = base.unpack(w.n1.replies[first].body), base.unpack(w.n1.replies[second].body)
    assert.equal(one.index + 1, two.index)
    assert.equal(2, w.n1.host:status().snapshot.taken)
  end)

  it("of a node that has nothing yet is refused", function()
    local w <close> = world.new { nodes = 3 }
    w.n1:start()
    local ticket = ask(w.n1)
    w:settle()
    assert.equal("unavailable", w.n1.replies[ticket].code)
  end)

  it("is told when there is no room, and tried again by itself", function()
    local w <close> = lone()
    write(w, 3)
    for _, where in ipairs { "begin", "write", "finish" } do
      local ticket = ask(w.n1)
      w.n1:turn()
      while w.n1.jobs[1].kind ~= where do
        w.n1:work(1)
        w.n1:turn()
      end
      local refused = table.remove(w.n1.jobs, 1)
      w.n1.host:snapshot_done { kind = where, token = refused.token, code = "disk_full" }
      for i = #w.n1.jobs, 1, -1 do
        local late = w.n1.jobs[i]
        if late.token == refused.token then table.remove(w.n1.jobs, i) end
      end
      assert.equal("disk_full", w.n1.replies[ticket].code)
      assert.is_false(w.n1.host:status().snapshot.taking)
      w:settle()
      assert.is_nil(w.n1.disk.snapshot)
    end
    write(w, 60) -- not before disk_retry_ms
    assert.is_nil(w.n1.disk.snapshot)
    w:advance(600)
    write(w, 1)
    assert.is_truthy(w.n1.disk.snapshot)
  end)

  it("is given up when the node stops, and those who wait are told", function()
    local w <close> = lone { snapshot_log_bytes = 1 << 30 }
    write(w, 60, 8000)
    local ticket = ask(w.n1)
    w.n1:turn()
    assert.is_nil(job(w.n1, "finish")) -- no more than a few writes ahead of the disk
    w.n1.host:stop()
    w.n1:turn()
    assert.is_truthy(job(w.n1, "abort"))
    w:settle()
    w:advance(20000)
    assert.equal(1, w.n1.stopped)
    assert.equal("shutting_down", w.n1.replies[ticket].code)
    assert.is_nil(w.n1.disk.snapshot)
  end)
end)

describe("a leader's snapshot", function()
  -- n3 was away for longer than the log is kept.
  local function left_behind(settings)
    local w = three(settings)
    write(w, 5)
    w:isolate "n3"
    write(w, 60)
    assert.is_true(w.n1.disk.base.index > #w.n3.disk.entries)
    return w
  end

  it("brings a follower back that was away for longer than the log is kept", function()
    local w <close> = left_behind()
    w:heal "n3"
    for _ = 1, 50 do w:advance(100) end
    assert.equal(bodies(w.n1), bodies(w.n3))
    local leads, follows = w.n1.host:status(), w.n3.host:status()
    assert.equal(leads.applied_index, follows.applied_index)
    assert.equal(leads.chain, follows.chain)
    assert.equal(leads.state_hash, follows.state_hash)
    assert.is_true(w.n3.disk.base.index > 0)
    assert.equal(1, w.n3.machine.restored_at and 1)
    assert.equal(2, #w.n3.loaded)
    write(w, 5)
    w:advance(150)
    assert.equal(bodies(w.n1), bodies(w.n3))
    w.n3:crash()
    w.n3:start()
    w:connect_all()
    for _ = 1, 20 do w:advance(100) end
    assert.equal(bodies(w.n1), bodies(w.n3))
    assert.equal(w.n1.host:status().chain, w.n3.host:status().chain)
  end)

  it("tells a command that was proposed and is covered by it that nobody knows", function()
    local w <close> = three()
    write(w, 5)
    w:isolate "n1"
    local plain = w.n1:submit "lost"
    local opened = w.n2
    w.n1:turn()
    w.n1:flush()
    w:elect "n2"
    write(w, 60, 20, opened)
    w:heal "n1"
    for _ = 1, 50 do w:advance(100) end
    assert.equal(bodies(w.n2), bodies(w.n1))
    local reply = w.n1.replies[plain]
    assert.is_truthy(reply)
    assert.is_true(reply.code == "timeout" or reply.code == "unavailable", reply.code)
  end)

  it("makes one's own needless: it is given up", function()
    local w <close> = left_behind { snapshot_log_bytes = 2000, trailing_entries = 2, snapshot_chunk_bytes = 4096,
      snapshot_window = 2 }
    w.n3.held = true
    local ticket = ask(w.n3)
    w.n3:turn()
    assert.is_true(w.n3.host:status().snapshot.taking)
    w:heal "n3"
    for _ = 1, 50 do
      w:advance(100)
      w.n3:flush()
      w.n3:turn()
      if job(w.n3, "install") then break end
      local received = job(w.n3, "receive")
      if received then w.n3:work(#w.n3.jobs) end
    end
    w.n3.held = false
    for _ = 1, 20 do w:advance(100) end
    assert.equal(bodies(w.n1), bodies(w.n3))
    assert.is_truthy(w.n3.replies[ticket])
  end)

  it("is offered again when the follower has no room for it", function()
    local w <close> = left_behind()
    w.n3.held = true
    w:heal "n3"
    local refused = 0
    for _ = 1, 60 do
      w:advance(100)
      w.n3:flush()
      while #w.n3.jobs > 0 and refused < 3 do
        local one = table.remove(w.n3.jobs, 1)
        if one.kind == "receive" then
          refused = refused + 1
          w.n3.host:snapshot_done { kind = "receive", token = one.token, code = "disk_full" }
        end
      end
      w.n3.held = refused < 3
    end
    assert.equal(3, refused)
    assert.equal(bodies(w.n1), bodies(w.n3))
  end)
end)
