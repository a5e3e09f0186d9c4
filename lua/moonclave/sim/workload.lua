-- One run's clients: asks what an app's sim.lua wants asked, keeps what became of it, and judges it by the model.
local model_checker = require "moonclave.linearizable.model"
local names = require "moonclave.sim.names"
local randoms = require "moonclave.sim.random"

local M = {}
M.__index = M

local STALE, STATE_EVERY, MODEL_STEPS = 0.05, 20, 200000

---@param scenario moonclave.sim.scenario  of app:scenario()
function M.new(scenario)
  local self = setmetatable({ scenario = scenario, operations = {}, took_effect = {}, strikes = {} }, M)
  self.weights = 0
  for _, entry in ipairs(scenario.list) do self.weights = self.weights + entry.weight end
  return self
end

local function choose(self, random)
  local list = self.scenario.list
  local at = random() * self.weights
  for _, entry in ipairs(list) do
    at = at - entry.weight
    if at < 0 then return entry end
  end
  return list[#list]
end

local function next_request(self, random, seed, stale)
  random:reseed(seed)
  local entry = choose(self, random)
  local consistency = entry.kind == "query" and random() < stale and "stale" or nil
  return entry.kind, entry.name, entry.draw(random), consistency
end

-- What the app must always satisfy, name by name.
local function state_check(invariants)
  local list = names.of(invariants)
  if #list == 0 then return nil end
  return function(self, state)
    for _, name in ipairs(list) do
      local holds, why = invariants[name](state)
      if not holds then
        self.broken = name
        return false, ("%s: %s"):format(name, why == nil and "it does not hold" or tostring(why))
      end
    end
    return true
  end
end

---Puts the callbacks into the options of simcore.
function M:attach(options)
  local settings = self.scenario.settings
  local random, stale = randoms.new(0), settings.stale or STALE
  options.next = function(_, seed) return next_request(self, random, seed, stale) end
  options.ended = function(operation)
    operation.invoked, operation.returned = operation.invoked_us / 1e6, operation.returned_us / 1e6
    self.operations[#self.operations + 1] = operation
  end
  options.applied = function(number, index) self.took_effect[number] = index end
  options.struck = function(number, kind, time_us, what)
    self.strikes[#self.strikes + 1] = { number = number, kind = kind, time_us = time_us, what = what }
  end
  local holds = state_check(self.scenario.invariants or {})
  if holds then
    options.state = function(_, state) return holds(self, state) end
    options.state_every = settings.state_every or STATE_EVERY
  end
  options.nodes = options.nodes or settings.nodes
  options.clients = options.clients or settings.clients
  options.duration_us = options.duration_us or settings.duration and math.floor(settings.duration * 1000000)
end

---What clients saw, by number, each command with the index at which it took effect.
function M:history()
  table.sort(self.operations, function(a, b) return a.number < b.number end)
  for _, operation in ipairs(self.operations) do
    operation.index = operation.index or self.took_effect[operation.number]
  end
  return self.operations
end

---nil, or the violation of the model.
---@return { invariant: string, detail: string, time_us: integer, step: integer }?
function M:judge()
  local model = self.scenario.model
  if not model then return nil end
  local steps_max = self.scenario.settings.model_steps or MODEL_STEPS
  local answer, text, operation = model_checker.check(self:history(), model, { steps_max = steps_max })
  if answer or (answer == nil and not operation) then return nil end
  return { invariant = "model", detail = text, time_us = operation and operation.returned_us or 0, step = 0 }
end

return M
