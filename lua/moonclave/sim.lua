-- The simulator: a whole cluster on a virtual clock, network and disk, under faults drawn from a seed.
--
--   local sim = require "moonclave.sim"
--   local result = sim.run { seed = 7 }            -- the same options give the same run, to the byte
--   assert(result.ok, sim.report(result))
--
-- From a shell, to look at one seed:
--   lua5.4 -e 'require("moonclave.sim").main { seed = 7, trace = "trace.txt" }'
local core = require "moonclave.simcore"

local M = {}

---@class moonclave.sim.options
---@field seed integer        what everything is drawn from
---@field nodes? integer      first members, 1 to 7; drawn (3 or 5) when absent. Spares may come on top
---@field duration? number    virtual seconds of the safety phase; drawn when absent
---@field steps? integer      cuts the run after so many core steps, without a verdict on progress
---@field machine? "c"|"lua"  the built-in machine (default, fast), or the app's fsm.lua
---@field app? string         for "lua": a folder or file whose fsm keeps to the contract of src/sim/machine.c
---@field mutant? string      a guard to switch off: sim.mutants()
---@field outcome_only? boolean  check only what clients and disks could notice
---@field trace? boolean|string  true: result.trace holds a line per event; a path: they go to that file

---@class moonclave.sim.result
---@field ok boolean
---@field cut boolean         ended by options.steps
---@field violation? { invariant: string, detail: string, time_us: integer, step: integer }
---@field seed integer
---@field nodes integer
---@field steps integer       raft_step calls
---@field events integer
---@field virtual_us integer
---@field election_us integer the election timeout it drew
---@field recovery_us integer from the healing of a majority to its first new commit
---@field trace_hash string   of everything that happened
---@field state_hash string   in which all nodes agreed at the end
---@field coverage table<string, integer> what the run has met
---@field states table<string, integer> how often each state of sim.states() was met

local known = {}
for name in ("seed nodes duration steps machine app mutant outcome_only trace"):gmatch "%S+" do known[name] = true end

-- Runs one seed. A violated invariant is a result, not an error.
---@param options moonclave.sim.options
---@return moonclave.sim.result
function M.run(options)
  for name in pairs(options) do
    if not known[name] then error("sim.run has no option '" .. tostring(name) .. "'", 2) end
  end
  local machine = options.machine or "c"
  if machine ~= "c" and machine ~= "lua" then error("machine is 'c' or 'lua'", 2) end
  if (machine == "lua") ~= (options.app ~= nil) then error("machine 'lua' and an app belong together", 2) end
  return core.run {
    seed = options.seed,
    nodes = options.nodes,
    duration_us = options.duration and math.floor(options.duration * 1000000),
    steps = options.steps,
    mutant = options.mutant,
    outcome_only = options.outcome_only,
    app = options.app,
    trace = options.trace,
  }
end

-- The guards this build can switch off: { name =, bug = } each; empty in a normal build.
function M.mutants() return core.mutants() end

-- The states that runs can meet, by name: true where today's code can reach it (src/sim/coverage.c).
---@return table<string, boolean>
function M.states() return core.states() end

-- The shell command that runs the same seed again and writes its trace.
---@param options moonclave.sim.options
function M.replay_command(options)
  local fields = {}
  for _, name in ipairs { "seed", "nodes", "duration", "steps", "machine", "app", "mutant", "outcome_only" } do
    if options[name] ~= nil then fields[#fields + 1] = ("%s = %q"):format(name, options[name]) end
  end
  fields[#fields + 1] = 'trace = "trace.txt"'
  return ([[LUA_PATH=%q LUA_CPATH=%q lua5.4 -e 'require("moonclave.sim").main { %s }']]):format(
    os.getenv "LUA_PATH" or package.path, os.getenv "LUA_CPATH" or package.cpath, table.concat(fields, ", "))
end

-- What a run has to say, for people.
---@param result moonclave.sim.result
function M.report(result)
  local text = ("seed %d: %d nodes, %.1f virtual s, %d steps, trace %s: "):format(result.seed, result.nodes,
    result.virtual_us / 1e6, result.steps, result.trace_hash)
  local violation = result.violation
  if not violation then return text .. (result.cut and "cut, no violation" or "ok") end
  return text .. ("VIOLATION of %s at %.6f s, step %d\n  %s"):format(violation.invariant, violation.time_us / 1e6,
    violation.step, violation.detail)
end

-- Runs one seed from a shell, prints its report, and exits with 1 on a violation.
---@param options moonclave.sim.options
function M.main(options)
  local result = M.run(options)
  print(M.report(result))
  if type(options.trace) == "string" then print("the trace is in " .. options.trace) end
  os.exit(result.ok and 0 or 1)
end

return M
