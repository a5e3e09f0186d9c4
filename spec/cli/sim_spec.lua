-- `moonclave sim` as a person meets it: its help, mistakes in the command line, what it prints when all is well.
local program = (os.getenv "MOONCLAVE_BUILD" or "build") .. "/moonclave"

-- Exit code, what it printed, what it complained of.
local function run(arguments)
  local complaints = os.tmpname()
  local pipe = assert(io.popen(("'%s' %s 2>%s; echo \"exit $?\""):format(program, arguments, complaints)))
  local text = pipe:read "a"
  pipe:close()
  local file = assert(io.open(complaints, "rb"))
  local complaint = file:read "a"
  file:close()
  os.remove(complaints)
  local printed, code = text:match "^(.*)exit (%d+)\n$"
  return math.tointeger(code), printed, complaint
end

describe("moonclave sim", function()
  it("explains itself: every flag, and examples", function()
    local code, text = run "help sim"
    assert.equal(0, code)
    for _, name in ipairs { "seeds", "nodes", "faults", "seed", "minutes", "jobs", "disk", "trace", "coverage",
      "no-shrink", "shrink-seconds", "replay", "deploy", "all", "json" } do
      assert.is_truthy(text:find("\n  --" .. name, 1, true), name)
    end
    assert.is_nil(text:find("mutant", 1, true))
    assert.matches("  moonclave sim examples/kv --seeds 1000", text, 1, true)
    assert.matches("\n  sim ", select(2, run "help"), 1, true)
  end)

  -- what is typed, the exit code, what is said
  local mistakes = {
    { "sim", 2, "sim: which app?" },
    { "sim examples/kv --seds 3", 2, "sim: there is no flag --seds: did you mean --seeds?" },
    { "sim examples/kv --seeds none", 2, "not a whole number" },
    { "sim examples/kv --nodes 8", 2, "it must be 1 to 7" },
    { "sim examples/kv --disk tape", 2, "sim: --disk tape: it is model or sqlite" },
    { "sim examples/kv --faults crsh", 2, "sim: --faults: there is no fault crsh: did you mean crash?" },
    { "sim examples/kv --faults=-crash,wpie", 2, "there is no fault wpie: did you mean wipe?" },
    { "sim examples/kv --replay faults=1", 2, "--replay needs the --seed" },
    { "sim examples/kv --seed 1 --replay fautls=1", 2, "there is no fautls=1 in a replay: did you mean faults?" },
    { "sim examples/kv --seed 1 --replay faults=3,1", 2, "the numbers ascend" },
    { "sim examples/kv --seed 1 --replay faults=x", 2, "numbers and ranges" },
    { "sim examples/kv --seed 1 --replay nodes=9", 2, "from 1 to 7" },
    { "sim examples/kv --seed 1 --replay calm=drips", 2, "there is no drips: did you mean drops?" },
    { "sim examples/kv --mutant stale_read", 2, "this build has no mutants" },
    { "sim /nowhere", 1, "sim: there is no app at /nowhere" },
    { "sim examples", 1, "has no fsm.lua" },
  }
  for _, mistake in ipairs(mistakes) do
    it("refuses `" .. mistake[1] .. "` with one line", function()
      local code, text, complaint = run(mistake[1])
      assert.equal(mistake[2], code, complaint)
      assert.equal("", text)
      assert.matches(mistake[3], complaint, 1, true)
      assert.matches("^moonclave: [^\n]+\n$", complaint)
    end)
  end

  it("lists the faults", function()
    local code, text = run "sim --faults list"
    assert.equal(0, code)
    for _, name in ipairs { "crash", "partition", "disk_full", "wipe" } do
      assert.matches("%f[%w]" .. name .. "\n", text)
    end
  end)

  it("says how many seeds, and nothing of its progress where it is not a terminal", function()
    local code, text, complaint = run "sim examples/kv --seeds 6 --nodes 3 --jobs 2"
    assert.equal(0, code, complaint)
    assert.equal("", complaint)
    assert.matches("^%d+ raft steps, %d+ requests; on each of 2 cores %d+ events/s; %d+ times real time\n", text)
    assert.matches("\nsim: 6 seeds, 0 violations, [%d.]+ simulated hours, [%d.]+ s, %d+ events/s\n$", text)
  end)

  it("runs the same whatever the number of processes", function()
    local function steps(jobs)
      return select(2, run("sim examples/kv --seeds 5 --seed 40 --jobs " .. jobs)):match "^%d+ raft steps, %d+ requests"
    end
    local one = steps(1)
    assert.is_truthy(one)
    assert.equal(one, steps(3))
  end)

  it("leaves out faults, shows what was met, and speaks JSON", function()
    local _, text = run "sim examples/kv --seeds 12 --faults disk-full,one_way --coverage"
    assert.matches("\n%s+full_disks%s+[1-9]", text)
    assert.matches("\n%s+pauses%s+0\n", text)
    assert.matches("\nstates met, %d+ of %d+:\n", text)
    _, text = run "sim examples/kv --seeds 4 --faults=-partition,-isolate_leader --coverage"
    assert.matches("\n%s+partitions%s+0\n", text)
    local code, json = run "sim examples/kv --seeds 3 --json"
    assert.equal(0, code)
    assert.matches('^{.*"seeds":3,.*"violations":0}\n$', json)
  end)

  it("one seed, one run: --seed alone is that seed", function()
    local _, text = run "sim examples/kv --seed 7"
    assert.matches("\nsim: 1 seeds, 0 violations", text, 1, true)
  end)

  it("ends in time with --minutes, whatever is left", function()
    local began = os.time()
    local code, text = run "sim examples/counter.lua --minutes 1 --seeds 5"
    assert.equal(0, code)
    assert.matches("sim: 5 seeds", text, 1, true)
    assert.is_true(os.time() - began < 60)
  end)
end)
