-- A line: the connection to one address, and the requests that wait for their answers on it. It connects when it is
-- made; what is asked before it is connected is held back here, so that it can be taken back for certain.
--
-- A request is a table { method, params }. It ends as `done`, with one of these in `became`:
--   "answered"   err and result are what came
--   "unsent"     it has certainly not left whole; why
--   "lost"       it may have arrived, no answer will come; why
-- and `wake` is called then, where somebody has set it. It may do anything, also with this line.
local channel = require "moonclave.channel"

local line = {}
line.__index = line

-- resolved: what names stand for; open: the next of them. nil, why where there is none to try.
local function open_next(self)
  while true do
    self.candidate = self.candidate + 1
    local place = self.places[self.candidate]
    if not place then return false end
    local made, why = channel.open(place)
    if made then
      local state, problem = made:state()
      if state ~= "closed" then
        self.set:add(made)
        self.channel, self.state = made, state
        return true
      end
      why = problem
    end
    self.why = why
  end
end

-- A line to an address, connecting; `places` is what it resolves to, `set` the channels that are waited for. nil, why:
-- nobody is there.
function line.new(address, places, set)
  local self = setmetatable({ address = address, places = places, set = set, candidate = 0, waiting = {}, count = 0,
    held = {}, last_id = 0 }, line)
  self.settled = setmetatable({}, { __close = function() self.settling = false end })
  if not open_next(self) then return nil, self.why end
  return self
end

local function finish(request, became, why)
  request.done, request.became, request.why = true, became, why
  local wake = request.wake
  if wake then wake(request) end
end

local function send(self, request)
  local state, why = self.channel:state()
  if state == "closed" then return finish(request, "unsent", why) end
  local id, mark = self.channel:send(request.method, request.params)
  request.id, request.mark = id, mark
  self.waiting[id] = request
  self.last_id = id
  self.count = self.count + 1
end

-- false: the other side has gone while nobody looked.
function line:alive()
  if self.state == "open" and self.count == 0 then
    self.channel:work()
    self:settle()
  end
  return self.state ~= "closed" and self.channel:state() ~= "closed"
end

function line:submit(request)
  if self.state == "closed" then return finish(request, "unsent", self.why) end
  if self.state == "connecting" then
    self.held[#self.held + 1] = request
    return
  end
  send(self, request)
  if not self.settling then self:flush() end
end

function line:flush()
  self.channel:flush()
  if self.channel:state() == "closed" then self:settle() end
end

-- true: it was held back still; it has not been sent and never will be.
function line:take_back(request)
  for i, held in ipairs(self.held) do
    if held == request then
      table.remove(self.held, i)
      return true
    end
  end
  return false
end

-- Nobody waits for it any more: its answer, should it come, is passed over.
function line:forget(request)
  if not request.id or self.waiting[request.id] ~= request then return end
  self.waiting[request.id] = nil
  self.count = self.count - 1
end

local function answers(self)
  local id, err, result = self.channel:next()
  while id do
    local request = self.waiting[id]
    if request then
      self.waiting[id] = nil
      self.count = self.count - 1
      request.err, request.result = err, result
      finish(request, "answered")
    elseif id > self.last_id then
      self:close "it answers what nobody has asked"
      return
    end -- else somebody gave up waiting for it
    id, err, result = self.channel:next()
  end
end

local function ended(self, why)
  local written = self.channel:written()
  local waiting, held = self.waiting, self.held
  self.state, self.why, self.waiting, self.held, self.count = "closed", why, {}, {}, 0
  self.channel:close()
  for _, request in pairs(waiting) do
    finish(request, request.mark <= written and "lost" or "unsent", why)
  end
  for _, request in ipairs(held) do finish(request, "unsent", why) end
end

-- Connected: what was held back goes out.
local function opened(self)
  self.state = "open"
  local held = self.held
  self.held = {}
  for _, request in ipairs(held) do send(self, request) end
end

-- One look at the channel: hands out its answers, and notices that it has connected or closed.
local function look(self)
  local state, why = self.channel:state()
  if self.state == "connecting" then
    if state == "connecting" then return end
    if state == "closed" then
      self.why = why
      if not open_next(self) then ended(self, self.why) end
      return
    end
    opened(self)
  end
  answers(self)
  if self.state ~= "closed" and state == "closed" then ended(self, why) end
end

-- After the channel has worked. What is asked meanwhile by those who got their answers goes out together at the end.
-- They may raise, and so may a hook of the script's (Ctrl-C): the line stays usable.
function line:settle()
  if self.settling or self.state == "closed" then return end
  self.settling = true
  local _ <close> = self.settled
  look(self)
  if self.state == "open" then
    self.channel:flush()
    if self.channel:state() == "closed" then look(self) end
  end
end

-- What has been asked goes out still, as far as that takes no waiting.
function line:close(why)
  if self.state == "closed" then return end
  self.channel:flush()
  ended(self, why)
end

return line
