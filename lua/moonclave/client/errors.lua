-- What the client returns beside nil: tables with code and message, whose tostring is for people. And what an answer
-- says about the one question that matters: may the request still take effect?
local M = {}

---@class moonclave.client.error : moonclave.error
---@field code string      one of the cluster's (README.md), or the app's own
---@field message string   what, where, what to do
---@field rejected? any    not nil: the app's own refusal; its code is the app's, whatever it is called

local error_type = {
  __name = "moonclave.error",
  __tostring = function(err)
    return err.message and ("%s: %s"):format(tostring(err.code), tostring(err.message)) or tostring(err.code)
  end,
}

-- Refusals by a node or the cluster: certainly not done, and another node, or the same one later, may well do it.
local AGAIN = { not_leader = true, unavailable = true, shutting_down = true, overloaded = true, disk_full = true,
  wiped = true, removed = true }

-- Nobody knows whether it was done.
local UNKNOWN = { timeout = true, io_error = true, corrupt = true, internal = true }

-- What the state machine answers to the command itself: the outcome of every attempt to have it done.
local OUTCOME = { command_failed = true, no_such_command = true, bad_request = true, reused = true }

-- Definite refusals that say nothing of earlier attempts.
local FINAL = { too_large = true, unauthorized = true, not_found = true, foreign = true, version = true,
  script_error = true, usage = true, conflict = true, forgotten = true, session_expired = true }

---@param code string
---@param message string
---@return moonclave.client.error
function M.new(code, message) return setmetatable({ code = code, message = message }, error_type) end

-- What came over the wire in place of a result.
function M.of(value)
  if type(value) ~= "table" or type(value.code) ~= "string" then
    value = { code = "internal", message = "what answers has sent an error without a code" }
  end
  return setmetatable(value, error_type)
end

-- What an error answer means: "outcome" (this is what became of the request), "again" (not done: ask elsewhere or
-- later), "unknown", or "refused" (not done, and asking again is of no use).
function M.meaning(err)
  local code = err.code
  if err.rejected ~= nil or OUTCOME[code] then return "outcome" end
  if AGAIN[code] then return "again" end
  if UNKNOWN[code] then return "unknown" end
  if FINAL[code] then return "refused" end
  return "outcome"
end

return M
