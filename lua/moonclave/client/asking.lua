-- One request, asked until there is an outcome: which node, how long, and whether it may be asked again.
--
-- The rule: a request that certainly was not done may always be asked again; one that may have been done only where
-- asking twice does no harm (`safe`: a query, a command in a session or under a key). The deadline is the whole call's.
local channel = require "moonclave.channel"
local errors = require "moonclave.client.errors"

local M = {}

-- A silent node gets this share of the whole time, within these limits, before another is asked; then twice as much
-- each time, for what takes long wherever it is asked.
local ATTEMPT_SHARE, ATTEMPT_S_MIN, ATTEMPT_S_MAX = 4, 1.0, 3.0
local PAUSE_S, PAUSE_S_MAX = 0.02, 0.5      -- between rounds over all nodes, doubled each time, jittered
local MARGIN_S = 0.1                        -- a node is to answer that much before nobody waits any more
local LEAST_S, LEAST_SHARE = 0.05, 10       -- with so little left no other attempt is begun: it would only be unknown

-- What a node is told to give up after, so that its own reason still arrives.
local function node_timeout(seconds) return math.max(0.001, seconds - math.min(MARGIN_S, seconds / 10)) end

local function params_of(call, seconds)
  if not call.options then return call.params end
  local options = { timeout = node_timeout(seconds) }
  for name, value in pairs(call.options) do options[name] = value end
  return "\x92" .. call.arguments .. channel.pack(options)
end

-- Waits for the answer: "answered", or "unsent", "lost", "late", and why. One that is held back at `first` is taken
-- back; a plain command that has been sent cannot be: then all that is left is to wait until `last`.
local function await(client, line, request, first, last)
  local done = request.done or client.waiting:wait(request, first)
  if not done and line:take_back(request) then return "unsent", "it does not answer" end
  if not done and last > first then done = client.waiting:wait(request, last) end
  if done then return request.became, request.why end
  return "late", "it does not answer in time"
end

-- A request that nobody waits for any more, because its time is up, or the coroutine was closed, or a hook has raised.
local abandoned = { __close = function(request)
  if not request.done and not request.line:take_back(request) then request.line:forget(request) end
end }

-- Sends it once.
local function attempt(client, call, address, deadline)
  local now = channel.clock()
  local first = now + call.slice
  if call.target or call.patient or deadline - first < MARGIN_S then first = deadline end
  local last = call.safe and first or deadline
  local line, why = client:line(address, first)
  if not line then return "unsent", why end
  client:refresh(line)
  local request <close> = setmetatable({ method = call.method, params = params_of(call, last - now), line = line },
    abandoned)
  line:submit(request)
  local became, reason = await(client, line, request, first, last)
  return became, reason, request
end

local function unavailable(call)
  local list = {}
  for address, why in pairs(call.reasons) do list[#list + 1] = address .. ": " .. why end
  table.sort(list)
  return errors.new("unavailable", ("%s was not done: nobody could take it in time (%s)"):format(call.name,
    #list > 0 and table.concat(list, "; ") or "no node is known"))
end

local function unknown(call, why)
  return errors.new("timeout", ("%s %s (%s)"):format(call.name, call.effect == false and "has no answer in time" or
    "may or may not have been done", why))
end

-- What remains to be said when there is no more time. `call.may` is why it may have been done.
local function give_up(call)
  if call.may then return nil, unknown(call, call.may) end
  return nil, call.last or unavailable(call)
end

-- An error answer. true: it is what the caller gets, in the form of the second; else it is asked again.
local function refused(client, call, address, err)
  local meaning = errors.meaning(err)
  if meaning == "outcome" then return true, err end
  if meaning == "refused" or call.target then
    return true, call.may and unknown(call, call.may .. "; then: " .. tostring(err)) or err
  end
  client.book:doubt(address)
  if meaning == "unknown" then
    if not call.safe then return true, err end
    call.may = call.may or (address .. ": " .. tostring(err))
  end
  call.last = err
  return false
end

-- No answer. true: that was the last attempt.
local function unanswered(client, call, address, became, why)
  client.book:failed(address)
  call.reasons[address], call.last = why, nil
  if became == "late" then call.slice = call.slice * 2 end
  if became == "unsent" then
    if call.effect == false then call.may = nil end
    return call.target ~= nil
  end
  call.may = address .. ": " .. why
  local twice = call.lost
  call.lost = true
  return not call.safe or (call.target and (twice or became == "late"))
end

-- true, result, err: that is the end of it.
local function try(client, call, address, deadline)
  local became, why, request = attempt(client, call, address, deadline)
  if became ~= "answered" then
    if unanswered(client, call, address, became, why) then return true, give_up(call) end
    return false
  end
  client.book:answered(address)
  if request.err == nil then return true, request.result end
  local final, err = refused(client, call, address, errors.of(request.err))
  return final, nil, err
end

-- Between rounds over all nodes.
local function pause(client, round, deadline)
  local most = math.min(PAUSE_S * 2 ^ (round - 1), PAUSE_S_MAX)
  client.waiting:wait({}, math.min(deadline, channel.clock() + most * (0.5 + channel.random() / 2)))
end

-- call: { name (for people), method, params (packed); or arguments (packed) and options (a table, to which the time
-- that is left is added); safe; effect = false: it has none; target: the address of the only node to ask; patient: an
-- answer may take all of the time }.
-- The result; or nil, err.
function M.ask(client, call, deadline)
  local tried, round, latest = {}, 0, deadline
  call.began, call.reasons = channel.clock(), {}
  call.slice = math.min(math.max((deadline - call.began) / ATTEMPT_SHARE, ATTEMPT_S_MIN), ATTEMPT_S_MAX)
  while channel.clock() < latest and not client.closed do
    local address = call.target or client.book:choose(tried)
    if address then
      tried[address] = true
      local final, result, err = try(client, call, address, deadline)
      if final then return result, err end
      latest = deadline - math.min(LEAST_S, (deadline - call.began) / LEAST_SHARE)
    else
      round, tried = round + 1, {}
      pause(client, round, deadline)
    end
  end
  return give_up(call)
end

return M
