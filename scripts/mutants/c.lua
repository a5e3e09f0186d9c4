-- Reads C as far as mutants need it: tokens, statements, and the conditions in them. Answers the same file with every
-- guard in it switchable at run time, and the list of what can be switched.
--
--   local text, mutants = c.mutate(source, "raft/vote.c", first_number)
--   mutants: array of { number =, file =, line =, func =, kind =, text =, change = }
--
-- What is a guard: the conditions of if, while, for and ?:, and every comparison, && and || whose value is returned,
-- kept or passed on. What is done to them:
--   negate   the whole condition is negated
--   never    an if or a loop is never entered: the guard is gone
--   remove   an operand of && or || no longer counts
--   invert   an operand of && or || is negated
--   bound    < becomes <=, <= becomes <, > becomes >=, >= becomes >
-- What is none: assertions, what is only logged, and bounds that cannot matter by their shape (the larger of two).
local M = {}

local PUNCTUATION = { "<<=", ">>=", "...", "->", "++", "--", "<=", ">=", "==", "!=", "&&", "||", "+=", "-=", "*=", "/=",
  "%=", "&=", "|=", "^=", "<<", ">>" }
local ASSIGNS = {}
for text in ("= += -= *= /= %= &= |= ^= <<= >>="):gmatch "%S+" do ASSIGNS[text] = true end
local BOUNDS = { ["<"] = "<=", ["<="] = "<", [">"] = ">=", [">="] = ">" }
local BOUND_CALLS = { ["<"] = "MUTANT_BELOW", ["<="] = "MUTANT_UP_TO", [">"] = "MUTANT_ABOVE", [">="] = "MUTANT_FROM" }
local OPENS, CLOSES = { ["("] = ")", ["["] = "]", ["{"] = "}" }, { [")"] = true, ["]"] = true, ["}"] = true }
-- Calls whose arguments are words for people, or questions to the compiler.
local OPAQUE = { assert = true, host_log = true, error_set = true, sizeof = true, _Static_assert = true }

-- ---- tokens: { text =, space = what stands before it, line = } ----

local function next_token(source, at)
  for _, text in ipairs(PUNCTUATION) do
    if source:sub(at, at + #text - 1) == text then return text end
  end
  return source:match("^[%a_][%w_]*", at) or source:match("^%.?%d[%w_.]*", at) or source:match('^"[^"\\]*"', at) or
    source:sub(at, at)
end

local function quoted(source, at, quote)
  local last = at + 1
  while source:sub(last, last) ~= quote do last = last + (source:sub(last, last) == "\\" and 2 or 1) end
  return source:sub(at, last)
end

-- Comments and preprocessor lines count as space.
local function space_at(source, at)
  local first = at
  while true do
    local last = select(2, source:find("^%s+", at)) or select(2, source:find("^/%*.-%*/", at)) or
      select(2, source:find("^//[^\n]*", at))
    local line_begins = at == 1 or source:sub(first, at - 1):find "\n[ \t]*$"
    if not last and line_begins and source:sub(at, at) == "#" then
      last = at
      while source:sub(last, last) ~= "\n" or source:sub(last - 1, last - 1) == "\\" do last = last + 1 end
    end
    if not last then return source:sub(first, at - 1), at end
    at = last + 1
  end
end

function M.tokens(source)
  local list, at, line = {}, 1, 1
  while true do
    local space
    space, at = space_at(source, at)
    line = line + select(2, space:gsub("\n", ""))
    if at > #source then
      list.rest = space
      return list
    end
    local character = source:sub(at, at)
    local text = (character == '"' or character == "'") and quoted(source, at, character) or next_token(source, at)
    list[#list + 1] = { text = text, space = space, line = line }
    at = at + #text
  end
end

-- ---- the reader ----

local Reader = {}
Reader.__index = Reader

function Reader:text(i) return self.tokens[i] and self.tokens[i].text end

function Reader:raw(first, last)
  local parts = {}
  for i = first, last do parts[#parts + 1] = self.tokens[i].space .. self.tokens[i].text end
  return table.concat(parts)
end

-- For people and as a key: one space where there was any.
function Reader:words(first, last)
  local parts = {}
  for i = first, last do
    local gap = i > first and self.tokens[i].space ~= "" and " " or ""
    parts[#parts + 1] = gap .. self.tokens[i].text
  end
  return table.concat(parts)
end

function Reader:closing(open)
  local depth = 0
  for i = open, #self.tokens do
    local text = self:text(i)
    if OPENS[text] then depth = depth + 1 end
    if CLOSES[text] then
      depth = depth - 1
      if depth == 0 then return i end
    end
  end
  error(("%s:%d: nothing closes this"):format(self.file, self.tokens[open].line))
end

-- The first token that `wanted` holds for, outside of any brackets.
function Reader:find(first, last, wanted)
  local i = first
  while i <= last do
    local text = self:text(i)
    if wanted(text, i) then return i end
    i = (OPENS[text] and self:closing(i) or i) + 1
  end
end

function Reader:find_text(first, last, text) return self:find(first, last, function(t) return t == text end) end

function Reader:split(first, last, text)
  local parts, begin = {}, first
  while true do
    local at = self:find_text(begin, last, text)
    parts[#parts + 1] = { begin, (at or last + 1) - 1 }
    if not at then return parts end
    begin = at + 1
  end
end

function Reader:add(kind, first, last, change)
  local number = self.number
  self.number = number + 1
  self.mutants[#self.mutants + 1] = { number = number, file = self.file, line = self.tokens[first].line,
    func = self.func, kind = kind, text = self:words(first, last), change = change }
  return number
end

-- ---- expressions ----

local function join(parts, separator, each)
  local texts = {}
  for i, part in ipairs(parts) do texts[i] = each(part[1], part[2]) end
  return table.concat(texts, separator)
end

-- Whatever is computed: conditions are looked for in it.
function Reader:value(first, last)
  if first > last then return "" end
  if self:find_text(first, last, ",") then
    return join(self:split(first, last, ","), ",", function(i, j) return self:value(i, j) end)
  end
  local assign = self:find(first, last, function(text) return ASSIGNS[text] end)
  if assign then return self:raw(first, assign) .. self:value(assign + 1, last) end
  if self:find_text(first, last, "?") then return self:choice(first, last) end
  if self:is_condition(first, last) then return self:condition(first, last, "value") end
  return self:plain(first, last)
end

function Reader:is_condition(first, last)
  return self:text(first) == "!" or self:find(first, last, function(text)
    return text == "&&" or text == "||" or text == "==" or text == "!=" or BOUNDS[text]
  end)
end

function Reader:choice(first, last)
  local question, depth = self:find_text(first, last, "?"), 0
  local colon = self:find(question + 1, last, function(text)
    if text == "?" then depth = depth + 1 end
    if text == ":" then depth = depth - 1 end
    return depth < 0
  end)
  -- The larger or smaller of two: equal ones are the same.
  local left, right = self:words(question + 1, colon - 1), self:words(colon + 1, last)
  self.larger = { [left .. right] = true, [right .. left] = true }
  local condition = self:condition(first, question - 1, "choice")
  self.larger = nil
  return condition .. self:raw(question, question) .. self:value(question + 1, colon - 1) ..
    self:raw(colon, colon) .. self:value(colon + 1, last)
end

-- Names, calls, brackets: what stands in brackets is looked at.
function Reader:plain(first, last)
  local parts, i = {}, first
  while i <= last do
    local text = self:text(i)
    if OPENS[text] then
      local close = self:closing(i)
      local opaque = OPAQUE[self:text(i - 1)]
      local inside = opaque and self:raw(i + 1, close - 1) or self:value(i + 1, close - 1)
      parts[#parts + 1] = self:raw(i, i) .. inside .. self:raw(close, close)
      i = close + 1
    else
      parts[#parts + 1] = self:raw(i, i)
      i = i + 1
    end
  end
  return table.concat(parts)
end

local WHOLE = { ["if"] = "mutant_if", loop = "mutant_loop", choice = "mutant_negate", value = "mutant_negate" }

-- A whole condition. One that is there for a named mutant is none of ours.
function Reader:condition(first, last, place)
  if self:words(first, last):find "FAULT%(" then return self:raw(first, last) end
  local number
  if place ~= "loop" then number = self:add("negate", first, last, "!(...)") end
  if place == "if" or place == "loop" then number = number or self.number end
  if place == "if" or place == "loop" then self:add("never", first, last, "false") end
  return (" %s(%d, %s)"):format(WHOLE[place], number, self:operand(first, last))
end

function Reader:operand(first, last)
  if self:text(first) == "(" and self:closing(first) == last then
    return self:raw(first, first) .. self:operand(first + 1, last - 1) .. self:raw(last, last)
  end
  if self:find_text(first, last, "?") then return self:choice(first, last) end
  for _, operator in ipairs { "||", "&&" } do
    local parts = self:split(first, last, operator)
    if #parts > 1 then
      local call = operator == "&&" and "mutant_and" or "mutant_or"
      return join(parts, " " .. operator .. " ", function(i, j)
        local number = self:add("remove", i, j, operator == "&&" and "true" or "false")
        self:add("invert", i, j, "!(...)")
        return ("%s(%d, %s)"):format(call, number, self:operand(i, j))
      end)
    end
  end
  return self:comparison(first, last)
end

function Reader:comparison(first, last)
  local equal = self:find(first, last, function(text) return text == "==" or text == "!=" end)
  if equal then
    return self:value(first, equal - 1) .. self:raw(equal, equal) .. self:value(equal + 1, last)
  end
  local bound = self:find(first, last, function(text) return BOUNDS[text] end)
  if bound then return self:bound(first, bound, last) end
  if self:text(first) == "!" then return self:raw(first, first) .. self:plain(first + 1, last) end
  return self:plain(first, last)
end

function Reader:bound(first, at, last)
  local operator, left, right = self:text(at), self:words(first, at - 1), self:words(at + 1, last)
  if self.larger and self.larger[left .. right] then return self:raw(first, last) end
  local number = self:add("bound", first, last, left .. " " .. BOUNDS[operator] .. " " .. right)
  return (" %s(%d, %s, %s)"):format(BOUND_CALLS[operator], number, self:value(first, at - 1), self:value(at + 1, last))
end

-- ---- statements ----

-- Only says something in the log, or nothing at all.
function Reader:only_logs(first, last)
  if first > last then return true end
  if self:text(first) == "{" and self:closing(first) == last then return self:only_logs(first + 1, last - 1) end
  if self:text(first) == "if" and self:end_of(first) == last then -- of an else, say: all its branches
    local body = self:closing(first + 1) + 1
    local stop = self:end_of(body)
    return self:only_logs(body, stop) and (stop == last or self:only_logs(stop + 2, last))
  end
  return self:text(first) == "host_log" and self:find_text(first, last, ";") == last
end

-- `if (a > b) b = a;` where equal ones are the same.
function Reader:keeps_larger(first, last)
  local assign = self:find_text(first, last, "=")
  if not assign or self:text(last) ~= ";" then return nil end
  local left, right = self:words(first, assign - 1), self:words(assign + 1, last - 1)
  return { [left .. right] = true, [right .. left] = true }
end

function Reader:end_of(i)
  local text = self:text(i)
  if text == "{" then return self:closing(i) end
  if text == "if" then
    local last = self:end_of(self:closing(i + 1) + 1)
    return self:text(last + 1) == "else" and self:end_of(last + 2) or last
  end
  if text == "while" or text == "for" or text == "switch" then return self:end_of(self:closing(i + 1) + 1) end
  return self:find_text(i, #self.tokens, ";")
end

function Reader:if_statement(i)
  local close = self:closing(i + 1)
  local last = self:end_of(close + 1)
  local otherwise = self:text(last + 1) == "else"
  local whole = otherwise and self:end_of(last + 2) or last
  local silent = not self:only_logs(close + 1, last) or (otherwise and not self:only_logs(last + 2, whole))
  self.larger = self:keeps_larger(close + 1, last)
  local condition = silent and self:condition(i + 2, close - 1, "if") or self:raw(i + 2, close - 1)
  self.larger = nil
  local text = self:raw(i, i + 1) .. condition .. self:raw(close, close) .. self:statements(close + 1, last)
  if otherwise then text = text .. self:raw(last + 1, last + 1) .. self:statements(last + 2, whole) end
  return text, whole + 1
end

function Reader:loop_statement(i)
  local close = self:closing(i + 1)
  local head
  if self:text(i) == "for" then
    local parts = self:split(i + 2, close - 1, ";")
    local first, condition, step = parts[1], parts[2], parts[3]
    local test = condition[1] > condition[2] and "" or self:condition(condition[1], condition[2], "loop")
    head = self:value(first[1], first[2]) .. ";" .. test .. ";" .. self:raw(step[1], step[2])
  else
    head = self:condition(i + 2, close - 1, "loop")
  end
  local last = self:end_of(close + 1)
  return self:raw(i, i + 1) .. head .. self:raw(close, close) .. self:statements(close + 1, last), last + 1
end

function Reader:statement(i)
  local text = self:text(i)
  if text == "{" then
    local close = self:closing(i)
    return self:raw(i, i) .. self:statements(i + 1, close - 1) .. self:raw(close, close), close + 1
  elseif text == "if" then
    return self:if_statement(i)
  elseif text == "while" or text == "for" then
    return self:loop_statement(i)
  elseif text == "switch" then
    local close = self:closing(i + 1)
    return self:raw(i, i + 1) .. self:value(i + 2, close - 1) .. self:raw(close, close), close + 1
  elseif text == "case" or text == "default" then
    local colon = self:find_text(i, #self.tokens, ":")
    return self:raw(i, colon), colon + 1
  end
  local last = self:find_text(i, #self.tokens, ";")
  if text == "static" or OPAQUE[text] then return self:raw(i, last), last + 1 end
  local begin = text == "return" and i + 1 or i
  return self:raw(i, begin - 1) .. self:value(begin, last - 1) .. self:raw(last, last), last + 1
end

function Reader:statements(first, last)
  local parts, i = {}, first
  while i <= last do
    parts[#parts + 1], i = self:statement(i)
  end
  return table.concat(parts)
end

-- ---- files ----

-- The name of the function whose body opens at `i`; nil: it is none.
function Reader:function_at(i)
  if self:text(i) ~= "{" or self:text(i - 1) ~= ")" then return nil end
  local depth = 0
  for at = i - 1, 1, -1 do
    if CLOSES[self:text(at)] then depth = depth + 1 end
    if OPENS[self:text(at)] then depth = depth - 1 end
    if depth == 0 then return self:text(at - 1) end
  end
end

function M.mutate(source, file, first_number)
  local reader = setmetatable({ tokens = M.tokens(source), file = file, number = first_number, mutants = {} }, Reader)
  local parts, i = { '#include "base/mutant_points.h"\n' }, 1
  while i <= #reader.tokens do
    local name = reader:function_at(i)
    if name then
      local close = reader:closing(i)
      reader.func = name
      parts[#parts + 1] = reader:raw(i, i) .. reader:statements(i + 1, close - 1) .. reader:raw(close, close)
      i = close + 1
    elseif OPENS[reader:text(i)] then
      local close = reader:closing(i)
      parts[#parts + 1] = reader:raw(i, close)
      i = close + 1
    else
      parts[#parts + 1] = reader:raw(i, i)
      i = i + 1
    end
  end
  parts[#parts + 1] = reader.tokens.rest
  return table.concat(parts), reader.mutants
end

return M
