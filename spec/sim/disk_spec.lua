-- The store itself (src/store) as every node's disk, on a disk that loses what was not synced: the same seeds, faults
-- and invariants as with the model, and after each death the store must hold what it has said. And the faults of disks
-- and nodes, on either: each is met, and what it is for is seen.
local search = require "sim.search"
local sim = require "moonclave.sim"

-- About 15 s of processor time; fewer where seeds are asked for, or under sanitizers.
local SEEDS = math.max(20, search.budget() * 3 // 20)

local function complain(found)
  local lines = {}
  for i, violation in ipairs(found.violations) do
    if i <= 5 then
      lines[#lines + 1] = violation.text .. "\n  replay: " ..
        sim.replay_command { seed = violation.seed, disk = "sqlite" }
    end
  end
  return table.concat(lines, "\n")
end

describe("clusters on the real store", function()
  it("keep every invariant, and their stores what they have said", function()
    local found = search.seeds { first = 1, last = SEEDS, jobs = 2, disk = "sqlite" }
    assert.are.equal(0, #found.violations, complain(found))
    local sums = found.sums
    print(("    %d seeds on the real store: %.2f virtual hours, %d steps, %d opens, %.0f s of processor time"):format(
      SEEDS, sums.virtual_us / 3.6e9, sums.steps, sums["coverage.starts"], found.cpu))
    if SEEDS < 200 then return end -- too few to reach everything
    for _, name in ipairs { "store_crashes", "store_failed_opens", "store_kept_doubts", "store_checkpoints",
      "store_power_cuts", "store_rots_refused", "store_rots_harmless", "store_rots_untold", "refusals", "disk_errors",
      "lost_writes", "rots", "rots_read", "lost_tails", "wrecks" } do
      assert.is_true(sums["coverage." .. name] > 0, name .. " was never met")
    end
  end)

  it("replay to the byte: every call of the disk is part of the trace", function()
    local seen = {}
    for seed = 1, 12 do
      local first, again = sim.run { seed = seed, disk = "sqlite" }, sim.run { seed = seed, disk = "sqlite" }
      assert.are.equal(first.trace_hash, again.trace_hash)
      assert.are.equal(first.state_hash, again.state_hash)
      assert.are_not.equal(first.trace_hash, sim.run { seed = seed }.trace_hash)
      assert.is_nil(seen[first.trace_hash])
      seen[first.trace_hash] = true
    end
  end)

  it("can be left out", function()
    assert.are.equal(sim.run({ seed = 4 }).trace_hash, sim.run({ seed = 4, disk = "model" }).trace_hash)
    assert.error_matches(function() sim.run { seed = 4, disk = "floppy" } end, "floppy")
  end)
end)

-- Each is src/store with one guard off; the seeds that the store survives must show it.
describe("a broken store", function()
  local cpath = search.mutants_cpath()
  if not cpath then
    pending "dies within 300 seeds (no build with mutants: MOONCLAVE_MUTANTS_BUILD)"
    return
  end
  for _, mutant in ipairs { "store_unsynced", "store_unscanned", "store_unadopted", "store_unmarked",
    "unsynced_snapshot" } do
    it(mutant .. " dies within 300 seeds", function()
      local found = search.seeds { first = 1, last = 300, cpath = cpath, mutant = mutant, disk = "sqlite", stop = true }
      local first = assert(found.violations[1], mutant .. " survives 300 seeds")
      print(("    %-26s dies at seed %4d  %s"):format(mutant, first.seed, first.invariant))
      assert.are.equal("store_contract", first.invariant)
    end)
  end
end)

describe("faults", function()
  -- What one fault alone brings about: all the others are left out of the seeds.
  local function met(options, counters)
    options.first, options.last = 1, options.last or 150
    local found = search.seeds(options)
    assert.are.equal(0, #found.violations, found.violations[1] and found.violations[1].text)
    for _, name in ipairs(counters) do
      assert.is_true(found.sums["coverage." .. name] > 0, name .. " was never met")
    end
  end

  it("of the model's disk: what has rotted is noticed by a read or the next start, and never cut off", function()
    met({ last = 200 }, { "rots", "rots_read", "wrecks" })
  end)

  it("of clocks: rates change for a while, walls jump both ways", function()
    met({ last = 40 }, { "clock_rates", "clock_jumps" })
  end)

  it("of memory: a state machine that gets none ends its node, and differs nowhere", function()
    met({ last = 40, machine = "lua", app = "spec/sim/app" }, { "fsm_exhausted" })
  end)
end)
