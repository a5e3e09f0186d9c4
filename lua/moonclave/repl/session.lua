-- A session of the REPL: the connection, the environment in which what is typed runs, its results. It knows no
-- terminal; what asks and what prints is given to it.
--
--   session.new { client, addresses, look, print, ask, yes } -> session
--   session:evaluate(text) -> true, results (packed) | false, problem { err, line }
--   session:render(value, look) -> text
--
-- What is typed runs here, and reaches the cluster by functions (cluster.lua). Where a node's control socket is
-- attached (session.socket) and session.is_inside is set, it runs on that node instead.
local channel = require "moonclave.channel"
local cluster = require "moonclave.repl.cluster"
local errors = require "moonclave.client.errors"
local help = require "moonclave.repl.help"
local printer = require "moonclave.repl.printer"
local reader = require "moonclave.repl.reader"

local session = {}
session.__index = session

local RESULTS_KEPT = 100
local SOURCES_KEPT = 1000
local APP_AGAIN_S = 5.0
local INSIDE_S = 90.0 -- a node's budget is of processor time: on a busy machine that takes long

local empty_map = getmetatable(channel.object {})

local function new_environment()
  local env = { _VERSION = _VERSION }
  for _, name in ipairs { "assert", "error", "getmetatable", "ipairs", "load", "next", "pairs", "pcall", "rawequal",
    "rawget", "rawlen", "rawset", "require", "select", "setmetatable", "tonumber", "tostring", "type", "xpcall" } do
    env[name] = _G[name]
  end
  for _, name in ipairs { "coroutine", "debug", "io", "math", "os", "package", "string", "table", "utf8" } do
    env[name] = _G[name]
  end
  env._G = env
  return env
end

-- options: client; addresses; program: as it was called, for what is to be typed in a shell; print(text);
-- ask(question) -> boolean, or nil where nobody can be asked; yes: nothing asks; look: { format, colours, width }.
function session.new(options)
  local self = setmetatable({
    client = options.client, addresses = options.addresses, look = options.look or {}, print_line = options.print,
    ask_person = options.ask, yes = options.yes, program_name = options.program or "moonclave",
    count = 0, inputs = 0, sources = {},
    hints = setmetatable({}, { __mode = "k" }),
  }, session)
  self.look.is_object = function(t) return getmetatable(t) == empty_map end
  self.tag = ("repl-%08x%08x-"):format(math.floor(channel.random() * 2 ^ 32), math.floor(channel.random() * 2 ^ 32))
  self.commands_sent = 0
  local env = new_environment()
  self.environment = env
  env.print = function(...)
    local parts = table.pack(...)
    for i = 1, parts.n do parts[i] = type(parts[i]) == "string" and parts[i] or self:render(parts[i]) end
    self:print(table.concat(parts, "\t"))
  end
  cluster.install(self, env)
  self.taken = {}
  for name in pairs(env) do self.taken[name] = true end
  for _, name in ipairs { "command", "query" } do
    env[name], self.taken[name] = {}, true
  end
  return self
end

function session:print(text) self.print_line(text) end
function session:hint(value, hint) self.hints[value] = hint end

-- ---- the cluster ----

local function raise(err) error(errors.of(err), 0) end

-- Raises what a call of `method` was told.
function session.explain_call(_, err, method)
  if err.code == "no_such_command" and err.rejected == nil and not method:find "^[cq]%a+/" then
    raise { code = "no_such_command",
      message = ("this node does not know `%s`: it is of a version without it (%s)"):format(method, err.message) }
  end
  if err.code == "bad_request" and method:find "^admin/" and tostring(err.message):find "no action" then
    raise { code = "no_such_command",
      message = ("this node does not know `%s`: it is of a version without it (%s)"):format(method, err.message) }
  end
  raise(err)
end

-- f(client, options) with the node that everything goes to in options; raises what goes wrong.
function session:ask(f)
  local result, err = f(self.client, { node = self.target })
  if err then raise(err) end
  return result
end

function session:call(method, params, seconds)
  local result, err = self.client:call(method, params, { node = self.target, timeout = seconds })
  if err then self:explain_call(err, method) end
  return result
end

-- What only the leader knows whole, from the leader where it can be reached, else from whoever answers; from the node
-- of \use, if there is one, but for `always`.
function session:ask_leader(method, always)
  if (self.target and not always) or self.is_inside then return self:call(method) end
  local _, address = self.client:leader()
  if address then
    local result = self.client:call(method, nil, { address = address, timeout = 1.0 })
    if result then return result end
    self.client:members() -- another one may lead by now
    _, address = self.client:leader()
    result = address and self.client:call(method, nil, { address = address, timeout = 1.0 })
    if result then return result end
  end
  return self:call(method)
end

-- A command is done once however often it has to be sent: each has a key of its own.
function session:command(name, arguments, options)
  options = options or {}
  self.commands_sent = self.commands_sent + 1
  local key = options.key or self.tag .. self.commands_sent
  local result, err
  if self.target then
    result, err = self.client:call("command/" .. name, { arguments or {}, { key = key, timeout = options.timeout } },
      { node = self.target, again = true, timeout = options.timeout })
  else
    result, err = self.client:propose(name, arguments, { key = key, timeout = options.timeout })
  end
  if err then raise(err) end
  return result
end

function session:query(name, arguments, options)
  local given = { node = self.target }
  for key, value in pairs(options or {}) do given[key] = value end
  local result, err = self.client:query(name, arguments, given)
  if err then raise(err) end
  return result
end

-- What the app has, from a node; nil where none says it. Installs its functions.
function session:app()
  local now = channel.clock()
  if self.app_known and (now - self.app_at < APP_AGAIN_S or self.is_inside) then return self.app_known end
  if self.app_at and now - self.app_at < APP_AGAIN_S then return self.app_known end
  return self:ask_app { timeout = 2.0, again = true }
end

-- The same now, whenever that was asked last: there is another app. options: the call's.
function session:ask_app(options)
  self.app_at = channel.clock()
  local app = self.client:call("app", nil, options)
  if app then
    self.app_known = app
    cluster.install_app(self, self.environment, app)
  end
  return self.app_known
end

-- `what` is a function, or a text that is run, with everything going to this node.
function session:on(id, what)
  local f = what
  if type(what) == "string" then
    local problem
    f, problem = reader.compile(what, self.environment)
    if not f then raise { code = "usage", message = problem } end
  elseif type(what) ~= "function" then
    raise { code = "usage", message = "on takes a function or a text, as in on(\"n2\", status)" }
  end
  local before = self.target
  self.target = id
  local results = table.pack(pcall(f))
  self.target = before
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

-- Like pcall, but what cancels goes on.
function session:try(f)
  local ok, result = pcall(f)
  if not ok and self.is_interrupt and self.is_interrupt(result) then error(result, 0) end
  return ok, result
end

-- Something that cannot be taken back: says what will happen, and raises unless a person says yes.
function session:confirm(what)
  if self.yes then return end
  local answer
  if self.ask_person then answer = self.ask_person(what) end
  if answer then return end
  if answer == nil then
    raise { code = "unconfirmed", message = what .. ". There is nobody to ask: say -y to have it done" }
  end
  raise { code = "unconfirmed", message = "not done" }
end

-- Another command of the program, for the cluster this session is connected to; what follows are flags, where they are
-- texts. The address that it was given.
function session:program(name, argument, ...)
  local _, address = self.client:leader()
  address = address or self.addresses[1]
  local own = require "moonclave.editor".program() or "moonclave"
  local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end
  local words = { quoted(own), name, "--addr", quoted(address) }
  for i = 1, select("#", ...) do words[#words + 1] = (select(i, ...)) or nil end
  words[#words + 1] = "-- " .. quoted(argument)
  io.stdout:flush()
  local ok, how, code = os.execute(table.concat(words, " "))
  if not ok and how == "exit" and code == 2 and self.ask_person then -- it has asked, and said so
    raise { code = "unconfirmed", message = "not done" }
  end
  if not ok then raise { code = "failed", message = ("moonclave %s: %s %s"):format(name, how, code) } end
  return address
end

-- ---- within a node ----

-- Lua that runs on the node whose control socket is attached. Its values; raises what it raises.
function session:inside(text)
  if not self.socket then
    raise { code = "unavailable",
      message = "no control socket is attached: \\attach DATA_FOLDER, on the node's own machine" }
  end
  local result, err = self.client:call("console/eval", { text }, { address = self.socket, timeout = INSIDE_S })
  if err and err.code == "script_error" and err.rejected == nil then -- as if it had been raised here
    local message = tostring(err.message)
    error(self.is_inside and message:gsub("^input:", ("input %d:"):format(self.inputs)) or message, 0)
  end
  if err then raise(err) end
  if result.output and result.output ~= "" then self:print((result.output:gsub("\n$", ""))) end
  if result.cut then self.was_cut = true end
  return table.unpack(result.values, 1, result.count)
end

-- ---- evaluation ----

local function remember(self, value)
  self.count = self.count + 1
  self.environment["_" .. self.count] = value
  self.environment._ = value
  self.environment["_" .. (self.count - RESULTS_KEPT)] = nil
end

-- Where it happened, as far as the error itself does not say: in which input, in which line of it.
local function handler(err)
  for level = 2, 50 do
    local info = debug.getinfo(level, "Sl")
    if not info then break end
    local input = info.source:match "^=input (%d+)$"
    if input and info.currentline > 0 then
      return { err = err, input = math.tointeger(tonumber(input)), line = info.currentline }
    end
  end
  return { err = err }
end

-- Runs it. true and its results, packed; false and { err, input, line } (where it happened, as far as that is known).
function session:evaluate(text)
  self.was_cut = false
  self.inputs = self.inputs + 1
  local number = self.inputs
  self.sources[number], self.sources[number - SOURCES_KEPT] = text, nil
  local f = self.inside
  if not self.is_inside then
    local problem
    self:app()
    f, problem = reader.compile(text, self.environment, number)
    if not f then return false, { err = problem } end
  end
  local results = table.pack(xpcall(f, handler, self.is_inside and self or nil, self.is_inside and text or nil))
  if not results[1] then return false, results[2] end
  if results.n > 1 and results[2] ~= nil then remember(self, results[2]) end
  return true, table.pack(table.unpack(results, 2, results.n))
end

-- ---- texts ----

-- A table with what belongs to it: a note before it, remarks behind it.
local function framed(text, hint, width)
  local lines = { text }
  if hint.note then table.insert(lines, 1, help.wrap(hint.note, width)) end
  for _, remark in ipairs(hint.remarks or {}) do lines[#lines + 1] = help.wrap(remark, width, "  ") end
  return table.concat(lines, "\n")
end

function session:render(value, look)
  local used = setmetatable(look or {}, { __index = self.look })
  if used.format ~= "json" and used.format ~= "lua" and type(value) == "table" then
    local hint = self.hints[value]
    if hint then
      local text = printer.columns(hint.rows and hint.rows(value) or value,
        { columns = hint.columns, colours = used.colours, width = used.width })
      if text then return framed(text, hint, used.width or math.huge) end
    end
  end
  return printer.show(value, used)
end

-- The nearest of the names in `env`, for one that is mistyped.
local function nearest(env, wrong)
  local best, best_distance = nil, math.max(1, #wrong // 3) + 1
  for name in pairs(env) do
    if type(name) == "string" and math.abs(#name - #wrong) < best_distance then
      local row = {}
      for j = 0, #name do row[j] = j end
      for i = 1, #wrong do
        local diagonal = row[0]
        row[0] = i
        for j = 1, #name do
          local change = diagonal + (wrong:byte(i) == name:byte(j) and 0 or 1)
          diagonal = row[j]
          row[j] = math.min(change, row[j] + 1, row[j - 1] + 1)
        end
      end
      if row[#name] < best_distance or (row[#name] == best_distance and best and name < best) then
        best, best_distance = name, row[#name]
      end
    end
  end
  return best
end

-- The fields of a problem: its text, and where it is.
local function place_of(problem)
  local err = problem.err
  if type(err) ~= "table" then
    local message, input, line = reader.place(tostring(err))
    if input then return message, input, line end
    return message, problem.input, problem.line
  end
  local message = err.code == nil and printer.lua(err) or tostring(err)
  local first = type(err.traceback) == "string" and
    (err.traceback:match "[^\n]*fsm[^\n]*" or err.traceback:match "[^\n]+")
  if first and not message:find(first, 1, true) then message = message .. "\n  " .. first:gsub("^%s+", "") end
  return message, problem.input, problem.line
end

-- What went wrong: the text for people, and the line that matters, where it is one of the input's (or an earlier
-- one's).
function session:explain(problem)
  local message, input, number = place_of(problem)
  local name = message:match "attempt to call a nil value %(global '([%w_]+)'%)"
  local meant = name and nearest(self.environment, name)
  if meant then message = message .. ": did you mean " .. meant .. "?" end
  local source = self.sources[input]
  local line = source and number and reader.line(source, number)
  if not line then return message end
  return message, { input = input, number = number, text = line, current = input == self.inputs }
end

-- The same as a table for JSON.
function session:error_fields(problem)
  local err = problem.err
  local fields = {}
  if type(err) == "table" and err.code ~= nil then
    for key, value in pairs(err) do fields[key] = value end
    fields.message = fields.message or tostring(err.code)
  else
    fields.code, fields.message = "lua_error", (self:explain(problem))
  end
  local _, place = self:explain(problem)
  fields.line = place and place.number or nil
  return fields
end

return session
