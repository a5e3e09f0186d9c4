-- `moonclave check`: what it finds, where it says that is, and what it leaves alone.
local shell = require "support.shell"

local folder = shell.folder()

-- The app's files are written; what check says: exit code, its lines.
local function check(files, flags)
  shell.must("rm -rf '%s/app' && mkdir '%s/app'", folder.path, folder.path)
  for path, text in pairs(files) do shell.write(folder.path .. "/app/" .. path, text) end
  local code, text = shell.run("cd '%s' && '%s' check app %s", folder.path, shell.program, flags or "--entries 0")
  return code, shell.lines(text), text
end

-- A state machine around the body of a command; its first line is the body's, line 1.
local function machine(body, before)
  return ([[%slocal function run(state, command, ctx) %s end
local function init() return { list = {}, items = {} } end
return { init = init, commands = { run = run } }]]):format(before or "", body)
end

describe("moonclave check", function()
  teardown(function() folder.remove() end)

  it("has nothing to say about the examples", function()
    for app, files in pairs { ["examples/kv"] = "3 files", ["examples/counter.lua"] = "1 file" } do
      assert.same({ 0, ("check: %s, 0 findings; 300 entries applied alike by three machines\n"):format(files) },
        { shell.run("'%s' check %s --entries 300", shell.program, app) })
    end
  end)

  -- a command's body, the line where something is found, the rule, words of it
  for _, row in ipairs {
    { "return 2 ^ 3", 1, "power", "multiply instead" },
    { "\n\nreturn os.time()", 3, "not there", "os.time is not available in a state machine: use ctx.time" },
    { "return io.open 'x'", 1, "not there", "io.open is not available in a state machine: a state machine touches no" },
    { "print(1)", 1, "not there", "print is not available in a state machine: use log(...)" },
    { "return math.sin(1)", 1, "not there", "math.sin is not available" },
    { "return coroutine.wrap(1)", 1, "not there", "coroutine.wrap is not available" },
    { "return stat.list", 1, "not there", "stat is not there in a state machine" },
    { "return nothing", 1, "not there", "nothing is not there in a state machine" },
    { "count_of = 1", 1, "global", "count_of is a global here" },
    { "\nfunction helper() end", 2, "global", "helper is a global here" },
    { "last = last + 1", 2, "kept outside", "this assignment changes last", "local last = 0\n" },
    { "cache[1] = 2", 2, "kept outside", "`cache[...] = ...` changes cache", "local cache = {}\n" },
    { "cache.a.b = 2", 2, "kept outside", "`cache.a.b = ...` changes cache", "local cache = { a = {} }\n" },
    { "table.insert(cache, 1)", 2, "kept outside", "`table.insert` changes cache", "local cache = {}\n" },
    { "table.sort(cache)", 2, "kept outside", "`table.sort` changes cache", "local cache = {}\n" },
    { "local c = cache c.n = 1", 2, "kept outside", "`c.n = ...` changes cache", "local cache = {}\n" },
    { "local c = cache.x or {} c.n = 1", 2, "kept outside", "changes cache", "local cache = {}\n" },
    { "for _, c in pairs(cache) do c.n = 1 end", 2, "kept outside", "changes cache", "local cache = {}\n" },
    { "local function f() last = 1 end f()", 2, "kept outside", "changes last", "local last\n" },
    { "local t = {} state.x = t\nt.y = 1", 2, "lost write", "the table that was copied into the state in line 1" },
    { "local t = {} state.items[1] = t\nt.a.b = 1", 2, "lost write", "in line 1" },
    { "local t = {} table.insert(state.list, t)\nt.y = 1", 2, "lost write", "in line 1" },
    { "local l = state.list local t = {} l[1] = t\ntable.insert(t, 1)", 2, "lost write", "`table.insert` changes" },
  } do
    it(("finds: %s"):format(row[1]:gsub("\n", " ")), function()
      local code, lines, text = check { ["fsm.lua"] = machine(row[1], row[5]) }
      assert.equal(1, code)
      local found
      for _, line in ipairs(lines) do
        if line:match "^app/fsm.lua:(%d+): " == tostring(row[2]) and line:find(row[4], 1, true) and
          line:find("[" .. row[3] .. "]", 1, true) then
          found = true
        end
      end
      assert.is_true(found, text)
      assert.matches("^check: 1 file, %d+ findings?$", lines[#lines])
    end)
  end

  -- what only looks like it
  for _, row in ipairs {
    { "state.x = 1 state.items.y = { z = 1 } table.insert(state.list, 1) table.sort(state.list)" },
    { "local items = state.items items.a = 1 items.b = { c = 1 } items.b.c = 2" },
    { "local item = state.items.a or {} item.n = 1 state.items.a = item" },
    { "for _, item in pairs(state.items) do item.n = 1 end" },
    { "local t = {} t.y = 1 state.x = t" },
    { "local t = {} state.x = t t = {} t.y = 1" },
    { "local t = {} t.y = 1 table.insert(t, 1) table.move(state.list, 1, 1, 1, t) return t" },
    { "local last = 0 last = last + 1 return last", "local last = 7\n" },
    { "return limits.most + #limits + get(limits)", "local limits = { most = 3 } local function get() return 1 end\n" },
    { "return step[command.kind]", "local step = {} for i = 1, 3 do step[i] = i end step.x = function() end\n" },
    { "return scan(state.items), count(state.items), log 'x', math.floor(1.5), string.rep('x', 3), ctx.time" },
    { "return pairs, ipairs, next, tostring, utf8.char(65), table.unpack, setmetatable, moonclave.object {}" },
    { "return '2 ^ 3', [[os.time()]] -- x ^ y\n" },
    { "goto done ::done:: return 1 << 2 | 3 // 2 ~ 1" },
    { "last = last + 1 -- check: ignore\n", "local last = 0\n" },
  } do
    it(("leaves alone: %s"):format(row[1]), function()
      local code, _, text = check { ["fsm.lua"] = machine(row[1], row[2]) }
      assert.same({ 0, "check: 1 file, 0 findings\n" }, { code, text })
    end)
  end

  it("says where the text does not compile, and where it does not load, in each file", function()
    local good = machine "return 1"
    for _, row in ipairs {
      { { ["fsm.lua"] = "return {\n" }, "app/fsm.lua:2: unexpected symbol near <eof> [syntax]" },
      { { ["fsm.lua"] = "return 7" }, "app/fsm.lua: fsm.lua must return a table with `commands` [loading]" },
      { { ["fsm.lua"] = "\nerror 'at once'" }, "app/fsm.lua:2: at once [loading]" },
      { { ["fsm.lua"] = good, ["api.lua"] = "return {\n" }, "app/api.lua:2: unexpected symbol near <eof> [syntax]" },
      { { ["fsm.lua"] = good, ["api.lua"] = "\nerror 'no api'" }, "app/api.lua:2: no api [loading]" },
      { { ["fsm.lua"] = good, ["policy.lua"] = "\nreturn { admitt = function() end }" }, "admitt" },
      { { ["fsm.lua"] = good, ["sim.lua"] = "return { comands = {} }" }, "no field comands: did you mean commands?" },
    } do
      local code, _, text = check(row[1], "--entries 5")
      assert.equal(1, code)
      assert.matches(row[2], text, 1, true)
      assert.is_nil(text:find("traceback", 1, true))
    end
  end)

  it("holds what fsm.lua requires to the same rules, and api.lua to none of them", function()
    local code, lines, text = check {
      ["fsm.lua"] = machine("return require('helper').next()", ""),
      ["helper.lua"] = "local M = { n = 0 }\nfunction M.next() M.n = M.n + 1 return M.n end\nreturn M",
      ["api.lua"] = "local n = os.time()\nlocal function start() n = n + 1 return 2 ^ n end\nreturn { start = start }",
    }
    assert.equal(1, code)
    assert.equal(2, #lines, text)
    assert.matches("^app/helper.lua:2: `M.n = ...` changes M, which is not in the state", lines[1])
    assert.equal("check: 3 files, 1 finding", lines[2])
  end)

  it("replays a log, and finds machines that disagree after queries and after a restore", function()
    local _, lines, text = check({ ["fsm.lua"] = [[
local last = 0
return {
  init = function() return { n = 0 } end,
  commands = { sell = function(state) state.n = state.n + 1 return last end },
  queries = { next = function() last = last + 1 -- check: ignore
    return last end },
}]] }, "--entries 50")
    assert.equal(2, #lines, text)
    assert.matches("^app/fsm.lua: entry %d+, sell {}: it answers 1, there 0 on a node that is asked queries", lines[1])
    assert.equal("check: 1 file, 1 finding; machines differ", lines[2])
    _, lines, text = check({ ["fsm.lua"] = [[
local last = 0
return {
  init = function() return { n = 0 } end,
  commands = { sell = function(state)
    last = last + 1 -- check: ignore
    state.n = last
  end },
}]] }, "--entries 50")
    assert.equal(2, #lines, text)
    assert.matches("^app/fsm.lua: entry %d+, sell {}: it leaves another state on a node that was restored", lines[1])
  end)

  it("says what a command of the app's own sim.lua raises, with its line", function()
    local code, _, text = check({
      ["fsm.lua"] = machine "\nreturn command.key .. 1",
      ["sim.lua"] = "return { commands = { run = function() return {} end } }",
    }, "--entries 20")
    assert.equal(1, code)
    assert.matches("app/fsm.lua:2: attempt to concatenate a nil value (field 'key') [raises]", text, 1, true)
  end)

  it("is JSON with --json, and the same for the same seed", function()
    local code, _, text = check({ ["fsm.lua"] = machine "return 2 ^ 3" }, "--json --entries 10")
    assert.equal(1, code)
    assert.matches('^{"entries":10,"files":1,"findings":%[{"file":"fsm.lua","line":1,"rule":"power","text":"`^`', text)
    assert.equal(text, select(3, check({ ["fsm.lua"] = machine "return 2 ^ 3" }, "--json --entries 10")))
    assert.same({ 0, '{"entries":0,"files":1,"findings":[]}\n' },
      { shell.run("'%s' check examples/counter.lua --json --entries 0", shell.program) })
  end)

  it("needs an app, and says where there is none", function()
    for arguments, row in pairs {
      [""] = { 2, "check: which app?" }, ["/nowhere"] = { 1, "check: there is no app at /nowhere" },
      ["examples"] = { 1, "has no fsm.lua" }, ["examples/kv --entries many"] = { 2, "not a whole number" },
    } do
      local code, text = shell.run("'%s' check %s", shell.program, arguments)
      assert.equal(row[1], code)
      assert.matches(row[2], text, 1, true)
      assert.matches("^moonclave: [^\n]+\n$", text)
    end
  end)
end)

describe("the reader of check", function()
  it("reads every Lua file of the project, and where names are whose", function()
    local reader = require "moonclave.check.reader"
    local count = 0
    for _, path in ipairs(shell.lines(shell.must "find lua spec examples scripts -name '*.lua'")) do
      local fine, problem = pcall(reader.read, shell.read(path), {})
      assert.is_true(fine, path .. ": " .. tostring(problem))
      count = count + 1
    end
    assert.is_true(count > 100)
    local globals, assigned = {}, {}
    reader.read([==[#!/usr/bin/lua
      local a <const>, b = 1, [[
        x = 1]]
      function f(a, ...) local function g() return a, h end c.d["e"], b = g() end --[=[ y = 1 ]=] z = 0x1p-4 .. '\'w\''
      for i, v in next, {} do i = v end repeat local r until r
      goto l ::l::]==], {
      name = function(_, node) if not node.variable then globals[#globals + 1] = node.name .. node.line end end,
      assign = function(_, target) assigned[#assigned + 1] = (target.name or target.key) .. target.line end,
    })
    assert.same({ "f4", "h4", "c4", "z4", "next5" }, globals)
    assert.same({ "e4", "b4", "f4", "z4", "i5" }, assigned)
  end)
end)
