local support = require "script.fsm_support"
local value, failure = support.value, support.failure

describe("a table of the state", function()
  it("has the manners of a Lua table", function()
    assert.same({ "table", 3, "b", 10, 3, 3, true, 0 }, value [[
      state.list = { "a", "b", "c" }
      state.map = { x = 1, [10] = 10 }
      return { type(state.list), #state.list, state.list[2], state.map[10.0], count(state.list), #state.list,
        state.map.missing == nil and state.list[true] == nil, #state.map }]])
  end)

  it("walks in key order, by pairs, ipairs and next", function()
    assert.same({ { 1, 2, 9, "", "a", "b" }, { 1, 2 }, { 1, "one" }, "nil" }, value [[
      state.t = { b = 1, a = 2, [""] = 3, [9] = 4, [2] = 5, "one" }
      local all, list = {}, {}
      for k in pairs(state.t) do all[#all + 1] = k end
      for i in ipairs(state.t) do list[#list + 1] = i end
      state.empty = {}
      return { all, list, { next(state.t) }, tostring(next(state.empty)) }]])
  end)

  it("may change while it is walked", function()
    assert.same({ { "a", "c", "d", "x" }, {} }, value [[
      state.t = { a = 1, b = 2, c = 3, d = 4 }
      local seen = {}
      for k in pairs(state.t) do
        seen[#seen + 1] = k
        state.t[k] = nil
        if k == "a" then state.t.b = nil state.t.x = 1 end
      end
      return { seen, state.t }]])
  end)

  it("scans ranges", function()
    assert.same({ { "ab", "ac" }, { "c", "b" }, { "a", "ab", "ac" }, { "ab", "ac", "b" } }, value [[
      state.t = { a = 1, ab = 2, ac = 3, b = 4, c = 5, 6 }
      local function keys(range)
        local list = {}
        for k, v in scan(state.t, range) do list[#list + 1] = k end
        return list
      end
      return { keys { prefix = "a", from = "ab" }, keys { reverse = true, limit = 2 }, keys { prefix = "a" },
        keys { from = "ab", to = "b" } }]])
    assert.matches("a table of the state expected, got table", (failure "scan({})"))
    assert.matches("scan: from is a string or an integer, not a boolean", (failure "scan(state, { from = true })"))
    assert.matches("scan: limit is an integer", (failure "scan(state, { limit = 'x' })"))
  end)

  it("works with the table library", function()
    assert.same({ { 0, 1, 2, 3, 4 }, "0-1-2-3-4", { 1, 2 }, 4, 1, { 0, 2, 3 } }, value [[
      state.t = { 1, 2, 3 }
      table.insert(state.t, 4)
      table.insert(state.t, 1, 0)
      local all = { table.unpack(state.t) }
      local text, some = table.concat(state.t, "-"), { table.unpack(state.t, 2, 3) }
      return { all, text, some, table.remove(state.t), table.remove(state.t, 2), state.t }]])
    assert.same({ { "a", "b", "c" }, { 3, 2, 1 } }, value [[
      state.t = { "c", "a", "b" }
      table.sort(state.t)
      state.n = { 1, 3, 2 }
      table.sort(state.n, function(a, b) return a > b end)
      return { state.t, state.n }]])
    assert.same({ 1, 2, 3 }, value "state.t = {} table.move({ 1, 2, 3 }, 1, 3, 1, state.t) return state.t")
  end)

  it("keeps tables themselves when a list is sorted, shifted or has one removed", function()
    assert.same({ true, true, { "c", "b" }, "a", "table" }, value [[
      state.t = { { n = "b" }, { n = "a" } }
      local b, a = state.t[1], state.t[2]
      table.sort(state.t, function(x, y) return x.n < y.n end)
      local sorted = state.t[1] == a and state.t[2] == b
      table.insert(state.t, 1, { n = "c" })
      local shifted = state.t[2] == a and state.t[3] == b
      local gone = table.remove(state.t, 2)
      local names = {}
      for i, item in ipairs(state.t) do names[i] = item.n end
      return { sorted, shifted, names, gone.n, type(gone) }]])
  end)

  it("is the same handle for the length of a command", function()
    assert.same({ true, true, false }, value [[
      state.a, state.b = { x = {} }, {}
      return { state.a == state.a, state.a.x == state["a"].x, state.a == state.b }]])
  end)
end)

describe("assignment", function()
  it("copies a table in: later changes to it are lost", function()
    assert.same({ x = { n = 1 } }, value "local t = { n = 1 } state.x = t t.n = 2 return state")
  end)

  it("copies what is in the state already", function()
    assert.same({ a = { n = 1 }, b = { n = 2 }, c = { d = { n = 1 } } }, value [[
      state.a = { n = 1 }
      state.b = state.a
      state.c = { d = state.a }
      state.b.n = 2
      return state]])
    assert.same({ a = { b = 1, me = { b = 1 } } }, value "state.a = { b = 1 } state.a.me = state.a return state")
    assert.same({ true, 1 }, value "state.a = { n = 1 } local a = state.a state.a = a return { state.a == a, a.n }")
  end)

  it("keeps every plain value", function()
    assert.same({ true, "integer", "float", "-0.0", "inf", "nan", "", "\0\255" }, value [[
      state.v = { true, 1, 1.0, -0.0, math.huge, 0/0, "", "\0\255" }
      local v = state.v
      return { v[1], math.type(v[2]), math.type(v[3]), tostring(v[4]), tostring(v[5]), tostring(v[6]), v[7], v[8] }]])
  end)

  it("refuses everything else at the line that tried, with what and where", function()
    for code, message in pairs {
      ["state.x = log"] = "a function is not plain data",
      ["state.x = { a = { log } }"] = ".a[1]: a function is not plain data",
      ["state.x = { { list = { 1, 2, pairs } } }"] = "[1].list[3]: a function is not plain data",
      ["state.x = setmetatable({}, {})"] = "a table with a metatable is not plain data",
      ["state.x = { y = setmetatable({}, {}) }"] = ".y: a table with a metatable is not plain data",
      ["state.x = { [true] = 1 }"] = "a key is a string or an integer, nothing else",
      ["state.x = { [1.5] = 1 }"] = "a key is a string or an integer, nothing else",
      ["state[1.5] = 1"] = "a key of the state is a string or an integer, not a float",
      ["state[0/0] = 1"] = "a key of the state is a string or an integer, not a float",
      ["state[true] = 1"] = "a key of the state is a string or an integer, not a boolean",
      ["state[nil] = 1"] = "a key of the state is a string or an integer, not a nil",
      ["state[{}] = 1"] = "a key of the state is a string or an integer, not a table",
    } do
      assert.equal("fsm.lua:3: " .. message, (failure(code)))
    end
    assert.matches("^fsm.lua:3: .*nested too deep, or within itself$", (failure "local t = {} t.t = t state.x = t"))
    assert.matches("nested too deep", (failure "local t = {} for i = 1, 24 do t = { t } end state.x = t"))
    assert.matches("nested too deep",
      (failure "state.x = {} local t = state.x for i = 1, 23 do t[1] = {} t = t[1] end"))
  end)

  it("names the same reason whatever order the VM keeps a table in", function()
    local messages = {}
    for _ = 1, 20 do
      local message = failure "local t = {} for i = 1, 100 do t['k' .. i] = i % 3 == 0 and log or {} end state.x = t"
      messages[message] = true
    end
    assert.same({ ["fsm.lua:3: .k12: a function is not plain data"] = true }, messages)
  end)

  it("changes nothing when it is refused", function()
    assert.same({ x = 1 }, value "state.x = 1 pcall(function() state.x = { a = 1, b = log } end) return state")
  end)

  it("marks empty objects", function()
    local _, _, machine = support.run("state.a, state.b, state.c = {}, moonclave.object{}, command.empty",
      { arguments = { empty = require("moonclave.fsm").object {} } })
    assert.equal("\x83\xa1a\x90\xa1b\x80\xa1c\x80", machine:encode())
  end)
end)

describe("a handle", function()
  it("is dead once what it points to is deleted or replaced", function()
    local gone = "fsm.lua:3: this table is no part of the state any more: it was deleted or replaced"
    assert.equal(gone, (failure "state.a = { b = {} } local a = state.a state.a = nil return a.x"))
    assert.equal(gone, (failure "state.a = { b = {} } local b = state.a.b state.a = nil b.x = 1"))
    assert.equal(gone, (failure "state.a = {} local a = state.a state.a = {} return #a"))
    assert.equal(gone:sub(12), (failure "state.a = {} local a = state.a state.a = nil return a"))
    assert.equal(gone, (failure "state.a = { b = {} } local a = state.a state.a = 1 for k in pairs(a) do end"))
  end)

  it("is dead after its command", function()
    local machine = support.machine [[
      local kept
      return { commands = {
        keep = function(state) state.t = {} kept = state.t end,
        use = function(state) return kept.x end,
        put = function(state) state.y = kept end,
      } }]]
    assert.equal("ok", (machine:apply({ index = 1 }, "keep")))
    local _, reply = machine:apply({ index = 2 }, "use")
    assert.equal("fsm.lua:4: a table of the state was kept after its command had ended", reply.message)
    _, reply = machine:apply({ index = 3 }, "put")
    assert.equal("fsm.lua:5: a table of the state was kept after its command had ended", reply.message)
  end)

  it("hides what it is made of", function()
    assert.is_false(value "return getmetatable(state)")
    assert.matches("table expected, got table", (failure "setmetatable(state, {})"))
    assert.matches("attempt to call a table value", (failure "state()"))
  end)

  it("lets many tables be touched in one command", function()
    local machine = support.machine(support.app [[
      for i = 1, 3000 do state["t" .. i] = { n = i } end
      local sum = 0
      for _, t in pairs(state) do sum = sum + t.n end
      return sum]])
    for i = 1, 5 do
      local code, sum = machine:apply({ index = i }, "run")
      assert.equal("ok", code)
      assert.equal(4501500, sum)
    end
  end)
end)

describe("queries", function()
  it("cannot write in any way", function()
    for _, body in ipairs {
      "state.x = 1", "state.t.x = nil", "table.insert(state.l, 1)", "table.remove(state.l)", "table.sort(state.l)",
      "table.move({ 1 }, 1, 1, 1, state.l)", "state.t = {}", "table.insert(state.l, 1, 1)", "table.remove(state.l, 1)",
    } do
      local machine = support.machine(([[
        return { commands = {}, init = function() return { t = { x = 1 }, l = { 2, 1 } } end,
          queries = { run = function(state) %s end } }]]):format(body))
      local hash = machine:hash()
      local code, reply = machine:query "run"
      assert.equal("command_failed", code)
      assert.equal("fsm.lua:2: a query cannot change the state", reply.message)
      assert.equal(hash, machine:hash())
      assert.same({ t = { x = 1 }, l = { 2, 1 } }, machine:state())
    end
  end)
end)

describe("results", function()
  it("are plain data, with tables of the state in them", function()
    assert.same({ { n = 1 }, deep = { { n = 1 } } }, value "state.a = { n = 1 } return { state.a, deep = { state.a } }")
    assert.matches("%.f: a function is not plain data", (failure "return { f = log }"))
    assert.matches("a table with a metatable", (failure "return setmetatable({}, {})"))
    assert.matches("the error of a refused command is a string or a plain table, not a number",
      (failure "return nil, 5"))
  end)
end)
