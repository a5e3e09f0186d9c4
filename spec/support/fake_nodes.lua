-- Nodes that a spec plays, for the client library: each speaks msgpack-RPC on a port of its own; behind all of them
-- stands one machine, a counter that keeps replies by session and by key as the real one does. What a node does with a
-- request is the spec's: it may lose it, lose the answer, send a part of it, break off, keep silent.
local base = require "moonclave.base"
local cluster = require "support.cluster"
local moonclave = require "moonclave"
local uv = require "luv"
local wire = require "moonclave.wire"

local M = {}

local LARGE, QUIET_MS = 256 * 1024, 20 -- a large request is looked at when nothing more comes

-- A stock interpreter, for cluster.process: program, arguments. Where the modules were built with a sanitizer it needs
-- the sanitizer's runtime first.
function M.lua(arguments)
  local all = { "lua5.4", table.unpack(arguments) }
  if os.getenv "LD_PRELOAD" then
    table.insert(all, 1, "LD_PRELOAD=" .. os.getenv "LD_PRELOAD")
    table.insert(all, 2, "ASAN_OPTIONS=detect_leaks=0")
  end
  return "env", all
end

-- ---- the machine ----

local machine = {}
machine.__index = machine

-- window: of sessions it opens
function M.machine(window)
  return setmetatable({ total = 0, done = 0, sessions = {}, next_session = 100, kept = {}, window = window or 128 },
    machine)
end

local function once(self, name, act)
  if not self.kept[name] then self.kept[name] = { act() } end
  return table.unpack(self.kept[name], 1, 2)
end

function machine:add(by)
  self.total, self.done = self.total + (by or 1), self.done + 1
  return self.total
end

-- result; or nil, an error
function machine:command(arguments, options)
  local function act()
    if arguments.refuse then return base.null, { code = arguments.refuse, message = "as asked", rejected = true } end
    return self:add(arguments.by)
  end
  if options.key then return once(self, "key " .. options.key, act) end
  if not options.session then return act() end
  if not self.sessions[options.session] then return nil, { code = "session_expired", message = "expired" } end
  return once(self, options.session .. "/" .. options.sequence, act)
end

function machine:serve(method, params)
  local arguments, options = params[1] or {}, params[2] or {}
  if method == "command/add" then return self:command(arguments, options) end
  if method == "query/get" then return self.total end
  if method == "session/open" then
    self.next_session = self.next_session + 1
    self.sessions[self.next_session] = true
    return { session = self.next_session, window = self.window, timeout_ms = 60000 }
  end
  if method == "session/renew" then return { session = arguments.session } end
  if method == "session/close" then
    self.sessions[arguments.session] = nil
    return { closed = true }
  end
  return nil, { code = "no_such_command", message = "the app has no command '" .. method .. "'" }
end

-- ---- nodes ----

local node = {}
node.__index = node
node.__close = function(self) self:close() end

local function members_of(nodes)
  local list = {}
  for _, one in ipairs(nodes) do
    if not one.removed then
      local state = one.leads and "leader" or "follower"
      list[#list + 1] = { id = one.id, address = one.address, role = "voter", state = state }
    end
  end
  return list
end

-- The whole answer as bytes.
local function answer_bytes(self, request)
  local params = base.unpack(request.params)
  if request.method == "members" then return wire.rpc_result(request.id, base.pack(members_of(self.nodes))) end
  if request.method == "events" then return wire.rpc_result(request.id, base.pack(self:events(params[1] or {}))) end
  local result, err = self.machine:serve(request.method, params)
  if err then return wire.rpc_error(request.id, base.pack(err)) end
  return wire.rpc_result(request.id, base.pack(result))
end

local function drop(self, connection, how)
  self.connections[connection] = nil
  if connection:is_closing() then return end
  if how == "reset" and not self.path then
    connection:close_reset()
  else
    connection:close()
  end
end

-- What the spec's `fault(request)` may answer:
--   nil                          all is well
--   { lose = true }              the request is not done, and never answered
--   { first = n, after = how }   it is done; n bytes of the answer are sent, and then: "close", "reset", or nothing
--   { bytes = text }             these instead of an answer; it is not done
--   { err = code }               this refusal; it is not done
--   { by_byte = true }           it is done, and answered one byte at a time
local function serve(self, connection, request)
  self.seen[#self.seen + 1] = request.method
  local fault = self.fault and self.fault(request) or {}
  if fault.err then
    connection:write(wire.rpc_error(request.id, base.pack { code = fault.err, message = "as the spec wants it" }))
  elseif fault.bytes then
    connection:write(fault.bytes)
  elseif not fault.lose then
    local bytes = answer_bytes(self, request)
    if fault.by_byte then
      for i = 1, #bytes do
        connection:write(bytes:sub(i, i))
        cluster.sleep(1)
      end
    elseif not fault.first or fault.first > 0 then
      connection:write(bytes:sub(1, fault.first or #bytes))
    end
  end
  if fault.after then
    local how = fault.after
    if fault.first == 0 or fault.lose then return drop(self, connection, how) end
    self.connections[connection] = "ending" -- nothing may follow a part of an answer
    connection:write("", function() drop(self, connection, how) end)
  end
end

local function take(self, connection, input)
  local found, left = wire.rpc_parse(input, #input, 64 * 1024 * 1024)
  for _, request in ipairs(found) do
    if self.connections[connection] == true then cluster.spawn(function() serve(self, connection, request) end) end
  end
  return left > 0 and input:sub(-left) or ""
end

local function accept(self)
  local connection, parts, size, timer = self.path and uv.new_pipe(false) or uv.new_tcp(), {}, 0, nil
  self.server:accept(connection)
  self.connections[connection] = true
  if self.deaf then return end
  local function look()
    parts = { take(self, connection, table.concat(parts)) }
    size = #parts[1]
  end
  connection:read_start(function(problem, chunk)
    if timer then timer:close() end
    timer = nil
    if problem or not chunk then return drop(self, connection) end
    parts[#parts + 1], size = chunk, size + #chunk
    if size < LARGE then return look() end
    timer = uv.new_timer()
    timer:start(QUIET_MS, 0, function()
      timer:close()
      timer = nil
      look()
    end)
  end)
end

-- A node of its own life that keeps the newest four events. Waits as it is asked, within a coroutine.
function node:events(ask)
  local restarted = ask.life ~= nil and ask.life ~= self.life
  local after = restarted and 0 or ask.after or self.happened
  local lost = math.max(0, self.happened - 4 - after)
  local until_ms = uv.now() + ask.wait_ms
  while self.happened <= after and not restarted and uv.now() < until_ms do cluster.sleep(5) end
  local list = {}
  for number = after + lost + 1, self.happened do
    list[#list + 1] = { id = number, node = self.id, type = "role", time_ms = number, data = { term = number } }
  end
  return { events = list, life = self.life, lost = lost, next = self.happened, restarted = restarted }
end

-- On a port; or at the path of a unix socket.
function node:listen(path)
  if path then
    self.path, self.address, self.server = path, "unix:" .. path, uv.new_pipe(false)
    assert(self.server:bind(path))
    assert(self.server:listen(128, function() accept(self) end))
    return
  end
  self.server = uv.new_tcp()
  assert(self.server:bind("127.0.0.1", self.port or 0))
  assert(self.server:listen(128, function() accept(self) end))
  self.port = self.server:getsockname().port
  self.address = "127.0.0.1:" .. self.port
end

function node:close()
  for connection in pairs(self.connections) do drop(self, connection) end
  if not self.server:is_closing() then self.server:close() end
end

-- So many nodes over a machine, n1 of them leading. The list closes them all.
function M.nodes(count, counter)
  local nodes = setmetatable({ machine = counter or M.machine() }, { __close = function(self)
    for _, one in ipairs(self) do one:close() end
  end })
  for i = 1, count do
    nodes[i] = setmetatable({ id = "n" .. i, leads = i == 1, nodes = nodes, machine = nodes.machine, connections = {},
      seen = {}, life = i, happened = 0 }, node)
    nodes[i]:listen()
  end
  function nodes.addresses()
    local list = {}
    for i, one in ipairs(nodes) do list[i] = one.address end
    return list
  end
  return nodes
end

-- ---- what specs do with them ----

function M.connect(nodes, options)
  options = options or {}
  options.addresses, options.loop = options.addresses or nodes.addresses(), "luv"
  return assert(moonclave.connect(options))
end

-- Runs body(client, nodes) over so many fake nodes. options: connect's, and the window of sessions.
function M.with(count, options, body)
  cluster.run(function()
    local nodes <close> = M.nodes(count, M.machine(options.window))
    options.window = nil
    local client <close> = M.connect(nodes, options)
    body(client, nodes)
  end)
end

-- A fault that strikes the first request of this method, once.
function M.strike_once(one, method, fault)
  one.fault = function(request)
    if request.method ~= method then return nil end
    one.fault = nil
    return fault
  end
end

-- How many bytes a small number has as an answer.
M.ANSWER_BYTES = #"\x94\x01\x01\xc0\x01"

return M
