-- A state machine's state as bytes while it goes on, and a machine made out of them.
local fsm = require "moonclave.fsm"
local support = require "script.fsm_support"

local APP = [[
local fsm = { commands = {}, queries = {} }
local drawn = math.random(1 << 40)

function fsm.init(config) return { items = {}, limit = config.limit or 0, inits = 1 } end

function fsm.commands.put(state, command, ctx)
  local before = state.items[command.key]
  local value = before and before.value
  state.items[command.key] = { value = command.value, index = ctx.index }
  return value
end

function fsm.commands.drop(state, command) state.items[command.key] = nil end
function fsm.queries.drawn() return drawn end
function fsm.queries.luck(state, query, ctx) return { math.random(1 << 40), ctx.time, ctx.index } end

return fsm]]

local INIT = { index = 3, term = 2, time = 1000, seed = 77 }

local function machine_with(count)
  local machine = fsm.new()
  assert.equal("ok", (machine:load(fsm.bundle { ["fsm.lua"] = APP }, { limit = 5 }, INIT)))
  for i = 1, count do
    assert.equal("ok", (machine:apply({ index = 3 + i, term = 2, time = 1000 + i, seed = i * 31 }, "put",
      { key = "k" .. i % 97, value = ("v"):rep(i % 50) })))
  end
  return machine
end

local function last_of(count) return { index = 3 + count, term = 2, time = 1000 + count, seed = count * 31 } end

local function written(machine, work, between)
  local hash, parts, more = machine:snapshot_begin(), {}, true
  while more do
    parts[#parts + 1], more = machine:snapshot_step(work)
    if between then between(#parts) end
  end
  machine:snapshot_end()
  return table.concat(parts), hash
end

local function restore(machine, bytes, hash, last, piece)
  local code, text = machine:restore_begin(fsm.bundle { ["fsm.lua"] = APP }, INIT)
  local used = 0
  for at = 1, #bytes, piece or #bytes do
    if code ~= "ok" then break end
    code, text = machine:restore_feed(bytes:sub(at, at + (piece or #bytes) - 1))
    if code == "ok" then used = used + text end
  end
  if code == "ok" then code, text = machine:restore_finish(last, hash) end
  return code, text, used
end

describe("a state machine's snapshot", function()
  it("is the state of one moment, whatever is applied meanwhile", function()
    local machine = machine_with(300)
    local wanted, hash = machine:encode(), machine:hash()
    local bytes, said = written(machine, 64, function(step)
      machine:apply({ index = 1000 + step, seed = step }, "put", { key = "k" .. step % 97, value = step })
      machine:apply({ index = 1000 + step, seed = step }, "drop", { key = "k" .. (step * 7) % 97 })
    end)
    assert.equal(wanted, bytes)
    assert.equal(hash, said)
    assert.are_not.equal(hash, machine:hash())
  end)

  it("makes a machine that answers everything as the one before, however the pieces fall", function()
    for _, piece in ipairs { 1, 7, 1000, 1 << 20 } do
      local machine = machine_with(200)
      local bytes, hash = written(machine, 1 << 20)
      local other = fsm.new()
      assert.same({ "ok", nil, #bytes }, { restore(other, bytes, hash, last_of(200), piece) })
      assert.equal(machine:encode(), other:encode())
      assert.equal(machine:hash(), other:hash())
      for _, query in ipairs { "drawn", "luck" } do
        assert.same({ machine:query(query) }, { other:query(query) })
      end
      local again = { index = 900, term = 3, time = 5000, seed = 9 }
      assert.same({ machine:apply(again, "put", { key = "k5", value = 1 }) },
        { other:apply(again, "put", { key = "k5", value = 1 }) })
      assert.equal(1, other:state().inits)
      assert.same({ true, false }, { other:has "put" })
    end
  end)

  it("replaces what a machine had, and ends a snapshot that was being written", function()
    local machine, other = machine_with(50), machine_with(9)
    local bytes, hash = written(machine, 1 << 20)
    other:snapshot_begin()
    other:snapshot_step(10)
    assert.equal("ok", (restore(other, bytes, hash, last_of(50))))
    assert.equal(machine:encode(), other:encode())
    assert.equal(bytes, (written(other, 100)))
  end)

  it("may be begun again before it is all there", function()
    local bytes, hash = written(machine_with(20), 1 << 20)
    local other = fsm.new()
    assert.equal("ok", (other:restore_begin(fsm.bundle { ["fsm.lua"] = APP }, INIT)))
    assert.equal("ok", (other:restore_feed(bytes:sub(1, 30))))
    assert.equal("ok", (restore(other, bytes, hash, last_of(20))))
    assert.equal(hash, other:hash())
  end)

  it("is refused where it is damaged, cut short, or another one's", function()
    local bytes, hash = written(machine_with(20), 1 << 20)
    for _, case in ipairs { { bytes:sub(1, -2), hash }, { bytes, hash + 1 }, { "\xC0", hash } } do
      local code, text = restore(fsm.new(), case[1], case[2], last_of(20))
      assert.equal("corrupt", code)
      assert.matches("^the state's bytes: ", text)
    end
    local code, text, used = restore(fsm.new(), bytes .. "\1\2", hash, last_of(20))
    assert.same({ "ok", nil, #bytes }, { code, text, used })
  end)

  it("of code that does not load says why", function()
    local code, text = fsm.new():restore_begin(fsm.bundle { ["fsm.lua"] = "error 'no'" }, INIT)
    assert.equal("script_error", code)
    assert.matches("no", text)
  end)

  it("loads its code again, however small the budget has become since", function()
    local code = [[
      local text = ("x"):rep(200000)
      for _ = 1, 20000 do text = text end
      local function spin() for _ = 1, 20000 do text = text end end
      return { commands = { spin = spin, idle = function() return #text end } }]]
    local machine = support.machine(code)
    local bytes, hash = written(machine, 100)
    local small = { command_steps_max = 1000, command_memory_max = 1 << 20, block_bytes_max = 65536 }
    local other = fsm.new(small)
    assert.equal("script_error", (other:load(fsm.bundle { ["fsm.lua"] = code }, nil, INIT)))
    other = fsm.new(small)
    assert.equal("ok", (other:restore_begin(fsm.bundle { ["fsm.lua"] = code }, INIT)))
    assert.equal("ok", (other:restore_feed(bytes)))
    assert.equal("ok", (other:restore_finish(INIT, hash)))
    machine:configure(small) -- as the one that has been there all the time
    for _, one in ipairs { machine, other } do
      assert.equal("command_failed", (one:apply({ index = 9 }, "spin")))
      local told, length = one:apply({ index = 10 }, "idle")
      assert.same({ "ok", 200000 }, { told, length })
    end
    assert.equal(machine:hash(), other:hash())
  end)

  it("keeps the budget that was set", function()
    local machine = fsm.new()
    machine:configure { command_steps_max = 5000 }
    local bytes, hash = written(support.machine "return { commands = {} }", 100)
    assert.equal("ok", (machine:restore_begin(fsm.bundle { ["fsm.lua"] =
      "return { commands = { spin = function() while true do end end } }" }, INIT)))
    assert.equal("ok", (machine:restore_feed(bytes)))
    assert.equal("ok", (machine:restore_finish(INIT, hash)))
    assert.equal("command_failed", (machine:apply({ index = 9 }, "spin")))
  end)
end)
