local support = require "script.fsm_support"
local value, failure = support.value, support.failure

describe("what a state machine does not have", function()
  it("says so when it is touched, with what to use instead", function()
    for code, message in pairs {
      ["os.time()"] = "os.time is not available in a state machine: use ctx.time",
      ["os.getenv 'HOME'"] = "os.getenv is not available in a state machine: pass it in the app's config",
      ["os.exit()"] = "os.exit is not available in a state machine: a state machine has no world around it",
      ["io.write 'x'"] = "io.write is not available in a state machine: a state machine touches no files",
      ["package.loaded.os = 1"] =
        "package.loaded is not available in a state machine: require takes the app's own files",
      ["debug.getinfo(1)"] =
        "debug.getinfo is not available in a state machine: its answers are not the same on every node",
      ["coroutine.wrap(f)"] =
        "coroutine.wrap is not available in a state machine: a command runs from beginning to end",
      ["print 'x'"] = "print is not available in a state machine: use log(...)",
      ["dofile 'x'"] = "dofile is not available in a state machine: use require",
      ["loadfile 'x'"] = "loadfile is not available in a state machine: use require",
      ["collectgarbage()"] = "collectgarbage is not available in a state machine: memory is the host's business",
      ["rawget({}, 1)"] = "rawget is not available in a state machine: use t[key]",
      ["rawset({}, 1, 2)"] = "rawset is not available in a state machine: use t[key] = value",
      ["string.dump(f)"] = "string.dump is not available in a state machine: code is replicated as text",
      ["('x'):dump()"] = "string.dump is not available in a state machine: code is replicated as text",
      ["math.randomseed(1)"] =
        "math.randomseed is not available in a state machine: math.random is seeded for every entry",
      ["math.sin(1)"] = "math.sin is not available in a state machine: its result differs between machines",
      ["math.exp(1)"] = "math.exp is not available in a state machine: its result differs between machines",
      ["math.log(1)"] = "math.log is not available in a state machine: its result differs between machines",
    } do
      assert.equal("fsm.lua:3: " .. message, (failure(code)))
    end
  end)

  it("has what is left", function()
    assert.same({ 3, 2, 1.5, 7, 2, 4.0, 3, "table", "number" }, value [[
      return { math.floor(3.7), #"ab", math.abs(-1.5), math.max(1, 7), select("#", 1, 2), math.sqrt(16),
        utf8.len("äöü"), type(_G), type(math.pi) }]])
    assert.is_nil(value "return no_such_global")
  end)
end)

describe("globals", function()
  it("are frozen once the app is loaded", function()
    assert.equal("fsm.lua:3: the global 'x' cannot be set: a state machine keeps what it knows in its state",
      (failure "x = 1"))
    assert.matches("the global 'pairs' cannot be set", (failure "pairs = nil"))
    assert.matches("the global 'y' cannot be set", (failure "_G.y = 1"))
    assert.equal(5, value("return x", { before = "x = 5" }))
  end)

  it("do not leak by way of libraries, metatables or load", function()
    assert.matches("the libraries of a state machine cannot be changed", (failure "string.x = 1"))
    assert.matches("the libraries of a state machine cannot be changed", (failure "math.random = nil"))
    assert.has_error(function() support.machine "table.sort = 1" end,
      "script_error: fsm.lua:1: the libraries of a state machine cannot be changed")
    assert.is_false(value "return getmetatable('')")
    assert.is_false(value "return getmetatable(_G)")
    assert.matches("cannot change a protected metatable", (failure "setmetatable(_G, {})"))
    assert.matches("the global 'z' cannot be set", (failure "load('z = 1')()"))
    assert.matches("print is not available", (failure "load('print(1)')()"))
    assert.equal(7, value "return load('return a', '=x', 'bt', { a = 7 })()")
    assert.same({ false, "x: attempt to load a binary chunk (mode is 't')" }, value [[
      local f, message = load("\27Lua", "=x") return { f ~= nil, "x: " .. message }]])
    assert.same({ false, 'x:1: unexpected symbol near \'=\'' },
      value "local f, m = load('= 1', '=x') return { f ~= nil, m }")
    assert.equal(3, value [[
      local pieces, i = { "return ", "1 ", "+ 2" }, 0
      return load(function() i = i + 1 return pieces[i] end)()]])
  end)
end)

describe("order", function()
  it("is by key in pairs: numbers, strings, booleans", function()
    assert.same({ "-1", "0.5", "1", "2", "10", "", "A", "a", "b", "false", "true" }, value [[
      local t = { b = 1, a = 1, A = 1, [""] = 1, [true] = 1, [false] = 1, [10] = 1, [1] = 1, [2] = 1, [-1] = 1,
        [0.5] = 1 }
      local keys = {}
      for k in pairs(t) do keys[#keys + 1] = tostring(k) end
      return keys]])
  end)

  it("refuses keys without one", function()
    assert.equal("fsm.lua:3: the keys of this table have no order that is the same on every node: "
      .. "only numbers, strings and booleans have one",
      (failure "for k in pairs({ [{}] = 1, a = 2 }) do end"))
  end)

  it("lets pairs change the table: fields are cleared, new ones are not visited", function()
    assert.same({ "a", "c" }, value [[
      local t, seen = { a = 1, b = 2, c = 3 }, {}
      for k in pairs(t) do seen[#seen + 1] = k t[k] = nil t.b = nil t.z = 1 end
      return seen]])
  end)

  it("respects __pairs", function()
    assert.equal(3, value [[
      local t = setmetatable({}, { __pairs = function(t)
        return function(_, k) k = (k or 0) + 1 return k <= 3 and k or nil end, t, nil
      end })
      local n = 0 for k in pairs(t) do n = n + 1 end return n]])
  end)

  it("leaves next as a test for emptiness that gives the first pair", function()
    assert.same({ "a", 1 }, value "return { next({ b = 2, a = 1, c = 3 }) }")
    assert.is_true(value "return next({}) == nil")
    assert.equal("fsm.lua:3: next(t, key) is not available in a state machine: use pairs",
      (failure "return next({ 1 }, 1)"))
  end)

  it("sorts stably, with and without a comparison", function()
    assert.same({ 1, 2, 3, 5, 8 }, value "local t = { 5, 3, 8, 1, 2 } table.sort(t) return t")
    assert.same({ "a1", "b1", "c1", "a2", "b2" }, value [[
      local t = { "a1", "a2", "b1", "c1", "b2" }
      table.sort(t, function(x, y) return x:sub(2) < y:sub(2) end)
      return t]])
    assert.is_true(value [[
      local t = {}
      for i = 1, 1000 do t[i] = { key = math.random(20), at = i } end
      table.sort(t, function(a, b) return a.key < b.key end)
      for i = 2, #t do
        if t[i - 1].key > t[i].key or (t[i - 1].key == t[i].key and t[i - 1].at > t[i].at) then return false end
      end
      return true]])
    assert.matches("attempt to compare", (failure "table.sort({ 1, 'a' })"))
    assert.equal("fsm.lua:3: in order", (failure "table.sort({ 2, 1 }, function() error 'in order' end)"))
  end)
end)

describe("texts", function()
  it("carry no addresses", function()
    assert.same({ "table", "function", "table", "function", "nan", "nan" }, value [[
      return { tostring({}), tostring(log), tostring(state), ("%s"):format(pairs), tostring(0/0), tostring(-(0/0)) }]])
    assert.equal("T:1", value "return tostring(setmetatable({}, { __tostring = function() return 'T:1' end }))")
    assert.equal("nan nan x 1.50 7", value "return ('%s %.1f %s %.2f %d'):format(0/0, -(0/0), 'x', 1.5, 7)")
    assert.equal("fsm.lua:3: string.format: %p is not available in a state machine: it differs between nodes",
      (failure "return ('%p'):format({})"))
    assert.matches("%%a is not available", (failure "return ('%5.1a'):format(1.5)"))
    assert.equal('"a\\\nb" 00ff', value [[return ("%q %04x"):format("a\nb", 255)]])
    assert.matches("bad argument #2 to 'format'", (failure "return string.format('%d', 'x')"))
    local message, reply = failure "error({ 1 })"
    assert.equal("(error object is a table)", message)
    assert.is_nil(reply.traceback:match "0x")
    assert.equal("from the table", (failure "error({ message = 'from the table' })"))
    assert.equal("a_code", (failure "error({ code = 'a_code' })"))
  end)

  it("cuts a message that is too long, where a character ends", function()
    local message = failure "error(('ä'):rep(5000), 0)"
    assert.is_true(#message < 4096 and #message > 4000)
    assert.is_truthy(utf8.len(message))
  end)
end)

describe("errors", function()
  it("are caught and handled as ever", function()
    assert.same({ false, "fsm.lua:3: x", true, 1, 2 }, value [[
      local ok, message = pcall(error, "x", 2) ok, message = pcall(function() error("x") end)
      local good, a, b = pcall(function(...) return ... end, 1, 2) return { ok, message, good, a, b }]])
    assert.same({ false, "handled fsm.lua:3: x", true, 1, 2 }, value [[
      local ok, message = xpcall(function() error("x") end, function(m) return "handled " .. m end)
      local good, a, b = xpcall(function(...) return ... end, tostring, 1, 2) return { ok, message, good, a, b }]])
    assert.matches("bad argument #2 to 'xpcall'", (failure "xpcall(log)"))
  end)

  it("keep what a caught error had changed: only the command is atomic", function()
    local _, _, machine = support.run "pcall(function() state.a = 1 error 'x' end)"
    assert.same({ a = 1 }, machine:state())
  end)
end)

describe("collection", function()
  it("cannot be observed", function()
    assert.matches("__gc is not available", (failure "setmetatable({}, { __gc = function() end })"))
    assert.matches("__mode is not available", (failure "setmetatable({}, { __mode = 'k' })"))
    assert.equal(1, value "return setmetatable({}, { __index = { a = 1 } }).a")
  end)
end)

describe("tables", function()
  it("have the library as ever", function()
    assert.same({ 1, 9, 2, 3 }, value "local t = { 1, 2, 3 } table.insert(t, 2, 9) return t")
    assert.same({ 1, 3 }, value "local t = { 1, 2, 3 } table.remove(t, 2) return t")
    assert.equal(3, value "return table.remove { 1, 2, 3 }")
    assert.is_nil(value "return table.remove {}")
    assert.equal("1,2,3", value "return table.concat({ 1, 2, 3 }, ',')")
    assert.equal("2-3", value "return table.concat({ 1, 2, 3 }, '-', 2, 3)")
    assert.equal("", value "return table.concat({}, '-')")
    assert.same({ 2, 3 }, value "return { table.unpack({ 1, 2, 3 }, 2) }")
    assert.equal(3, value "return table.pack(nil, nil, nil).n")
    assert.same({ 1, 1, 2, 3 }, value "return table.move({ 1, 2, 3 }, 1, 3, 2)")
    assert.same({ 2, 3, 3 }, value "return table.move({ 1, 2, 3 }, 2, 3, 1)")
    assert.same({ 0, 1, 2 }, value "return table.move({ 1, 2 }, 1, 2, 2, { 0 })")
    assert.matches("position out of bounds", (failure "table.insert({}, 5, 1)"))
    assert.matches("position out of bounds", (failure "table.remove({ 1 }, 5)"))
    assert.matches("wrong number of arguments", (failure "table.insert({}, 1, 2, 3)"))
    assert.matches("invalid value %(at index 2%)", (failure "table.concat({ 1, {} })"))
    assert.matches("too many results", (failure "table.unpack({}, 1, 1e7)"))
    assert.matches("table expected, got nil", (failure "table.insert(nil, 1)"))
  end)
end)
