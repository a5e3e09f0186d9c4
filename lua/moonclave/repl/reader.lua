-- What was typed: is it complete, and what does it compile to. An expression needs no `return`.
local M = {}

-- The text of a line that is a command (`\watch 1 members()`): its name and the rest; nil where it is Lua.
function M.command(text)
  local name, rest = text:match "^%s*\\(%a*)%s*(.-)%s*$"
  return name, rest
end

local function is_cut_off(problem)
  return problem ~= nil and problem:find "near <eof>$" ~= nil and not problem:find "unfinished string"
end

-- Does Enter end it? From a person an empty line always does, so that nobody is caught in an input that cannot be
-- completed.
function M.finished(text, from_file)
  if text:find "^%s*$" or M.command(text) or (not from_file and text:find "\n%s*$") then return true end
  local as_expression, expression_problem = load("return " .. text, "=input", "t")
  if as_expression then return true end
  local as_statement, problem = load(text, "=input", "t")
  return as_statement ~= nil or not (is_cut_off(expression_problem) or is_cut_off(problem))
end

-- The function it is, or nil and why not. `number` is the input's: errors and functions remember it.
function M.compile(text, environment, number)
  local name = "=input " .. (number or 0)
  local chunk, as_expression = load("return " .. text, name, "t", environment)
  if chunk then return chunk end
  local problem
  chunk, problem = load(text, name, "t", environment)
  if chunk then return chunk end
  local token = problem:match "unexpected symbol near '(.*)'$" -- no statement begins so: it was meant as an expression
  if token and text:match "^%s*(.*)":sub(1, #token) == token then problem = as_expression end
  return nil, problem
end

-- Comments and blanks only: nothing to run. (A command's name may begin a comment in no Lua.)
function M.is_empty(text)
  local chunk = load(text, "=input", "t")
  return chunk ~= nil and text:gsub("%-%-%[(=*)%[.-%]%1%]", ""):gsub("%-%-[^\n]*", ""):find "^%s*$" ~= nil
end

function M.line(text, number)
  local at = 0
  for line in (text .. "\n"):gmatch "(.-)\n" do
    at = at + 1
    if at == number then return line end
  end
end

-- An error's text without its place ("input 3:2: ..."), and the place: the number of the input, and of the line in it.
function M.place(message)
  local input, line, rest = message:match "^input (%d+):(%d+): (.*)$"
  if not input then return message end
  return rest, math.tointeger(tonumber(input)), math.tointeger(tonumber(line))
end

return M
