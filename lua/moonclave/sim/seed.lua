-- One run of an app: the simulator's result, with the app's own rules judged as well, and what struck and was asked.
local core = require "moonclave.simcore"
local trims = require "moonclave.sim.trim"
local workloads = require "moonclave.sim.workload"

local M = {}

---@class moonclave.sim.seed_options
---@field seed integer
---@field trim? moonclave.sim.trim
---@field disk? "model"|"sqlite"
---@field mutant? string
---@field trace? boolean|string
---@field steps? integer
---@field record? boolean  result.record: what the page shows
---@field record_rows? integer
---@field tell? fun(what: table)  told of each strike and each request as it comes: of a run that may not end

-- The requests without what cannot go from process to process.
local function asks_of(workload)
  local list = {}
  for i, op in ipairs(workload:history()) do
    list[i] = {
      number = op.number, client = op.client, node = op.node, kind = op.kind, name = op.name,
      arguments = op.arguments, outcome = op.outcome, result = op.result, error = op.error,
      consistency = op.consistency, invoked_us = op.invoked_us, returned_us = op.returned_us, index = op.index,
    }
  end
  return list
end

-- What is drawn and then left out is not told.
local function tell_as_it_comes(given, tell)
  local struck, next_request, number = given.struck, given.next, 0
  local made = {}
  for _, one in ipairs(given.asks or {}) do made[one] = true end
  function given.struck(...)
    struck(...)
    local at, kind, time_us, what = ...
    tell { strike = { number = at, kind = kind, time_us = time_us, what = what } }
  end
  function given.next(client, random)
    local kind, name, arguments, consistency = next_request(client, random)
    if kind then number = number + 1 end
    if kind and (made[number] or not given.only_asks) then
      tell { ask = { number = number, client = client + 1, kind = kind, name = name, arguments = arguments } }
    end
    return kind, name, arguments, consistency
  end
end

---Raises what the app's sim.lua raises, with file and line.
---@param app moonclave.sim.app
---@param options moonclave.sim.seed_options
---@return moonclave.sim.result  with strikes; of a violation also with asks, and `also`: a second one
function M.run(app, options)
  math.randomseed(options.seed, 0)
  local workload = workloads.new(app:scenario())
  local given = {
    seed = options.seed, bundle = app.bundle, disk = options.disk, mutant = options.mutant, trace = options.trace,
    steps = options.steps, record = options.record,
    record_rows = options.record_rows, next_bundle = app.next_bundle,
  }
  local deployed = {}
  function given.deployed(time_us, what)
    deployed[1] = { time_us = time_us, text = ("the next version runs, %s"):format(what) }
  end
  trims.apply(options.trim or {}, given)
  workload:attach(given)
  if options.tell then tell_as_it_comes(given, options.tell) end
  local result = core.run(given)
  local violation = result.violation
  if violation and violation.invariant == "app_invariant" and workload.broken then
    violation.invariant = "app_invariant " .. workload.broken
    result.also = workload:judge() -- one mistake may show in both
  end
  if result.ok and not result.cut then
    result.violation = workload:judge()
    result.ok = result.violation == nil
  end
  result.requests, result.strikes = #workload.operations, workload.strikes
  result.deployed = deployed
  if not result.ok then result.asks = asks_of(workload) end
  return result
end

return M
