-- Backups restored through the log while everything goes wrong: whole or not at all, to one state at one index, and
-- what clients are told afterwards is true of what was restored.
local search = require "sim.search"
local sim = require "moonclave.sim"

local SEEDS = math.max(10, search.budget() // 20)

local function complain(found, options)
  local lines = {}
  for i, violation in ipairs(found.violations) do
    local replay = { seed = violation.seed, restores = true, disk = options.disk, machine = options.machine,
      app = options.app }
    if i <= 5 then lines[i] = violation.text .. "\n  replay: " .. sim.replay_command(replay) end
  end
  return table.concat(lines, "\n")
end

local function all(options)
  local found = search.seeds(options)
  assert.are.equal(0, #found.violations, complain(found, options))
  return found.sums
end

describe("operators who restore backups", function()
  it("never break an invariant: nodes are killed, cut off and started again in the middle", function()
    local sums = all { first = 1, last = SEEDS, jobs = 2, restores = true }
    print(("    %d seeds: %d restores begun, %d done, %d given up, %d refused for damage"):format(SEEDS,
      sums["coverage.restores_begun"], sums["coverage.restores_done"], sums["coverage.restores_aborted"],
      sums["coverage.restores_refused"]))
    if SEEDS < 100 then return end -- too few to reach everything
    for _, what in ipairs { "begun", "done", "aborted", "left", "refused", "retried", "lost" } do
      assert.is_true(sums["coverage.restores_" .. what] > 0, what .. " was never met")
    end
  end)

  it("nor on the real store, nor with a Lua state machine", function()
    local few = math.max(4, SEEDS // 10)
    assert.is_true(all({ first = 1, last = few, disk = "sqlite", restores = true })["coverage.restores_begun"] > 0)
    assert.is_true(all({ first = 1, last = few, machine = "lua", app = "spec/sim/app",
      restores = true })["coverage.restores_begun"] > 0)
  end)

  it("are left out unless they are wanted", function()
    local without, with = sim.run { seed = 3 }, sim.run { seed = 3, restores = true }
    assert.are.equal(0, without.coverage.restores_begun)
    assert.is_true(with.coverage.restores_begun > 0)
    assert.are.equal(with.trace_hash, sim.run({ seed = 3, restores = true }).trace_hash)
  end)
end)
