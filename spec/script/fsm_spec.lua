local fsm = require "moonclave.fsm"
local support = require "script.fsm_support"

local kv = [[
local fsm = { version = 1, commands = {}, queries = {} }

function fsm.init(config)
  return { items = {}, limit = config.limit or 3 }
end

function fsm.commands.put(state, command, ctx)
  local item = state.items[command.key]
  if command.revision and command.revision ~= (item and item.revision or 0) then
    return nil, { code = "conflict", revision = item and item.revision or 0 }
  end
  if not item and count(state.items) >= state.limit then return nil, "full" end
  state.items[command.key] = { value = command.value, revision = ctx.index }
  return { revision = ctx.index }
end

function fsm.commands.half(state, command)
  state.items.a = nil
  state.items.b = { value = 1 }
  state.limit = 99
  if command.refuse then return nil, "no" end
  error("boom")
end

function fsm.commands.nothing() end

function fsm.queries.get(state, query) return state.items[query.key] end
function fsm.queries.all(state) return state end
function fsm.queries.write(state) state.limit = 1 end

return fsm]]

describe("a state machine", function()
  local machine
  before_each(function() machine = support.machine(kv) end)

  it("applies commands and answers queries", function()
    local code, reply = machine:apply({ index = 7 }, "put", { key = "a", value = "x" })
    assert.equal("ok", code)
    assert.same({ revision = 7 }, reply)
    code, reply = machine:query("get", { key = "a" })
    assert.equal("ok", code)
    assert.same({ value = "x", revision = 7 }, reply)
    code, reply = machine:query("get", { key = "b" })
    assert.equal("ok", code)
    assert.is_nil(reply)
    assert.same({ items = { a = { value = "x", revision = 7 } }, limit = 3 }, machine:state())
  end)

  it("makes its first state from the config", function()
    assert.same({ items = {}, limit = 10 }, support.machine(kv, { config = { limit = 10 } }):state())
  end)

  it("refuses with the app's own error", function()
    machine:apply({ index = 7 }, "put", { key = "a", value = 1 })
    local code, reply = machine:apply({ index = 8 }, "put", { key = "a", value = 2, revision = 3 })
    assert.equal("rejected", code)
    assert.same({ code = "conflict", revision = 7, message = "the state machine refused the command" }, reply)
    machine:apply({ index = 9 }, "put", { key = "b" })
    machine:apply({ index = 10 }, "put", { key = "c" })
    code, reply = machine:apply({ index = 11 }, "put", { key = "d" })
    assert.equal("rejected", code)
    assert.same({ code = "full", message = "full" }, reply)
  end)

  it("leaves nothing behind when a command raises or refuses", function()
    machine:apply({ index = 7 }, "put", { key = "a", value = 1 })
    local bytes, hash = machine:encode(), machine:hash()
    local code, reply = machine:apply({ index = 8 }, "half")
    assert.equal("command_failed", code)
    assert.equal("fsm.lua:22: boom", reply.message)
    assert.equal("[C]: in function 'error'\nfsm.lua:22: in function <fsm.lua:17>", reply.traceback)
    assert.equal(bytes, machine:encode())
    assert.equal(hash, machine:hash())
    code = machine:apply({ index = 9 }, "half", { refuse = true })
    assert.equal("rejected", code)
    assert.equal(bytes, machine:encode())
    assert.equal(hash, machine:hash())
  end)

  it("answers nil for a command that returns nothing", function()
    local code, reply, bytes = machine:apply({ index = 7 }, "nothing")
    assert.equal("ok", code)
    assert.is_nil(reply)
    assert.equal("\xc0", bytes)
  end)

  it("does not change in a query", function()
    local hash = machine:hash()
    local code, reply = machine:query("write")
    assert.equal("command_failed", code)
    assert.equal("fsm.lua:29: a query cannot change the state", reply.message)
    assert.equal(hash, machine:hash())
    assert.same({ items = {}, limit = 3 }, select(2, machine:query("all")))
  end)

  it("knows its commands and queries by name", function()
    local code, reply = machine:apply({ index = 7 }, "get")
    assert.equal("no_such_command", code)
    assert.same({ code = "no_such_command", message = "the app has no command 'get'" }, reply)
    code, reply = machine:query("put")
    assert.equal("no_such_command", code)
    assert.equal("the app has no query 'put'", reply.message)
    assert.same({ commands = { "half", "nothing", "put" }, queries = { "all", "get", "write" } }, machine:names())
    assert.same({ true, false }, { machine:has "put" })
    assert.same({ false, true }, { machine:has "get" })
    assert.same({ false, false }, { machine:has "init" })
  end)

  it("refuses bodies that are no [name, arguments]", function()
    for _, body in ipairs { "", "\x01", "\x90", "\x91\x01", "\x93\xa1a\x01\x02", "\x92\xa1a", "\x91\xa1a\x01",
      "\x92\xa3put\xdd\xff\xff\xff\xff" } do
      local code, reply = machine:apply_bytes({ index = 7 }, body)
      assert.equal("bad_request", code)
      assert.equal("bad_request", reply.code)
    end
    assert.equal("bad_request", (machine:apply_bytes({ index = 7 }, "\x92\xa3put\x81\x90\x01")))
    assert.equal("bad_request", (machine:apply_bytes({ index = 7 }, "\x92\xa3put" .. ("\x91"):rep(25) .. "\x01")))
    assert.equal("ok", (machine:apply_bytes({ index = 7 }, "\x91\xa7nothing")))
    assert.equal("ok", (machine:apply_bytes({ index = 7 }, "\x92\xa7nothing\xc0")))
  end)

  it("gives the stamps of the entry, and chance that follows the seed", function()
    local body = "return { ctx.index, ctx.term, ctx.time, ctx.session, ctx.random(1000000), math.random(1000000) }"
    local function run(entry) return support.value(body, { entry = entry }) end
    local entry = { index = 5, term = 3, time = 1700000000123, session = 9, seed = 42 }
    local first = run(entry)
    assert.same({ 5, 3, 1700000000123, 9 }, { table.unpack(first, 1, 4) })
    assert.same(first, run(entry))
    entry.seed = 43
    local other = run(entry)
    assert.is_true(first[5] ~= other[5] or first[6] ~= other[6])
    assert.equal("fsm.lua:3: ctx cannot be changed", (support.failure "ctx.index = 1"))
  end)

  it("draws numbers within their limits", function()
    assert.is_true(support.value [[
      for i = 1, 1000 do
        local a, b, c = math.random(), math.random(3), math.random(-2, 2)
        if a < 0 or a >= 1 or b < 1 or b > 3 or c < -2 or c > 2 then return false end
      end
      local whole = math.random(math.mininteger, math.maxinteger)
      return math.type(whole) == "integer" and math.type(math.random(0)) == "integer"]])
    assert.matches("interval is empty", (support.failure "return math.random(2, 1)"))
  end)

  it("writes what it logs to the node's log", function()
    local _, _, logged = support.run [[log("a", 1, nil, {}, 1.5) log()]]
    assert.equal("a 1 nil table 1.5\n\n", logged:logged())
  end)
end)

describe("loading", function()
  local function check(source, config, settings)
    local files = type(source) == "table" and source or { ["fsm.lua"] = source }
    return fsm.check(fsm.bundle(files), config, settings)
  end

  it("says what is wrong, and where", function()
    local cases = {
      ["return 1"] = "fsm.lua must return a table with `commands`",
      ["return {}"] = "fsm.lua must return a table with `commands`",
      ["return { commands = {}, version = '1' }"] = "fsm.lua: `version` must be an integer, it is a string",
      ["return { commands = 1 }"] = "fsm.lua: `commands` must be a table of functions, it is a number",
      ["return { commands = { 1 } }"] = "fsm.lua: `commands` must hold functions by name and nothing else",
      ["return { commands = {}, queries = { a = 1 } }"] =
        "fsm.lua: `queries` must hold functions by name and nothing else",
      ["return { commands = {}, init = 1 }"] = "fsm.lua: `init` must be a function, it is a number",
      ["return { commands = {}, init = function() end }"] =
        "fsm.init must return a table, the first state; it returned nil",
      ["return { commands = {}, init = function() return { f = print } end }"] =
        "fsm.lua:1: print is not available in a state machine: use log(...)",
      ["return { commands = {}, init = function() return { f = log } end }"] = ".f: a function is not plain data",
      ["\nlocal x = = 1"] = "fsm.lua:2: unexpected symbol near '='",
      ["\n\nerror 'at load'"] = "fsm.lua:3: at load",
      ["require 'missing'"] = "fsm.lua:1: the app has no module 'missing'",
      ["\27Lua"] = "fsm.lua is compiled code: an app's files are text",
      ["while true do end"] = "fsm.lua:1: more than 100000 steps (command_steps_max): is there an endless loop?",
    }
    for source, expected in pairs(cases) do
      local code, text = check(source, nil, { command_steps_max = 100000 })
      assert.equal("script_error", code)
      assert.equal(expected, text)
    end
    assert.equal("ok", (check "return { commands = {} }"))
  end)

  it("takes modules from the app's folder, each once", function()
    local machine = support.machine {
      ["fsm.lua"] = [[
        local a, b = require "lib.a", require "b"
        assert(require "lib.a" == a and require "moonclave" == moonclave)
        return { commands = { run = function() return { a.n, b.n, require("b").n } end } }]],
      ["lib/a.lua"] = "runs = (runs or 0) + 1 return { n = runs }",
      ["b/init.lua"] = "return { n = require('lib.a').n + 10 }",
    }
    assert.same({ 1, 11, 11 }, select(2, machine:apply({ index = 1 }, "run")))
    local code, text = check { ["fsm.lua"] = "require 'a'", ["a.lua"] = "require 'a'" }
    assert.equal("script_error", code)
    assert.equal("a.lua:1: module 'a' requires itself", text)
    code, text = check { ["fsm.lua"] = "require 'a'", ["a.lua"] = "\nlocal" }
    assert.equal("script_error", code)
    assert.matches("^a.lua:2: ", text)
  end)

  it("does not run modules later", function()
    local machine = support.machine {
      ["fsm.lua"] = "return { commands = { run = function() return require 'late' end } }",
      ["late.lua"] = "return 1",
    }
    local _, reply = machine:apply({ index = 1 }, "run")
    assert.equal("fsm.lua:1: require 'late' while a command runs: require modules at the top of the file",
      reply.message)
  end)

  it("needs an fsm.lua", function()
    local code, text = check { ["api.lua"] = "return {}" }
    assert.equal("script_error", code)
    assert.equal("the app has no fsm.lua", text)
  end)
end)

describe("two nodes", function()
  -- Their Lua states have different seeds and addresses; one of them also answers queries in between.
  it("agree to the byte on states and replies", function()
    local source = [[
      local fsm = { commands = {}, queries = {} }
      function fsm.init() return { list = {}, map = {} } end
      local function shuffle(t)
        local keys = {}
        for k in pairs(t) do keys[#keys + 1] = k end
        return keys
      end
      function fsm.commands.mix(state, command, ctx)
        local bag = {}
        for i = 1, command.n do bag["k" .. math.random(1000)] = ctx.random(100) end
        for k, v in pairs(bag) do
          table.insert(state.list, k)
          state.map[k] = { v, ctx.time, nested = bag }
        end
        table.sort(state.list, function(a, b) return a:sub(-1) < b:sub(-1) end)
        while #state.list > 20 do table.remove(state.list, math.random(#state.list)) end
        if command.n % 7 == 0 then error({ message = tostring(bag) .. tostring(shuffle) }) end
        if command.n % 5 == 0 then return nil, { code = "five", keys = shuffle(bag), next = next(bag) } end
        return { shuffle(bag), bag, state.list, tostring(state), ("%s"):format(bag), select(2, pcall(error,
          bag)) == bag }
      end
      function fsm.queries.look(state) local n = {} for k, v in pairs(state.map) do n[k] = v[1] end return n end
      return fsm]]
    local a, b = support.machine(source), support.machine(source)
    for i = 1, 150 do
      local entry = { index = i, term = 1, time = 1000 * i, seed = i * 7919 }
      local code_a, _, reply_a = a:apply(entry, "mix", { n = i % 40 })
      if i % 3 == 0 then b:query("look") end
      local code_b, _, reply_b = b:apply(entry, "mix", { n = i % 40 })
      assert.equal(code_a, code_b)
      assert.equal(reply_a, reply_b)
      assert.equal(a:hash(), b:hash())
    end
    assert.equal(a:encode(), b:encode())
  end)
end)
