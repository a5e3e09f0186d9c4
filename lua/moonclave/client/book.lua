-- Who is there: the addresses that were given, the members that the cluster names, who leads as far as is known, and
-- which of them to ask next.
local channel = require "moonclave.channel"

local QUIET_S, QUIET_S_MAX = 0.25, 8.0 -- a node that failed is asked after the others for so long

local book = {}
book.__index = book

---@class moonclave.client.node
---@field id? string       nil: an address that was given and has not said who it is
---@field address string
---@field role? string     "voter" or "learner"
---@field leader boolean   it led when last heard of
---@field seen? number     seconds since it last answered; nil: never

local function add(self, address)
  local node = { address = address, failures = 0, quiet_until = 0, rank = channel.random() }
  self.nodes[#self.nodes + 1] = node
  return node
end

function book.new(addresses)
  local self = setmetatable({ nodes = {}, learned_at = nil }, book)
  for _, address in ipairs(addresses) do
    if not self:at(address) then add(self, address).given = true end
  end
  return self
end

function book:at(address)
  for _, node in ipairs(self.nodes) do
    if node.address == address then return node end
  end
end

function book:by_id(id)
  for _, node in ipairs(self.nodes) do
    if node.id == id then return node end
  end
end

-- The cluster's members, as RPC `members` shows them. Addresses that were given stay: they are the way back when all
-- members have moved. Returns the addresses that are none any more.
function book:learn(members)
  self.learned_at = channel.clock()
  if #members == 0 then return {} end -- a node that does not belong to a cluster yet
  local leader
  for _, node in ipairs(self.nodes) do node.id, node.role = nil, nil end
  for _, member in ipairs(members) do
    if type(member) == "table" and type(member.id) == "string" and type(member.address) == "string" then
      local node = self:at(member.address) or add(self, member.address)
      node.id, node.role = member.id, member.role
      if member.state == "leader" then leader = node end
    end
  end
  local gone = {}
  for i = #self.nodes, 1, -1 do
    local node = self.nodes[i]
    if not node.id and not node.given then gone[#gone + 1] = table.remove(self.nodes, i).address end
  end
  self.leader = leader
  return gone
end

function book:answered(address)
  local node = self:at(address)
  if not node then return end
  node.seen_at, node.failures, node.quiet_until = channel.clock(), 0, 0
  self.current = node
end

-- It could not be reached, or kept silent.
function book:failed(address)
  local node = self:at(address)
  if not node then return end
  node.failures = node.failures + 1
  node.quiet_until = channel.clock() + math.min(QUIET_S * 2 ^ (node.failures - 1), QUIET_S_MAX)
  self:doubt(address)
end

-- What is known of the leader may be wrong.
function book:doubt(address)
  local node = self:at(address)
  if not node then return end
  if node == self.leader then self.leader = nil end
  if node == self.current then self.current = nil end
  self.learned_at = nil
end

-- Lower is asked sooner: the leader, the one that answered last, members, given addresses; then those that failed.
local function place(self, node, now)
  if node.quiet_until > now then return 4 + node.failures + node.rank end
  if node == self.leader then return 0 end
  if node == self.current then return 1 end
  return (node.id and 2 or 3) + node.rank
end

-- The address to ask next, of those not in the set `tried`; nil: all are in it.
function book:choose(tried)
  local now, best, best_place = channel.clock(), nil, nil
  for _, node in ipairs(self.nodes) do
    if not tried[node.address] then
      local its = place(self, node, now)
      if not best or its < best_place then best, best_place = node, its end
    end
  end
  return best and best.address
end

function book:list()
  local list, now = {}, channel.clock()
  for i, node in ipairs(self.nodes) do
    list[i] = { id = node.id, address = node.address, role = node.role, leader = node == self.leader,
      seen = node.seen_at and now - node.seen_at }
  end
  table.sort(list, function(a, b)
    if (a.id == nil) ~= (b.id == nil) then return a.id ~= nil end
    if a.id ~= b.id then return a.id < b.id end
    return a.address < b.address
  end)
  return list
end

return book
