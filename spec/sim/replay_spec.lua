-- A seed is a run: the same seed gives the same run, to the byte, in this process, in another one, in another build.
local search = require "sim.search"
local sim = require "moonclave.sim"

-- What another Lua process, with modules of another build, says of some seeds.
local function elsewhere(cpath, seeds)
  local code = ([[
    local sim = require "moonclave.sim"
    for seed = 1, %d do local r = sim.run { seed = seed } print(r.ok, r.trace_hash, r.steps) end]]):format(seeds)
  local pipe = assert(io.popen(("LUA_CPATH='%s' lua5.4 -e '%s' 2>&1"):format(cpath, code)))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  pipe:close()
  return lines
end

local function here(seeds)
  local lines = {}
  for seed = 1, seeds do
    local result = sim.run { seed = seed }
    lines[seed] = ("%s\t%s\t%d"):format(result.ok, result.trace_hash, result.steps)
  end
  return lines
end

describe("a seed", function()
  it("gives the same run twice, and other seeds give others", function()
    local first, second = here(10), here(10)
    assert.are.same(first, second)
    local seen = {}
    for _, line in ipairs(first) do
      assert.is_nil(seen[line])
      seen[line] = true
    end
  end)

  it("gives the same run in another process", function()
    assert.are.same(here(5), elsewhere(package.cpath, 5))
  end)

  it("gives the same run in the build with mutants while none is on", function()
    local cpath = search.mutants_cpath()
    if not cpath then return pending "there is no build with mutants (MOONCLAVE_MUTANTS_BUILD)" end
    assert.are.same(here(10), elsewhere(cpath, 10))
  end)

  it("gives the same trace, line by line, and the trace does not change the run", function()
    local plain, traced = sim.run { seed = 3 }, sim.run { seed = 3, trace = true }
    local again = sim.run { seed = 3, trace = true }
    assert.are.equal(plain.trace_hash, traced.trace_hash)
    assert.are.equal(traced.trace, again.trace)
    assert.is_truthy(traced.trace:find("is leader of term", 1, true))
  end)

  it("can be cut to so many steps, and run for so many virtual seconds", function()
    local cut = sim.run { seed = 5, steps = 500 }
    assert.is_true(cut.ok and cut.cut and cut.steps >= 500 and cut.steps < 1500)
    local long = sim.run { seed = 5, duration = 5 }
    assert.is_true(long.ok and long.virtual_us >= 5000000)
  end)

  it("runs clusters of one to seven nodes", function()
    for nodes = 1, 7 do
      local result = sim.run { seed = 11, nodes = nodes }
      assert.is_true(result.ok, sim.report(result))
      assert.are.equal(nodes, result.nodes)
    end
  end)
end)

describe("misuse", function()
  it("is refused with what is wrong", function()
    assert.has_error(function() sim.run { seed = 1, sede = 2 } end, "sim.run has no option 'sede'")
    assert.has_error(function() sim.run { seed = 1, machine = "lua" } end, "machine 'lua' and an app belong together")
    assert.error_matches(function() sim.run { seed = 1, nodes = 8 } end, "nodes: 1 to 7")
    assert.error_matches(function() sim.run { seed = 1, mutant = "no such" } end, "has no mutant")
    assert.error_matches(function() sim.run { seed = 1, machine = "lua", app = "/nowhere" } end, "/nowhere")
  end)
end)
