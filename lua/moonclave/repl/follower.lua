-- What the prompt says: who leads, in which term, how far its state is. Asks one node for its status again and
-- again, over a connection of its own that never waits, so that typing goes on while nodes die; goes to the leader
-- where another node names one, and through all that are known where nobody answers.
local channel = require "moonclave.channel"

local EVERY_S = 0.25      -- between two questions
local PATIENCE_S = 1.0    -- a node that does not answer for so long is left
local GRACE_S = 0.5       -- what was last seen is shown for so long without a word
local AGAIN_S = 0.15      -- between two attempts to connect
local HINT_AGAIN_S = 1.0  -- a leader that was named and did not answer is tried again after so long
local NO_PARAMS = "\x90"

local follower = {}
follower.__index = follower

-- addresses: where to begin. fixed: the only address to ask (a control socket), or nil.
function follower.new(addresses, fixed)
  local self = setmetatable({ addresses = {}, members = {}, next_at = 0, place = 0, hints = {}, fixed = fixed,
    set = channel.set() }, follower)
  for i, address in ipairs(addresses) do self.addresses[i] = address end
  return self
end

local function leave(self)
  if self.channel then self.channel:close() end
  self.channel, self.asked_at, self.address = nil, nil, nil
end

function follower:close()
  leave(self)
  self.set:close()
end

-- Another node, or none in particular, from now on.
function follower:aim(target)
  if self.target == target then return end
  self.target, self.hint = target, nil
  leave(self)
  self.next_at = 0
end

local function address_of(self, id)
  for _, member in ipairs(self.members) do
    if member.id == id then return member.address end
  end
end

-- All places there are to ask: what was given, and the members.
local function places(self)
  local list, known = {}, {}
  local function add(address)
    if address and address ~= "" and not known[address] then
      known[address] = true
      list[#list + 1] = address
    end
  end
  for _, member in ipairs(self.members) do add(member.address) end
  for _, address in ipairs(self.addresses) do add(address) end
  return list
end

local function choose(self)
  if self.fixed then return self.fixed end
  if self.target then return address_of(self, self.target) or self.addresses[1] end
  local hint = self.hint
  self.hint = nil
  if hint then return hint end
  local list = places(self)
  self.place = self.place % #list + 1
  return list[self.place]
end

local function connect(self, now)
  self.next_at = now + AGAIN_S
  local address = choose(self)
  local resolved = address and channel.resolve(address)
  local made = resolved and channel.open(resolved[1])
  if not made then return end
  self.set:add(made)
  self.channel, self.address, self.connected_at = made, address, now
  self.next_at = now
end

local function ask(self, now)
  self.channel:send("status", NO_PARAMS)
  if now - (self.members_at or -math.huge) > 2.0 then
    self.members_id = self.channel:send("members", NO_PARAMS)
    self.members_at = now
  end
  self.asked_at = now
end

-- A follower names the leader: that is who is wanted, unless it did not answer a moment ago.
local function follow(self, status, now)
  local leader = status.leader_address
  if self.target or self.fixed or status.role == "leader" then return end
  if not leader or leader == "" or leader == self.address then return end
  if now - (self.hints[leader] or -math.huge) < HINT_AGAIN_S then return end
  self.hints[leader] = now
  leave(self)
  self.hint, self.next_at = leader, now
end

local function take(self, now)
  local id, err, result = self.channel:next()
  while id do
    if id == self.members_id then
      if type(result) == "table" and #result > 0 then self.members = result end
    elseif not err and type(result) == "table" then
      self.status, self.seen_at, self.asked_at, self.next_at = result, now, nil, now + EVERY_S
      if result.role == "leader" then self.led = { status = result, at = now } end
      self.answers = (self.answers or 0) + 1
      follow(self, result, now)
      if not self.channel then return end
    else
      self.asked_at, self.next_at = nil, now + EVERY_S
    end
    id, err, result = self.channel:next()
  end
end

-- Does what can be done without waiting. Seconds until there is something to do without being woken.
function follower:tick()
  local now = channel.clock()
  if not self.channel then
    if now < self.next_at then return self.next_at - now end
    connect(self, now)
    if not self.channel then return AGAIN_S end
  end
  self.set:wait(0)
  take(self, now)
  if not self.channel then return 0 end
  local state = self.channel:state()
  local late = now - (self.asked_at or self.connected_at) > PATIENCE_S and (self.asked_at or state ~= "open")
  if state == "closed" or late then
    leave(self)
    self.next_at = now + (self.target and AGAIN_S or 0.02)
    return self.next_at - now
  end
  if state == "open" and not self.asked_at and now >= self.next_at then
    ask(self, now)
    self.channel:flush()
  end
  if self.asked_at or state ~= "open" then return PATIENCE_S / 4 end
  return math.max(self.next_at - now, 0)
end

-- What is readable when there is something to do.
function follower:descriptor() return self.set:fd() end

-- Waits until a newer word has come than was there, at most so long: behind a command, so that the prompt shows it.
function follower:refresh(seconds)
  local deadline, answers = channel.clock() + seconds, self.answers or 0
  self.members_at = nil -- they may be others too
  if self.asked_at and self.channel then -- its answer is older than what has just been done
    answers = answers + 1
  end
  repeat
    if self.channel then self.next_at = 0 end
    local pause = self:tick()
    if (self.answers or 0) > answers then return true end
    local left = deadline - channel.clock()
    if left > 0 then self.set:wait(math.max(math.min(pause, left), 0)) end
  until channel.clock() >= deadline
  return false
end

-- id, what it is, term, applied index: as texts for the prompt; nil: nobody has answered yet or any more.
function follower:view()
  local now, status = channel.clock(), self.status
  if not status or now - self.seen_at > PATIENCE_S + GRACE_S then return nil end
  if not self.target and not self.fixed and status.role ~= "leader" then
    local led = self.led
    if led and now - led.at < GRACE_S then
      status = led.status
    else
      return status.id, "no leader", status.term, status.applied_index
    end
  end
  local what = status.role
  if what == "follower" and (status.leader == nil or status.leader == "") then what = "no leader" end
  return status.id, what, status.term, status.applied_index
end

return follower
