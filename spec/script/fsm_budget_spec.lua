local support = require "script.fsm_support"
local fsm = require "moonclave.fsm"

local small = { command_steps_max = 1000000, command_memory_max = 8 * 1024 * 1024, block_bytes_max = 1024 * 1024 }
local steps = "more than 1000000 steps %(command_steps_max%): is there an endless loop%?$"

local many_steps = { command_steps_max = 100000000, command_memory_max = 8 * 1024 * 1024,
  block_bytes_max = 1024 * 1024 }

-- Fails on two machines alike, and the machine serves the next command.
local function spent(body, settings)
  local options = { settings = settings or small }
  local fine = "return { commands = { fine = function() return 'fine' end,"
  local source = support.app(body):gsub("return { commands = {", fine)
  local replies = {}
  for i = 1, 2 do
    local machine = support.machine(source, options)
    local code, reply, bytes = machine:apply({ index = 1 }, "run")
    assert.equal("command_failed", code)
    assert.same({ "ok", "fine" }, { table.unpack({ machine:apply({ index = 2 }, "fine") }, 1, 2) })
    assert.same({}, machine:state())
    replies[i] = bytes
    if i == 2 then
      assert.equal(replies[1], replies[2])
      return reply.message
    end
  end
end

describe("steps", function()
  it("end an endless loop", function()
    assert.matches("^fsm.lua:3: " .. steps, spent "state.x = 1 while true do end")
    assert.matches("^fsm.lua:3: " .. steps, spent "local function f() return f() end f()")
  end)

  it("cannot be caught", function()
    assert.matches(steps, spent "while true do pcall(function() while true do end end) end")
    assert.matches(steps, spent [[
      while true do xpcall(function() while true do end end, function(m) while true do end end) end]])
    assert.matches(steps, spent [[
      local t = setmetatable({}, { __close = function() while true do end end })
      while true do local x <close> = t end]])
    assert.matches(steps, spent "pcall(table.sort, { 3, 2, 1 }, function() while true do end end) state.y = 1")
    assert.matches(steps, spent "pcall(string.gsub, 'x', 'x', function() while true do end end) state.y = 1")
    assert.matches(steps, spent "pcall(load, function() while true do end end) state.y = 1")
    assert.matches(steps, spent [[
      local t = setmetatable({}, { __index = function() while true do end end })
      pcall(function() return t.x end) state.y = 1]])
  end)

  it("count what C functions do", function()
    for _, body in ipairs {
      "local s = ('a'):rep(30) .. 'b' ; return s:find(('a*'):rep(20) .. 'c')",
      "local s = ('a'):rep(1000) ; for i = 1, 1e9 do local _ = s:find('b', 1, true) end",
      "local s = ('a'):rep(100000) ; for i = 1, 1e9 do local _ = s .. i end",
      "local s = ('a'):rep(100000) ; for i = 1, 1e9 do local _ = s:upper() end",
      "local s = ('a'):rep(100000) ; for i = 1, 1e9 do local _ = ('%s'):format(s) end",
      "for i = 1, 1e9 do local _ = ('a'):rep(100000) end",
      "for i = 1, 1e9 do local _ = (''):rep(1e15) end",
      "local s = ('a'):rep(100000) ; for i = 1, 1e9 do local _ = s:gsub('b', 'c') end",
      "local s = ('a'):rep(100000) ; for i = 1, 1e9 do for _ in s:gmatch('b') do end end",
      "local t = {} for i = 1, 1000 do t[i] = i end ; while true do table.concat(t) end",
      "local t = {} for i = 1, 1000 do t[i] = i end ; while true do for _ in pairs(t) do break end end",
      "local t = {} for i = 1, 1000 do t[i] = i end ; while true do table.insert(t, 1, 0) table.remove(t, 1) end",
      "table.move({}, 1, math.maxinteger - 1, 2)",
      "local t = {} for i = 1, 1000 do t[i] = i end ; while true do table.sort(t) end",
      "local t = {} for i = 1, 1000 do t[i] = i end ; while true do state.t = t end",
      [[state.t = {} for i = 1, 1000 do state.t[i] = i end
        while true do table.insert(state.t, 1, 0) table.remove(state.t, 1) end]],
      "state.t = {} for i = 1, 1000 do state.t[i] = i end ; while true do state.t[1] = nil state.t[1] = 1 end",
      "state.t = {} for i = 1, 1000 do state.t[i] = i end ; while true do local _ = state.t[1] end",
      "local t = {} for i = 1, 26 do t = { t, t } end return t",
      "local t = {} for i = 1, 23 do t = { t, t } end state.t = t",
      "local s = ('a'):rep(1000) for i = 1, 1e9 do utf8.len(s) end",
      "local s = ('a '):rep(1000) for i = 1, 1e9 do load(s) end",
    } do
      local before = os.clock()
      local message = spent(body)
      if not message:match "steps" and not message:match "too" then error(body .. ": " .. message) end
      assert.is_true(os.clock() - before < 5, body)
    end
  end)

  it("are there anew for every command", function()
    local machine = support.machine(support.app "for i = 1, 200000 do end", { settings = small })
    for i = 1, 20 do assert.equal("ok", (machine:apply({ index = i }, "run"))) end
  end)

  it("hold for queries too", function()
    local machine = support.machine(support.app "while true do end", { settings = small })
    local code, reply = machine:query "run"
    assert.equal("command_failed", code)
    assert.matches(steps, reply.message)
  end)

  it("follow the replicated settings", function()
    local machine = support.machine(support.app "for i = 1, 200000 do end", { settings = small })
    machine:configure { command_steps_max = 100000 }
    assert.equal("command_failed", (machine:apply({ index = 1 }, "run")))
    machine:configure { command_steps_max = 1000000 }
    assert.equal("ok", (machine:apply({ index = 1 }, "run")))
  end)
end)

describe("memory", function()
  it("ends a command that takes too much, alike everywhere", function()
    local message = "more than 8388608 bytes of memory (command_memory_max)"
    assert.equal(message, spent([[
      local t = {} for i = 1, 300000 do t[i % 30000] = { i } end
      local u = {} for i = 1, 60000 do u[i] = { {} } end t.u = u]], many_steps))
    assert.equal(message, spent([[
      local t = {} while true do pcall(function() for i = 1, 1e9 do t = { t } end end) end]], many_steps))
    assert.equal(message, spent("local t = {} for i = 1, 30000 do t[i] = ('x'):rep(500) .. i end", many_steps))
  end)

  it("does not count garbage of earlier commands", function()
    local machine = support.machine(support.app [[
      local t = {} for i = 1, 5000 do t[i] = { i, {} } end]], { settings = small })
    for i = 1, 60 do assert.equal("ok", (machine:apply({ index = i }, "run"))) end
  end)

  it("ends a command that asks for one block too large", function()
    local message = "a string or table of more than 1048576 bytes (block_bytes_max)"
    assert.equal(message, spent("local s = 'x' while true do s = s .. s end", many_steps))
    assert.equal(message, spent([[
      pcall(function() local s = 'x' while true do s = s .. s end end) state.x = 1]], many_steps))
    assert.equal(message, spent("local t = {} for i = 1, 1e9 do t[i] = 1 end", many_steps))
    assert.equal(message, spent("return table.concat({ ('x'):rep(600000), ('y'):rep(600000) })", many_steps))
    assert.matches("resulting string too large", spent("return ('x'):rep(1 << 40)", many_steps))
  end)

  it("bounds what one command writes to the state", function()
    local message = spent("local s = ('x'):rep(100000) for i = 1, 1e9 do state[i] = s end", many_steps)
    assert.matches("memory", message)
  end)

  it("bounds results", function()
    local message = spent("local s, t = ('x'):rep(100000), {} for i = 1, 20 do t[i] = s end return t", many_steps)
    assert.matches("the value is too large", message)
  end)
end)

-- The system's refusal of memory is one node's alone. Here it comes at every single allocation in turn, from there on
-- for good; what the others would say is what a machine says that was never refused.
describe("exhaustion", function()
  local app = support.app([[
    state.list = state.list or {}
    local t = {}
    for i = 1, 40 do t[i] = { name = ("entry %d of a list"):format(i) } end
    local fine, problem = pcall(function() t.more = table.concat({ t[1].name, t[2].name }, ", ") end)
    state.list[#state.list + 1] = fine and t.more or "failed: " .. tostring(problem)
    return { count = #state.list, last = state.list[#state.list] }]], "local big = ('x'):rep(2000)")

  it("at any allocation of a command is never a result, and never lets go of the machine", function()
    local sound = support.machine(app)
    local _, expected = sound:apply({ index = 2 }, "run")
    local refused, nth = 0, 0
    repeat
      nth = nth + 1
      local machine = support.machine(app)
      local before = machine:hash()
      machine:fail_allocation(nth)
      local code, reply = machine:apply({ index = 2 }, "run")
      if code == "ok" then
        assert.same(expected, reply)
      else
        assert.equal("internal", code, "allocation " .. nth)
        assert.matches("no memory", reply.message)
        assert.equal(before, machine:hash()) -- taken back
        assert.equal("internal", (machine:apply({ index = 3 }, "run")))
        assert.equal("internal", (machine:query "run"))
        refused = refused + 1
      end
    until code == "ok"
    assert.is_true(refused > 40, refused)
  end)

  it("at any allocation of a query is no answer", function()
    local nth, code = 0, nil
    repeat
      nth = nth + 1
      local machine = support.machine(app)
      machine:apply({ index = 2 }, "run")
      machine:fail_allocation(nth)
      code = machine:query "nothing"
      assert.is_true(code == "internal" or code == "no_such_command", code)
    until code ~= "internal"
    assert.is_true(nth > 1)
  end)

  it("at any allocation of loading is not taken for an app that does not load", function()
    local nth, code = 0, nil
    local bundle = fsm.bundle { ["fsm.lua"] = app }
    repeat
      nth = nth + 1
      local machine = fsm.new()
      machine:fail_allocation(nth)
      local text
      code, text = machine:load(bundle)
      assert.is_true(code == "ok" or code == "internal", code)
      if code == "internal" then assert.matches("no memory", text) end
    until code == "ok"
    assert.is_true(nth > 40, nth)
  end)

  it("is not confused by a block that was refused long before", function()
    -- Many short strings make Lua ask for a larger table of all strings, past block_bytes_max here, and it gets over
    -- that; when it does depends on the garbage of earlier commands, so what is said must not.
    local limits = { command_steps_max = 100000000, command_memory_max = 8 * 1024 * 1024, block_bytes_max = 65536 }
    assert.equal("more than 8388608 bytes of memory (command_memory_max)", spent([[
      local t = {}
      for i = 1, 1e9 do
        local u = {}
        for j = 1, 100 do u[j] = 'k' .. i .. ' ' .. j end
        t = { u, t }
      end]], limits))
  end)
end)

describe("recursion", function()
  it("that is too deep fails alike", function()
    local default = { command_steps_max = 50000000, command_memory_max = 256 * 1024 * 1024,
      block_bytes_max = 16 * 1024 * 1024 }
    assert.matches("^fsm.lua:3: stack overflow", spent("local function f() return 1 + f() end return f()", default))
    assert.matches("C stack overflow", spent([[
      local function f() return string.gsub('x', 'x', f) end return f()]], default))
    assert.matches("bytes", spent "local function f() return 1 + f() end return f()")
  end)
end)
