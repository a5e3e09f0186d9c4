-- sim.check: seeds of an app, for a spec.
local apps = require "moonclave.sim.app"
local names = require "moonclave.sim.names"
local pool = require "moonclave.sim.pool"
local shrink = require "moonclave.sim.shrink"
local story = require "moonclave.sim.story"
local trims = require "moonclave.sim.trim"
local workers = require "moonclave.workers"

local M = {}

local OPTIONS = { seeds = true, first = true, nodes = true, faults = true, disk = true, jobs = true, deploy = true,
  shrink_seconds = true }

---@param path string
---@param options moonclave.sim.check_options
function M.run(path, options)
  for name in pairs(options) do
    if not OPTIONS[name] then
      error(("sim.check has no option %s%s"):format(name, names.hint(name, names.of(OPTIONS))), 3)
    end
  end
  local app, problem = apps.load(path)
  if app and options.deploy then app, problem = app:followed_by(options.deploy) end
  if not app then error(problem, 3) end
  local first, jobs = options.first or 1, options.jobs or workers.cores()
  local run = { trim = { nodes = options.nodes }, disk = options.disk }
  if options.faults then run.trim.kinds = trims.kinds_left_out(options.faults) end
  local search = { first = first, last = first + (options.seeds or 20) - 1, jobs = jobs, options = run }
  local state = pool.search(app, search)
  if state.problem then error(state.problem, 0) end
  local failing = state.violations[1]
  if not failing then return state.sums end
  local found = shrink.shrink(app, failing, { seconds = options.shrink_seconds or 10, jobs = jobs, run = run })
  local lines = story.lines(failing, found, { app = path, deploy = options.deploy, disk = options.disk })
  error(table.concat(lines, "\n"), 0)
end

return M
