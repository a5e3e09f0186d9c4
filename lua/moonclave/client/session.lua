-- A session: the identity under which commands are done once, however often they are sent. Opened when the first
-- command needs it; each command takes the next sequence and keeps it through all its attempts.
local channel = require "moonclave.channel"
local errors = require "moonclave.client.errors"

local RENEW_SHARE = 3 -- renewed when it has not been used for a third of its time

local session = {}
session.__index = session

-- ask(method, arguments, deadline) -> result | nil, err: over the network, again until the deadline
function session.new(ask, wait)
  local under_way = setmetatable({}, { __mode = "k" }) -- weak, for a script that forgets a coroutine
  local self = setmetatable({ ask = ask, wait = wait, under_way = under_way, crowd = {} }, session)
  self.place = { __close = function(entry) self:leave(entry) end }
  return self
end

local function wake_all(waiters)
  for _, waiter in ipairs(waiters) do
    waiter.done = true
    if waiter.wake then waiter.wake() end
  end
end

-- Only one caller opens it; the others wait for what becomes of that, also where it is that the caller's coroutine is
-- closed, or the script's hook raises.
local function open(self, deadline)
  local waiters = {}
  local _ <close> = setmetatable({}, { __close = function()
    self.opening = nil
    wake_all(waiters)
  end })
  self.opening = waiters
  local opened, err = self.ask("session/open", nil, deadline)
  if not opened then return nil, err end
  self.id, self.window, self.timeout_s = opened.session, opened.window, opened.timeout_ms / 1000
  self.next, self.least, self.used_at = 1, 1, channel.clock()
  return true
end

-- The oldest sequence that may still be sent again: the cluster must keep all replies from it on.
local function oldest(self)
  local least = self.next
  for entry in pairs(self.under_way) do
    if entry.session == self.id and entry.sequence < least then least = entry.sequence end
  end
  return least
end

-- Is there a place for the next one? `least` is not above the oldest: it is looked for only when it is in the way.
local function has_room(self)
  if self.next - self.least < self.window then return true end
  self.least = oldest(self)
  return self.next - self.least < self.window
end

-- Its outcome is known, or given up on. Those who wait for room are woken in their order, as long as there is some.
function session:leave(entry)
  self.under_way[entry] = nil
  while self.crowd[1] and self.id and has_room(self) do
    local waiter = table.remove(self.crowd, 1)
    waiter.done = true
    if waiter.wake then waiter.wake() end
  end
end

-- A place in the session, to be closed: { session, sequence }. nil, err: none by the deadline.
function session:enter(deadline)
  while true do
    local waiter = {}
    if self.opening then
      table.insert(self.opening, waiter)
      if not self.wait(waiter, deadline) then break end
    elseif not self.id then
      local ok, err = open(self, deadline)
      if not ok then return nil, err end
    elseif has_room(self) then
      local entry = setmetatable({ session = self.id, sequence = self.next }, self.place)
      self.next, self.used_at = self.next + 1, channel.clock()
      self.under_way[entry] = true
      return entry
    else
      table.insert(self.crowd, waiter)
      if not self.wait(waiter, deadline) then break end
    end
  end
  return nil, errors.new("overloaded", "as many commands as the session may have are under way")
end

-- The cluster says that it is not open any more. The next command opens another.
function session:expired(id)
  if self.id ~= id then return end
  self.id = nil
  local crowd = self.crowd
  self.crowd = {}
  wake_all(crowd)
end

-- The arguments of session/renew, when it is time for that; nil: it is not.
function session:due()
  if not self.id or channel.clock() - self.used_at < self.timeout_s / RENEW_SHARE then return nil end
  self.used_at = channel.clock()
  return { session = self.id, acknowledged = oldest(self) - 1 }
end

return session
