-- Many seeds in child processes, one for each core: an assert that ends a process costs that seed only, and is a
-- violation like others ("process_ended").
local core = require "moonclave.simcore"
local seeds = require "moonclave.sim.seed"
local workers = require "moonclave.workers"

local M = {}

local function process_ended(ending)
  local how = ending.signal and "by signal " .. ending.signal or "with status " .. ending.status
  local noise = ending.noise:gsub("%s+$", "")
  return {
    invariant = "process_ended", time_us = 0, step = 0,
    detail = ("the process ended %s%s"):format(how, noise ~= "" and ":\n" .. noise or ""),
  }
end

-- ---- a list of runs, apart ----

-- A process that goes through the runs number `from`, `from + stride` ... until one is `wanted`.
local function start_list(app, list, from, stride, wanted)
  return workers.start(function(send)
    for i = from, #list, stride do
      send(core.pack { begins = i })
      local given = {}
      for name, value in pairs(list[i]) do given[name] = value end
      given.tell = function(what) send(core.pack(what)) end
      local fine, result = pcall(seeds.run, app, given)
      if fine and wanted(result) then
        send(core.pack { result = result })
        return
      end
    end
    send(core.pack { done = true })
  end)
end

-- What a process said of its runs: at which it is, and the result that was wanted.
local function hear(job)
  for message in job.worker.take, job.worker do
    local what = core.unpack(message)
    if what.begins then job.at, job.strikes, job.asks = what.begins, {}, {} end
    if what.strike then table.insert(job.strikes, what.strike) end
    if what.ask then table.insert(job.asks, what.ask) end
    job.result, job.done = job.result or what.result, job.done or what.done
  end
  local ending = job.worker:ended()
  if ending and not job.result and not job.done and job.at then
    job.result = { ok = false, violation = process_ended(ending), strikes = job.strikes, asks = job.asks }
  end
  return ending ~= nil
end

---Runs the list in a few processes, until the first of it that is wanted is known. A run whose process ends has the
---violation "process_ended", and what it told before. What a sim.lua raises is not wanted.
---@param app moonclave.sim.app
---@param list moonclave.sim.seed_options[]
---@param jobs integer
---@param wanted fun(result: table): boolean
---@param deadline? number  of workers.clock
---@return integer? index
---@return moonclave.sim.result? result
---@return integer tried
function M.first(app, list, jobs, wanted, deadline)
  local running, best, tried = {}, nil, 0
  for i = 1, math.min(jobs, #list) do
    running[i] = { worker = start_list(app, list, i, jobs, wanted), at = i, strikes = {}, asks = {} }
  end
  while #running > 0 do
    local handles = {}
    for i, job in ipairs(running) do handles[i] = job.worker end
    workers.wait(handles, 0.2)
    for i = #running, 1, -1 do
      local job = running[i]
      local before = job.at
      local over = hear(job)
      tried = tried + (job.at - before) // jobs
      if over then
        tried = tried + 1
        if job.result and wanted(job.result) and not (best and best.index < job.at) then
          best = { index = job.at, result = job.result }
        elseif job.result and not wanted(job.result) and job.at + jobs <= #list then
          running[#running + 1] =
            { worker = start_list(app, list, job.at + jobs, jobs, wanted), at = job.at + jobs, strikes = {}, asks = {} }
        end
        table.remove(running, i)
      elseif (best and best.index < job.at) or (deadline and workers.clock() >= deadline) then
        job.worker:kill()
        table.remove(running, i)
      end
    end
  end
  return best and best.index, best and best.result, tried
end

---Runs one seed in a process of its own.
---@return moonclave.sim.result? result  nil: its sim.lua raised
function M.run(app, options)
  return (select(2, M.first(app, { options }, 1, function() return true end)))
end

-- ---- many ----

---@class moonclave.sim.search
---@field first integer
---@field last integer
---@field jobs integer
---@field options moonclave.sim.seed_options  without the seed
---@field seconds? number      ends it, whatever is left
---@field all? boolean         goes on after a violation
---@field coverage? boolean    sums that up too

-- Child number `job` runs each `jobs`-th seed from `from` on.
local function start_job(app, search, from)
  return {
    from = from,
    worker = workers.start(function(send)
      for seed = from, search.last, search.jobs do
        send(core.pack { begins = seed })
        local options = { seed = seed }
        for name, value in pairs(search.options) do options[name] = value end
        local fine, result = pcall(seeds.run, app, options)
        if not fine then
          send(core.pack { problem = tostring(result) })
          return
        end
        if result.ok then result.strikes = nil end
        if not search.coverage then result.coverage, result.states = nil, nil end
        send(core.pack { result = result })
      end
      send(core.pack { done = true })
    end),
  }
end

local function add(sums, result)
  sums.seeds = sums.seeds + 1
  for _, name in ipairs { "steps", "virtual_us", "requests" } do
    sums[name] = sums[name] + (result[name] or 0)
  end
  for _, kind in ipairs { "coverage", "states" } do
    for name, count in pairs(result[kind] or {}) do sums[kind][name] = (sums[kind][name] or 0) + count end
  end
end

local function note_violation(state, seed, result)
  table.insert(state.violations, { seed = seed, result = result })
  table.sort(state.violations, function(a, b) return a.seed < b.seed end)
end

-- What a job has said since; false: there is nothing more to come from it.
local function listen(state, job)
  for message in job.worker.take, job.worker do
    local what = core.unpack(message)
    if what.begins then job.seed = what.begins end
    if what.problem then state.problem = state.problem or what.problem end
    if what.done then job.done = true end
    if what.result then
      add(state.sums, what.result)
      job.finished = job.seed
      if not what.result.ok then note_violation(state, job.seed, what.result) end
    end
  end
  local ending = job.worker:ended()
  if not ending then return true end
  if not job.done and not state.problem and job.seed and job.finished ~= job.seed then
    state.sums.seeds = state.sums.seeds + 1
    note_violation(state, job.seed, { ok = false, violation = process_ended(ending), strikes = {}, asks = {} })
    job.died = true
  end
  return false
end

---Runs them; calls `progress(state)` a few times a second. The first violation ends it once all seeds before that one
---are through, so that the same seed is reported whatever the number of jobs.
---@param app moonclave.sim.app
---@param search moonclave.sim.search
---@param progress? fun(state: table)
---@return { sums: table, violations: { seed: integer, result: table }[], problem: string?, seconds: number }
function M.search(app, search, progress)
  local began = workers.clock()
  local state = {
    sums = { seeds = 0, steps = 0, virtual_us = 0, requests = 0, coverage = {}, states = {} }, violations = {},
    seconds = 0, planned = search.last - search.first + 1, limit = search.seconds,
  }
  local jobs = {}
  for i = 1, math.min(search.jobs, state.planned) do jobs[i] = start_job(app, search, search.first + i - 1) end
  local function is_needed(seed) return search.all or #state.violations == 0 or seed < state.violations[1].seed end
  while #jobs > 0 do
    local list = {}
    for i, job in ipairs(jobs) do list[i] = job.worker end
    workers.wait(list, 0.2)
    state.seconds = workers.clock() - began
    local out_of_time = search.seconds and state.seconds >= search.seconds
    for i = #jobs, 1, -1 do
      local job = jobs[i]
      local runs = listen(state, job)
      if runs and (out_of_time or state.problem or not is_needed(job.seed or job.from)) then
        job.worker:kill()
        runs = false
      elseif job.died and job.seed + search.jobs <= search.last and is_needed(job.seed + search.jobs) then
        jobs[i] = start_job(app, search, job.seed + search.jobs)
        runs = true
      end
      if not runs then table.remove(jobs, i) end
    end
    if progress then progress(state) end
  end
  if not search.all then
    for i = #state.violations, 2, -1 do state.violations[i] = nil end
  end
  state.seconds = workers.clock() - began
  return state
end

return M
