-- Another version of an app over the state of the one that runs: all of it, or nothing.
local fsm = require "moonclave.fsm"

local INIT = { index = 3, term = 2, time = 1000, seed = 77 }
local DEPLOY = { index = 50, term = 4, time = 5000, seed = 99 }

local function app(version, body)
  return fsm.bundle { ["fsm.lua"] = ([[
local fsm = { version = %s, commands = {}, queries = {} }
local drawn = math.random(1 << 40)
function fsm.init() return { inits = 1, items = {} } end
function fsm.commands.put(state, command, ctx) state.items[command.key] = command.value return ctx.index end
function fsm.queries.drawn() return drawn end
function fsm.queries.chance() return math.random(1 << 40) end
%s
return fsm]]):format(version, body or "") }
end

local function machine_with(bundle, count)
  local machine = fsm.new()
  assert.equal("ok", (machine:load(bundle, {}, INIT)))
  for i = 1, count do
    local entry = { index = 3 + i, time = 1000 + i, seed = i }
    assert.equal("ok", (machine:apply(entry, "put", { key = "k" .. i, value = i })))
  end
  return machine
end

local function put(machine, index, key, value)
  local code, result = machine:apply({ index = index, time = 6000 + index, seed = index }, "put",
    { key = key, value = value })
  return code, result
end

-- The machine that comes of this one's snapshot.
local function restored(machine, bundle, entry, last)
  local hash = machine:snapshot_begin()
  local bytes = machine:snapshot_step(1 << 30)
  machine:snapshot_end()
  local other = fsm.new()
  assert.equal("ok", (other:restore_begin(bundle, entry)))
  assert.equal("ok", (other:restore_feed(bytes)))
  assert.equal("ok", (other:restore_finish(last, hash)))
  return other
end

local DOUBLES = [[
function fsm.migrate(state, from)
  for key, value in pairs(state.items) do state.items[key] = value * 2 end
  state.from, state.at = from, #state.items
  return state
end
function fsm.queries.extra() return true end
]]

describe("another version of the app", function()
  it("makes the state over and serves from then on", function()
    local machine = machine_with(app(1), 5)
    local before = machine:hash()
    assert.same({ "ok", nil, 1, 4 }, { machine:upgrade(app(4, DOUBLES), DEPLOY) })
    assert.same({ inits = 1, items = { k1 = 2, k2 = 4, k3 = 6, k4 = 8, k5 = 10 }, from = 1, at = 0 }, machine:state())
    assert.not_equal(before, machine:hash())
    assert.same({ false, true }, { machine:has "extra" })
    assert.same({ "ok", 51 }, { put(machine, 51, "k1", 7) })
    assert.equal(7, machine:state().items.k1)
  end)

  it("comes out of a snapshot as it is: code, chance and state", function()
    local old, young = app(1), app(2, DOUBLES)
    local machine = machine_with(old, 5)
    machine:upgrade(young, DEPLOY)
    local other = restored(machine, young, DEPLOY, DEPLOY)
    assert.equal(machine:hash(), other:hash())
    assert.same({ machine:query "drawn" }, { other:query "drawn" })
    assert.same({ machine:query "chance" }, { other:query "chance" })
    assert.not_same({ machine_with(old, 5):query "drawn" }, { machine:query "drawn" })
  end)

  it("goes on as what comes out of a snapshot would, whatever migrate has left outside of the state", function()
    local young = app(2, [[
local kept = "as loaded"
function fsm.migrate(state) kept = "by migrate" math.random() log "migrates" return state end
function fsm.queries.kept() return kept end
function fsm.commands.keep(state) state.kept = kept end
log "loads"]])
    local machine = machine_with(app(1), 2)
    assert.equal("ok", (machine:upgrade(young, DEPLOY)))
    local other = restored(machine, young, DEPLOY, DEPLOY)
    assert.equal("as loaded", (select(2, machine:query "kept")))
    assert.same({ machine:query "chance" }, { other:query "chance" })
    for _, one in ipairs { machine, other } do one:apply({ index = 51, time = 6000, seed = 1 }, "keep", {}) end
    assert.equal(other:hash(), machine:hash())
    assert.equal("loads\nmigrates\n", machine:logged())
  end)

  it("needs no migrate where it is newer, and none is called where the version is the same", function()
    local machine = machine_with(app(1), 3)
    local before = machine:encode()
    assert.same({ "ok", nil, 1, 2 }, { machine:upgrade(app(2, "function fsm.queries.more() return 1 end"), DEPLOY) })
    local later = { index = 51, term = 4, time = 5001, seed = 1 }
    assert.same({ "ok", nil, 2, 2 }, { machine:upgrade(app(2, DOUBLES), later) })
    assert.equal(before, machine:encode())
    assert.same({ false, true }, { machine:has "extra" })
    assert.same({ false, false }, { machine:has "more" })
  end)

  it("goes back only where it knows the way", function()
    local machine = machine_with(app(5), 2)
    local code, text, from, to = machine:upgrade(app(4), DEPLOY)
    assert.same({ "script_error", 5, 4 }, { code, from, to })
    assert.equal("version 4 cannot follow version 5: an older version needs a migrate(state, from_version) that " ..
      "knows the way back", text)
    assert.same({ "ok", nil, 5, 4 }, { machine:upgrade(app(4, DOUBLES), DEPLOY) })
    assert.equal(5, machine:state().from)
    assert.same({ "ok", nil, 4, 0 }, { machine:upgrade(app("nil", DOUBLES), DEPLOY) }) -- no number is 0
  end)

  it("may put another table in the state's place", function()
    local machine = machine_with(app(1), 3)
    machine:upgrade(app(2, "function fsm.migrate(state) return { items = state.items, new = { 1, 2 } } end"), DEPLOY)
    assert.same({ items = { k1 = 1, k2 = 2, k3 = 3 }, new = { 1, 2 } }, machine:state())
    assert.same({ "ok", 51 }, { put(machine, 51, "a", 1) })
    machine:upgrade(app(3, "function fsm.migrate(state) return state.items end"), DEPLOY)
    assert.same({ a = 1, k1 = 1, k2 = 2, k3 = 3 }, machine:state())
    local other = restored(machine, app(3), DEPLOY, DEPLOY)
    assert.equal(machine:encode(), other:encode())
  end)

  it("leaves app and state as they were where anything fails", function()
    local old = app(1)
    local machine = machine_with(old, 4)
    local before, hash = machine:encode(), machine:hash()
    local drawn, chance = (select(2, machine:query "drawn")), (select(2, machine:query "chance"))
    for _, row in ipairs {
      { app(2, "error 'no luck'"), "fsm%.lua:7: no luck" },
      { app(2, "nonsense("), "fsm%.lua:8:" },
      { app(2, "fsm.migrate = 3"), "`migrate` must be a function, it is a number" },
      { app("'two'"), "`version` must be an integer, it is a string" },
      { app(2, "function fsm.migrate(state) state.items = {} error 'half way' end"),
        "^migrate from version 1: fsm%.lua:7: half way" },
      { app(2, "function fsm.migrate(state) state.items = {} error { code = 'own' } end"), "own" },
      { app(2, "function fsm.migrate(state) state.items = {} end"),
        "it must return the state, or a table to take its place; it returned nil" },
      { app(2, "function fsm.migrate(state) state.items.k1 = nil return { string.rep } end"), "function" },
      { app(2, "function fsm.migrate(state) state.items = {} while true do end end"),
        "more than 2000000 steps %(migrate_steps_max%)" },
      { app(2, "function fsm.migrate(state) local t = {} for i = 1, 1e9 do t[i] = i end end"),
        "migrate_memory_max\\|block_bytes_max" },
      { "no bundle", "bundle" },
    } do
      machine:configure { migrate_steps_max = row[2]:find "steps" and 2000000 or nil, migrate_memory_max = 1 << 20 }
      local code, text = machine:upgrade(row[1], DEPLOY)
      assert.equal("script_error", code)
      local found = false
      for pattern in (row[2] .. "\\|"):gmatch "(.-)\\|" do found = found or text:find(pattern) end
      assert.is_truthy(found, text)
      assert.equal(before, machine:encode())
      assert.equal(hash, machine:hash())
      assert.same({ drawn, chance }, { (select(2, machine:query "drawn")), (select(2, machine:query "chance")) })
    end
    assert.same({ "ok", 60 }, { put(machine, 60, "k9", 9) })
    assert.same({ "ok", nil, 1, 2 }, { machine:upgrade(app(2, DOUBLES), DEPLOY) })
    assert.equal(18, machine:state().items.k9)
  end)

  it("says so in whole characters, however long it is", function()
    local machine = machine_with(app(1), 1)
    for _, character in ipairs { "é", "€", "🌙" } do
      for before = 0, 3 do
        local text = ("x"):rep(before) .. character:rep(400)
        local _, said = machine:upgrade(app(2, ("function fsm.migrate() error(%q, 0) end"):format(text)), DEPLOY)
        assert.is_truthy(utf8.len(said), said)
        assert.is_true(#said > 500 and #said < 512, #said)
        assert.equal(("migrate from version 1: " .. text):sub(1, #said), said)
      end
    end
  end)

  it("has a budget of its own for migrate, and none of it is left for commands", function()
    local machine = machine_with(app(1), 1)
    machine:configure { command_steps_max = 100000, migrate_steps_max = 10000000 }
    local body = "function fsm.migrate(state) for i = 1, 1e6 do end return state end " ..
      "function fsm.commands.long() for i = 1, 1e6 do end return 1 end"
    assert.equal("ok", (machine:upgrade(app(2, body), DEPLOY)))
    local code, failure = machine:apply({ index = 51, time = 6000 }, "long", {})
    assert.equal("command_failed", code)
    assert.is_truthy(failure.message:find("command_steps_max", 1, true))
  end)

  it("leaves a snapshot that is being written what it was", function()
    local machine = machine_with(app(1), 300)
    local bytes, hash = machine:encode(), machine:hash()
    assert.equal(hash, machine:snapshot_begin())
    local parts, more = {}
    parts[1], more = machine:snapshot_step(500)
    assert.is_true(more)
    machine:upgrade(app(2, DOUBLES), DEPLOY)
    machine:upgrade(app(3, "function fsm.migrate(state) return { state.items } end"), DEPLOY)
    repeat parts[#parts + 1], more = machine:snapshot_step(500) until not more
    machine:snapshot_end()
    assert.equal(bytes, table.concat(parts))
    assert.not_equal(bytes, machine:encode())
  end)

  it("is nothing at all where this machine has no memory: the node must stop", function()
    local failures, nth = 0, 0
    repeat
      nth = nth + 7
      local machine = machine_with(app(1), 20)
      local hash = machine:hash()
      machine:fail_allocation(nth)
      local code = machine:upgrade(app(2, DOUBLES), DEPLOY)
      if code ~= "ok" then
        failures = failures + 1
        assert.equal("internal", code)
        assert.equal(hash, machine:hash())
        assert.equal("internal", (put(machine, 51, "a", 1))) -- and for good
      end
    until code == "ok"
    assert.is_true(failures > 10, failures)
  end)

  it("is done in slices, whose sizes change nothing", function()
    local young = app(2, DOUBLES .. [[
function fsm.queries.more() return 1 end
local migrate = fsm.migrate
function fsm.migrate(state, from)
  local ok, why = pcall(function() for i = 1, 20000 do state.items.k1 = i % 3 end error { code = "inner" } end)
  state.inner = { ok, why.code }
  table.sort({ 5, 3, 4 }, function(a, b) for _ = 1, 5000 do end return a < b end)
  for i = 1, 300000 do if i % 1000 == 0 then state.seen = i end end
  return migrate(state, from)
end]])
    local whole = machine_with(app(1), 50)
    assert.equal("ok", (whole:upgrade(young, DEPLOY)))
    local slices = {}
    for i, work in ipairs { 1, 5000, 50000, 1 << 40 } do
      local machine = machine_with(app(1), 50)
      local hash = machine:hash()
      assert.same({ "ok", nil, 1, 2 }, { machine:upgrade_begin(young, DEPLOY) })
      local code, more
      slices[i] = 0
      repeat
        assert.equal(hash, machine:hash()) -- of what is applied
        code, more = machine:upgrade_step(work)
        assert.equal("ok", code, more)
        slices[i] = slices[i] + 1
      until not more
      assert.equal(whole:encode(), machine:encode())
      assert.equal(whole:hash(), machine:hash())
      assert.same({ "ok", 51 }, { put(machine, 51, "a", 1) })
    end
    assert.is_true(slices[1] > slices[2] and slices[2] > slices[3] and slices[3] > slices[4])
    assert.is_true(slices[1] > 500)
    assert.equal(1, slices[4])
  end)

  it("spends the same budget in slices, and says the same", function()
    local young = app(2, "function fsm.migrate(state) while true do state.n = (state.n or 0) + 1 end end")
    local machine = machine_with(app(1), 3)
    machine:configure { migrate_steps_max = 1000000 }
    local before = machine:encode()
    local _, whole = machine:upgrade(young, DEPLOY)
    assert.is_truthy(whole:find("migrate_steps_max", 1, true))
    for _, work in ipairs { 1, 3000, 77777 } do
      assert.equal("ok", (machine:upgrade_begin(young, DEPLOY)))
      local code, more
      repeat code, more = machine:upgrade_step(work) until code ~= "ok"
      assert.same({ "script_error", whole }, { code, more })
      assert.equal(before, machine:encode())
    end
  end)

  it("can be given up in the middle, also for a snapshot that comes", function()
    local old, young = app(1), app(2, DOUBLES)
    local machine = machine_with(old, 5000)
    local before, hash = machine:encode(), machine:hash()
    for _ = 1, 3 do
      machine:upgrade_begin(young, DEPLOY)
      for _ = 1, 4 do assert.same({ "ok", true }, { machine:upgrade_step(1000) }) end
      machine:upgrade_end()
      assert.equal(before, machine:encode())
      assert.equal(hash, machine:hash())
    end
    machine:upgrade_end() -- harmless
    assert.same({ "ok", 60 }, { put(machine, 60, "a", 1) })
    machine:upgrade_begin(young, DEPLOY)
    machine:upgrade_step(1000)
    local source = machine_with(old, 3)
    local wanted = source:snapshot_begin()
    local bytes = source:snapshot_step(1 << 30)
    source:snapshot_end()
    assert.equal("ok", (machine:restore_begin(old, INIT)))
    assert.equal("ok", (machine:restore_feed(bytes)))
    assert.equal("ok", (machine:restore_finish(INIT, wanted)))
    assert.equal(bytes, machine:encode())
    assert.equal("ok", (machine:upgrade(young, DEPLOY)))
    machine:upgrade_begin(app(3, DOUBLES), DEPLOY)
    machine:upgrade_step(1) -- and its end is that of the machine
  end)

  it("stops for good where memory runs out in a slice", function()
    local failures = 0
    local young = app(2, DOUBLES .. [[
local migrate = fsm.migrate
function fsm.migrate(state, from)
  local kept = {}
  for i = 1, 2000 do kept[i] = { i } end
  return migrate(state, from)
end]])
    for nth = 5, 400, 13 do
      local machine = machine_with(app(1), 300)
      local before = machine:encode()
      machine:fail_allocation(nth)
      local code, more = machine:upgrade_begin(young, DEPLOY)
      if code == "ok" then repeat code, more = machine:upgrade_step(500) until code ~= "ok" or not more end
      if code ~= "ok" then
        failures = failures + 1
        assert.equal("internal", code)
        assert.equal(before, machine:encode())
      end
    end
    assert.is_true(failures > 20, failures)
  end)

  it("can follow an app that did not load", function()
    local machine = fsm.new()
    assert.equal("script_error", (machine:load(app(1, "error 'broken'"), {}, INIT)))
    assert.equal("script_error", (machine:load(app(1, "x = 1 function fsm.init() return 3 end"), {}, INIT)))
    assert.equal("ok", (machine:load(app(2), {}, DEPLOY)))
    assert.same({ inits = 1, items = {} }, machine:state())
    assert.same({ "ok", 51 }, { put(machine, 51, "a", 1) })
  end)

  it("may come a thousand times", function()
    local machine = machine_with(app(1), 10)
    for i = 2, 1000 do
      local code, _, from, to = machine:upgrade(app(i, "function fsm.migrate(s) s.n = (s.n or 0) + 1 return s end"),
        { index = 50 + i, term = 4, time = 5000 + i, seed = i })
      assert.same({ "ok", i - 1, i }, { code, from, to })
    end
    assert.equal(999, machine:state().n)
  end)
end)
