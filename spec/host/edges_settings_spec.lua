-- Edges of settings: what is a change and what is not, what is said of each, and what a change that is refused, or is
-- none, leaves alone. Each was a guard that nothing else missed (scripts/mutants).
local base = require "moonclave.base"
local world = require "host.world"

local function cluster(settings, nodes) return world.cluster { nodes = nodes, settings = settings } end

-- An action of these bytes: code, message, and all of the answer.
local function ask(w, node, body, options)
  local o = { kind = "admin" }
  for k, v in pairs(options or {}) do o[k] = v end
  local ticket = w[node]:submit(body, o)
  w:settle()
  local code, answer = w[node]:told(ticket)
  return code, type(answer) == "table" and answer.message or nil, answer
end

local function set(w, node, values) return ask(w, node, base.pack { "config", base.object(values) }) end

local function setting(node, name) return node.host:config().settings[name] end

-- What n1 tells n2, which has passed a change of these arguments (msgpack) on without looking at it.
local function passed_on(w, arguments)
  w.n1.host:forwarded(w.n2:identity(), 77, { kind = "admin", timeout_ms = 5000,
    body = "\x92" .. base.pack "config" .. arguments })
  w.n1:turn()
  local reply = w:take(function(p) return p.kind == "forward_reply" and p.ticket == 77 end)[1]
  return reply.code, (base.unpack(reply.body)).message
end

describe("an action", function()
  it("changes settings only where it is [config, arguments] and nothing more", function()
    local w <close> = cluster()
    local config, arguments = base.pack "config", base.pack { waiting_max = 9 }
    assert.same({ "ok", 9 }, { (ask(w, "n1", "\x92" .. config .. arguments)), setting(w.n1, "waiting_max").value })
    local other = base.pack { waiting_max = 11 }
    for name, body in pairs {
      ["a map"] = "\x82" .. config .. other .. config .. other, ["three"] = "\x93" .. config .. other .. "\1",
      ["one"] = "\x91" .. config, ["nothing behind it"] = "\x92" .. config, ["half an argument"] = "\x92" .. config ..
      "\x81\xABwaiting", ["no name"] = "\x92\5" .. other, ["nothing"] = "" } do
      ask(w, "n1", "\x92" .. config .. arguments)
      local code, message = ask(w, "n1", body)
      assert.same({ "bad_request", "an action is [name, arguments]" }, { code, message }, name)
      assert.equal(9, setting(w.n1, "waiting_max").value, name)
    end
  end)

  it("that is a command's body is a command", function()
    local w <close> = cluster()
    local body = base.pack { "config", base.object { waiting_max = 9 } }
    for _, node in ipairs { w.n1, w.n2 } do
      local before = #w.n1.machine.commands
      local ticket = node:submit(body, { timeout_ms = 60000 })
      w:settle()
      assert.equal(("ok done %d %s"):format(before + 1, body), node:answer(ticket))
      assert.equal(100000, setting(node, "waiting_max").value)
    end
    local ticket = w.n2:query(body)
    w:settle()
    assert.matches("^ok answer", w.n2:answer(ticket))
  end)
end)

describe("the arguments", function()
  it("are pairs of names and values, all of them", function()
    local w <close> = cluster()
    local good = base.pack "waiting_max" .. "\5"
    for _, bytes in ipairs { "\x81\5\6", "\x82" .. good .. "\5\6", "\x81\xC0\5", "\x80", "\xC0", "\x92\5\6" } do
      local code, message = ask(w, "n2", "\x92" .. base.pack "config" .. bytes)
      assert.equal("bad_request", code)
      assert.matches("the arguments are {name: value}", message, 1, true)
    end
    assert.same({ 100000, "default" }, { setting(w.n2, "waiting_max").value, setting(w.n2, "waiting_max").source })
  end)

  it("may be 0, true and false, and nothing else but numbers and texts", function()
    local w <close> = cluster()
    assert.equal("ok", (set(w, "n1", { follower_reads = true, tail_bytes_max = 0 })))
    assert.same({ 1, 0 }, { setting(w.n1, "follower_reads").value, setting(w.n1, "tail_bytes_max").value })
    assert.equal("ok", (set(w, "n1", { follower_reads = false })))
    assert.equal(0, setting(w.n1, "follower_reads").value)
    for given, said in pairs { [true] = '"true"', [false] = '"false"', [-7] = '"-7"' } do
      local code, message = set(w, "n1", { waiting_max = given })
      assert.equal("bad_request", code)
      assert.matches("waiting_max is " .. said .. ": it must be a whole number", message, 1, true)
    end
    for _, value in ipairs { "\xC0", "\xCB" .. ("\0"):rep(8), "\xCB\x3F\xF8" .. ("\0"):rep(6), "\x90", "\x80", "\x91\1",
      "\x81\1\1", "\xCF" .. ("\xFF"):rep(8), "\xD9\x40" .. ("1"):rep(64) } do
      local code, message = ask(w, "n1", "\x92" .. base.pack "config" .. "\x81" .. base.pack "waiting_max" .. value)
      assert.equal("bad_request", code)
      assert.matches("waiting_max: a value is a whole number, or a text", message, 1, true)
    end
    local code, message = set(w, "n1", { waiting_max = ("1"):rep(63) })
    assert.equal("bad_request", code)
    assert.matches('waiting_max is "1+": it must be a whole number', message)
  end)

  it("name a setting, however long what is given instead is", function()
    local w <close> = cluster()
    for _, size in ipairs { 62, 63, 64, 65, 300 } do
      local code, message = set(w, "n1", { [("x"):rep(size)] = 1 })
      assert.equal("bad_request", code)
      assert.equal("there is no setting " .. ("x"):rep(math.min(size, 63)), message)
    end
  end)
end)

describe("a leader that is passed a change", function()
  it("says what is wrong with it first, and only then whose it is or that there is no app", function()
    local w <close> = cluster()
    local code, message = passed_on(w, base.pack { comand_steps_max = 5 })
    assert.same({ "bad_request", "there is no setting comand_steps_max: did you mean command_steps_max?" },
      { code, message })
    code, message = passed_on(w, base.pack { waiting_max = 5, session_window = 5 })
    assert.equal("bad_request", code)
    assert.matches("change them one after the other", message, 1, true)
    code, message = passed_on(w, base.pack { waiting_max = 5 })
    assert.equal("bad_request", code)
    assert.matches("ask that node itself", message, 1, true)
    local bare <close> = world.new { nodes = 3 }
    for _, node in ipairs(bare.nodes) do node.options.bundle = "" end
    bare:bootstrap()
    bare:elect "n1"
    code, message = passed_on(bare, base.pack { comand_steps_max = 5 })
    assert.equal("bad_request", code)
    assert.matches("there is no setting comand_steps_max", message, 1, true)
    code, message = passed_on(bare, base.pack { session_window = 5 })
    assert.equal("unavailable", code)
    assert.matches("no app yet", message, 1, true)
  end)

  it("of the cluster's alone proposes it", function()
    local w <close> = cluster()
    w.n1.host:forwarded(w.n2:identity(), 78, { kind = "admin", timeout_ms = 5000,
      body = base.pack { "config", base.object { session_window = 5 } } })
    w:advance(150)
    for _, node in ipairs(w.nodes) do assert.equal(5, setting(node, "session_window").value) end
  end)
end)

describe("a change", function()
  it("of a node's own is no news for the machine; one of the cluster's is, and for the node", function()
    local w <close> = cluster(nil, 1)
    local machine, node = w.n1.machine.settings, w.n1.settings
    assert.equal("ok", (set(w, "n1", { waiting_max = 77 })))
    assert.is_true(rawequal(machine, w.n1.machine.settings))
    assert.is_false(rawequal(node, w.n1.settings))
    node = w.n1.settings
    assert.equal("ok", (set(w, "n1", { session_window = 77 })))
    assert.is_false(rawequal(machine, w.n1.machine.settings))
    assert.same({ 77, 77 }, { w.n1.machine.settings.session_window, w.n1.settings.session_window })
    assert.is_false(rawequal(node, w.n1.settings))
  end)

  it("is none of the concern of a machine that goes by no settings", function()
    local w <close> = world.new { nodes = 1 }
    w.n1.options.no_configure = true
    w.n1:start()
    w:settle()
    assert.equal("ok", (set(w, "n1", { session_window = 77 })))
    assert.same({ 77, 77 }, { setting(w.n1, "session_window").value, w.n1.settings.session_window })
    assert.is_nil(w.n1.machine.settings)
  end)

  it("is logged once, with the entry where it is the cluster's; what stays the same is not", function()
    local w <close> = cluster()
    w.n1.log, w.n2.log = {}, {}
    local _, _, answer = set(w, "n1", { session_window = 77, sessions_max = 10000 })
    w:advance(150)
    for _, node in ipairs { w.n1, w.n2 } do
      assert.equal(1, node:logged ", was ")
      assert.equal(1, node:logged("session_window is 77, was 128, in the cluster, by index " .. answer.index .. "$"))
    end
    w.n2.log = {}
    assert.equal("ok", (set(w, "n2", { waiting_max = 5, trailing_entries = 10000 })))
    assert.equal(1, w.n2:logged ", was ")
    assert.equal(1, w.n2:logged "waiting_max is 5, was 100000, until this node is restarted$")
  end)

  it("of a node's own that was named, changed or not, is its own from then on; no other is", function()
    local w <close> = cluster()
    local before = w.n2.host:config().settings
    assert.equal("ok", (set(w, "n2", { waiting_max = 5, trailing_entries = 10000, heartbeat_ms = 100 })))
    for name, now in pairs(w.n2.host:config().settings) do
      local named = name == "waiting_max" or name == "trailing_entries"
      assert.equal(named and "changed" or before[name].source, now.source, name)
      assert.equal(base.null, now.started_with, name) -- of a node's own nobody says otherwise
    end
  end)

  it("of what is read at the start only is refused with the flag's name, also beside others", function()
    local w <close> = cluster()
    for name, flag in pairs { policy_stable_ms = "--policy-stable-ms=7", events_max = "--events-max=16" } do
      local code, message = set(w, "n1", { [name] = tonumber(flag:match "%d+$"), waiting_max = 5 })
      assert.equal("bad_request", code)
      assert.equal(name .. " needs a restart (it is read at the start only): start with " .. flag, message)
    end
    assert.equal(100000, setting(w.n1, "waiting_max").value)
  end)
end)

describe("what was given at the start", function()
  it("is warned of where the cluster has something else, and nowhere else", function()
    local w <close> = world.new { nodes = 4 }
    w.n1.options.settings = { session_window = 9 }
    w.n3.options.settings = { session_window = 9, waiting_max = 500 }
    w.n4.options.settings = { session_window = 10, waiting_max = 500 }
    for _, node in ipairs(w.nodes) do node:start() end
    assert.equal("ok", (set(w, "n3", { waiting_max = 600 }))) -- its own: the cluster has none
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    for id, warned in pairs { n1 = 0, n2 = 0, n3 = 0, n4 = 1 } do -- n2 was given nothing
      local said = setting(w[id], "session_window")
      assert.equal(warned, w[id]:logged "was started with", id)
      assert.same({ 9, "cluster" }, { said.value, said.source })
      assert.equal(warned > 0 and 10 or base.null, said.started_with, id)
    end
    assert.equal(1, w.n4:logged "was started with session_window=10, the cluster has 9: the cluster's counts")
    assert.same({ 600, "changed", base.null },
      { setting(w.n3, "waiting_max").value, setting(w.n3, "waiting_max").source,
        setting(w.n3, "waiting_max").started_with })
    assert.same({ 500, "flag" }, { setting(w.n4, "waiting_max").value, setting(w.n4, "waiting_max").source })
  end)

  it("and was unsound in itself is not blamed on the cluster", function()
    local w <close> = world.new { nodes = 3, settings = { session_timeout_ms = 6000 } }
    w.n3.options.settings = { request_timeout_ms = 7000, session_timeout_ms = 6500 }
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    assert.equal(6000, setting(w.n3, "session_timeout_ms").value)
    assert.equal(1, w.n3:logged "was started with session_timeout_ms=6500")
    assert.equal(0, w.n3:logged "do not go with")
  end)

  it("is what the cluster begins with, and called the node's until it has", function()
    local w <close> = world.new { nodes = 2 }
    w.n1.options.settings = { session_window = 9 }
    w.n1:start()
    local said = setting(w.n1, "session_window")
    assert.same({ 9, "flag", "cluster" }, { said.value, said.source, said.scope })
    assert.equal(base.null, said.started_with)
    assert.equal("default", setting(w.n1, "sessions_max").source)
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    assert.equal("cluster", setting(w.n1, "session_window").source)
    assert.equal("cluster", setting(w.n2, "sessions_max").source)
  end)
end)

describe("what a node says of its settings", function()
  it("has each of them, with all that is known of it", function()
    local w <close> = cluster(nil, 1)
    assert.equal("ok", (set(w, "n1", { waiting_max = 5 })))
    local config = w.n1.host:config()
    local wanted, found = {}, {}
    for name in pairs(w.n1.settings) do wanted[#wanted + 1] = name end -- as the node was just told them
    for name in pairs(config.settings) do found[#found + 1] = name end
    table.sort(wanted)
    table.sort(found)
    assert.same(wanted, found)
    assert.is_true(#found > 40)
    assert.same({ config.applied_index, "n1" }, { (w.n1.host:applied()), config.id })
    local help = config.settings.leases.help
    assert.same({ default = 0, help = help, index = base.null, least = 0, most = 1, restart =
      "it must be the same on every node, and a voter's promise outlives its restart", scope = "node",
      source = "default", started_with = base.null, unit = "0 or 1", value = 0 }, config.settings.leases)
    assert.matches("^1: reads", help)
  end)
end)
