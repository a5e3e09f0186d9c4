-- Whole clusters of 3 and 5 nodes under every fault the seeds draw: no invariant fails, a healed majority always goes
-- on, and in the end all nodes agree.
local search = require "sim.search"
local sim = require "moonclave.sim"

local function complain(found, options)
  local lines = {}
  for i, violation in ipairs(found.violations) do
    if i > 5 then break end
    local replay = { seed = violation.seed, machine = options.machine, app = options.app, poison = options.poison }
    lines[#lines + 1] = violation.text .. "\n  replay: " .. sim.replay_command(replay)
  end
  return ("%d of the seeds failed:\n%s"):format(#found.violations, table.concat(lines, "\n"))
end

describe("simulated clusters", function()
  it("keep every invariant, make progress once healed, and agree in the end, over all seeds", function()
    local count = search.budget()
    local options = { first = 1, last = count, jobs = 2 }
    local found = search.seeds(options)
    assert.are.equal(0, #found.violations, complain(found, options))
    assert.are.equal(count, found.sums.seeds)
    local sums = found.sums
    print(("    %d seeds: %.1f virtual hours, %d steps, %d elections, %d commits, %.0f s of processor time"):format(
      count, sums.virtual_us / 3.6e9, sums.steps, sums["coverage.elections"], sums["coverage.commits"], found.cpu))
    if count < 1000 then return end -- too few to reach everything
    local possible = sim.states()
    for name, met in pairs(sums) do
      local state = name:match "^state%.(.*)$"
      local elsewhere = name:find "^coverage%.store_" or name:find "^coverage%.fsm_" -- disk_spec.lua
        or name:find "^coverage%.poison_" -- below
        or name:find "^coverage%.restores_" -- restores_spec.lua
      if elsewhere then
        assert.are.equal(0, met, name .. " was met without what it belongs to")
      elseif state and not possible[state] then
        assert.are.equal(0, met, state .. " was met: src/sim/coverage.c calls it impossible")
      else
        assert.is_true(met > 0, name .. " was never met: the seeds do not reach it")
      end
    end
  end)

  it("get past a command that kills whoever applies it, once an operator has it skipped", function()
    local count = math.max(1, search.budget() // 20)
    local options = { first = 1, last = count, jobs = 2, poison = true }
    local found = search.seeds(options)
    assert.are.equal(0, #found.violations, complain(found, options))
    assert.is_true(found.sums["coverage.poison_strikes"] > 0)
    assert.is_true(found.sums["coverage.poison_deaths"] >= 2 * found.sums["coverage.poison_strikes"])
    assert.is_true(found.sums["coverage.poison_skips"] > 0)
  end)

  it("do the same with the workload as a Lua state machine", function()
    local count = math.max(1, search.budget() // 50)
    local options = { first = 1, last = count, machine = "lua", app = "spec/sim/app" }
    local found = search.seeds(options)
    assert.are.equal(0, #found.violations, complain(found, options))
    assert.is_true(found.sums["coverage.commands_ok"] > 0)
    assert.is_true(found.sums["coverage.queries_ok"] > 0)
  end)
end)
