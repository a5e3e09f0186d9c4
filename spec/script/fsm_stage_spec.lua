-- Another app and state in place of a machine's own: whole, at once, or not at all.
local fsm = require "moonclave.fsm"

local function app(version, body)
  return fsm.bundle { ["fsm.lua"] = ([[
local fsm = { commands = {}, queries = {} }
local drawn = math.random(1 << 40)
function fsm.init() return { inits = 1, version = %d } end
function fsm.commands.put(state, command, ctx) state[command.key] = command.value return { ctx.index, ctx.time } end
function fsm.queries.drawn() return drawn end
function fsm.queries.when(state, query, ctx) return { ctx.index, ctx.time, math.random(1 << 40) } end
%s
return fsm]]):format(version, body or "") }
end

local INIT = { index = 3, term = 2, time = 1000, seed = 77 }
local LAST = { index = 90, term = 5, time = 9000, seed = 8 }

local function machine_with(bundle, count)
  local machine = fsm.new()
  assert.equal("ok", (machine:load(bundle, {}, INIT)))
  for i = 1, count do
    machine:apply({ index = 3 + i, time = 1000 + i, seed = i }, "put", { key = "k" .. i, value = i })
  end
  return machine
end

local function written(machine)
  local hash = machine:snapshot_begin()
  local bytes = machine:snapshot_step(1 << 30)
  machine:snapshot_end()
  return bytes, hash
end

describe("a state that is staged", function()
  it("takes the place of the one there is, with its code; what is applied meanwhile goes on until then", function()
    local old, young = app(1), app(2, "function fsm.queries.extra() return true end")
    local source = machine_with(young, 30)
    local bytes, hash = written(source)
    local machine = machine_with(old, 5)
    assert.equal("ok", (machine:stage_begin(young, INIT)))
    local used = 0
    for at = 1, #bytes, 11 do
      local code, taken = machine:stage_feed(bytes:sub(at, at + 10))
      assert.equal("ok", code)
      used = used + taken
      assert.equal("ok", (machine:apply({ index = 10 + at, time = 2000 }, "put", { key = "meanwhile", value = at })))
      assert.equal(1, machine:state().version)
      assert.same({ false, false }, { machine:has "extra" })
    end
    assert.equal(#bytes, used)
    assert.same({ "ok", 0 }, { "ok", select(2, machine:stage_feed "\1") }) -- what is behind it is not its own
    assert.equal("ok", (machine:stage_take(young, INIT, LAST, hash)))
    machine:stage_end()
    assert.is_false(machine:stage_sweep()) -- what it had was little
    assert.equal(bytes, machine:encode())
    assert.equal(hash, machine:hash())
    assert.same({ false, true }, { machine:has "extra" })
    assert.same({ source:query "drawn" }, { machine:query "drawn" }) -- it was loaded with the same stamps
    local _, when = machine:query "when"
    assert.same({ 90, 9000 }, { when[1], when[2] })
    local code, result = machine:apply({ index = 91, time = 9001 }, "put", { key = "a", value = 1 })
    assert.same({ "ok", { 91, 9001 } }, { code, result })
    assert.equal("ok", (machine:stage_begin(old, INIT))) -- and again
    machine:stage_end()
  end)

  it("leaves everything as it was where it is given up, damaged, or its code does not load", function()
    local bundle = app(1)
    local bytes, hash = written(machine_with(bundle, 9))
    local machine = machine_with(bundle, 3)
    local before, drawn = machine:encode(), { machine:query "drawn" }
    local code, text = machine:stage_begin(app(2, "error 'no'"), INIT)
    assert.equal("script_error", code)
    assert.matches("no", text)
    for _, case in ipairs { { bytes:sub(1, -2), hash }, { bytes, hash + 1 } } do
      assert.equal("ok", (machine:stage_begin(bundle, INIT)))
      assert.equal("ok", (machine:stage_feed(case[1])))
      code, text = machine:stage_take(bundle, INIT, LAST, case[2])
      assert.equal("corrupt", code)
      assert.matches("^the state's bytes: ", text)
      machine:stage_end()
    end
    assert.equal("ok", (machine:stage_begin(bundle, INIT)))
    assert.equal("corrupt", (machine:stage_feed "\xC0"))
    machine:stage_end()
    machine:stage_end() -- harmless
    assert.equal(before, machine:encode())
    assert.same(drawn, { machine:query "drawn" })
    assert.equal("ok", (machine:stage_begin(bundle, INIT)))
    machine:stage_feed(bytes) -- and is freed with the machine
  end)

  it("lets go of what it replaces a little at a time", function()
    local bundle = app(1, [[
function fsm.commands.fill(state) for i = 1, 3000 do state['n' .. i] = { { i }, a = {} } end end]])
    local bytes, hash = written(machine_with(bundle, 2))
    local machine = machine_with(bundle, 0)
    assert.equal("ok", (machine:apply({ index = 9 }, "fill")))
    machine:stage_begin(bundle, INIT)
    machine:stage_feed(bytes)
    assert.equal("ok", (machine:stage_take(bundle, INIT, LAST, hash)))
    machine:stage_end()
    local turns = 1
    while machine:stage_sweep() do
      turns = turns + 1
      machine:apply({ index = 100 + turns }, "put", { key = "k" .. turns, value = turns })
    end
    assert.equal(12, turns) -- 3000 * (1 + 1 + 1 + 1) and 2 keys, 1024 at a time
    assert.equal(turns, machine:state()["k" .. turns])
    assert.is_false(machine:stage_sweep())
  end)

  it("may be the first that a machine ever has", function()
    local bundle = app(1)
    local bytes, hash = written(machine_with(bundle, 9))
    local machine = fsm.new()
    assert.equal("ok", (machine:stage_begin(bundle, INIT)))
    machine:stage_feed(bytes)
    assert.equal("ok", (machine:stage_take(bundle, INIT, LAST, hash)))
    assert.equal(9, machine:state().k9)
  end)
end)
