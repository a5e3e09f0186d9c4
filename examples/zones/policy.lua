-- Who may be a member: servers that say in which zone they stand. What is not defined here is done as the default
-- policy does it (lua/moonclave/policy.lua): zones keep their voters apart, the dead are replaced before they go.
local default = require "moonclave.policy"

local HOME = "a" -- the zone that is nearest to the clients: leadership is to be there

local policy = {}

-- A witness holds the log and is asked nothing else: it never votes.
local function is_witness(server) return server.labels.role == "witness" end

function policy.admit(server, view)
  if not server.zone then return nil, "it has no zone: start it with --label zone=NAME" end
  if #view.servers >= 9 then return nil, "the cluster has nine servers, which is enough" end
  return "learner"
end

-- The default promotes the best one that is ready: witnesses are not to be among them. (A view is ours to change.)
function policy.promote(server, view)
  for _, learner in ipairs(view.learners) do
    if is_witness(learner) then learner.promotable = false end
  end
  return default.promote(server, view)
end

-- Not at night: nobody is there to bring a replacement. view.time is UTC.
function policy.evict(server, view)
  local hour = view.time // 3600 % 24
  return hour >= 7 and hour < 19 and default.evict(server, view)
end

-- The voter of the home zone that has been well for longest, where the leader is elsewhere.
function policy.prefer_leader(view)
  local best
  for _, server in ipairs(view.voters) do
    if server.zone == HOME and server.leader then return nil end
    local well = server.zone == HOME and server.healthy and server.stable_for >= view.settings.stable_for
    if well and (not best or server.stable_for > best.stable_for) then best = server end
  end
  return best and best.id
end

return policy
