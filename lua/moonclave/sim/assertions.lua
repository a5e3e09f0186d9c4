-- assert.linearizable for busted's luassert.
local model_checker = require "moonclave.linearizable.model"

local M = {}

-- The history's own model, unless another is given.
local function linearizable(state, arguments)
  local history, model = arguments[1], arguments[2]
  if type(history) ~= "table" then error("assert.linearizable takes a history: cluster:history()", 3) end
  model = model or history.model
  if not model then
    error("assert.linearizable needs a model: the app's sim.lua has none, and none is given", 3)
  end
  local answer, text = model_checker.check(history, model)
  state.failure_message = text and "the history is not linearizable: " .. text
  return answer == true
end

---@param luassert table
function M.register(luassert)
  local say = require "say"
  say:set("assertion.linearizable.positive", "Expected a linearizable history")
  say:set("assertion.linearizable.negative", "Expected a history that is not linearizable")
  luassert:register("assertion", "linearizable", linearizable, "assertion.linearizable.positive",
    "assertion.linearizable.negative")
end

return M
