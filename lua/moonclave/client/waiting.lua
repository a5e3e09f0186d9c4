-- How a request is waited for: by blocking until a socket has something, or, on luv's loop and within a coroutine, by
-- yielding while the loop goes on. Both look at the same lines; only who is idle meanwhile differs.
--
-- A waiter has `wait(request, deadline)` -> was it done in time, `resolve(address, deadline)` -> what the address
-- stands for (nil, why), `set` for the lines' channels, and `close()`.
local channel = require "moonclave.channel"

local M = {}

-- ---- blocking ----

local blocking = {}
blocking.__index = blocking

-- lines: address -> line
function M.blocking(lines, set)
  return setmetatable({ lines = lines, set = set or channel.set(), ready = {} }, blocking)
end

function blocking:close() self.set:close() end

-- The system's resolver knows no deadline.
function blocking.resolve(_, address) return channel.resolve(address) end

-- One look at all sockets, for at most so many seconds. Who gets an answer may make lines, and close them.
function blocking:look(seconds)
  self.set:wait(seconds)
  local ready, count = self.ready, 0
  self.ready = {}
  for _, line in pairs(self.lines) do
    count = count + 1
    ready[count] = line
  end
  for i = 1, count do
    ready[i]:settle()
    ready[i] = nil
  end
  self.ready = ready
end

function blocking:wait(request, deadline)
  while not request.done do
    local left = deadline - channel.clock()
    if left <= 0 then return false end
    self:look(left)
  end
  return true
end

-- ---- on luv's loop ----

local loop = {}
loop.__index = loop

-- uv: the luv module. Where the caller is no coroutine it blocks, as without luv. The handle keeps no loop alive: who
-- waits does, by a timer. Its callback, which luv holds, keeps no client alive either.
function M.luv(lines, uv, set)
  local self = setmetatable({ uv = uv, blocking = M.blocking(lines, set), timers = {} }, loop)
  self.slot = { __close = function(slot) -- its waiting is over, however it ends
    slot.timer:stop()
    slot.request.wake, slot.request, slot.box.thread = nil, nil, nil
    table.insert(self.timers, slot)
  end }
  local weak = setmetatable({ blocking = self.blocking }, { __mode = "v" })
  self.set = self.blocking.set
  self.handle = assert(uv.new_poll(self.set:fd()))
  self.handle:start("r", function()
    if weak.blocking then weak.blocking:look(0) end
  end)
  self.handle:unref()
  return self
end

-- The handle and the set's descriptor are closed by the collector, in that order. luv (1.44) crashes when a state is
-- closed before its loop has gone on to finish a handle's closing; and libuv, closing a handle whose descriptor is
-- gone, forgets whoever has that number by then.
function loop:close() self.handle:stop() end

local function resume(thread)
  if coroutine.status(thread) ~= "suspended" then return end
  local ok, problem = coroutine.resume(thread)
  if not ok then error(debug.traceback(thread, problem), 0) end
end

-- A timer out of those that are idle. What luv holds is its callback, which knows nothing but the box: what a
-- coroutine refers to is not kept by a timer that it once had.
local function take_timer(self)
  local idle = self.timers[#self.timers]
  if idle then
    self.timers[#self.timers] = nil
    return idle
  end
  local box = {}
  local slot = setmetatable({ timer = self.uv.new_timer(), box = box, callback = function()
    if box.thread then resume(box.thread) end
  end }, self.slot)
  return slot
end

function loop:wait(request, deadline)
  if not coroutine.isyieldable() then return self.blocking:wait(request, deadline) end
  local thread = coroutine.running()
  local slot <close> = take_timer(self)
  slot.box.thread, slot.request = thread, request
  request.wake = function() resume(thread) end
  while not request.done do
    local left = deadline - channel.clock()
    if left <= 0 then return false end
    slot.timer:start(math.max(1, math.ceil(math.min(left, 86400) * 1000)), 0, slot.callback)
    coroutine.yield()
  end
  return true
end

local function numbers_of(found, port)
  local places = {}
  for i, one in ipairs(found) do
    places[i] = (one.family == "inet6" and "[%s]:%d" or "%s:%d"):format(one.addr, port)
  end
  return places
end

-- A name is asked on luv's threads.
function loop:resolve(address, deadline)
  local places, why, host, port = channel.resolve(address, true)
  if places or why then return places, why end
  if not coroutine.isyieldable() then return self.blocking:resolve(address) end
  local asked = {}
  local begun, problem = self.uv.getaddrinfo(host, nil, { socktype = "stream" }, function(err, found)
    asked.err, asked.found, asked.done = err, found, true
    if asked.wake then asked.wake() end
  end)
  if not begun then return nil, "the host is not known: " .. tostring(problem) end
  if not self:wait(asked, deadline) then return nil, "its name is not resolved in time" end
  if asked.err then return nil, "the host is not known: " .. tostring(asked.err) end
  return numbers_of(asked.found, port)
end

return M
