-- What the simulator has found, kept: each seed below failed once, for the reason told. What a seed draws changes with
-- src/sim/plan.c, so each story also says what its runs have to meet.
local sim = require "moonclave.sim"

-- Runs seeds from `first` on until `enough` of them have met what `met` asks for; all must be sound.
local function sound_runs(first, enough, met, options)
  local found, seed = 0, first
  while found < enough do
    local run = { seed = seed }
    for name, value in pairs(options or {}) do run[name] = value end
    local result = sim.run(run)
    assert.is_true(result.ok, sim.report(result))
    if met(result.coverage) then found = found + 1 end
    seed = seed + 1
    assert.is_true(seed < first + 2000, "no seed meets it any more")
  end
end

describe("found by a seed", function()
  it("a wiped node refused its former peers as WIPED, they believed it, and the whole cluster stood still", function()
    sound_runs(269, 5, function(coverage) return coverage.wipes > 0 and coverage.hellos_refused > 0 end, { nodes = 3 })
  end)

  it("a server that had joined again under its old id led by a configuration that meant its former self", function()
    sound_runs(102, 3, function(coverage) return coverage.joins > 1 and coverage.retirements > 1 end)
  end)

  it("members that knew only a former self turned joiners away for good, and did not hear their leader", function()
    sound_runs(43, 3, function(coverage) return coverage.rejoins > 0 and coverage.retirements > 0 end)
  end)

  it("a learner that had caught up slowly never became a voter in an idle cluster", function()
    sound_runs(14, 3, function(coverage) return coverage.joins > 2 end)
  end)

  it("a removed server that was cut off, its connections alive, was never told", function()
    sound_runs(316, 3, function(coverage) return coverage.retirements > 0 and coverage.one_way_partitions > 0 end)
  end)

  it("a leader whose disk stood just as all agreed handed over, and who was to follow was called not ready", function()
    assert.is_true(sim.run({ seed = 190, restores = true, deploys = false }).ok)
    assert.is_true(sim.run({ seed = 2745, deploys = true }).ok)
  end)

  it("a full disk refused a truncation decided in one term; it was tried again in a later one", function()
    sound_runs(893, 3, function(coverage) return coverage.refusals > 10 and coverage.truncations > 0 end)
  end)

  it("queries that a halted leader could never answer filled what may wait there: the skip was refused", function()
    local function met(coverage) return coverage.poison_skips > 0 and coverage.queries_failed > 100 end
    sound_runs(992, 3, met, { poison = true })
  end)

  it("a leader that had slept removed a dead learner, which takes no vote, and was judged as if it did", function()
    sound_runs(883, 3, function(coverage) return coverage.pauses > 0 and coverage.retirements > 0 end,
      { policy = "script" })
  end)
end)
