-- Apps that are wrong, each in a way of its own: `moonclave sim` finds it, tells it in a few steps, and the line it
-- prints shows it again. All are the key-value example with one thing changed.
local program = (os.getenv "MOONCLAVE_BUILD" or "build") .. "/moonclave"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local folders = {}

-- A folder with these files; those that are functions change the example's.
local function app(files)
  local pipe = assert(io.popen "mktemp -d")
  local folder = pipe:read "l"
  pipe:close()
  folders[#folders + 1] = folder
  for name, contents in pairs(files) do
    if type(contents) == "function" then
      local before = read("examples/kv/" .. name)
      local after = contents(before)
      assert(after ~= before, name .. " was not changed")
      contents = after
    end
    write(folder .. "/" .. name, contents)
  end
  return folder
end

-- Exit code and all it printed.
local function run(arguments)
  local pipe = assert(io.popen(("'%s' sim %s 2>&1; echo \"exit $?\""):format(program, arguments)))
  local text = pipe:read "a"
  pipe:close()
  local printed, code = text:match "^(.*)exit (%d+)\n$"
  return math.tointeger(code), printed
end

-- plain replacement, once
local function with(text, old, new)
  local from, to = text:find(old, 1, true)
  assert(from, "the example has no " .. old)
  return text:sub(1, from - 1) .. new .. text:sub(to + 1)
end

local example_sim = read "examples/kv/sim.lua"

-- The numbered lines of a schedule.
local function steps(text)
  local list = {}
  for line in (text:match "schedule:\n(.-)replay: " or ""):gmatch "[^\n]+" do
    if line:find "^%s*%d+%. " then list[#list + 1] = line end
  end
  return table.concat(list, "\n"), #list
end

-- Finds the invariant, and what it prints to replay finds it again, in the same place.
local function is_found(folder, invariant, most_lines)
  local code, text = run(folder .. " --seeds 60 --shrink-seconds 300") -- it ends when nothing gets shorter
  assert.equal(1, code, text)
  assert.matches("seed %d+: " .. invariant .. " does not hold", text)
  local schedule, count = steps(text)
  assert.is_true(count >= 1 and count <= most_lines, text)
  local seed, replay = text:match "replay: %S+ sim %S+ %-%-seed (%d+) %-%-replay '([^']*)'"
  assert.is_truthy(replay, text)
  assert.matches("sim: %d+ seeds, 1 violations, [%d.]+ simulated hours, [%d.]+ s, %d+ events/s\n$", text)
  for _ = 1, 2 do
    local again, what = run(("%s --seed %s --replay '%s'"):format(folder, seed, replay))
    assert.equal(1, again, what)
    assert.equal(schedule, (steps(what)))
    assert.matches(("seed %s: %s does not hold"):format(seed, invariant), what)
  end
  return text
end

describe("an app that is wrong", function()
  teardown(function()
    for _, folder in ipairs(folders) do os.execute("rm -r " .. folder) end
  end)

  it("forgets each hundredth request since its process began: replicas that disagree are found", function()
    -- Reads count too, and only the nodes that served them have counted: a put is lost on some and not on others, and
    -- one that is back from a crash has counted anew.
    local folder = app {
      ["sim.lua"] = example_sim,
      ["fsm.lua"] = function(text)
        text = with(text, "function fsm.commands.put(state, command, ctx)", [[
local seen = 0

function fsm.commands.put(state, command, ctx)
  seen = seen + 1
  if seen % 100 == 0 then return { revision = ctx.index } end]])
        return with(text, "function fsm.queries.get(state, query) return state.items[query.key] end", [[
function fsm.queries.get(state, query)
  seen = seen + 1
  return state.items[query.key]
end]])
      end,
    }
    local text = is_found(folder, "state_agrees", 12)
    assert.matches("index %d+ is put {", text)
  end)

  it("is wrong everywhere alike: the model finds it", function()
    local folder = app {
      ["sim.lua"] = example_sim,
      ["fsm.lua"] = function(text)
        return with(text, "function fsm.commands.append(state, command, ctx)", [[
function fsm.commands.append(state, command, ctx)
  if #command.value == 3 then return { revision = ctx.index } end]])
      end,
    }
    local text = is_found(folder, "model", 16)
    assert.matches('key "%a": the model gives another answer', text)
    assert.matches("append {", text, 1, true)
  end)

  it("breaks what must always hold of its state: the invariant finds it, by its name", function()
    local folder = app {
      ["sim.lua"] = example_sim,
      ["fsm.lua"] = function(text)
        return with(text, "state.items[key] = { value = value, revision = ctx.index }",
          "state.items[key] = { value = value, revision = #value > 3 and 1 or ctx.index }")
      end,
    }
    assert.matches("both have revision 1", is_found(folder, "app_invariant revisions", 16), 1, true)
  end)

  it("whose fault needs a fault: the schedule keeps what it needs", function()
    -- Later terms are taken for another app's: without a fault there is no later term.
    local folder = app {
      ["sim.lua"] = example_sim,
      ["fsm.lua"] = function(text)
        return with(text, "function fsm.commands.put(state, command, ctx)", [[
function fsm.commands.put(state, command, ctx)
  state.first_term = state.first_term or ctx.term
  if ctx.term > state.first_term then return write(state, command.key, "late", ctx) end]])
      end,
    }
    local text = is_found(folder, "model", 30)
    assert.matches('value="late"', text, 1, true)
    assert.matches("fault %d+: ", (steps(text)))
  end)

  it("ends the process, as an assert does: the violation names the seed and what was printed", function()
    local folder = app {
      ["fsm.lua"] = read "examples/kv/fsm.lua",
      ["sim.lua"] = function(text)
        text = with(text, "return {\n  commands", [[
local deletes = 0
local function delete(random)
  deletes = deletes + 1
  if deletes == 5 then
    io.stderr:write "store.c:77: an assertion does not hold\n"
    os.exit(134)
  end
  return { key = random:key() }
end

return {
  commands]])
        return with(text, "delete = function(random) return { key = random:key() } end", "delete = delete")
      end,
    }
    local text = is_found(folder, "process_ended", 14)
    assert.matches("the process ended with status 134:\n  store.c:77: an assertion does not hold", text, 1, true)
    assert.matches("replay: ", text)
  end)

  it("without a sim.lua is called with made-up arguments, and what it refuses is no violation", function()
    local folder = app { ["fsm.lua"] = read "examples/kv/fsm.lua" }
    local code, text = run(folder .. " --seeds 10")
    assert.equal(0, code, text)
    assert.matches("sim: 10 seeds, 0 violations, ", text, 1, true)
    code, text = run "examples/counter.lua --seeds 10"
    assert.equal(0, code, text)
    local requests = math.tointeger(text:match "(%d+) requests")
    assert.is_true(requests > 100, text)
  end)

  it("without a sim.lua, and with replicas that disagree, is found all the same", function()
    local folder = app {
      ["fsm.lua"] = [[
local n = 0
return {
  init = function() return { sum = 0 } end,
  commands = { add = function(state, command) n = n + 1 state.sum = state.sum + n return n end },
  queries = { sum = function(state, query) n = n + 1 return state.sum end },
}]],
    }
    is_found(folder, "state_agrees", 12)
  end)
end)

describe("a sim.lua that is wrong", function()
  local fsm = read "examples/kv/fsm.lua"

  -- what is in it, what is said; the app's folder is cut from the text
  local mistakes = {
    { "return {\n  commands = {,\n}", "sim.lua:2: unexpected symbol near ','" },
    { "return 7", "sim.lua: it must return a table, it returned number" },
    { "return { comands = {} }", "sim.lua has no field comands: did you mean commands?" },
    { "return { commands = { putt = function() end } }",
      "sim.lua: commands.putt: the app has none of that name: did you mean put?" },
    { "return { commands = { put = 7 } }", "sim.lua: commands.put: it is a function, not number" },
    { "return { weights = { gett = 1 } }", "sim.lua.weights.gett: the app has none of that name: did you mean get?" },
    { "return { model = {} }", "sim.lua: the model has no step(state, operation)" },
    { "return { settings = { node = 3 } }", "sim.lua: settings has no field node: did you mean nodes?" },
    { "return { settings = { nodes = 9 } }", "sim.lua: settings.nodes: 1 to 7" },
    { "error 'at once'", "sim.lua:1: at once" },
    { "return { commands = { put = function(random)\n  return random.nothing.at_all end } }",
      "sim.lua:2: attempt to index a nil value" },
    { "return { commands = { put = function() return { key = print } end } }", "a function is not plain data" },
    { "return { model = { step = function(state, operation)\n  error 'in the model' end } }",
      "sim.lua:2: in the model" },
    { "return { invariants = { fine = function(state)\n  return state.no.such end }, settings = { state_every = 1 } }",
      "sim.lua:2: attempt to index a nil value" },
    { "return { commands = {} }", "it has no command and no query: nothing can be asked of it" },
  }

  for _, mistake in ipairs(mistakes) do
    it("is told with file and line: " .. mistake[2], function()
      local folder = app { ["fsm.lua"] = fsm, ["sim.lua"] = mistake[1] }
      local code, text = run(folder .. " --seeds 4")
      assert.equal(1, code, text)
      assert.matches("^moonclave: sim: ", text)
      assert.matches(mistake[2], text, 1, true)
      assert.is_nil(text:find "traceback")
    end)
  end

  it("may require files of its folder, and keeps nothing from run to run", function()
    local folder = app {
      ["fsm.lua"] = fsm,
      ["shapes.lua"] = "return { key = function() return 'k' end }",
      ["sim.lua"] = [[
local shapes = require "shapes"
local asked = 0
return {
  commands = { put = function(random)
    asked = asked + 1
    return { key = shapes.key(), value = "v" .. asked .. random:string() .. math.random(1000000) }
  end },
  queries = { get = function() return { key = "k" } end },
}]],
    }
    local function hashes()
      local pipe = assert(io.popen(([[lua5.4 -e 'local sim = require "moonclave.sim"
        for _, seed in ipairs { 1, 2, 1, 2 } do print(sim.run({ app = "%s", seed = seed }).trace_hash) end' 2>&1]])
        :format(folder)))
      local list = {}
      for line in pipe:lines() do list[#list + 1] = line end
      pipe:close()
      return list
    end
    local list = hashes()
    assert.equal(4, #list)
    assert.same({ list[1], list[2] }, { list[3], list[4] })
    assert.not_equal(list[1], list[2])
    assert.same(list, hashes())
  end)
end)
