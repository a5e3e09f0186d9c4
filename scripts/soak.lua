-- Simulated clusters for as long as it is told, from seeds that the suite does not run; what `make soak` calls.
--   scripts/soak [MINUTES] [FIRST_SEED]
-- In turn, a minute or so each: the simulator's own workload on the model of the store, the same on the store itself,
-- and the key-value example with its Lua and its model on either. A violation is printed with the line that replays
-- it, and the search goes on. Ends with one line of totals; the exit code is 1 if anything was violated.
local build = os.getenv "BUILD" or "build"
local search = require "sim.search"

local minutes = tonumber(arg[1] or 10)
local seed = math.tointeger(tonumber(arg[2] or os.time()))
if not minutes or minutes <= 0 or not seed then
  io.stderr:write "usage: scripts/soak [MINUTES] [FIRST_SEED]\n"
  os.exit(2)
end

local CHUNK = 400 -- seeds of the own workload in one go
local totals = { seeds = 0, steps = 0, hours = 0, violations = 0 }
local ends = os.time() + minutes * 60
local began = os.time()

local function say(...)
  io.write(os.date "%H:%M:%S  ", string.format(...), "\n")
  io.flush()
end

local function add(name, seeds, steps, hours, violations)
  totals.seeds, totals.steps = totals.seeds + seeds, totals.steps + steps
  totals.hours, totals.violations = totals.hours + hours, totals.violations + violations
  say("%-28s seeds %d on, %d seeds, %.2f simulated hours, %d violations", name, seed, seeds, hours, violations)
end

-- The simulator's own workload.
local function own(disk)
  local count = disk == "sqlite" and CHUNK // 4 or CHUNK
  local found = search.seeds { first = seed, last = seed + count - 1, jobs = 2, disk = disk }
  for _, violation in ipairs(found.violations) do
    say("VIOLATION of %s: seed %d%s: %s", violation.invariant, violation.seed, disk and ", disk " .. disk or "",
      violation.text)
    say('  replay: lua5.4 -e \'require("moonclave.sim").main { seed = %d%s, trace = "trace.txt" }\'', violation.seed,
      disk and ', disk = "' .. disk .. '"' or "")
  end
  local sums = found.sums
  add("own workload, " .. (disk or "model"), sums.seeds or 0, sums.steps or 0, (sums.virtual_us or 0) / 3.6e9,
    #found.violations)
end

-- The key-value example, by the program.
local function example(disk)
  local command = ("%s/moonclave sim examples/kv --seeds %d --seed %d --all --no-shrink --disk %s 2>&1"):format(build,
    disk == "sqlite" and 60 or 200, seed, disk)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  pipe:close()
  local seeds, violations, hours = text:match "sim: (%d+) seeds?, (%d+) violations?, ([%d.]+) simulated hours"
  local steps = text:match "(%d+) raft steps"
  if not seeds then error("moonclave sim said:\n" .. text) end
  if violations ~= "0" then io.write(text) end
  add("examples/kv, " .. disk, tonumber(seeds), tonumber(steps or 0), tonumber(hours), tonumber(violations))
end

local rounds = {
  function() own() end, function() own "sqlite" end, function() example "model" end, function() example "sqlite" end,
}
say("soak: %g minutes, from seed %d on", minutes, seed)
repeat
  for _, round in ipairs(rounds) do
    if os.time() < ends then round() end
  end
  seed = seed + CHUNK
until os.time() >= ends

say("soak: %d seeds, %d violations, %.2f simulated hours, %d steps, %d s", totals.seeds, totals.violations,
  totals.hours, totals.steps, os.time() - began)
os.exit(totals.violations == 0 and 0 or 1)
