-- What happens in the cluster, as one node tells it: a long poll after the other on that node; when it fails, on
-- another. Each node numbers its own events, anew in each of its lives, so a place is kept for each of them.
local asking = require "moonclave.client.asking"
local channel = require "moonclave.channel"
local errors = require "moonclave.client.errors"

local M = {}

local POLL_S = 5.0                      -- one long poll
local PAUSE_S, PAUSE_S_MAX = 0.05, 1.0 -- where nobody can be asked

---@class moonclave.client.event
---@field id? integer     its number in the node's life; nil for "lost"
---@field life? integer   which one that is: since when, in milliseconds
---@field node? string    whose event it is
---@field time_ms? integer
---@field type string     "role", "leader", "configuration" ...; "lost": some were missed, data says how many
---@field data table      of "lost": { lost = how many the node does not keep any more, restarted = it was, moved = the
---                       address that is asked from now on, because the one before has failed }

---@class moonclave.client.events_options
---@field types? string[]   only these
---@field node? string      only this node's; default: any, and another when it fails
---@field address? string
---@field after? integer    with node and life: what has come after that event; default: from now on
---@field life? integer
---@field timeout? number   seconds to wait for each event: then nil, err. Default: for ever

local stream = {}
stream.__index = stream

-- options: checked; target(options) -> address, or nil for any; nil, err
function M.new(client, options, target)
  return setmetatable({ client = client, options = options, target = target, queue = {}, first = 1, places = {},
    pause = PAUSE_S }, stream)
end

local function add(self, event) self.queue[#self.queue + 1] = event end

-- nil, err: it is of no use to ask again. Else the address to ask; false: nobody for now.
local function address_of(self)
  if self.address then return self.address end
  if self.options.node or self.options.address then
    local address, err = self.target(self.options)
    if not address then return nil, err end
    self.address = address
    return address
  end
  self.tried = self.tried or {}
  local address = self.client.book:choose(self.tried)
  if not address then
    self.tried = nil
    return false
  end
  self.tried[address] = true
  return address
end

local function take(self, address, answer)
  local place = self.places[address]
  if answer.restarted or (answer.lost or 0) > 0 then
    add(self, { type = "lost", data = { lost = answer.lost, restarted = answer.restarted or false } })
  elseif self.told and self.told ~= address then
    add(self, { type = "lost", data = { moved = address, restarted = false } })
  end
  self.told = address
  for _, event in ipairs(answer.events) do
    event.life = answer.life
    add(self, event)
  end
  place.after, place.life = answer.next, answer.life
end

-- true; or nil, err: it is of no use to ask again.
local function poll(self, address, deadline)
  local client, options = self.client, self.options
  local wait = math.min(POLL_S, deadline - channel.clock())
  local place = self.places[address] or (self.told and {}) or { after = options.after, life = options.life }
  self.places[address] = place
  local ask = { after = place.after, life = place.life, types = options.types, wait_ms = math.floor(wait * 1000) }
  local answer, err = asking.ask(client, { name = "events", method = "events", safe = true, effect = false,
    target = address, params = "\x91" .. channel.pack(channel.object(ask)) }, channel.clock() + wait + client.timeout)
  if type(answer) == "table" and type(answer.events) == "table" then
    self.address, self.tried, self.pause = address, nil, PAUSE_S
    take(self, address, answer)
    return true
  end
  self.address = nil
  local meaning = err and errors.meaning(err)
  if meaning == "outcome" or meaning == "refused" then return nil, err end
  return true
end

-- The next event. nil, err: none in time, the client was closed, or nobody tells any.
function stream:next()
  local deadline = self.options.timeout and channel.clock() + self.options.timeout or math.huge
  while not self.queue[self.first] do
    if self.client.closed then return nil, errors.new("unavailable", "the client was closed") end
    if channel.clock() >= deadline then return nil, errors.new("timeout", "nothing has happened in time") end
    self.queue, self.first = {}, 1
    local address, err = address_of(self)
    if address == nil then return nil, err end
    if address then
      local ok, problem = poll(self, address, deadline)
      if not ok then return nil, problem end
    end
    if not self.client.closed and (not address or (self.options.node and not self.address)) then
      self.client.waiting:wait({}, math.min(deadline, channel.clock() + self.pause))
      self.pause = math.min(self.pause * 2, PAUSE_S_MAX)
    end
  end
  local event = self.queue[self.first]
  self.queue[self.first] = nil
  self.first = self.first + 1
  return event
end

return M
