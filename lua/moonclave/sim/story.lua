-- What is told of a seed that fails: the invariant, the schedule, and the line that runs exactly that again.
local trims = require "moonclave.sim.trim"
local words = require "moonclave.sim.words"

local M = {}

local function quote(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

local function plain(text) return text:find "^[%w_./@%%+=:,-]+$" and text or quote(text) end

---@param options { app: string, deploy?: string, disk?: string, mutant?: string, program?: string }
---  program: as it was called
---@param seed integer
---@param trim moonclave.sim.trim
function M.replay_command(options, seed, trim)
  local parts = { options.program or "moonclave", "sim", plain(options.app), "--seed", tostring(seed) }
  if options.deploy then parts[#parts + 1] = "--deploy " .. plain(options.deploy) end
  if options.disk and options.disk ~= "model" then parts[#parts + 1] = "--disk " .. options.disk end
  if options.mutant then parts[#parts + 1] = "--mutant " .. options.mutant end
  local text = trims.text(trim)
  if text ~= "" then parts[#parts + 1] = "--replay " .. quote(text) end
  return table.concat(parts, " ")
end

local function indent(text) return "  " .. text:gsub("\n", "\n  ") end

local function plural(count, what) return ("%d %s%s"):format(count, what, count == 1 and "" or "s") end

local function heading(seed, violation)
  local at = violation.time_us and violation.time_us > 0 and (" at %.3f s"):format(violation.time_us / 1e6) or ""
  return ("seed %d: %s does not hold%s"):format(seed, violation.invariant, at)
end

---The lines of one failing seed.
---@param failing { seed: integer, result: table }
---@param found { trim: moonclave.sim.trim, result: table, runs: integer, seconds: number, whole: table?,
---  not_again: boolean? }
---@param options { app: string, disk?: string, mutant?: string }
---@return string[]
function M.lines(failing, found, options)
  local violation = failing.result.violation
  local lines = { heading(failing.seed, violation), indent(violation.detail) }
  local also = failing.result.also
  if also then
    lines[#lines + 1] = heading(failing.seed, also)
    lines[#lines + 1] = indent(also.detail)
  end
  local whole = found.whole or failing.result
  local strikes, asks = whole.strikes or {}, whole.asks or {}
  if found.not_again then
    lines[#lines + 1] = "it did not come again in a second run: does sim.lua draw from anywhere but what it is given?"
  elseif found.runs > 0 then
    lines[#lines + 1] = ("shrunk in %.1f s, %s: %s to %d, %s to %d"):format(found.seconds, plural(found.runs, "run"),
      plural(#strikes, "fault"), #(found.result.strikes or {}), plural(#asks, "request"), #(found.result.asks or {}))
  end
  lines[#lines + 1] = "schedule:"
  for _, line in ipairs(words.schedule(found.result)) do lines[#lines + 1] = line end
  if found.result.violation.detail ~= violation.detail then
    lines[#lines + 1] = indent(found.result.violation.detail)
  end
  lines[#lines + 1] = "replay: " .. M.replay_command(options, failing.seed, found.trim)
  return lines
end

return M
