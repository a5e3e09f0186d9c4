-- How a request is waited for: by blocking in poll, or, on luv's loop and within a coroutine, by yielding while the
-- loop goes on. Both work on the same lines; only who looks at the sockets differs.
--
-- A waiter has `wait(request, deadline)` -> was it done in time, `watch(line)` for each new line, `close()`.
local channel = require "moonclave.channel"

local M = {}

-- ---- blocking ----

local blocking = {}
blocking.__index = blocking

function M.blocking(lines) return setmetatable({ lines = lines, channels = {} }, blocking) end

function blocking.watch() end
function blocking.close() end

-- One look at all sockets, for at most so many seconds.
function blocking:look(seconds)
  local channels, count = self.channels, 0
  for _, line in pairs(self.lines) do
    if line.state ~= "closed" then
      count = count + 1
      channels[count] = line.channel
    end
  end
  for i = #channels, count + 1, -1 do channels[i] = nil end
  channel.wait(channels, seconds)
  local ready = {}
  for _, line in pairs(self.lines) do ready[#ready + 1] = line end
  for _, line in ipairs(ready) do line:settle() end
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

-- uv: the luv module. Where the caller is no coroutine it blocks, as without luv.
function M.luv(lines, uv)
  return setmetatable({ uv = uv, blocking = M.blocking(lines), polls = {} }, loop)
end

local function unwatch(self, line)
  local poll = self.polls[line]
  self.polls[line] = nil
  if poll and not poll.handle:is_closing() then
    poll.handle:stop()
    poll.handle:close()
  end
end

-- Called whenever the line's channel may be another, or wait for something else. The handle keeps no loop alive: who
-- waits does, by a timer.
local function rewatch(self, line)
  local poll, made = self.polls[line], line.channel
  local descriptor, writes = made:fd()
  if poll and (poll.channel ~= made or descriptor < 0) then unwatch(self, line) end
  if descriptor < 0 then return end
  poll = self.polls[line]
  if not poll then
    poll = { channel = made, handle = assert(self.uv.new_poll(descriptor)) }
    poll.handle:unref()
    self.polls[line] = poll
  end
  local events = writes and "rw" or "r"
  if poll.events == events then return end
  poll.events = events
  poll.handle:start(events, function()
    made:work()
    line:settle()
  end)
end

function loop:watch(line)
  if line.state == "closed" then return end
  line.on_change = function() rewatch(self, line) end
  rewatch(self, line)
end

function loop:close()
  for line in pairs(self.polls) do
    line.on_change = nil
    unwatch(self, line)
  end
end

local function resume(thread)
  if coroutine.status(thread) ~= "suspended" then return end
  local ok, problem = coroutine.resume(thread)
  if not ok then error(debug.traceback(thread, problem), 0) end
end

function loop:wait(request, deadline)
  if not coroutine.isyieldable() then return self.blocking:wait(request, deadline) end
  local thread = coroutine.running()
  local timer = self.uv.new_timer()
  local guard <close> = setmetatable({}, { __close = function() -- luacheck: ignore 211
    request.wake = nil
    if not timer:is_closing() then timer:close() end
  end })
  request.wake = function() resume(thread) end
  while not request.done do
    local left = deadline - channel.clock()
    if left <= 0 then return false end
    timer:start(math.max(1, math.ceil(left * 1000)), 0, function() resume(thread) end)
    coroutine.yield()
  end
  return true
end

return M
