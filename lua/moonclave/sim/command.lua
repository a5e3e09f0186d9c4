-- `moonclave sim`: seeds of an app on every core, and of the first that fails a short story. The program runs main with
-- what its flags say (src/cli/sim.c).
local apps = require "moonclave.sim.app"
local core = require "moonclave.simcore"
local names = require "moonclave.sim.names"
local page = require "moonclave.sim.page"
local pool = require "moonclave.sim.pool"
local seeds = require "moonclave.sim.seed"
local shrink = require "moonclave.sim.shrink"
local trims = require "moonclave.sim.trim"
local stories = require "moonclave.sim.story"
local words = require "moonclave.sim.words"
local workers = require "moonclave.workers"

local M = {}

local DONE, VIOLATION, USAGE, SCRIPT = 0, 1, 2, 1

local function fail(status, text)
  io.stdout:flush()
  io.stderr:write("moonclave: sim: ", text, "\n")
  return status
end

-- ---- progress ----

local function duration(s)
  if s < 90 then return ("%.0f s"):format(s) end
  if s < 5400 then return ("%.0f min"):format(s / 60) end
  return ("%.1f h"):format(s / 3600)
end

-- One line on a terminal, over and over; nothing elsewhere.
local function progress_bar()
  if not workers.terminal() then return nil, function() end end
  local function clear() io.stderr:write "\r\27[K" end
  return function(state)
    local done, planned = state.sums.seeds, state.planned
    local share = math.min(1, done / planned)
    if state.limit then share = math.max(share, math.min(1, state.seconds / state.limit)) end
    local left = share > 0.01 and duration(state.seconds / share - state.seconds) or "?"
    local counts = ("%d%s seeds, %d violation%s, %.1f seeds/s, %s left"):format(done,
      state.limit and "" or "/" .. planned, #state.violations, #state.violations == 1 and "" or "s",
      done / math.max(state.seconds, 0.001), left)
    local width = math.max(0, math.min(30, workers.columns() - #counts - 8))
    local full = math.floor(width * share)
    clear()
    io.stderr:write("[", ("#"):rep(full), ("."):rep(width - full), "] ", counts)
    io.stderr:flush()
  end, clear
end

-- ---- results ----

local function rates(state)
  local s = math.max(state.seconds, 1e-9)
  return state.sums.steps / s, state.sums.virtual_us / 1e6 / s
end

local function summary(state)
  return ("sim: %d seeds, %d violations, %.2f simulated hours, %.1f s, %.0f events/s"):format(state.sums.seeds,
    #state.violations, state.sums.virtual_us / 3.6e9, state.seconds, (rates(state)))
end

local function print_rates(state, jobs)
  local rate, times = rates(state)
  print(("%d raft steps, %d requests; on each of %d cores %.0f events/s; %.0f times real time"):format(
    state.sums.steps, state.sums.requests, jobs, rate / jobs, times))
end

local function print_table(title, counts)
  local list, widest = names.of(counts), 0
  for _, name in ipairs(list) do widest = math.max(widest, #name) end
  print(title)
  for _, name in ipairs(list) do print(("  %-" .. widest .. "s %d"):format(name, counts[name])) end
end

local function print_coverage(state)
  print_table("met:", state.sums.coverage)
  local met, possible = {}, 0
  for name, can_be in pairs(core.states()) do
    local count = state.sums.states[name] or 0
    if count > 0 then met[name] = count end
    if can_be then possible = possible + 1 end
  end
  print_table(("states met, %d of %d:"):format(#names.of(met), possible), met)
end

-- ---- the page ----

-- Writes the page of one run; says where. Runs apart: a run that an assert ends must not end this.
local function write_page(options, app, seed, trim)
  local worker = workers.start(function(send)
    local result = seeds.run(app,
      { seed = seed, trim = trim, disk = options.disk, mutant = options.mutant, record = true })
    send(page.html(result, {
      title = ("%s, seed %d"):format(options.app, seed), replay = stories.replay_command(options, seed, trim),
      schedule = not result.ok and words.steps(result) or nil,
    }))
  end)
  local html, ending = nil, nil
  while not ending do
    workers.wait({ worker }, 1)
    html, ending = html or worker:take(), worker:ended()
  end
  if not html then return fail(SCRIPT, "--trace: the run did not come to its end: " .. ending.noise) end
  local file, why = io.open(options.trace, "wb")
  if not file then return fail(74, ("--trace: %s: set another path"):format(why)) end
  file:write(html)
  file:close()
  if not options.json then print("the page is in " .. options.trace) end
  return DONE
end

-- ---- the command ----

local function json_of(state, jobs, options, story)
  local out = core.object {
    seeds = state.sums.seeds, violations = #state.violations, steps = state.sums.steps, jobs = jobs,
    requests = state.sums.requests, simulated_hours = state.sums.virtual_us / 3.6e9, seconds = state.seconds,
    events_per_second = (rates(state)), times_real_time = select(2, rates(state)),
  }
  if options.coverage then
    out.coverage, out.states = core.object(state.sums.coverage), core.object(state.sums.states)
  end
  local failing = state.violations[1]
  if failing then
    out.seed, out.invariant, out.detail = failing.seed, failing.result.violation.invariant,
      failing.result.violation.detail
    if options.all then
      out.failing = {}
      for i, one in ipairs(state.violations) do
        out.failing[i] = { seed = one.seed, invariant = one.result.violation.invariant }
      end
    end
  end
  if story then
    out.schedule = words.schedule(story.result)
    out.replay, out.replay_text = stories.replay_command(options, failing.seed, story.trim), trims.text(story.trim)
  end
  return core.json(out)
end

local function story_of(options, app, run, jobs, failing)
  if options.no_shrink or options.replay then
    -- A process that ended has told nothing yet.
    if failing.result.violation.invariant == "process_ended" then
      local again = { seed = failing.seed }
      for name, value in pairs(run) do again[name] = value end
      failing.result = pool.run(app, again) or failing.result
    end
    return { trim = run.trim, result = failing.result, runs = 0 }
  end
  if workers.terminal() then io.stderr:write("seed ", failing.seed, " fails: shrinking it ...") end
  local story = shrink.shrink(app, failing, { seconds = options.shrink_seconds or 20, jobs = jobs, run = run })
  if workers.terminal() then io.stderr:write "\r\27[K" end
  return story
end

-- seeds to run: first, last
local function range(options)
  if options.replay then return options.seed, options.seed end
  local count = options.seeds or (options.minutes and 1000000000) or (options.seed and 1) or 100
  local first = options.seed or 1
  return first, first + count - 1
end

local function report(options, app, run, jobs, state)
  local failing = state.violations[1]
  local story = failing and story_of(options, app, run, jobs, failing)
  if options.json then
    print(json_of(state, jobs, options, story))
  else
    if failing then
      for _, line in ipairs(stories.lines(failing, story, options)) do print(line) end
      for i = 2, math.min(#state.violations, 20) do
        local other = state.violations[i]
        print(("seed %d: %s does not hold"):format(other.seed, other.result.violation.invariant))
      end
      if #state.violations > 20 then print(("and %d more"):format(#state.violations - 20)) end
    end
    if options.coverage then print_coverage(state) end
  end
  local status = failing and VIOLATION or DONE
  if options.trace then
    local seed, trim = failing and failing.seed or run.first, failing and story.trim or run.trim
    local written = write_page(options, app, seed, trim)
    if written ~= DONE then status = written end
  end
  if not options.json then
    print_rates(state, jobs)
    print(summary(state))
  end
  return status
end

local function run_trim(options)
  local trim = options.replay and trims.parse(options.replay) or {}
  if options.faults then trim.kinds = trims.kinds_left_out(options.faults) end
  trim.nodes = options.nodes or trim.nodes
  return trim
end

local function check_mutant(name)
  local known = {}
  for i, one in ipairs(core.mutants()) do known[i] = one.name end
  for _, one in ipairs(known) do
    if one == name then return end
  end
  if #known == 0 then error("this build has no mutants: build with MUTANTS=1", 0) end
  error(("there is no mutant %s%s"):format(name, names.hint(name, known)), 0)
end

---@param options table  the flags, with _ for -
---@return integer status  the program's exit code
function M.main(options)
  options.program = arg and arg[0]
  if options.faults == "list" then
    for _, name in ipairs(trims.fault_names) do print(name) end
    return DONE
  end
  if not options.app then
    return fail(USAGE, ("which app? `%s sim APP`, a folder with an fsm.lua or a .lua file"):format(
      options.program or "moonclave"))
  end
  local fine, trim = pcall(run_trim, options)
  if not fine then return fail(USAGE, (options.replay and "--replay: " or "--faults: ") .. trim) end
  if options.replay and not options.seed then return fail(USAGE, "--replay needs the --seed that it belongs to") end
  if options.mutant then
    local known, why = pcall(check_mutant, options.mutant)
    if not known then return fail(USAGE, "--mutant: " .. why) end
  end
  local app, problem = apps.load(options.app)
  if app and options.deploy then app, problem = app:followed_by(options.deploy) end
  if not app then return fail(SCRIPT, problem) end
  local first, last = range(options)
  local jobs = math.max(1, math.min(options.jobs or workers.cores(), last - first + 1, 256))
  local run = { trim = trim, disk = options.disk, mutant = options.mutant }
  local progress, clear = progress_bar()
  local state = pool.search(app, {
    first = first, last = last, jobs = jobs, options = run, all = options.all, coverage = options.coverage,
    seconds = options.minutes and options.minutes * 60,
  }, progress)
  clear()
  if state.problem then return fail(SCRIPT, state.problem) end
  run.first = first
  return report(options, app, run, jobs, state)
end

return M
