-- An app as the simulator runs it: its bundle, the names it serves, and its sim.lua: what clients ask, by which model
-- their answers are judged, and what must always hold of the state.
--
-- sim.lua is run anew for each run, so that what it keeps in variables begins with the run. It is ordinary Lua: all
-- libraries, and `require` finds the files of its own folder.
local core = require "moonclave.simcore"
local fields = require "moonclave.sim.fields"
local model_checker = require "moonclave.linearizable.model"
local names = require "moonclave.sim.names"

local M = {}

---What sim.lua returns. Everything may be left out.
---@class moonclave.sim.scenario
---@field commands? table<string, fun(random: moonclave.sim.random): any>  name -> draws arguments
---@field queries? table<string, fun(random: moonclave.sim.random): any>
---@field weights? table<string, number>  how often each is asked; default 1
---@field model? moonclave.model
---@field invariants? table<string, fun(state: table): boolean, string?>
---@field settings? moonclave.sim.scenario_settings

---@class moonclave.sim.scenario_settings
---@field nodes? integer        cluster size; default: drawn, 3 or 5
---@field clients? integer      1 to 28, each asks one thing at a time; default: drawn, 1 to 20
---@field duration? number      virtual seconds under faults; default: drawn
---@field state_every? integer  commands between two looks at the state; default 20
---@field stale? number         share of the queries that are stale; default 0.05
---@field model_steps? integer  effort of the model's search; default 200,000

---@class moonclave.sim.app
---@field path string
---@field bundle string
---@field names { commands: string[], queries: string[] }
---@field scenario_path? string  of sim.lua; nil: it has none
---@field next_path? string     of the version that is deployed while it runs
---@field next_bundle? string
local app = {}
app.__index = app

local SETTINGS = { nodes = "integer", clients = "integer", duration = "number", state_every = "integer",
  stale = "number", model_steps = "integer" }
local FIELDS = { commands = "table", queries = "table", weights = "table", model = "table", invariants = "table",
  settings = "table" }

local function exists(path)
  local file = io.open(path, "rb")
  if not file then return false end
  local readable = file:read(0) ~= nil or file:seek "end" == 0
  file:close()
  return readable
end

-- APP/sim.lua of a folder; beside a single file x.lua, x.sim.lua.
local function scenario_path(path)
  path = path:gsub("/+$", "")
  local inside = path .. "/sim.lua"
  if exists(inside) then return inside end
  local beside = path:gsub("%.lua$", "") .. ".sim.lua"
  return exists(beside) and beside or nil
end

---Reads an app's folder or file. nil, text: what is wrong with it.
---@param path string
---@return moonclave.sim.app? app
---@return string? problem
function M.load(path)
  local bundle, _, problem = core.bundle(path)
  if not bundle then return nil, problem end
  local served, _, why = core.names(bundle)
  if not served then return nil, path .. ": " .. why end
  local self = setmetatable({ path = path, bundle = bundle, names = served }, app)
  self.scenario_path = scenario_path(path)
  if self.scenario_path then
    local file = assert(io.open(self.scenario_path, "rb"))
    local text = file:read "a"
    file:close()
    local chunk, bad = load(text, "@" .. self.scenario_path, "t")
    if not chunk then return nil, bad end
    self.chunk = chunk
  end
  local fine, scenario = pcall(self.scenario, self)
  if not fine then return nil, scenario end
  if #scenario.list == 0 then return nil, path .. ": it has no command and no query: nothing can be asked of it" end
  return self
end

local function check_known(where, t, known)
  for name in pairs(t) do
    if not known[name] then
      error(("%s has no field %s%s"):format(where, tostring(name), names.hint(name, names.of(known))), 0)
    end
  end
end

local function check_type(where, value, wanted)
  local fits = wanted == "integer" and math.type(value) == "integer" or type(value) == wanted
  if not fits then error(("%s: it is a %s, not %s"):format(where, wanted, type(value)), 0) end
end

local function check_functions(where, t)
  for name, value in pairs(t) do
    if type(name) ~= "string" then error(("%s: the names are strings, not %s"):format(where, tostring(name)), 0) end
    check_type(("%s.%s"):format(where, name), value, "function")
  end
end

-- Generators are for names that the app serves.
local function check_served(where, t, served)
  check_functions(where, t)
  local known = {}
  for _, name in ipairs(served) do known[name] = true end
  for name in pairs(t) do
    if not known[name] then error(("%s.%s: the app has none of that name%s"):format(where, name,
      names.hint(name, served)), 0) end
  end
end

local function check_weights(where, weights, served)
  local known, all = {}, {}
  for _, list in ipairs { served.commands, served.queries } do
    for _, name in ipairs(list) do known[name], all[#all + 1] = true, name end
  end
  for name, weight in pairs(weights) do
    if not known[name] then error(("%s.weights.%s: the app has none of that name%s"):format(where, tostring(name),
      names.hint(name, all)), 0) end
    check_type(where .. ".weights." .. name, weight, "number")
    if weight < 0 then error(("%s.weights.%s: a weight is not negative"):format(where, name), 0) end
  end
end

local function check_settings(where, settings)
  check_known(where .. ": settings", settings, SETTINGS)
  for name, value in pairs(settings) do check_type(("%s: settings.%s"):format(where, name), value, SETTINGS[name]) end
  local nodes, stale = settings.nodes or 3, settings.stale or 0
  if nodes < 1 or nodes > 7 then error(where .. ": settings.nodes: 1 to 7", 0) end
  local clients = settings.clients or 1
  if clients < 1 or clients > 28 then error(where .. ": settings.clients: 1 to 28", 0) end
  if stale < 0 or stale > 1 then error(where .. ": settings.stale: a share, 0 to 1", 0) end
  if (settings.duration or 1) <= 0 then error(where .. ": settings.duration: seconds, more than 0", 0) end
  if (settings.state_every or 1) < 1 then error(where .. ": settings.state_every: at least 1", 0) end
end

local function check(where, scenario, served)
  if type(scenario) ~= "table" then
    error(("%s: it must return a table, it returned %s"):format(where, type(scenario)), 0)
  end
  check_known(where, scenario, FIELDS)
  for name, value in pairs(scenario) do check_type(where .. ": " .. name, value, FIELDS[name]) end
  check_served(where .. ": commands", scenario.commands or {}, served.commands)
  check_served(where .. ": queries", scenario.queries or {}, served.queries)
  check_weights(where, scenario.weights or {}, served)
  check_functions(where .. ": invariants", scenario.invariants or {})
  check_settings(where, scenario.settings or {})
  local objection = scenario.model and model_checker.objection(scenario.model)
  if objection then error(where .. ": " .. objection, 0) end
end

-- sim.lua's own folder comes first while it is loaded.
local function run_chunk(self)
  local folder = self.scenario_path:match "^(.*)/[^/]*$" or "."
  local path = package.path
  package.path = folder .. "/?.lua;" .. path
  local fine, scenario = xpcall(self.chunk, function(why)
    return type(why) == "string" and why or self.scenario_path .. ": it raised " .. tostring(why)
  end)
  package.path = path
  if not fine then error(scenario, 0) end
  check(self.scenario_path, scenario, self.names)
  return scenario
end

-- What can be asked, in one order: { kind, name, draw, weight }.
local function list_of(self, scenario)
  local list, guessed = {}, nil
  local given = scenario.commands or scenario.queries
  for kind, key in pairs { command = "commands", query = "queries" } do
    for _, name in ipairs(self.names[key]) do
      local draw = (scenario[key] or {})[name]
      if not draw and not given then
        guessed = guessed or fields.of(core.files(self.bundle))
        draw = fields.generator(guessed[key][name])
      end
      local weight = (scenario.weights or {})[name] or 1
      if draw and weight > 0 then list[#list + 1] = { kind = kind, name = name, draw = draw, weight = weight } end
    end
  end
  table.sort(list, function(a, b)
    if a.kind ~= b.kind then return a.kind < b.kind end
    return a.name < b.name
  end)
  return list
end

---Its next version, which runs deploy at some moment: it must serve what this one's sim.lua asks. nil, text: what is
---wrong with it; how it makes the state over only the runs can tell.
---@param path string
---@return moonclave.sim.app? self
---@return string? problem
function app:followed_by(path)
  local bundle, _, problem = core.bundle(path)
  if not bundle then return nil, problem end
  local served, _, why = core.names(bundle)
  if not served then return nil, path .. ": " .. why end
  if bundle == self.bundle then return nil, path .. ": it is the very same app: there is nothing to deploy" end
  self.next_path, self.next_bundle = path, bundle
  return self
end

---What sim.lua says, fresh; raises a text with file and line where it is wrong.
---@return moonclave.sim.scenario
function app:scenario()
  local scenario = self.chunk and run_chunk(self) or {}
  scenario.settings = scenario.settings or {}
  scenario.list = list_of(self, scenario)
  return scenario
end

return M
