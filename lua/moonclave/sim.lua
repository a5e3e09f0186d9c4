-- The simulator: a whole cluster on a virtual clock, network and disk.
--
-- In a spec, by hand:
--   local sim = require "moonclave.sim"
--   local cluster <close> = sim.cluster { app = "examples/kv", nodes = 3, seed = 7 }
--   cluster:propose("put", { key = "a", value = "1" })
--   cluster:isolate(cluster:leader())
--   assert.linearizable(cluster:history())
-- or with faults drawn from seeds:
--   sim.check("examples/kv", { seeds = 100 })
--
-- One seed; the same options give the same run, to the byte:
--   local result = sim.run { app = "examples/kv", seed = 7 }
--   assert(result.ok, sim.report(result))
--
-- Requiring it registers assert.linearizable where busted's luassert is loaded already, as it is in a spec; elsewhere
-- sim.busted() does. Else it has no effect.
local core = require "moonclave.simcore"

local M = {}

---@class moonclave.sim.options
---@field seed integer        what everything is drawn from
---@field nodes? integer      first members, 1 to 7; drawn (3 or 5) when absent. Spares may come on top
---@field duration? number    virtual seconds of the safety phase; drawn when absent
---@field steps? integer      cuts the run after so many core steps, without a verdict on progress
---@field app? string         a folder or file: its clients ask what its sim.lua says; none: the built-in machine
---@field deploy? string      of an app: its next version, deployed at some moment of the run
---@field replay? string      of an app: what is left out, as a failure has printed it
---@field machine? "c"|"lua"  "lua": the app keeps to the contract of src/sim/machine.c, and is asked accordingly
---@field mutant? string      a guard to switch off: sim.mutants()
---@field outcome_only? boolean  check only what clients and disks could notice
---@field poison? boolean      a command kills whoever applies it, until it is skipped (the built-in machine only)
---@field restores? boolean  operators restore backups through the log, too; not with an app without a machine
---@field deploys? boolean   operators deploy other versions of the app, in all runs or in none; drawn when absent; not
---                            with an app without a machine
---@field disk? "model"|"sqlite"  a model of the store (default, fast), or the store itself on the lossy VFS
---@field policy? "none"|"script"|"dice"  where operators are at work: no membership policy, the script's (an app's own,
---                            or the default one), or one that wants anything; drawn when absent
---@field trace? boolean|string  true: result.trace holds a line per event; a path: they go to that file; a path that
---                                ends in .html: a page that shows the run (moonclave.sim.page)
---@field record? boolean     result.record holds the run for moonclave.sim.page
---@field record_rows? integer  how many of the last moments that keeps (200,000)

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
---@field record? string      JSON: src/module/simrecord.h

local known = {}
for name in ("seed nodes duration steps machine app deploy replay disk policy mutant outcome_only poison " ..
  "restores deploys trace record record_rows"):gmatch "%S+" do
  known[name] = true
end

-- A path that ends in .html is for the page, made of the record.
local function page_of(options)
  return type(options.trace) == "string" and options.trace:find "%.html$" and options.trace or nil
end

local function run_app(options)
  local app = assert(require("moonclave.sim.app").load(options.app))
  if options.deploy then app = assert(app:followed_by(options.deploy)) end
  local trim = require("moonclave.sim.trim").parse(options.replay or "")
  trim.nodes = options.nodes or trim.nodes
  if options.duration then trim.us = math.floor(options.duration * 1000000) end
  local page = page_of(options)
  local result = require("moonclave.sim.seed").run(app, {
    seed = options.seed or 1, trim = trim, disk = options.disk, mutant = options.mutant, steps = options.steps,
    trace = not page and options.trace or nil, record = options.record or page and true,
    record_rows = options.record_rows,
  })
  if page then
    local replay = require("moonclave.sim.story").replay_command(options, result.seed, trim)
    local schedule = not result.ok and require("moonclave.sim.words").steps(result) or nil
    require("moonclave.sim.page").write(page, result, { replay = replay, schedule = schedule })
  end
  return result
end

-- Runs one seed. A violated invariant is a result, not an error.
---@param options moonclave.sim.options
---@return moonclave.sim.result
function M.run(options)
  for name in pairs(options) do
    if not known[name] then error("sim.run has no option '" .. tostring(name) .. "'", 2) end
  end
  if options.app and not options.machine then return run_app(options) end
  local disk = options.disk or "model"
  if disk ~= "model" and disk ~= "sqlite" then
    error("disk is 'model' or 'sqlite', not '" .. tostring(disk) .. "'", 2)
  end
  local policies = { none = true, script = true, dice = true }
  if options.policy and not policies[options.policy] then
    error("policy is 'none', 'script' or 'dice', not '" .. tostring(options.policy) .. "'", 2)
  end
  local machine = options.machine or "c"
  if machine ~= "c" and machine ~= "lua" then error("machine is 'c' or 'lua'", 2) end
  if (machine == "lua") ~= (options.app ~= nil) then error("machine 'lua' and an app belong together", 2) end
  if options.replay then error("replay belongs to an app without a machine", 2) end
  if options.deploy then error("deploy belongs to an app without a machine", 2) end
  local page = page_of(options)
  local result = core.run {
    seed = options.seed,
    nodes = options.nodes,
    duration_us = options.duration and math.floor(options.duration * 1000000),
    steps = options.steps,
    disk = options.disk,
    policy = options.policy,
    mutant = options.mutant,
    outcome_only = options.outcome_only,
    poison = options.poison,
    restores = options.restores,
    deploys = options.deploys,
    app = options.app,
    trace = not page and options.trace or nil,
    record = options.record or page and true,
    record_rows = options.record_rows,
  }
  if page then require("moonclave.sim.page").write(page, result, { replay = M.replay_command(options) }) end
  return result
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
  local names = "seed nodes duration steps machine app mutant outcome_only poison restores deploys disk policy"
  for name in names:gmatch "%S+" do
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

-- A cluster to be driven by hand: lua/moonclave/sim/cluster.lua.
---@param options moonclave.sim.cluster_options
---@return moonclave.sim.cluster
function M.cluster(options) return require("moonclave.sim.cluster").new(options) end

---@class moonclave.sim.check_options
---@field seeds? integer  how many; default 20
---@field first? integer  default 1
---@field nodes? integer
---@field faults? string  "crash,partition", "-wipe": as the flag of `moonclave sim`
---@field disk? "model"|"sqlite"
---@field deploy? string  the app's next version, a folder or file: each seed deploys it at some moment
---@field jobs? integer   processes; default: one for each core
---@field shrink_seconds? number  default 10; 0: not shrunk

-- Runs seeds of an app, in child processes. Raises the shrunken story of the first that fails.
---@param app string
---@param options? moonclave.sim.check_options
---@return { seeds: integer, steps: integer, requests: integer, virtual_us: integer }
function M.check(app, options) return require("moonclave.sim.check").run(app, options or {}) end

-- Registers assert.linearizable(history [, model]) with luassert.
function M.busted() require("moonclave.sim.assertions").register(require "luassert") end

-- Runs one seed from a shell, prints its report, and exits with 1 on a violation.
---@param options moonclave.sim.options
function M.main(options)
  local result = M.run(options)
  print(M.report(result))
  if type(options.trace) == "string" then print("the trace is in " .. options.trace) end
  os.exit(result.ok and 0 or 1)
end

if package.loaded.luassert then M.busted() end

return M
