-- The small parts under `moonclave sim`: what is left out as a text, fields found in a source, the generator.
local fields = require "moonclave.sim.fields"
local names = require "moonclave.sim.names"
local randoms = require "moonclave.sim.random"
local trims = require "moonclave.sim.trim"

describe("what is left out of a run", function()
  it("is a text, and the text is that again", function()
    for _, text in ipairs { "", "nodes=3",
      "nodes=3 clients=1 us=350000 kinds=crash,wipe calm=drops,late faults=3,9 asks=1-100,104",
      "calm=all faults=none asks=none", "asks=1-3,5,7-9" } do
      assert.equal(text, trims.text(trims.parse(text)))
    end
    assert.same({ 1, 2, 3, 5 }, trims.parse("asks=1-3,5").asks)
    assert.equal("kinds=all", trims.text(trims.parse("kinds=" .. table.concat(trims.fault_names, ","))))
  end)

  it("becomes the simulator's options", function()
    local options = {}
    trims.apply(trims.parse "nodes=5 us=7 kinds=crash calm=drops faults=2", options)
    assert.same({ nodes = 5, duration_us = 7, kinds = 1, calm = 1, faults = { 2 }, only_faults = true,
      only_asks = false }, options)
  end)

  it("of --faults is what the list does not name, or names with a minus", function()
    local only = trims.kinds_left_out "crash,disk-full"
    assert.is_nil(only.crash)
    assert.is_nil(only.disk_full)
    assert.is_true(only.partition)
    assert.same({ wipe = true, stop = true }, trims.kinds_left_out "-wipe,-stop")
    local none = trims.kinds_left_out "none"
    for _, name in ipairs(trims.fault_names) do assert.is_true(none[name]) end
    assert.same({}, trims.kinds_left_out "all")
  end)
end)

describe("the fields of arguments", function()
  local function of(text) return fields.of { ["fsm.lua"] = text } end

  it("are found however the functions are written, and whatever the parameter is called", function()
    local found = of [[
      function fsm.commands.put(state, command) return command.key, command.value end -- command.comment
      fsm.commands.drop = function(state, c, ctx) return c.key:sub(1), ctx.time end
      function M.queries.get(state, q) return state.items[q.key] end
      local app = { queries = { list = function(state, query) return query.prefix end } }
      function fsm.commands.tick(state) return state.n end]]
    assert.same({ "key", "value" }, found.commands.put)
    assert.same({ "key" }, found.commands.drop)
    assert.same({}, found.commands.tick)
    assert.same({ "key" }, found.queries.get)
    assert.same({ "prefix" }, found.queries.list)
  end)

  it("of arguments that are handed on as a whole are all that any function reads", function()
    local found = of [[
      function fsm.commands.put(state, command) return command.key end
      function fsm.commands.other(state, command) return helper(state, command) end]]
    assert.same({ "key" }, found.commands.other)
  end)

  it("are drawn: each is there sometimes, with strings, numbers and booleans", function()
    local draw, random, kinds = fields.generator { "a" }, randoms.new(1), {}
    for _ = 1, 500 do kinds[type(draw(random).a)] = true end
    assert.same({ string = true, number = true, boolean = true, ["nil"] = true }, kinds)
    assert.same({}, fields.generator(nil)(random))
  end)
end)

describe("the generator", function()
  it("gives the same from the same seed, within its limits, and refuses nonsense", function()
    local one, two = randoms.new(7), randoms.new(7)
    for _ = 1, 200 do
      local n = one(10)
      assert.equal(n, two(10))
      assert.is_true(n >= 1 and n <= 10)
      local share = one()
      assert.equal(share, two())
      assert.is_true(share >= 0 and share < 1)
      assert.equal(one:string(5), two:string(5))
      assert.equal(one:key(), two:key())
      assert.equal(one:choice { 1, 2, 3 }, two:choice { 1, 2, 3 })
    end
    assert.not_equal(one:unique(), one:unique())
    assert.error_matches(function() one(3, 1) end, "whole numbers")
    assert.error_matches(function() one:choice {} end, "not empty")
  end)
end)

describe("a mistyped name", function()
  it("has a nearest one, or none", function()
    assert.equal("seeds", names.nearest("sedes", { "nodes", "seeds" }))
    assert.equal("disk_full", names.nearest("disk-full", { "disk_slow", "disk_full" }))
    assert.is_nil(names.nearest("qqqq", { "put", "get" }))
    assert.equal(": there are put, get", names.hint("qqqq", { "put", "get" }))
  end)
end)
