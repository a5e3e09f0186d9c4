-- Clusters whose members are a policy's business: whatever it says, the voters stay a majority that can be reached, and
-- in the end all agree.
local cluster = require "support.cluster"
local search = require "sim.search"
local sim = require "moonclave.sim"

local SEEDS = 60

local function sound(policy)
  local found = search.seeds { first = 1, last = SEEDS, jobs = 2, policy = policy }
  local first = found.violations[1]
  assert.are.equal(0, #found.violations, first and ("seed %s: %s"):format(first.seed, first.text))
  return function(name) return found.sums["coverage.policy_" .. name] end
end

describe("a simulated cluster", function()
  it("with the default policy grows by it, and it never fails", function()
    local met = sound "script"
    assert.is_true(met "promotions" > 0)
    assert.are.equal(0, met "failed")
  end)

  it("with one that wants anything of anybody does what is safe of it", function()
    local met = sound "dice"
    for _, name in ipairs { "promotions", "losses", "handovers", "refused", "failed" } do
      assert.is_true(met(name) > 0, name .. " was never met")
    end
    assert.is_true(met "refused" > met "done")
  end)

  it("without one is asked nothing", function()
    for seed = 1, 10 do
      local result = sim.run { seed = seed, policy = "none" }
      assert.is_true(result.ok, sim.report(result))
      assert.are.equal(0, result.coverage.policy_asked)
    end
  end)

  it("goes the same way twice, and another with another policy", function()
    local seen = {}
    for _, policy in ipairs { "script", "dice", "none" } do
      local first, again = sim.run { seed = 5, policy = policy }, sim.run { seed = 5, policy = policy }
      assert.are.equal(first.trace_hash, again.trace_hash)
      assert.is_nil(seen[first.trace_hash])
      seen[first.trace_hash] = true
    end
  end)

  it("finds that an app's own policy fails", function()
    local folder = cluster.folder()
    cluster.write_file(folder .. "/fsm.lua", cluster.read_file "spec/sim/app/fsm.lua")
    cluster.write_file(folder .. "/policy.lua", "return { promote = function(server) return server.zone.name end }")
    local failed
    for seed = 1, 60 do
      local result = sim.run { seed = seed, policy = "script", machine = "lua", app = folder }
      failed = failed or result.violation
      if failed then break end
    end
    cluster.remove(folder)
    assert.are.equal("policy_runs", failed.invariant)
    assert.is_truthy(failed.detail:find("policy.lua:1: attempt to index a nil value (field 'zone')", 1, true))
  end)

  it("refuses a policy that is none of these", function()
    assert.has_error(function() sim.run { seed = 1, policy = "whim" } end,
      "policy is 'none', 'script' or 'dice', not 'whim'")
  end)
end)
