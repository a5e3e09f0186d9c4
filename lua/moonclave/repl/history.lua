-- The history in a file: one input a line, with its own line ends and backslashes escaped. Each is appended as it is
-- typed, so that nothing is lost when the process is, and two at once do not overwrite each other.
local editor = require "moonclave.editor"

local M = {}

local KEPT = 2000

function M.path()
  local given = os.getenv "MOONCLAVE_HISTORY"
  if given then return given ~= "" and given or nil end
  local home = os.getenv "HOME"
  return home and home ~= "" and home .. "/.moonclave_history" or nil
end

local function escape(text) return (text:gsub("\\", "\\\\"):gsub("\n", "\\n")) end
local function unescape(line) return (line:gsub("\\(.)", function(c) return c == "n" and "\n" or c end)) end

-- The newest inputs, oldest first.
function M.load(path)
  local list = {}
  local file = path and io.open(path, "r")
  if not file then return list end
  for line in file:lines() do
    if line ~= "" then list[#list + 1] = unescape(line) end
  end
  file:close()
  if #list <= KEPT then return list end
  local newest = table.move(list, #list - KEPT + 1, #list, 1, {})
  if #list > 2 * KEPT and os.remove(path) then
    for _, text in ipairs(newest) do M.append(path, text) end
  end
  return newest
end

-- false: it cannot be written.
function M.append(path, text)
  return path ~= nil and editor.append(path, escape(text) .. "\n")
end

return M
