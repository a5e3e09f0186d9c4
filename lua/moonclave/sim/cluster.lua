-- The test kit: a cluster that a spec drives by hand, on virtual time. Nothing goes wrong that the spec does not ask
-- for, and every invariant of the simulator is checked all the same: one that fails raises at the call that met it.
--
-- Time passes only in calls that wait: propose, query, wait, run, settle. The same calls with the same seed give the
-- same run.
local apps = require "moonclave.sim.app"
local core = require "moonclave.simcore"
local names = require "moonclave.sim.names"

local M = {}

local STEP_US = 500              -- how often it looks whether an answer is there
local PATIENCE_US = 600 * 1000000 -- virtual; then something hangs

---@class moonclave.sim.cluster
local cluster = {}
cluster.__index = cluster

---@class moonclave.sim.cluster_options
---@field app string        a folder or file
---@field nodes? integer    1 to 7, named n1, n2 ...; default 3
---@field seed? integer     default 1
---@field disk? "model"|"sqlite"
---@field model? moonclave.model  default: the one of the app's sim.lua
---@field settle? boolean   false: do not wait until it has a leader

---What was asked, and what became of it; `done` once that is known.
---@class moonclave.sim.operation: moonclave.model.operation
---@field number integer
---@field node string
---@field done boolean

local OPTIONS = { app = "string", nodes = "number", seed = "number", disk = "string", model = "table",
  settle = "boolean" }

-- As the errors that api.lua gets: code, message, tostring.
local error_type = {
  __tostring = function(err)
    return err.message and ("%s: %s"):format(tostring(err.code), err.message) or tostring(err.code)
  end,
}

local function new_error(fields, outcome)
  if type(fields) ~= "table" then fields = { code = tostring(fields) } end
  fields.outcome = outcome
  return setmetatable(fields, error_type)
end

local function check_options(options)
  if type(options) ~= "table" then error("sim.cluster takes a table: sim.cluster { app = \"examples/kv\" }", 3) end
  for name, value in pairs(options) do
    if not OPTIONS[name] then
      error(("sim.cluster has no option %s%s"):format(tostring(name), names.hint(name, names.of(OPTIONS))), 3)
    end
    if type(value) ~= OPTIONS[name] then
      error(("sim.cluster: %s is a %s, not a %s"):format(name, OPTIONS[name], type(value)), 3)
    end
  end
  if not options.app then error("sim.cluster needs an app: a folder with an fsm.lua, or a .lua file", 3) end
end

local function ended(self, told)
  local op = self.operations[told.number]
  op.done = true
  op.outcome, op.returned, op.result = told.outcome, told.returned_us / 1e6, told.result
  op.index = told.index or op.index
  if told.error ~= nil then op.error = new_error(told.error) end
end

---A cluster with all nodes up and, unless options.settle is false, a leader. Raises what is wrong with the app.
---@param options moonclave.sim.cluster_options
---@return moonclave.sim.cluster
function M.new(options)
  check_options(options)
  local app, problem = apps.load(options.app)
  if not app then error(problem, 2) end
  local nodes = options.nodes or 3
  if math.type(nodes) ~= "integer" or nodes < 1 or nodes > 7 then error("sim.cluster: nodes: 1 to 7", 2) end
  local self = setmetatable({ operations = {}, seed = options.seed or 1, names = {}, numbers = {} }, cluster)
  self.model = options.model or app:scenario().model
  for i = 1, nodes do
    self.names[i] = "n" .. i
    self.numbers["n" .. i] = i - 1
  end
  self.box = core.new {
    manual = true, bundle = app.bundle, nodes = nodes, seed = self.seed, disk = options.disk,
    ended = function(told) ended(self, told) end,
    applied = function(number, index) self.operations[number].index = index end,
  }
  if options.settle ~= false then self:settle() end
  return self
end

-- ---- time ----

local function check_violation(self)
  if not self.box:violated() then return end
  local result = self.box:so_far()
  error(("seed %d: %s does not hold at %.6f s\n  %s"):format(self.seed, result.violation.invariant,
    result.violation.time_us / 1e6, result.violation.detail), 0)
end

local function open_box(self) return self.box or error("the cluster is closed", 3) end

local function advance(self, us)
  local box = self.box
  box:advance(box:now() + us)
  check_violation(self)
end

-- Goes on until it is so.
local function until_true(self, so, what, most_us)
  local box = open_box(self)
  local deadline = box:now() + (most_us or PATIENCE_US)
  while not so() do
    if box:now() >= deadline then error(("seed %d: %s within %.0f virtual seconds"):format(self.seed, what,
      (most_us or PATIENCE_US) / 1e6), 3) end
    advance(self, STEP_US)
  end
end

---The virtual time in seconds.
---@return number
function cluster:now() return open_box(self):now() / 1e6 end

---Lets virtual seconds pass.
---@param seconds number
function cluster:run(seconds)
  open_box(self)
  if type(seconds) ~= "number" or seconds < 0 then error("run takes virtual seconds", 2) end
  advance(self, math.floor(seconds * 1e6))
end

---Goes on until there is a leader, all nodes that are up have applied all there is, and nobody waits. Raises when that
---takes longer than `most` virtual seconds (60).
---@param most? number
function cluster:settle(most)
  until_true(self, function() return self.box:settled() end, "the cluster did not settle",
    math.floor((most or 60) * 1e6))
end

-- ---- asking ----

local function node_number(self, name)
  open_box(self)
  local number = self.numbers[name]
  if not number then
    error(("there is no node %s: there are %s"):format(tostring(name), table.concat(self.names, ", ")), 3)
  end
  return number
end

-- The leader, or anyone who is up; nil: nobody is.
local function any_node(self)
  local leader = self.box:leader()
  if leader then return leader end
  for number = 0, #self.names - 1 do
    if self.box:up(number) then return number end
  end
end

local function start(self, kind, name, arguments, options)
  open_box(self)
  options = options or {}
  local node = options.node and node_number(self, options.node) or any_node(self)
  local timeout_ms = options.timeout and math.max(1, math.floor(options.timeout * 1000)) or 5000
  if arguments == nil then arguments = {} end
  local op = {
    kind = kind, name = name, arguments = core.unpack(core.pack(arguments)), node = node and self.names[node + 1],
    client = options.client or 1, invoked = self:now(), done = false, consistency = options.consistency,
  }
  local number = node and self.box:ask(node, kind, name, arguments, options.consistency, timeout_ms)
  if number then
    op.number = number
    self.operations[number] = op
  else
    local what = node and op.node .. " is down" or "no node is up"
    op.done, op.outcome, op.returned = true, "failed", op.invoked
    op.error = new_error { code = "unavailable", message = what }
  end
  return op
end

---Asks, and does not wait: the operation is for `wait`.
---@param name string
---@param arguments? any
---@param options? { node?: string, timeout?: number, client?: any }
---@return moonclave.sim.operation
function cluster:start_propose(name, arguments, options) return start(self, "command", name, arguments, options) end

---@param name string
---@param arguments? any
---@param options? { node?: string, timeout?: number, client?: any, consistency?: "linearizable"|"lease"|"stale" }
---@return moonclave.sim.operation
function cluster:start_query(name, arguments, options) return start(self, "query", name, arguments, options) end

---Goes on until the operation is done. Returns what the real client would: the result; or nil, err.
---@param op moonclave.sim.operation
---@return any result
---@return moonclave.error? err
function cluster:wait(op)
  if type(op) ~= "table" or op.done == nil then error("wait takes what start_propose or start_query returned", 2) end
  until_true(self, function() return op.done end, op.name .. " was not answered")
  if op.error == nil and op.outcome ~= "unknown" then return op.result end
  local fields = {}
  for key, value in pairs(op.error or
    { code = "timeout", message = op.node .. " went down: it may or may not have been done" }) do
    fields[key] = value
  end
  return nil, new_error(fields, op.outcome)
end

---Puts a command through and waits. Without a node the leader is asked, or any node that is up.
---@param name string
---@param arguments? any
---@param options? { node?: string, timeout?: number, client?: any }
---@return any result
---@return moonclave.error? err
function cluster:propose(name, arguments, options)
  return self:wait(start(self, "command", name, arguments, options))
end

---@param name string
---@param arguments? any
---@param options? { node?: string, timeout?: number, client?: any, consistency?: "linearizable"|"lease"|"stale" }
---@return any result
---@return moonclave.error? err
function cluster:query(name, arguments, options)
  return self:wait(start(self, "query", name, arguments, options))
end

---All that was asked of a node, in that order, with the model: for assert.linearizable.
---@return moonclave.model.operation[]
function cluster:history()
  local history = { model = self.model }
  for i, op in ipairs(self.operations) do history[i] = op end
  return history
end

-- ---- what goes wrong ----

---Its process dies: what was not synced may be lost. It stays down until restart.
---@param node string
function cluster:crash(node)
  self.box:crash(node_number(self, node))
  check_violation(self)
end

---Stops it as an operator would, and waits until it is down.
---@param node string
function cluster:stop(node)
  local number = node_number(self, node)
  self.box:stop(number)
  until_true(self, function() return not self.box:up(number) end, node .. " did not stop")
end

---Starts what is down.
---@param node string
function cluster:restart(node)
  local number = node_number(self, node)
  if self.box:up(number) then error(node .. " is up: crash or stop it first", 2) end
  self.box:start(number)
  until_true(self, function() return self.box:up(number) end, node .. " did not start")
end

local function length_us(seconds, what, default)
  seconds = seconds or default
  if type(seconds) ~= "number" or seconds < 0 then error(what .. " takes a node and seconds", 3) end
  return math.floor(seconds * 1e6)
end

---Its process stands still, as under SIGSTOP.
---@param node string
---@param seconds? number  default 1
function cluster:pause(node, seconds) self.box:pause(node_number(self, node), length_us(seconds, "pause", 1)) end

---@param from string
---@param to string  does not hear it any more; the other way works
function cluster:cut(from, to) self.box:cut(node_number(self, from), node_number(self, to)) end

---Mends one way.
---@param from string
---@param to string
function cluster:mend(from, to) self.box:mend(node_number(self, from), node_number(self, to)) end

---Groups of nodes that do not hear each other; each node hears its own group. Who is in no group hears all.
---@param ... string[]
function cluster:partition(...)
  local groups = { ... }
  if #groups < 2 then error('partition takes groups: partition({ "n1" }, { "n2", "n3" })', 2) end
  for i, group in ipairs(groups) do
    if type(group) ~= "table" then error("partition takes groups of nodes, each a table", 2) end
    for j, other in ipairs(groups) do
      if i ~= j then
        for _, a in ipairs(group) do
          for _, b in ipairs(other) do self.box:cut(node_number(self, a), node_number(self, b)) end
        end
      end
    end
  end
end

---Nobody hears it, and it hears nobody.
---@param node string
function cluster:isolate(node)
  local number = node_number(self, node)
  for other = 0, #self.names - 1 do
    if other ~= number then
      self.box:cut(number, other)
      self.box:cut(other, number)
    end
  end
end

---The network is whole again, and loses nothing.
function cluster:heal() open_box(self):mend_all() end

---Loses this share of all messages between nodes.
---@param share number  0 to 1
function cluster:loss(share)
  if type(share) ~= "number" or share < 0 or share > 1 then error("loss takes a share, 0 to 1", 2) end
  open_box(self):loss(math.floor(share * 1000 + 0.5))
end

---Has the node take a snapshot, whoever leads, and waits for it: what it starts from when it is restarted, and what is
---sent to whoever lacks what the log no longer holds.
---@param node string
---@return { index: integer, size: integer }? snapshot  all up to index, in so many bytes
---@return moonclave.error? err
function cluster:snapshot(node)
  local number = node_number(self, node)
  local asked = self.box:snapshot(number)
  if not asked then return nil, new_error({ code = "unavailable", message = node .. " is down" }, "failed") end
  local code, index, size
  until_true(self, function()
    code, index, size = self.box:snapshot_done(asked)
    return code ~= nil
  end, node .. " did not say that it has taken a snapshot")
  if code == "ok" then return { index = index, size = size } end
  return nil, new_error({ code = code, message = node .. " took no snapshot" }, "failed")
end

---Deploys another version of the app and waits: all nodes run it from one index on.
---@param app string|table<string, string>  a folder or file, or { ["fsm.lua"] = text }
---@return { index: integer, hash: string, from: integer?, to: integer? }? deployed  from, to: the versions; neither:
---it ran already
---@return moonclave.error? err  script_error: it does not load, or its migrate fails, and nothing has changed
function cluster:deploy(app)
  local bundle, _, problem
  open_box(self)
  if type(app) == "table" then
    bundle = core.bundle_of(app)
  elseif type(app) == "string" then
    bundle, _, problem = core.bundle(app)
  else
    error("deploy takes an app: a folder with an fsm.lua, a .lua file, or a table of files", 2)
  end
  if not bundle then error(problem, 2) end
  local node = any_node(self)
  local asked = node and self.box:deploy(node, bundle)
  if not asked then return nil, new_error({ code = "unavailable", message = "no node is up" }, "failed") end
  local code, body
  until_true(self, function()
    code, body = self.box:deploy_done(asked)
    return code ~= nil
  end, "the deploy was not answered")
  if code == "ok" then return body end
  local fields = type(body) == "table" and body or { code = "timeout" } -- who was asked has died
  fields.message = fields.message or "it may or may not have been deployed"
  return nil, new_error(fields, fields.code == "timeout" and "unknown" or "failed")
end

---@param node string
---@param seconds? number  default 1
function cluster:disk_full(node, seconds)
  self.box:disk_full(node_number(self, node), length_us(seconds, "disk_full", 1))
end

---@param node string
---@param seconds? number  default 1
function cluster:disk_slow(node, seconds)
  self.box:disk_slow(node_number(self, node), length_us(seconds, "disk_slow", 1))
end

---It completes nothing until then: a leader hands over.
---@param node string
---@param seconds? number  default 1
function cluster:disk_stall(node, seconds)
  self.box:disk_stall(node_number(self, node), length_us(seconds, "disk_stall", 1))
end

---Its next write or read fails: it stops by itself, and is started again.
---@param node string
function cluster:disk_fail(node) self.box:disk_fail(node_number(self, node)) end

---Its wall clock jumps.
---@param node string
---@param seconds number  may be negative
function cluster:clock_jump(node, seconds)
  if type(seconds) ~= "number" then error("clock_jump takes a node and seconds", 2) end
  self.box:clock_jump(node_number(self, node), math.floor(seconds * 1000))
end

-- ---- looking ----

---@return string? node  the leader of the highest term among those who are up
function cluster:leader()
  local number = open_box(self):leader()
  return number and self.names[number + 1]
end

---@param node string
---@return boolean
function cluster:up(node) return self.box:up(node_number(self, node)) end

---What GET /v1/status shows; nil: it is down.
---@param node string
---@return table<string, any>?
function cluster:status(node) return self.box:status(node_number(self, node)) end

---The app's whole state there, as plain tables; nil: it is down, or has not begun.
---@param node string
---@return table?
function cluster:state(node) return self.box:state(node_number(self, node)) end

---Ends it, and frees what it holds; also done by `local c <close>` and when nobody holds it any more.
function cluster:close()
  if not self.box then return end
  local box = self.box
  self.box = nil
  local result = box:finish()
  if not result.ok then
    error(("seed %d: %s does not hold\n  %s"):format(self.seed, result.violation.invariant, result.violation.detail), 2)
  end
end

cluster.__close = function(self, problem)
  if problem == nil then return self:close() end
  pcall(self.close, self)
end

return M
