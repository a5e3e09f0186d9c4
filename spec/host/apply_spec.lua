-- The app comes into the cluster, and committed entries reach it: in slices, from memory or disk, alike on every node.
local formats = require "moonclave.formats"
local world = require "host.world"

local function cluster(options)
  options = options or {}
  options.nodes = options.nodes or 3
  local w = world.new(options)
  w:bootstrap()
  w:elect "n1"
  return w
end

local function commands(w, count)
  for i = 1, count do w.n1:submit("c" .. i) end
  w:settle()
  w:advance(150)
end

-- Turns and writes until the log is being read.
local function until_reading(node)
  for _ = 1, 10 do
    node:turn()
    if #node.log_reads > 0 then return node.log_reads[1] end
    node:flush()
  end
  error "the log is not read"
end

-- One more entry in the log on a stopped node's disk.
local function append(node, entry)
  local entries = node.disk.entries
  local last = formats.entry_decode(entries[#entries])
  entry.index, entry.term, entry.time_ms = last.index + 1, last.term, entry.time_ms or last.time_ms
  entry.chain = formats.entry_chain(entry, last.chain)
  entries[#entries + 1] = formats.entry_encode(entry)
end

local function same_everywhere(w)
  local index, chain, hash = w.n1.host:applied()
  for _, node in ipairs(w.nodes) do assert.are.same({ index, chain, hash }, { node.host:applied() }) end
end

describe("the app", function()
  it("comes with the first leader's INIT, to everybody at the same index", function()
    local w <close> = world.new { nodes = 3 }
    for i, node in ipairs(w.nodes) do node.options.bundle = "BUNDLE of n" .. i end
    w.n2.options.config = "\x81\xA1a\x01"
    w:bootstrap()
    for _, node in ipairs(w.nodes) do assert.are.same({}, node.loaded) end
    w:elect "n2"
    w:advance(150)
    for _, node in ipairs(w.nodes) do
      assert.are.same({ { bundle = "BUNDLE of n2", config = "\x81\xA1a\x01" } }, node.loaded)
      assert.are.equal("BUNDLE of n2", node.machine.bundle)
      assert.are.equal(2, node.machine.loaded_at.index)
      assert.is_true(node.host:ready())
      assert.is_true(node.host:status().app.loaded)
    end
    assert.are.equal(0, w.n2:logged "differs")
    for _, name in ipairs { "n1", "n3" } do
      assert.are.equal(1, w[name]:logged "warn the local app %(%x+%) differs from the cluster's %(%x+%)")
    end
    same_everywhere(w)
  end)

  it("is proposed once: no later leader brings it again", function()
    local w <close> = cluster()
    commands(w, 1)
    w:elect "n2"
    w:advance(300)
    local inits = 0
    for _, bytes in ipairs(w.n2.disk.entries) do
      if formats.entry_decode(bytes).type == 2 then inits = inits + 1 end
    end
    assert.are.equal(1, inits)
    assert.are.equal(1, w.n3.machine.load_count)
  end)

  it("counts as the first INIT brought it, where a second one was committed too", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start()
    w:settle()
    w.n1:crash()
    local init = formats.entry_decode(w.n1.disk.entries[2])
    append(w.n1, { type = 2, payload = init.payload:gsub("BUNDLE", "SECOND") })
    append(w.n1, { type = 4, payload = "after" })
    w.n1:start()
    w:settle()
    assert.is_nil(w.n1.fatal)
    assert.are.same({ { bundle = "BUNDLE", config = "\xC0" } }, w.n1.loaded)
    assert.are.same({ 1, "BUNDLE" }, { w.n1.machine.load_count, w.n1.machine.bundle })
    assert.are.equal(2, w.n1.host:status().app.version)
    assert.are.equal("after", w.n1.machine.commands[1].body)
  end)

  it("brings the cluster's settings: a node's own do not count", function()
    local w <close> = world.new { nodes = 2 }
    w.n1.options.settings = { command_steps_max = 12345 }
    w.n2.options.settings = { command_steps_max = 99999, entry_bytes_max = 4096 }
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    assert.are.equal(12345, w.n1.machine.settings.command_steps_max)
    assert.are.equal(12345, w.n2.machine.settings.command_steps_max)
    assert.are.equal(4096, w.n2.machine.settings.entry_bytes_max)
    w.n2:crash()
    w.n2:start { settings = { command_steps_max = 77777 } }
    w:connect_all()
    w:advance(1500)
    assert.are.equal(12345, w.n2.machine.settings.command_steps_max)
  end)

  it("that does not load leaves the nodes up: they say why, all alike", function()
    local w <close> = world.new { nodes = 3 }
    for _, node in ipairs(w.nodes) do node.options.bundle = "BROKEN" end
    w:bootstrap()
    local early = w.n2:submit("early", { timeout_ms = 60000 })
    w:elect "n1"
    w:advance(150)
    local t, q, stale = w.n1:submit "x", w.n3:query "q", w.n2:query("q", { stale = true })
    w:settle()
    assert.are.equal("script_error", w.n1:answer(t))
    assert.are.equal("script_error", w.n3:answer(q))
    assert.are.equal("script_error", w.n2:answer(stale))
    assert.are.equal("script_error", w.n2:answer(early))
    assert.is_truthy(w.n1.replies[t].body:find("it is broken", 1, true))
    for _, node in ipairs(w.nodes) do
      assert.are.same({}, node.loaded)
      assert.is_nil(node.fatal)
      assert.is_false(node.host:ready())
      assert.is_truthy(node.host:status().app.error:find("it is broken", 1, true))
    end
    same_everywhere(w)
  end)

  it("is waited for: commands before it are parked, and done when it is there", function()
    local w <close> = world.new { nodes = 3 }
    for i, node in ipairs(w.nodes) do node.options.bundle = i == 2 and "BUNDLE" or "" end
    w:bootstrap()
    w:elect "n1" -- which has no app to give
    w:advance(150)
    local t = w.n1:submit("x", { timeout_ms = 60000 })
    local u = w.n3:submit("y", { timeout_ms = 60000 })
    local short = w.n1:submit("z", { timeout_ms = 100 })
    w:advance(150)
    assert.is_nil(w.n1:answer(t))
    assert.are.equal("unavailable", w.n1:answer(short))
    w:elect "n2"
    w:advance(300)
    assert.is_truthy(w.n1:answer(t):match "^ok done %d x")
    assert.is_truthy(w.n3:answer(u):match "^ok done %d y")
    assert.are.equal(2, #w.n1.machine.commands)
  end)
end)

describe("committed entries", function()
  it("give every node the same state and the same chain", function()
    local w <close> = cluster()
    for round = 1, 5 do
      commands(w, round)
      same_everywhere(w)
    end
    w.n1:submit "reject this"
    w:advance(150)
    same_everywhere(w)
    local _, chain = w.n1.host:applied()
    commands(w, 1)
    assert.are_not.equal(chain, select(2, w.n1.host:applied()))
  end)

  it("are chained with their results: another answer gives another chain, though the state is the same", function()
    local w <close> = cluster()
    w.n3.on_apply = function(_, body)
      if body == "c3" then return "another answer" end
    end
    commands(w, 2)
    same_everywhere(w)
    commands(w, 3)
    local _, chain, hash = w.n1.host:applied()
    assert.are.same({ chain, hash }, { select(2, w.n2.host:applied()) })
    local _, other_chain, other_hash = w.n3.host:applied()
    assert.are.equal(hash, other_hash)
    assert.are_not.equal(chain, other_chain)
  end)

  it("see a clock that does not go back, whatever their stamps", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start()
    w:settle()
    w.n1:crash()
    for i, ms in ipairs { 5000, 3000, 6000 } do
      append(w.n1, { type = 4, payload = "c" .. i, time_ms = w.wall + ms })
    end
    w.n1:start()
    w:settle()
    local seen = {}
    for i, command in ipairs(w.n1.machine.commands) do seen[i] = command.entry.time_ms - w.wall end
    assert.are.same({ 5000, 5000, 6000 }, seen)
  end)

  it("are applied in slices of a turn", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start { apply_slice_us = 100 }
    w:settle()
    w.n1.on_apply = function() w.now = w.now + 30 end
    local tickets = {}
    for i = 1, 10 do tickets[i] = w.n1:submit("c" .. i) end
    w.n1.host:turn()
    w.n1:flush()
    assert.is_true(w.n1.host:turn())
    assert.are.equal(4, #w.n1.machine.commands) -- 120 us
    assert.are.equal("ok done 4 c4", w.n1:answer(tickets[4]))
    assert.is_nil(w.n1:answer(tickets[5]))
    assert.is_true(w.n1.host:turn())
    assert.are.equal(8, #w.n1.machine.commands)
    assert.is_false(w.n1.host:turn())
    assert.are.equal(10, #w.n1.machine.commands)
    assert.are.equal(w.n1.host:status().commit_index, w.n1.host:status().applied_index)
  end)

  it("come from the disk after a restart, and make the same state again", function()
    local w <close> = cluster()
    commands(w, 20)
    local before = { w.n2.host:applied() }
    w.n2:crash()
    w:lose("n1", "n2")
    w:lose("n2", "n3")
    w.n2:start()
    assert.are.equal(0, w.n2.host:applied())
    w:connect_all()
    w:advance(1500)
    assert.are.same(before, { w.n2.host:applied() })
    assert.are.equal(20, #w.n2.machine.commands)
    assert.are.same({ { bundle = "BUNDLE", config = "\xC0" } }, w.n2.loaded)
    assert.is_true(w.n2.host:ready())
    same_everywhere(w)
  end)

  it("are asked of the disk again when it gave only some", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start()
    w:settle()
    commands(w, 30)
    local before = { w.n1.host:applied() }
    w.n1:crash()
    w.n1:start()
    until_reading(w.n1)
    local reads = 0
    while w.n1:read_log(3) do
      reads = reads + 1
      w.n1:turn()
    end
    assert.is_true(reads >= 10, "reads: " .. reads)
    assert.is_true(w.n1.host:ready())
    assert.are.equal(30, #w.n1.machine.commands)
    for i = 1, 30 do assert.are.equal("c" .. i, w.n1.machine.commands[i].body) end
    assert.are.equal(before[3], select(3, w.n1.host:applied()))
  end)

  it("that the disk does not have stop the node", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start()
    w:settle()
    commands(w, 5)
    w.n1:crash()
    w.n1:start()
    local read = until_reading(w.n1)
    w.n1.host:log_read(read.token, {})
    assert.are.equal("corrupt", w.n1.fatal.code)
    assert.is_truthy(w.n1.fatal.text:find("entry " .. read.first, 1, true))
    assert.is_false(w.n1.host:turn())
  end)

  it("that the disk has otherwise stop the node", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start()
    w:settle()
    commands(w, 5)
    w.n1:crash()
    w.n1:start()
    local read = until_reading(w.n1)
    w.n1.host:log_read(read.token, { w.n1.disk.entries[read.first + 1] })
    assert.are.equal("corrupt", w.n1.fatal.code)
  end)

  it("that cannot be read for a failing disk stop the node", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start()
    w:settle()
    w.n1:crash()
    w.n1:start()
    w.n1.host:log_read(until_reading(w.n1).token, {}, "io_error", "it clicks")
    assert.are.same({ code = "io_error", text = "it clicks" }, w.n1.fatal)
  end)
end)

describe("a machine that gets no memory", function()
  -- What this node would answer the others may not: it ends, and nobody is told anything.
  local function ends(ask)
    local w <close> = world.new { nodes = 1 }
    w.n1:start()
    w:settle()
    commands(w, 2)
    local index = w.n1.host:applied()
    local ticket = ask(w.n1)
    local later = w.n1:submit "after it"
    for _ = 1, 5 do
      if w.n1.fatal then break end
      w.n1:turn()
      w:advance(10)
    end
    assert.are.equal("internal", w.n1.fatal.code)
    assert.is_truthy(w.n1.fatal.text:find "no memory for the state machine at index %d+: this node stops")
    assert.is_nil(w.n1:answer(ticket))
    assert.is_nil(w.n1:answer(later))
    assert.are.equal(index, (w.n1.host:applied()))
    assert.is_false(w.n1.host:turn())
  end

  it("for a command stops the node, and there is no result", function()
    ends(function(node) return node:submit "exhaust" end)
  end)

  it("for a query stops the node, and there is no answer", function()
    ends(function(node) return node:query "exhaust" end)
  end)
end)

describe("an entry that this program cannot apply", function()
  -- Starts a lone voter whose log holds, from `index` on, one entry of this type and payload.
  local function start_with(index, type, payload)
    local w <close> = world.new { nodes = 1 }
    w.n1:start()
    w:settle()
    w.n1:crash()
    local entries = w.n1.disk.entries
    while #entries >= index do entries[#entries] = nil end
    append(w.n1, { type = type, payload = payload })
    w.n1:start()
    w:settle()
    return w.n1.fatal or {}
  end

  it("stops the node, with a word about it: a type of a later program", function()
    local fatal = start_with(3, 3, "new")
    assert.are.equal("version", fatal.code)
    assert.is_truthy(fatal.text:find("deploy", 1, true))
  end)

  it("stops the node: a deploy that is put otherwise", function()
    local sound = "\x82\xA6bundle\xA1B\xA8replaces"
    for _, tail in ipairs { "\xC0", "\x01", "\xD3\xF1\x23\x45\x67\x89\xAB\xCD\xEF" } do
      assert.is_nil(start_with(3, 3, sound .. tail).code)
    end
    for _, bad in ipairs { "", "\xC0", "\x80", sound, sound .. "\xA1a", sound .. "\xC0\xC0",
      "\x82\xA6bundle\x01\xA8replaces\xC0", "\x81\xA6bundle\xA1B", "\x81\xA8replaces\xC0" } do
      assert.are.equal("version", start_with(3, 3, bad).code)
    end
  end)

  local settings = "\xA8settings\x80"
  local tail = "\xA6bundle\xA1B\xA6config\xC0\xACformat_level"

  it("stops the node: an INIT of a higher format level", function()
    assert.is_nil(start_with(2, 2, "\x84" .. tail .. "\x01" .. settings).code)
    assert.are.equal("version", start_with(2, 2, "\x84" .. tail .. "\x02" .. settings).code)
  end)

  it("stops the node: an INIT with a setting not known here, or of another scope", function()
    assert.are.equal("version", start_with(2, 2, "\x84" .. tail .. "\x01\xA8settings\x81\xA3odd\x01").code)
    assert.are.equal("version", start_with(2, 2, "\x84" .. tail .. "\x01\xA8settings\x81\xACheartbeat_ms\x05").code)
  end)

  it("stops the node: an INIT that is none", function()
    for _, bad in ipairs { "", "\xC0", "\x80", "\x84" .. tail .. "\x01", "\x81" .. settings, "\xDD\xFF\xFF\xFF\xFF" } do
      assert.are.equal("corrupt", start_with(2, 2, bad).code)
    end
  end)
end)

describe("INIT", function()
  it("has these bytes", function()
    local w <close> = world.new { nodes = 1 }
    w.n1.options.bundle, w.n1.options.config = "BUNDLE", "\x81\xA1a\x01"
    w.n1:start()
    w:settle()
    local init = formats.entry_decode(w.n1.disk.entries[2])
    assert.are.equal(2, init.type)
    assert.are.equal(
      "\x84\xA6bundle\xA6BUNDLE\xA6config\x81\xA1a\x01\xACformat_level\x01\xA8settings\x8C"
        .. "\xAFblock_bytes_max\xCE\x01\x00\x00\x00" .. "\xB2command_memory_max\xCE\x10\x00\x00\x00"
        .. "\xB1command_steps_max\xCE\x02\xFA\xF0\x80"
        .. "\xB5idempotency_bytes_max\xCE\x04\x00\x00\x00" .. "\xB4idempotency_keys_max\xCE\x00\x03\xD0\x90"
        .. "\xB6idempotency_timeout_ms\xCE\x05\x26\x5C\x00" .. "\xB2migrate_memory_max\xCE\x40\x00\x00\x00"
        .. "\xB1migrate_steps_max\xCE\x77\x35\x94\x00" .. "\xB1session_bytes_max\xCE\x10\x00\x00\x00"
        .. "\xB2session_timeout_ms\xCE\x00\x36\xEE\x80" .. "\xAEsession_window\xCC\x80"
        .. "\xACsessions_max\xCD\x27\x10", init.payload)
  end)
end)

describe("a node", function()
  it("is ready when it has applied what was committed as it learned of leader and app", function()
    local w <close> = cluster()
    commands(w, 10)
    w.n2:crash()
    w:lose("n1", "n2")
    w:lose("n2", "n3")
    w.n2:start { apply_slice_us = 1 }
    w.n2.on_apply = function() w.now = w.now + 10 end
    w:connect_all()
    assert.is_false(w.n2.host:ready())
    local ready_at
    for _ = 1, 400 do
      w.now = w.now + 10000
      for _, node in ipairs(w.nodes) do
        if node.timer > 0 and node.timer <= w.now then
          node.timer = 0
          node.host:timer()
        end
        node.host:turn()
        node:flush()
        node:read_log()
        node.host:turn()
      end
      w:deliver_all()
      if w.n2.host:ready() then
        ready_at = ready_at or #w.n2.machine.commands
      else
        assert.is_nil(ready_at, "ready once, it does not become unready again")
      end
    end
    assert.are.equal(10, ready_at)
  end)

  it("is not ready without a leader", function()
    local w <close> = cluster()
    commands(w, 1)
    assert.is_true(w.n1.host:ready())
    w:isolate "n1"
    w:advance(3000)
    assert.is_false(w.n1.host:ready())
    w:heal "n1"
    w:advance(3000)
    assert.is_true(w.n1.host:ready())
  end)
end)
