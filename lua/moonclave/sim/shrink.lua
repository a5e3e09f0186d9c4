-- From a seed that fails to a short story: leaves out what is not needed for the same invariant to fail. Fewer nodes,
-- less time, whole kinds of faults, the roughness of the world, then single strikes and requests (Zeller and
-- Hildebrandt's ddmin). Attempts run apart, a few at a time: each may end its process.
local pool = require "moonclave.sim.pool"
local trims = require "moonclave.sim.trim"
local workers = require "moonclave.workers"

local M = {}

local shrinker = {}
shrinker.__index = shrinker

local function out_of_time(self) return workers.clock() >= self.deadline end

local function run_options(self, trim)
  local options = { seed = self.seed, trim = trim }
  for name, value in pairs(self.options) do options[name] = value end
  options.trim = trim
  return options
end

-- Does it go wrong while faults strike? What is asked later is not to be trimmed, and so says less.
local function is_early(result)
  local at = result.violation.time_us
  return not result.safety_us or not at or at == 0 or at <= result.safety_us
end

-- Does the same go wrong?
local function fails_alike(self, result)
  local also = result and result.also
  if also and also.invariant == self.invariant then result.violation, result.also = also, result.violation end
  return result and not result.ok and result.violation.invariant == self.invariant
    and (is_early(result) or not self.early)
end

-- The first of the trims with which it still fails becomes the best one. false: none, or no time is left.
local function try(self, candidates)
  if #candidates == 0 or out_of_time(self) then return false end
  local list = {}
  for i, trim in ipairs(candidates) do list[i] = run_options(self, trim) end
  local function wanted(result) return fails_alike(self, result) end
  local index, result, tried = pool.first(self.app, list, self.jobs, wanted, self.deadline)
  self.runs = self.runs + tried
  if index then self.best = { trim = candidates[index], result = result } end
  return index ~= nil
end

local function with(self, change)
  local trim = trims.copy(self.best.trim)
  change(trim)
  return trim
end

local function fewer_nodes(self)
  local candidates = {}
  for _, nodes in ipairs { 1, 3, 5 } do
    if nodes < (self.best.result.nodes or 0) then
      candidates[#candidates + 1] = with(self, function(trim) trim.nodes = nodes end)
    end
  end
  try(self, candidates)
end

local function fewer_clients(self)
  local candidates, clients, count = {}, {}, 0
  for _, ask in ipairs(self.best.result.asks or {}) do
    if not clients[ask.client] then clients[ask.client], count = true, count + 1 end
  end
  for _, fewer in ipairs { 1, 2, 4, 8 } do
    if fewer < count then candidates[#candidates + 1] = with(self, function(trim) trim.clients = fewer end) end
  end
  try(self, candidates)
end

local function shorter(self)
  for _ = 1, 12 do
    local result = self.best.result
    local length = self.best.trim.us or result.safety_us
    if not length then return end
    local candidates, last = {}, nil
    local at = result.violation.time_us
    local wanted = { length // 8, length // 4, length // 2, length * 3 // 4 }
    if at and at > 0 and at < length then wanted = { at + 1000, at // 4, at // 2, at * 3 // 4 } end
    for _, us in ipairs(wanted) do
      if us < length and us > 0 and us ~= last and not (us > length * 19 // 20 and self.best.trim.us) then
        candidates[#candidates + 1] = with(self, function(trim) trim.us = us end)
        last = us
      end
    end
    if not try(self, candidates) then return end
  end
end

local function set_of(list)
  local set = {}
  for _, name in ipairs(list) do set[name] = true end
  return set
end

local function all_of(self, field, list)
  return try(self, { with(self, function(trim) trim[field] = set_of(list) end) })
end

-- All but that the next version is deployed, where there is one: mostly that is what fails.
local function calm_but_for_the_deploy(self)
  local rest = {}
  for _, name in ipairs(trims.calm_names) do
    if name ~= "deploys" then rest[#rest + 1] = name end
  end
  return self.app.next_bundle ~= nil and all_of(self, "calm", rest)
end

-- One name of a set after another.
local function each_of(self, field, list)
  for _, name in ipairs(list) do
    local left_out = self.best.trim[field]
    if not (left_out and left_out[name]) then
      try(self, { with(self, function(trim)
        trim[field] = trim[field] or {}
        trim[field][name] = true
      end) })
    end
  end
end

-- The numbers that the best run has, of strikes or of the requests under faults.
local function numbers_of(self, field)
  local list = {}
  local result = self.best.result
  for _, one in ipairs(result[field == "faults" and "strikes" or "asks"] or {}) do
    local under_faults = field == "faults" or not one.invoked_us or not result.safety_us
      or one.invoked_us < result.safety_us
    if under_faults then list[#list + 1] = one.number end
  end
  table.sort(list)
  return list
end

local function without(list, from, to)
  local rest = {}
  for i, number in ipairs(list) do
    if i < from or i > to then rest[#rest + 1] = number end
  end
  return rest
end

-- Keeps what a run really met: the list then says all.
local function name_the_rest(self, field) self.best.trim[field] = numbers_of(self, field) end

local function minimize(self, field)
  local list = numbers_of(self, field)
  if #list == 0 and not self.best.trim[field] then return end
  if try(self, { with(self, function(trim) trim[field] = {} end) }) then return end
  local parts = 2
  while #list > 0 and not out_of_time(self) do
    local size = math.max(1, #list // parts)
    local candidates = {}
    for from = 1, #list, size do
      local rest = without(list, from, from + size - 1)
      candidates[#candidates + 1] = with(self, function(trim) trim[field] = rest end)
    end
    if try(self, candidates) then
      name_the_rest(self, field)
      list = self.best.trim[field]
      parts = math.max(2, parts - 1)
    elseif size == 1 then
      return
    else
      parts = math.min(#list, parts * 2)
    end
  end
end

local function measure(self)
  local result = self.best.result
  return #(result.strikes or {}) * 1000 + #numbers_of(self, "asks") + (self.best.trim.us or 0) // 1000
end

---Shrinks a failing run. Never worse than it was: at worst the run itself comes back.
---@param app moonclave.sim.app
---@param failing { seed: integer, result: moonclave.sim.result }
---@param options { seconds: number, jobs: integer, run: moonclave.sim.seed_options }
---@return { trim: moonclave.sim.trim, result: table, runs: integer, seconds: number, whole: table }  `whole`: unshrunk
function M.shrink(app, failing, options)
  local began = workers.clock()
  local self = setmetatable({
    app = app, seed = failing.seed, options = options.run, jobs = options.jobs, runs = 0,
    invariant = failing.result.violation.invariant, deadline = began + options.seconds,
    best = { trim = trims.copy(options.run.trim or {}), result = failing.result },
    early = failing.result.safety_us and is_early(failing.result),
  }, shrinker)
  -- Once more as it was: a process that ended has not told what it met, and a failure that does not come again (a
  -- sim.lua that draws from elsewhere) is not to be shrunk.
  if not try(self, { self.best.trim }) then
    return { trim = self.best.trim, result = failing.result, whole = failing.result, runs = self.runs,
      seconds = workers.clock() - began, not_again = not out_of_time(self) }
  end
  local whole = self.best.result
  local no_faults = all_of(self, "kinds", trims.fault_names)
  shorter(self)
  local calm = all_of(self, "calm", trims.calm_names) or calm_but_for_the_deploy(self)
  fewer_nodes(self)
  fewer_clients(self)
  shorter(self)
  if not no_faults then each_of(self, "kinds", trims.fault_names) end
  local before
  repeat
    before = measure(self)
    minimize(self, "faults")
    shorter(self)
    minimize(self, "asks")
    shorter(self)
  until measure(self) >= before or out_of_time(self)
  if not calm then each_of(self, "calm", trims.calm_names) end
  local trim = trims.copy(self.best.trim)
  -- The strikes that happened, by number, say it all: no need to name the kinds too.
  trim.kinds = nil
  trim.faults = numbers_of(self, "faults")
  return { trim = trim, result = self.best.result, whole = whole, runs = self.runs, seconds = workers.clock() - began }
end

return M
