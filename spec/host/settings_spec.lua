-- Settings that change while all is running: the cluster's through the log, a node's own at once.
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local sessions = require "moonclave.sessions"
local support = require "host.snapshot_support"
local world = require "host.world"

local MIB = 1 << 20

local function cluster(settings, nodes) return world.cluster { nodes = nodes, settings = settings } end

-- Asks `node` for the change and waits: code, body.
local function set(w, node, values)
  local ticket = w[node]:admin("config", values)
  w:settle()
  local code, body = w[node]:told(ticket)
  return code, body and (body.message or body.index or body.id), ticket
end

local function refused(w, node, values, text)
  local last = w.n1.host:status().last_index
  local before = w[node].host:config().settings
  local code, message = set(w, node, values)
  assert.equal("bad_request", code, tostring(message))
  assert.matches(text, message, 1, true)
  assert.equal(last, w.n1.host:status().last_index) -- nothing was proposed
  assert.same(before, w[node].host:config().settings)
end

local function value(node, name) return node.host:config().settings[name].value end

local function entry_at(node, index) return formats.entry_decode(node.disk.entries[index]) end

local function everywhere_alike(w)
  local first = { w.n1.host:applied() }
  for _, node in ipairs(w.nodes) do
    assert.same(first, { node.host:applied() })
    assert.same(w.n1.host:status().chain, node.host:status().chain)
  end
end

-- Behind what is on the disk, as the leader of its last term wrote it.
local function append(node, type, payload)
  local entries = node.disk.entries
  local last = formats.entry_decode(entries[#entries])
  local entry = { type = type, payload = payload, index = last.index + 1, term = last.term, time_ms = last.time_ms }
  entry.chain = formats.entry_chain(entry, last.chain)
  entries[#entries + 1] = formats.entry_encode(entry)
end

describe("the cluster's settings", function()
  it("change by an entry of these bytes, at the same index everywhere", function()
    local w <close> = cluster()
    local bytes = { n2 = "\x81\xAEsession_window\x07",
      n1 = "\x82\xAFblock_bytes_max\xCE\x00\x10\x00\x00\xB1command_steps_max\xCE\x00\x01\xE2\x40" }
    for node, values in pairs { n1 = { command_steps_max = 123456, block_bytes_max = "1MiB" },
      n2 = { session_window = 7 } } do
      local code, index = set(w, node, values)
      assert.equal("ok", code)
      w:advance(150) -- and everybody hears that it is committed
      for _, one in ipairs(w.nodes) do
        local entry = entry_at(one, index)
        assert.equal(6, entry.type)
        assert.equal(bytes[node], entry.payload)
        for name, v in pairs(values) do
          local setting = one.host:config().settings[name]
          local wanted = v == "1MiB" and MIB or v
          assert.same({ wanted, "changed", index, "cluster" },
            { setting.value, setting.source, setting.index, setting.scope })
          assert.equal(wanted, one.machine.settings[name])
          assert.equal(wanted, one.settings[name]) -- the node is told as well
        end
      end
      everywhere_alike(w)
    end
  end)

  it("as they were when the cluster began come from there", function()
    local w <close> = cluster { session_window = 9 }
    local setting = w.n2.host:config().settings.session_window
    assert.same({ 9, "cluster", 128, 1, 4096, "replies" },
      { setting.value, setting.source, setting.default, setting.least, setting.most, setting.unit })
    assert.equal(base.null, setting.index)
    assert.equal(base.null, setting.restart)
  end)

  it("are what they were where a change is refused: all of it", function()
    local w <close> = cluster()
    for _, node in ipairs { "n1", "n3" } do
      refused(w, node, {}, "{name: value}")
      refused(w, node, { comand_steps_max = 5 }, "no setting comand_steps_max: did you mean command_steps_max?")
      refused(w, node, { session_window = 0 }, "session_window is 0 replies: it must be from 1 to 4096")
      refused(w, node, { session_window = -1 }, 'session_window is "-1"')
      refused(w, node, { session_window = "5k" }, 'session_window is "5k"')
      refused(w, node, { session_window = 1.5 }, "session_window: a value is a whole number, or a text")
      refused(w, node, { session_window = {} }, "session_window: a value is a whole number, or a text")
      refused(w, node, { session_window = ("1"):rep(64) }, "session_window: a value is a whole number, or a text")
      refused(w, node, { session_window = 5, sessions_max = 0 }, "sessions_max is 0")
      refused(w, node, { session_window = 5, waiting_max = 5 },
        "session_window is the cluster's and waiting_max this node's: change them one after the other")
      refused(w, node, { command_memory_max = MIB }, "command_memory_max is 1048576: it must be at least 16777216")
      refused(w, node, { session_timeout_ms = 4999 }, "it must be at least 5000 (request_timeout_ms)")
      refused(w, node, { idempotency_timeout_ms = 86399999 }, "can only grow while the cluster runs")
      refused(w, node, { [("x"):rep(200)] = 1 }, "there is no setting xxx")
    end
    local ticket = w.n1:submit(base.pack { "config", 5 }, { kind = "admin" })
    local list = w.n1:submit(base.pack { "config", { 1, 2 } }, { kind = "admin" })
    local twice = w.n1:submit("\x92\xA6config\x82\xABwaiting_max\x05\xABwaiting_max\x06", { kind = "admin" })
    w:settle()
    assert.equal("bad_request", (w.n1:told(ticket)))
    assert.equal("bad_request", (w.n1:told(list)))
    assert.matches("waiting_max is named twice", select(2, w.n1:told(twice)).message, 1, true)
  end)

  it("that were sound one by one, and are not together, are refused by the later entry: everywhere alike", function()
    local w <close> = cluster()
    local a = w.n1:admin("config", { command_memory_max = "16MiB" })
    local b = w.n1:admin("config", { block_bytes_max = "17MiB" }) -- looked at before the first is applied
    w:settle()
    w:advance(150)
    assert.equal("ok", (w.n1:told(a)))
    local code, body = w.n1:told(b)
    assert.equal("conflict", code)
    assert.matches("another change came first", body.message, 1, true)
    for _, node in ipairs(w.nodes) do
      assert.same({ 16 * MIB, 16 * MIB }, { value(node, "command_memory_max"), value(node, "block_bytes_max") })
      assert.equal(16 * MIB, node.machine.settings.block_bytes_max)
      assert.equal(base.null, node.host:config().settings.block_bytes_max.index)
    end
    everywhere_alike(w)
  end)

  it("are decided alike by nodes whose own settings do not go with them", function()
    local w <close> = world.new { nodes = 3 }
    w.n3.options.settings = { request_timeout_ms = 60000 }
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    refused(w, "n3", { session_timeout_ms = 30000 }, "it must be at least 60000 (request_timeout_ms)") -- the one asked
    assert.equal("ok", (set(w, "n2", { session_timeout_ms = 30000 })))
    w:advance(150)
    assert.equal(30000, value(w.n3, "session_timeout_ms"))
    assert.equal(1, w.n3:logged "do not go with the cluster's: session_timeout_ms is 30000")
    assert.equal(0, w.n2:logged "do not go with")
    refused(w, "n3", { request_timeout_ms = 60001 }, "session_timeout_ms is 30000") -- it can be mended
    assert.equal("ok", (set(w, "n3", { request_timeout_ms = 2000 })))
    everywhere_alike(w)
  end)

  it("are looked at by the leader too, whatever the node that was asked thinks", function()
    local w <close> = world.new { nodes = 3 }
    w.n1.options.settings = { request_timeout_ms = 60000 }
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    local last = w.n1.host:status().last_index
    local code, text = set(w, "n2", { session_timeout_ms = 30000 })
    assert.equal("bad_request", code)
    assert.matches("60000", text, 1, true)
    assert.equal(last, w.n1.host:status().last_index)
    -- nobody changes another node's own settings through it
    w.n1.host:forwarded(w.n2:identity(), 77, { kind = "admin", timeout_ms = 5000,
      body = base.pack { "config", base.object { waiting_max = 9 } } })
    w.n1:turn()
    local reply = w:take(function(p) return p.kind == "forward_reply" and p.ticket == 77 end)[1]
    assert.equal("bad_request", reply.code)
    assert.matches("ask that node itself", base.unpack(reply.body).message, 1, true)
    assert.equal(100000, value(w.n1, "waiting_max"))
  end)

  it("survive a restart, and come with a snapshot to whoever has nothing else", function()
    local w <close> = cluster(support.NEVER)
    local _, index = set(w, "n1", { session_window = 7 })
    assert(set(w, "n1", { command_steps_max = 1000000 }))
    w:advance(150)
    local before = { w.n2.host:applied() }
    w.n2:crash()
    w:lose("n1", "n2")
    w:lose("n2", "n3")
    w.n2:start()
    w:connect_all()
    w:advance(300)
    assert.same(before, { w.n2.host:applied() })
    assert.same({ 7, 1000000 }, { value(w.n2, "session_window"), w.n2.machine.settings.command_steps_max })
    -- the log before the snapshot goes, and n3 loses its disk
    w.n3:crash()
    for _, node in ipairs { w.n1, w.n2 } do
      w:lose(node.id, "n3")
      node:admin "snapshot"
    end
    w:settle()
    assert.is_true(w.n1.disk.base.index >= index)
    w.n1:crash()
    w:lose("n1", "n2")
    w.n1:start { settings = { session_window = 99 } } -- and from its own one
    w:settle()
    local setting = w.n1.host:config().settings.session_window
    assert.same({ 7, "changed", index, 99 }, { setting.value, setting.source, setting.index, setting.started_with })
    assert.same({ 7, 1000000 }, { w.n1.machine.settings.session_window, w.n1.machine.settings.command_steps_max })
  end)

  it("wait for the app they come with", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start { bundle = "" }
    w:settle()
    local code, text = set(w, "n1", { session_window = 5 })
    assert.equal("unavailable", code)
    assert.matches("no app yet", text)
    assert.equal("default", w.n1.host:config().settings.session_window.source)
  end)

  it("change where the app does not load, too", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start { bundle = "BROKEN" }
    w:settle()
    assert.equal("ok", (set(w, "n1", { command_steps_max = 5000 })))
    assert.equal(5000, value(w.n1, "command_steps_max"))
  end)

  it("by an entry that this program does not understand stop the node", function()
    for payload, code in pairs { ["\x81\xA3odd\x01"] = "version", ["\x81\xACheartbeat_ms\x05"] = "version",
      ["\x81\xAEsession_window\x00"] = "version", ["\xC0"] = "corrupt", [""] = "corrupt",
      ["\x81\xAEsession_window\xC0"] = "corrupt", ["\x81\x01\x01"] = "corrupt",
      ["\x82\xAEsession_window\x05"] = "corrupt" } do
      local w <close> = support.lone()
      w.n1:crash()
      append(w.n1, 6, payload)
      w.n1:start()
      w:settle()
      assert.equal(code, (w.n1.fatal or {}).code, payload)
      assert.matches("^entry %d+: ", w.n1.fatal.text)
    end
  end)

  it("before the app came are of no effect, on every node", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start { bundle = "" }
    w:settle()
    w.n1:crash()
    append(w.n1, 6, "\x81\xAEsession_window\x05")
    w.n1:start { bundle = "" }
    w:settle()
    assert.is_nil(w.n1.fatal)
    assert.equal(128, value(w.n1, "session_window"))
  end)
end)

describe("sessions", function()
  local OPEN = sessions.body "open"
  local function open(w)
    local ticket = w.n1:submit(OPEN, { kind = "session" })
    w:settle()
    return (base.unpack(w.n1.replies[ticket].body) or {}).session
  end
  local function done(w, session, sequence)
    local ticket = w.n1:submit("c" .. sequence, { session = session, sequence = sequence })
    w:settle()
    return w.n1:answer(ticket)
  end

  it("let go of what is above a smaller window with their next command, and not before", function()
    local w <close> = cluster(nil, 1)
    local s = open(w)
    for i = 1, 5 do done(w, s, i) end
    assert.equal("ok", (set(w, "n1", { session_window = 2 })))
    assert.equal("ok done 1 c1", done(w, s, 1)) -- still kept
    assert.equal("ok done 6 c6", done(w, s, 6))
    assert.equal("forgotten", done(w, s, 4))
    assert.equal("ok done 5 c5", done(w, s, 5))
    assert.equal("ok", (set(w, "n1", { session_window = 9 }))) -- what is gone stays gone
    assert.equal("forgotten", done(w, s, 4))
    assert.equal(6, #w.n1.machine.commands)
  end)

  it("above a smaller number stay open, and no other is opened", function()
    local w <close> = cluster(nil, 1)
    local a, b = open(w), open(w)
    assert.equal("ok", (set(w, "n1", { sessions_max = 1 })))
    assert.is_nil(open(w))
    assert.equal("ok done 1 c1", done(w, a, 1))
    assert.equal("ok done 2 c1", done(w, b, 1))
    assert.equal("ok", (set(w, "n1", { sessions_max = 3 })))
    assert.is_not_nil(open(w))
  end)

  it("that were idle for longer than a shorter time expire with the next entry", function()
    local w <close> = cluster(nil, 1)
    local s = open(w)
    w.wall = w.wall + 6000
    assert.equal("ok", (set(w, "n1", { session_timeout_ms = 6000 })))
    assert.equal(1, w.n1.host:status().sessions.open) -- the entry itself goes by what was before it
    assert.equal("session_expired", done(w, s, 1))
    assert.equal(0, w.n1.host:status().sessions.open)
  end)
end)

describe("a node's own setting", function()
  it("changes at once, on the node that is asked alone, until it is restarted", function()
    local w <close> = cluster()
    local last = w.n1.host:status().last_index
    local code, id = set(w, "n2", { request_timeout_ms = "2s", waiting_max = 5 })
    assert.same({ "ok", "n2" }, { code, id })
    local setting = w.n2.host:config().settings.request_timeout_ms
    assert.same({ 2000, "changed", "node" }, { setting.value, setting.source, setting.scope })
    assert.same({ 2000, 5 }, { w.n2.settings.request_timeout_ms, w.n2.settings.waiting_max })
    assert.equal(5000, value(w.n1, "request_timeout_ms"))
    assert.equal(last, w.n1.host:status().last_index)
    assert.equal(1, w.n2:logged "request_timeout_ms is 2s, was 5s, until this node is restarted")
    w.n2:crash()
    w.n2:start()
    assert.same({ 5000, "default" },
      { value(w.n2, "request_timeout_ms"), w.n2.host:config().settings.request_timeout_ms.source })
  end)

  it("changes on a node that has no cluster yet", function()
    local w <close> = world.new { nodes = 3 }
    w.n1:start()
    assert.equal("ok", (set(w, "n1", { trailing_entries = 7, waiting_max = 9 })))
    assert.equal(7, value(w.n1, "trailing_entries"))
  end)

  it("that cannot change while running says why, and how; the same value is no change", function()
    local w <close> = cluster()
    for name, v in pairs { heartbeat_ms = 50, election_timeout_ms = 2000, leases = 1, clock_drift_ppm = 5,
      entry_bytes_max = "1MiB", append_bytes_max = 5000, frame_bytes_max = "20MiB" } do
      refused(w, "n2", { [name] = v }, name .. " needs a restart (")
    end
    refused(w, "n2", { heartbeat_ms = "50ms", waiting_max = 5 }, "start with --heartbeat-ms=50")
    assert.equal("ok", (set(w, "n2", { heartbeat_ms = value(w.n2, "heartbeat_ms"), waiting_max = 5 })))
    assert.equal("default", w.n2.host:config().settings.heartbeat_ms.source)
    assert.matches("election_timeout_ms", w.n2.host:config().settings.heartbeat_ms.restart)
  end)

  it("that is unsafe with what is in force is refused", function()
    local w <close> = cluster()
    refused(w, "n1", { uncommitted_bytes_max = 4096 }, "uncommitted_bytes_max is 4096")
    refused(w, "n1", { snapshot_chunk_bytes = "8MiB", peer_queue_bytes_max = "8MiB" }, "peer_queue_bytes_max is 838")
    refused(w, "n1", { request_timeout_ms = "10min", waiting_bytes_max = 65536 }, "waiting_bytes_max is 65536")
  end)

  it("counts: limits of what waits, time, snapshots, the core's own", function()
    local w <close> = cluster({ snapshot_log_bytes = 1 << 40, trailing_entries = 1000 }, 1)
    assert.equal("ok", (set(w, "n1", { waiting_max = 1 })))
    local a, b = w.n1:submit "x", w.n1:submit "y"
    w:settle()
    assert.same({ "ok done 1 x", "overloaded" }, { w.n1:answer(a), w.n1:answer(b) })
    assert.equal("ok", (set(w, "n1", { waiting_max = 100 })))
    for _ = 1, 30 do w.n1:submit(("z"):rep(100)) end
    w:settle()
    assert.is_nil(w.n1.disk.snapshot)
    assert.equal("ok", (set(w, "n1", { snapshot_log_bytes = 100, trailing_entries = 3 })))
    w:settle()
    local meta = assert(w.n1.disk.snapshot)
    assert.equal(meta.index - 3, w.n1.disk.base.index) -- the core keeps as many
  end)

  it("is not lost where a snapshot is being restored", function()
    local w <close> = support.lone()
    support.write(w, 20)
    w.n1:admin "snapshot"
    w:settle()
    w.n1:crash()
    w.n1:start()
    w.n1:turn() -- the first piece of the snapshot is asked for
    local ticket = w.n1:admin("config", { waiting_max = 4321 })
    w.n1:turn()
    w:settle()
    assert.equal("ok", (w.n1:told(ticket)))
    assert.same({ 4321, 4321 }, { value(w.n1, "waiting_max"), w.n1.machine.settings.waiting_max })
  end)
end)

describe("a flag that the cluster does not go by", function()
  it("is warned about once, when the node has caught up", function()
    local w <close> = world.new { nodes = 3 }
    w.n3.options.settings = { command_steps_max = 5000, session_window = 128 }
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    assert.equal(1, w.n3:logged "was started with command_steps_max=5000, the cluster has 50000000")
    assert.equal(0, w.n1:logged "was started with")
    assert.equal(0, w.n3:logged "session_window")
    assert.equal(5000, w.n3.host:config().settings.command_steps_max.started_with)
    assert.equal(base.null, w.n1.host:config().settings.command_steps_max.started_with)
    assert.equal("ok", (set(w, "n3", { command_steps_max = 5000 })))
    w:advance(150)
    assert.equal(base.null, w.n3.host:config().settings.command_steps_max.started_with)
    w.n3:crash()
    w:lose("n1", "n3")
    w:lose("n2", "n3")
    w.n3:start()
    w:connect_all()
    w:advance(1000)
    assert.is_true(w.n3.host:ready())
    assert.equal(0, w.n3:logged "was started with") -- though INIT, which it has replayed, says otherwise
  end)

  it("and does not go with it is warned about", function()
    local w <close> = world.new { nodes = 3, settings = { session_timeout_ms = 6000 } }
    w.n3.options.settings = { request_timeout_ms = 7000, session_timeout_ms = 7000 }
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    assert.equal(1, w.n3:logged "do not go with the cluster's: session_timeout_ms is 6000")
    assert.equal(0, w.n1:logged "do not go")
  end)
end)
