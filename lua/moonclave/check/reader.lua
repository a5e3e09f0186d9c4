-- Reads Lua source and tells a listener what happens in it, in the order of the text: which names are whose, what is
-- assigned, called and computed. For text that compiles: what does not has been refused by Lua itself.
--
-- An expression is { kind =, line = } with kind "name" (name, variable: nil for a global), "index" (base, key: the text
-- of a constant key, or nil), "call" (target, arguments, method), "table", "function" (scope), "value", "other".
-- A variable is { name, line, scope, value: what it was declared with }; a scope is a function: { parent, line,
-- parameters, name: as it is written }, parent nil for the file itself.
local M = {}

local KEYWORDS = {}
for word in ("and break do else elseif end false for function goto if in local nil not or repeat return then true " ..
  "until while"):gmatch "%a+" do
  KEYWORDS[word] = true
end

-- ---- tokens ----

local ESCAPED = { n = "\n", t = "\t", r = "\r", a = "\a", b = "\b", f = "\f", v = "\v" }

-- What a short string says; escapes by number are left as they are, which no rule asks about.
local function unescape(text)
  return (text:gsub("\\(.)", function(letter) return ESCAPED[letter] or letter end))
end

local function long_bracket(text, at)
  local level = text:match("^%[(=*)%[", at)
  if not level then return nil end
  local _, last = text:find("]" .. level .. "]", at, true)
  return last or #text, #level + 2
end

-- { type, text, line, from }; comments by line, apart.
local function tokens_of(text)
  local list, comments, at, line = {}, {}, 1, 1
  local function add(kind, last, value)
    list[#list + 1] = { type = kind, text = value or text:sub(at, last), line = line }
    line = line + select(2, text:sub(at, last):gsub("\n", ""))
    at = last + 1
  end
  if text:find "^#" then at = (text:find("\n", 1, true) or #text + 1) end
  while at <= #text do
    local blank = text:match("^%s+", at)
    if blank then
      line = line + select(2, blank:gsub("\n", ""))
      at = at + #blank
    elseif text:find("^%-%-", at) then
      local last = long_bracket(text, at + 2) or (text:find("\n", at, true) or #text + 1) - 1
      comments[line] = text:sub(at, last)
      line = line + select(2, text:sub(at, last):gsub("\n", ""))
      at = last + 1
    elseif text:find("^[%a_]", at) then
      local word = text:match("^[%w_]+", at)
      add(KEYWORDS[word] and word or "name", at + #word - 1)
    elseif text:find("^%.?%d", at) then
      local hexadecimal = text:match("^0[xX]", at)
      local _, last = text:find(hexadecimal and "^0[xX][%x.]*" or "^[%d.]*", at)
      local exponent = text:match(hexadecimal and "^[pP][+-]?%d+" or "^[eE][+-]?%d+", last + 1)
      add("number", last + #(exponent or ""))
    elseif text:find("^[\"']", at) then
      local quote, last = text:sub(at, at), at + 1
      while last <= #text and text:sub(last, last) ~= quote do
        last = last + (text:sub(last, last) == "\\" and 2 or 1)
      end
      add("string", last, unescape(text:sub(at + 1, last - 1)))
    elseif long_bracket(text, at) then
      local last, opening = long_bracket(text, at)
      add("string", last, text:sub(at + opening, last - opening):gsub("^\n", ""))
    else
      local symbol = text:match("^%.%.%.", at) or text:match("^[=~<>]=", at) or text:match("^<<", at) or
        text:match("^>>", at) or text:match("^//", at) or text:match("^::", at) or text:match("^%.%.", at) or
        text:sub(at, at)
      add(symbol, at + #symbol - 1)
    end
  end
  list[#list + 1] = { type = "end of file", text = "", line = line }
  return list, comments
end

-- ---- the grammar ----

local UNARY = { ["not"] = true, ["#"] = true, ["-"] = true, ["~"] = true }
-- left and right priorities, as in the manual
local BINARY = { ["+"] = { 10, 10 }, ["-"] = { 10, 10 }, ["*"] = { 11, 11 }, ["/"] = { 11, 11 }, ["//"] = { 11, 11 },
  ["%"] = { 11, 11 }, ["^"] = { 14, 13 }, [".."] = { 9, 8 }, ["<<"] = { 7, 7 }, [">>"] = { 7, 7 }, ["&"] = { 6, 6 },
  ["~"] = { 5, 5 }, ["|"] = { 4, 4 }, ["=="] = { 3, 3 }, ["~="] = { 3, 3 }, ["<"] = { 3, 3 }, [">"] = { 3, 3 },
  ["<="] = { 3, 3 }, [">="] = { 3, 3 }, ["and"] = { 2, 2 }, ["or"] = { 1, 1 } }
local UNARY_PRIORITY = 12
local BLOCK_ENDS = { ["end"] = true, ["else"] = true, ["elseif"] = true, ["until"] = true, ["end of file"] = true }

local reader = {}
reader.__index = reader

local function peek(self) return self.tokens[self.at].type end

local function take(self, wanted)
  local token = self.tokens[self.at]
  if wanted and token.type ~= wanted then
    error(("line %d: %s expected near %s"):format(token.line, wanted, token.text), 0)
  end
  self.at = self.at + 1
  return token
end

local function accept(self, kind)
  if peek(self) ~= kind then return nil end
  return take(self)
end

local function say(self, what, ...)
  local heard = self.listener[what]
  if heard then heard(self.listener, ...) end
end

local function declare(self, name, line, value)
  local variable = { name = name, line = line, scope = self.scope, value = value }
  local block = self.block
  block[#block + 1] = variable
  return variable
end

local function find(self, name)
  local block = self.block
  while block do
    for i = #block, 1, -1 do
      if block[i].name == name then return block[i] end
    end
    block = block.outer
  end
  return nil
end

local function open(self) self.block = { outer = self.block } end
local function close(self) self.block = self.block.outer end

local expression, statements

local function name_expression(self, token)
  local node = { kind = "name", name = token.text, line = token.line, variable = find(self, token.text) }
  say(self, "name", node)
  return node
end

-- A function's parameters and body, behind `function` and its name.
local function body(self, line, name, is_method)
  local scope = { parent = self.scope, line = line, name = name, parameters = {} }
  local node = { kind = "function", line = line, scope = scope }
  self.scope = scope
  open(self)
  if is_method then scope.parameters[1] = declare(self, "self", line) end
  take(self, "(")
  while peek(self) ~= ")" do
    if not accept(self, "...") then
      local token = take(self, "name")
      scope.parameters[#scope.parameters + 1] = declare(self, token.text, token.line)
    end
    if not accept(self, ",") then break end
  end
  take(self, ")")
  say(self, "enter", scope)
  statements(self)
  take(self, "end")
  close(self)
  self.scope = scope.parent
  return node
end

-- { ... }: fields that are functions are named after their key.
local function constructor(self)
  local node = { kind = "table", line = take(self, "{").line }
  while peek(self) ~= "}" do
    local key
    if peek(self) == "name" and self.tokens[self.at + 1].type == "=" then
      key = take(self).text
      take(self, "=")
    elseif accept(self, "[") then
      local node_key = expression(self)
      key = node_key.kind == "value" and tostring(node_key.value) or nil
      take(self, "]")
      take(self, "=")
    end
    self.naming = key
    expression(self)
    self.naming = nil
    if not (accept(self, ",") or accept(self, ";")) then break end
  end
  take(self, "}")
  return node
end

local function arguments(self)
  local token = self.tokens[self.at]
  if token.type == "string" then return { { kind = "value", value = take(self).text, line = token.line } } end
  if token.type == "{" then return { constructor(self) } end
  take(self, "(")
  local list = {}
  while peek(self) ~= ")" do
    list[#list + 1] = expression(self)
    if not accept(self, ",") then break end
  end
  take(self, ")")
  return list
end

local function suffixed(self)
  local node
  if accept(self, "(") then
    local inner = expression(self)
    take(self, ")")
    node = inner.kind == "call" and { kind = "other", line = inner.line } or inner
  else
    node = name_expression(self, take(self, "name"))
  end
  while true do
    local kind, line = peek(self), self.tokens[self.at].line
    if kind == "." then
      take(self)
      node = { kind = "index", base = node, key = take(self, "name").text, line = line }
      say(self, "index", node)
    elseif kind == "[" then
      take(self)
      local key = expression(self)
      take(self, "]")
      node = { kind = "index", base = node, key = key.kind == "value" and tostring(key.value) or nil, line = line }
      say(self, "index", node)
    elseif kind == ":" then
      take(self)
      local method = take(self, "name").text
      node = { kind = "call", target = node, method = method, arguments = arguments(self), line = line }
      say(self, "call", node)
    elseif kind == "(" or kind == "string" or kind == "{" then
      node = { kind = "call", target = node, arguments = arguments(self), line = line }
      say(self, "call", node)
    else
      return node
    end
  end
end

local function simple(self)
  local token = self.tokens[self.at]
  local kind = token.type
  if kind == "number" or kind == "string" then
    take(self)
    return { kind = "value", value = token.text, line = token.line }
  elseif kind == "nil" or kind == "true" or kind == "false" or kind == "..." then
    take(self)
    return { kind = "other", line = token.line }
  elseif kind == "{" then
    return constructor(self)
  elseif kind == "function" then
    take(self)
    local name = self.naming
    self.naming = nil
    return body(self, token.line, name)
  end
  return suffixed(self)
end

function expression(self, limit)
  limit = limit or 0
  local token, node = self.tokens[self.at]
  if UNARY[token.type] then
    take(self)
    expression(self, UNARY_PRIORITY)
    node = { kind = "other", line = token.line }
  else
    node = simple(self)
  end
  local operator = self.tokens[self.at]
  while BINARY[operator.type] and BINARY[operator.type][1] > limit do
    take(self)
    say(self, "operator", operator.type, operator.line)
    local right = expression(self, BINARY[operator.type][2])
    -- `a or {}` may be either
    node = { kind = "other", line = token.line, left = node, right = right, operator = operator.type }
    operator = self.tokens[self.at]
  end
  return node
end

local function expressions(self)
  local list = { expression(self) }
  while accept(self, ",") do list[#list + 1] = expression(self) end
  return list
end

local function block_until(self, ...)
  open(self)
  statements(self)
  close(self)
  for _, word in ipairs { ... } do take(self, word) end
end

local statement = {}

statement["if"] = function(self)
  take(self)
  expression(self)
  take(self, "then")
  block_until(self)
  while accept(self, "elseif") do
    expression(self)
    take(self, "then")
    block_until(self)
  end
  if accept(self, "else") then block_until(self) end
  take(self, "end")
end

statement["while"] = function(self)
  take(self)
  expression(self)
  take(self, "do")
  block_until(self, "end")
end

statement["do"] = function(self)
  take(self)
  block_until(self, "end")
end

statement["repeat"] = function(self)
  take(self)
  open(self)
  statements(self)
  take(self, "until")
  expression(self)
  close(self)
end

statement["for"] = function(self)
  take(self)
  local names = { take(self, "name") }
  while accept(self, ",") do names[#names + 1] = take(self, "name") end
  if not accept(self, "=") then take(self, "in") end
  local values = expressions(self)
  take(self, "do")
  open(self)
  for _, token in ipairs(names) do declare(self, token.text, token.line, { kind = "walked", of = values[1] }) end
  statements(self)
  close(self)
  take(self, "end")
end

-- function a.b:c()
statement["function"] = function(self)
  local line = take(self).line
  local node = name_expression(self, take(self, "name"))
  local text, is_method = node.name, false
  while peek(self) == "." or peek(self) == ":" do
    is_method = take(self).type == ":"
    local key = take(self, "name").text
    node = { kind = "index", base = node, key = key, line = line }
    text = text .. "." .. key
  end
  local value = body(self, line, text, is_method)
  say(self, "assign", node, value, self.scope)
end

statement["local"] = function(self)
  local line = take(self).line
  if accept(self, "function") then
    local name = take(self, "name")
    local variable = declare(self, name.text, line)
    variable.value = body(self, line, name.text)
    return
  end
  local names = {}
  repeat
    names[#names + 1] = take(self, "name")
    if accept(self, "<") then
      take(self, "name")
      take(self, ">")
    end
  until not accept(self, ",")
  local values = accept(self, "=") and expressions(self) or {}
  for i, token in ipairs(names) do
    local variable = declare(self, token.text, token.line, values[i])
    say(self, "declare", variable, self.scope)
  end
end

statement["return"] = function(self)
  take(self)
  if not BLOCK_ENDS[peek(self)] and peek(self) ~= ";" then expressions(self) end
  accept(self, ";")
end

statement["goto"] = function(self)
  take(self)
  take(self, "name")
end

statement["break"] = function(self) take(self) end
statement[";"] = function(self) take(self) end

statement["::"] = function(self)
  take(self)
  take(self, "name")
  take(self, "::")
end

-- A call, or an assignment. Names on the left are read first: a listener hears them as names, then as assigned.
local function expression_statement(self)
  local targets = { suffixed(self) }
  while accept(self, ",") do targets[#targets + 1] = suffixed(self) end
  if not accept(self, "=") then return end
  local values = expressions(self)
  for i, target in ipairs(targets) do say(self, "assign", target, values[i], self.scope) end
end

function statements(self)
  while not BLOCK_ENDS[peek(self)] do
    local handler = statement[peek(self)] or expression_statement
    handler(self)
  end
end

---Reads `text`, telling `listener` what it meets: name(node), index(node), call(node), operator(text, line),
---declare(variable, scope), assign(target, value, scope), enter(scope).
---@param text string
---@param listener table
---@return table<integer, string> comments  by line
function M.read(text, listener)
  local tokens, comments = tokens_of(text)
  local file = { parameters = {}, line = 1 }
  local self = setmetatable({ tokens = tokens, at = 1, listener = listener, scope = file }, reader)
  listener.reader = self
  open(self)
  statements(self)
  take(self, "end of file")
  return comments
end

---In which function the listener is told something now.
function M.scope(listener) return listener.reader.scope end

return M
