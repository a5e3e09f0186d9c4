-- The client: what scripts call. Arguments are checked here (misuse raises where the script is), and each call becomes
-- one or more requests of asking.lua.
local asking = require "moonclave.client.asking"
local book = require "moonclave.client.book"
local channel = require "moonclave.channel"
local check = require "moonclave.client.check"
local errors = require "moonclave.client.errors"
local events = require "moonclave.client.events"
local lines = require "moonclave.client.line"
local sessions = require "moonclave.client.session"
local waiting = require "moonclave.client.waiting"

local REFRESH_S, REFRESH_S_LOST = 5.0, 0.25 -- how often members are asked for: beside other requests, never alone
local LEADER_S = 1.0                        -- leader() answers from memory that is no older
local CLOSE_S = 0.5                         -- for closing the session politely

---@class moonclave.client
---@field closed boolean
local client = {}
client.__index = client
client.__name = "moonclave.client"

local NO_ARGUMENTS = channel.pack(nil)
local NO_PARAMS = "\x90"

-- ---- lines ----

local function open_line(self, address)
  local line = self.lines[address]
  return line and line:alive() and line
end

-- The connection to an address; nil, why.
---@private
function client:line(address, deadline)
  local open = open_line(self, address)
  if open then return open end
  local places, unresolved = self.waiting:resolve(address, deadline)
  if not places then return nil, unresolved end
  if self.closed then return nil, "the client was closed" end
  open = open_line(self, address) -- another coroutine's, meanwhile
  if open then return open end
  local line, why = lines.new(address, places, self.waiting.set)
  self.lines[address] = line
  self:keep()
  return line, why
end

-- Who the members are. Idle connections to those who are none any more are closed.
---@private
function client:learn(members)
  if type(members) ~= "table" then return end
  for _, address in ipairs(self.book:learn(members)) do
    local line = self.lines[address]
    if line and line.count == 0 and not line.settling then
      line:close "it is no member any more"
      self.lines[address] = nil
    end
  end
end

-- Sends a request that nobody waits for.
local function aside(line, method, arguments, answered)
  local request = { method = method, params = arguments and "\x91" .. channel.pack(arguments) or NO_PARAMS }
  request.wake = function() answered(request) end
  line:submit(request)
end

-- Beside the request that is about to go out: who the members are, when that is not known well; and the session's
-- renewal, when it is due.
---@private
function client:refresh(line)
  local now = channel.clock()
  local age = now - (self.book.learned_at or -math.huge)
  if age > (self.book.leader and REFRESH_S or REFRESH_S_LOST) and now - self.refreshed_at > REFRESH_S_LOST then
    self.refreshed_at = now
    aside(line, "members", nil, function(request)
      if request.became == "answered" then self:learn(request.result) end
    end)
  end
  local renewal = self.session:due()
  if renewal then
    aside(line, "session/renew", renewal, function(request)
      if type(request.err) == "table" and request.err.code == "session_expired" then
        self.session:expired(renewal.session)
      end
    end)
  end
end

local function deadline_of(self, options) return channel.clock() + (options.timeout or self.timeout) end

-- The address that the options name; nil: any. nil, err: a node that nobody knows.
local function target_of(self, options)
  if options.address then return options.address end
  if not options.node then return nil end
  local node = self.book:by_id(options.node)
  if node then return node.address end
  self:members { timeout = options.timeout }
  node = self.book:by_id(options.node)
  if node then return node.address end
  local ids = {}
  for _, known in ipairs(self.book:list()) do ids[#ids + 1] = known.id end
  return nil, errors.new("not_found", ("there is no node %s: the members are %s"):format(options.node,
    #ids > 0 and table.concat(ids, ", ") or "not known"))
end

-- ---- commands and queries ----

local function plain(self, name, arguments, deadline, once)
  return asking.ask(self, { name = name, method = "command/" .. name, arguments = arguments, options = once or {},
    safe = once ~= nil }, deadline)
end

-- In the session: its place is kept through all attempts. A session that has expired meanwhile is opened anew only
-- where the command has certainly not been done: no attempt before the refusal may have done it.
local function in_session(self, name, arguments, deadline)
  for round = 1, 2 do
    local entry, err = self.session:enter(deadline)
    if not entry then return nil, err end
    local _ <close> = entry -- leaves its place, also where the caller's coroutine is closed
    local result, problem = plain(self, name, arguments, deadline, entry)
    if not problem or problem.code ~= "session_expired" or problem.rejected ~= nil then return result, problem end
    self.session:expired(entry.session)
    if round == 2 then return nil, problem end
  end
end

---Has a command done: once, however often it has to be sent; under `key`, or in the client's session, or, without
---either, sent again only while it has certainly not been done.
---@param name string       a command of the app
---@param arguments? any    plain data; nil is an empty table
---@param options? moonclave.client.propose_options
---@return any result
---@return moonclave.client.error? err  "timeout": nobody knows whether it was done
function client:propose(name, arguments, options)
  check.open(self)
  check.name("propose", name)
  options = check.options("propose", options, check.PROPOSE)
  local packed = check.pack("propose", arguments)
  local deadline = deadline_of(self, options)
  if options.key then return plain(self, name, packed, deadline, { key = options.key }) end
  local use = options.session
  if use == nil then use = self.use_session end
  if use then return in_session(self, name, packed, deadline) end
  return plain(self, name, packed, deadline)
end

---Asks a query.
---@param name string
---@param arguments? any
---@param options? moonclave.client.query_options
---@return any result       may be nil without an error
---@return moonclave.client.error? err
function client:query(name, arguments, options)
  check.open(self)
  check.name("query", name)
  options = check.options("query", options, check.QUERY)
  local packed = check.pack("query", arguments)
  local target, err = target_of(self, options)
  if err then return nil, err end
  return asking.ask(self, { name = name, method = "query/" .. name, arguments = packed,
    options = { consistency = options.consistency }, safe = true, effect = false, target = target },
    deadline_of(self, options))
end

-- ---- everything else ----

local HARMLESS = { status = true, members = true, events = true, ["session/open"] = true, ["session/renew"] = true }

---Calls an RPC method as it is. It is sent again only where it has certainly not been done, or has no effect.
---@param method string     "status", "admin/transfer", "session/open" ...
---@param params? table     a list: the RPC's params. Anything else: its only one
---@param options? moonclave.client.call_options
---@return any result
---@return moonclave.client.error? err
function client:call(method, params, options)
  check.open(self)
  check.name("call", method)
  options = check.options("call", options, check.CALL)
  local packed = params == nil and NO_PARAMS or check.pack("call", params)
  local first = packed:byte()
  local is_list = first & 0xf0 == 0x90 or first == 0xdc or first == 0xdd
  local target, err = target_of(self, options)
  if err then return nil, err end
  local harmless = HARMLESS[method] or method:sub(1, 6) == "query/"
  return asking.ask(self, { name = method, method = method, params = is_list and packed or "\x91" .. packed,
    safe = harmless or options.again, effect = not harmless, target = target, patient = method == "events" },
    deadline_of(self, options))
end

---What a node says of itself: any, or options.node.
---@param options? moonclave.client.call_options
---@return table? status
---@return moonclave.client.error? err
function client:status(options) return self:call("status", nil, options) end

---The members of the cluster as a node sees them.
---@param options? moonclave.client.call_options
---@return table[]? members
---@return moonclave.client.error? err
function client:members(options)
  check.open(self)
  options = check.options("members", options, check.CALL)
  local members, err = self:call("members", nil, options)
  if members then self:learn(members) end
  return members, err
end

---Asks for something about the cluster itself: "add", "remove", "promote", "demote", "transfer", "snapshot" ...
---@param action string
---@param arguments? table
---@param options? moonclave.client.call_options
---@return any result
---@return moonclave.client.error? err
function client:admin(action, arguments, options)
  check.open(self)
  check.name("admin", action)
  options = check.options("admin", options, check.CALL)
  local packed = arguments == nil and NO_ARGUMENTS or check.pack("admin", arguments)
  local target, err = target_of(self, options)
  if err then return nil, err end
  return asking.ask(self, { name = action, method = "admin/" .. action, arguments = packed, options = {},
    safe = options.again, target = target }, deadline_of(self, options))
end

---What happens from now on, one event at a time, for as long as it is asked: for event in client:events() do ... end.
---Asks one node, and another when that one fails. The function returns nil, err when there is no next one.
---@param options? moonclave.client.events_options
---@return fun(): moonclave.client.event?, moonclave.client.error?
function client:events(options)
  check.open(self)
  options = check.options("events", options, check.EVENTS)
  local stream = events.new(self, options, function(named) return target_of(self, named) end)
  return function() return stream:next() end
end

---Who leads, as far as is known: asks where what is known is old.
---@param options? { timeout?: number }
---@return string? id
---@return string? address
function client:leader(options)
  check.open(self)
  local known = self.book
  if not known.leader or channel.clock() - (known.learned_at or -math.huge) > LEADER_S then self:members(options) end
  if known.leader then return known.leader.id, known.leader.address end
end

---All nodes that are known.
---@return moonclave.client.node[]
function client:nodes() return self.book:list() end

-- ---- its life ----

---From now on, calls within coroutines yield on luv's loop instead of blocking; many may share the client.
---@return moonclave.client self
function client:use_luv()
  check.open(self)
  if self.waiting.uv then return self end
  self.waiting = waiting.luv(self.lines, check.luv("luv"), self.waiting.set)
  return self
end

---A client that has found a node. nil, err: nobody answers at any of the addresses.
---@param options moonclave.client.connect_options
---@return moonclave.client? client
---@return moonclave.client.error? err
function client.connect(options)
  options = check.connect(options)
  local self = setmetatable({ lines = {}, book = book.new(options.addresses), timeout = options.timeout,
    use_session = options.session, refreshed_at = -math.huge, closed = false }, client)
  self.waiting = options.uv and waiting.luv(self.lines, options.uv) or waiting.blocking(self.lines)
  self.session = sessions.new(function(method, arguments, deadline)
    return asking.ask(self, { name = method, method = method, safe = true, effect = false,
      params = arguments and "\x91" .. channel.pack(arguments) or NO_PARAMS }, deadline)
  end, function(waiter, deadline) return self.waiting:wait(waiter, deadline) end)
  local ok, err = self:greet(options.addresses, channel.clock() + options.timeout)
  if ok then return self end
  self:close()
  return nil, err
end

-- Asks each address once, until one answers.
---@private
function client:greet(addresses, deadline)
  local reasons = {}
  for i, address in ipairs(addresses) do
    local share = (deadline - channel.clock()) / (#addresses - i + 1)
    local call = { name = "members", method = "members", params = NO_PARAMS, safe = true, effect = false,
      target = address }
    local members, err = asking.ask(self, call, channel.clock() + math.max(share, 0.01))
    if members then
      self:learn(members)
      return true
    end
    reasons[i] = address .. ": " .. (call.reasons[address] or tostring(err))
  end
  return nil, errors.new("unavailable", ("nobody answers (%s)"):format(table.concat(reasons, "; ")))
end

-- The session is closed for the cluster's sake; that it is not answered does not matter.
local function end_session(self, patience)
  local id = self.session.id
  self.session.id = nil
  if not id then return end
  local address = self.book:choose {}
  local line = address and self.lines[address]
  if not line or line.state ~= "open" then return end
  local request = { method = "session/close", params = "\x91" .. channel.pack { session = id } }
  line:submit(request)
  if patience then self.waiting:wait(request, channel.clock() + patience) end
end

local function close(self, patience)
  if self.closed then return end
  end_session(self, patience)
  self.closed = true
  for _, line in pairs(self.lines) do line:close "the client was closed" end
  self.waiting:close()
end

---Ends the session and all connections. What is under way gets an error. Closing again does nothing.
function client:close() close(self, CLOSE_S) end

client.__close = function(self) close(self, CLOSE_S) end

-- A client that nobody has closed: its session is closed all the same, without waiting. What is collected together is
-- finalized in the reverse order of its making, and this must come before the channels: so there is a new one for each.
local keeper = { __gc = function(self)
  if self.client then close(self.client, nil) end
end }

---@private
function client:keep()
  if self.keeper then self.keeper.client = nil end
  self.keeper = setmetatable({ client = self }, keeper)
end

return client
