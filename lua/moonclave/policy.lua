-- The default membership policy: what an app's policy.lua does not define is done as here. Its functions can be called
-- from there too: local default = require "moonclave.policy".
--
-- Who joins gets the log as a learner, and votes once it has been healthy for policy_stable_ms and lacks no more than
-- policy_lag_max entries. Who is silent for policy_dead_ms is dead. Dead learners go; a dead voter goes when enough
-- others are well: policy_voters_min of them, stable, so that in a small cluster its replacement comes first. Servers
-- with a label zone= keep apart: no zone gets, or keeps, so many voters that its loss would take the quorum, where
-- that can be avoided. Leadership goes to the highest priority.
--
-- A policy is shown the view (moonclave/meta/policy.lua says what is in it) and answers; the host judges every answer
-- and does one thing at a time.
local policy = {}

-- ---- health ----

local function is_dead(server, view) return server.silent_for >= view.settings.dead_after end

local function is_stable(server, view) return server.healthy and server.stable_for >= view.settings.stable_for end

local function is_ready(server, view)
  return server.promotable and is_stable(server, view) and server.lag <= view.settings.lag_max
end

-- Those of a list for which `test` holds.
local function select_from(list, test, view)
  local chosen = {}
  for _, server in ipairs(list) do
    if test(server, view) then chosen[#chosen + 1] = server end
  end
  return chosen
end

local function is_living(server, view) return not is_dead(server, view) end

-- ---- zones ----

-- One without a zone fails alone.
local function zone_of(server) return server.zone and "zone " .. server.zone or "server " .. server.id end

local function voters_by_zone(voters)
  local counts = {}
  for _, server in ipairs(voters) do
    local zone = zone_of(server)
    counts[zone] = (counts[zone] or 0) + 1
  end
  return counts
end

-- Would the loss of some zone take the quorum? Of so many voters (#voters - 1) // 2 may fail.
local function zone_holds_quorum(voters)
  for _, count in pairs(voters_by_zone(voters)) do
    if count > (#voters - 1) // 2 then return true end
  end
  return false
end

local function with(voters, ...)
  local list = { ... }
  for _, server in ipairs(voters) do list[#list + 1] = server end
  return list
end

local function without(voters, server)
  local list = {}
  for _, other in ipairs(voters) do
    if other ~= server then list[#list + 1] = other end
  end
  return list
end

-- May it vote beside these? Not where no zone could take the quorum so far, and one could with it; unless that lasts
-- only until another one that is ready follows.
local function fits(server, voters, ready)
  if zone_holds_quorum(voters) or not zone_holds_quorum(with(voters, server)) then return true end
  for _, other in ipairs(ready) do
    if other ~= server and not zone_holds_quorum(with(voters, server, other)) then return true end
  end
  return false
end

-- ---- the policy ----

-- What concerns the whole view is found once: a view is shown server by server, and nobody else sees it.
local function once(view, key, find)
  if view[key] == nil then view[key] = find(view) or false end
  return view[key]
end

-- One at a time: of those that are ready the one whose zone has the fewest voters, then the first by id.
local function to_promote(view)
  local voters = select_from(view.voters, is_living, view)
  local ready = select_from(view.learners, is_ready, view)
  local counts = voters_by_zone(voters)
  local best
  for _, candidate in ipairs(ready) do
    local count = counts[zone_of(candidate)] or 0
    if fits(candidate, voters, ready) and (not best or count < (counts[zone_of(best)] or 0)) then best = candidate end
  end
  return best
end

-- Of a zone that could take the quorum: whose vote can go, so that it could not, while all the others are well.
local function to_demote(view)
  local voters, last = select_from(view.voters, is_living, view), nil
  if not zone_holds_quorum(voters) then return nil end
  for _, candidate in ipairs(voters) do
    if candidate.zone and not candidate.leader then
      local rest = without(voters, candidate)
      local cures = #rest >= view.settings.voters_min and not zone_holds_quorum(rest) and
        #select_from(rest, is_stable, view) == #rest
      if cures then last = candidate end
    end
  end
  return last
end

function policy.admit() return "learner" end

function policy.promote(server, view)
  return is_ready(server, view) and once(view, "to_promote", to_promote) == server
end

-- Conservative: only while no more than a minority is dead, and while those that stay are well.
function policy.evict(server, view)
  if not is_dead(server, view) then return false end
  if server.role == "learner" then return true end
  local dead = select_from(view.voters, is_dead, view)
  local stable = select_from(without(view.voters, server), is_stable, view)
  return #dead <= (#view.voters - 1) // 2 and #stable >= view.settings.voters_min and #stable >= view.quorum
end

function policy.demote(server, view) return once(view, "to_demote", to_demote) == server end

-- The highest priority, where somebody's is higher than the leader's.
function policy.prefer_leader(view)
  local best
  for _, server in ipairs(view.voters) do
    if server.leader then
      if not best or server.priority >= best.priority then best = server end
    elseif is_stable(server, view) and (not best or server.priority > best.priority) then
      best = server
    end
  end
  if best and not best.leader then return best.id end
  return nil
end

return policy
