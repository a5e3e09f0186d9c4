-- What is wrong with an app's source, as far as it shows there: one list of findings, each with file, line and what to
-- do. What stands on a line that ends in a comment `check: ignore` is left alone.
--
-- Files that fsm.lua consists of run in the sandbox: whether a global is there, and what to use instead, is asked of
-- the sandbox itself, so that nothing here can disagree with it.
local reader = require "moonclave.check.reader"

local M = {}

---@class moonclave.check.finding
---@field file string
---@field line integer
---@field rule string
---@field text string

local WRITERS = { insert = true, remove = true, sort = true, move = true } -- table.NAME(t, ...) changes t

-- ---- what an expression is of ----

-- The name it begins with: `a` of a.b[c].d
local function root_of(node)
  while node and (node.kind == "index" or (node.kind == "call" and node.method)) do node = node.base or node.target end
  return node and node.kind == "name" and node or nil
end

local function path_of(node)
  if node.kind == "name" then return node.name end
  if node.kind ~= "index" then return "..." end
  return path_of(node.base) .. (node.key and node.key:match "^[%a_][%w_]*$" and "." .. node.key or "[...]")
end

-- Is this variable the state, or something found in it?
local function is_of_state(variable, depth)
  if not variable or (depth or 0) > 20 then return false end
  if variable.is_state then return true end
  local value = variable.value
  while value do
    if value.kind == "walked" then -- for key, item in pairs(state.items)
      local call = value.of
      value = call and call.kind == "call" and call.arguments[1] or nil
    elseif value.operator == "or" or value.operator == "and" then
      value = value.operator == "or" and value.left or value.right
    else
      break
    end
  end
  local root = value and root_of(value)
  if not root or not (value.kind == "index" or value.kind == "name") then return false end
  return is_of_state(root.variable, (depth or 0) + 1)
end

-- The variable that a local name was taken from, by name, field or walk: `cache` of `local item = cache[key]`.
local function origin_of(variable)
  for _ = 1, 20 do
    local value = variable.value
    while value and (value.operator == "or" or value.operator == "and") do
      value = value.operator == "or" and value.left or value.right
    end
    if value and value.kind == "walked" then value = value.of.kind == "call" and value.of.arguments[1] or nil end
    local root = value and (value.kind == "name" or value.kind == "index") and root_of(value)
    if not root or not root.variable or root.variable == variable then break end
    variable = root.variable
  end
  return variable
end

-- ---- the listener ----

local listener = {}
listener.__index = listener

local function find(self, line, rule, format, ...)
  self.findings[#self.findings + 1] = { file = self.file, line = line, rule = rule, text = format:format(...) }
end

-- A function within which this is done lies in the file, and the variable outside of all functions: it is there once
-- for each process, and no part of the state.
local function is_module_level(self, variable)
  return variable and variable.scope.parent == nil and reader.scope(self).parent ~= nil
end

function listener.enter(_, scope)
  -- commands, migrate: function(state, ...)
  local name = scope.name or ""
  local first = scope.parameters[1]
  if first and (first.name == "state" or name:find "^[%w_.]*commands%." or name:find "^[%w_.]*queries%.") then
    first.is_state = true
  end
end

function listener:name(node)
  if not node.variable then self.globals[#self.globals + 1] = { node = node, path = node.name } end
end

function listener:index(node)
  if node.base.kind == "name" and not node.base.variable and node.key then
    self.globals[#self.globals + 1] = { node = node.base, path = node.base.name .. "." .. node.key }
  end
end

function listener:operator(text, line)
  if text == "^" then
    find(self, line, "power", "`^` is computed by the machine's mathematical library, and machines differ in the " ..
      "last digit: multiply instead")
  end
end

local function kept_outside(self, node, variable, what)
  find(self, node.line, "kept outside", "%s changes %s, which is not in the state: it begins anew in each process, " ..
    "is in no snapshot, and so differs between nodes: keep it in the state", what, variable.name)
end

-- `state.x = t`, table.insert(state.list, t): t is copied there.
local function note_copy(self, value, line)
  local variable = value and value.kind == "name" and value.variable
  if variable and variable.value and variable.value.kind == "table" then
    self.copied[variable] = { line = line, scope = reader.scope(self) }
  end
end

local function changes(self, node, root, what)
  local variable = root.variable
  if not variable then return end
  local copied = self.copied[variable]
  if copied and copied.scope == reader.scope(self) then
    find(self, node.line, "lost write", "%s changes the table that was copied into the state in line %d: the state " ..
      "does not see it: change it before, or through the state", what, copied.line)
    return
  end
  local origin = origin_of(variable)
  if is_module_level(self, origin) and not is_of_state(variable) then kept_outside(self, node, origin, what) end
end

function listener:assign(target, value)
  if target.kind == "name" then
    if not target.variable then
      self.written[#self.written + 1] = target
    elseif is_module_level(self, target.variable) then
      kept_outside(self, target, target.variable, "this assignment")
    else
      self.copied[target.variable] = nil
      target.variable.value = value
    end
    return
  end
  local root = root_of(target)
  if not root then return end
  if root.variable and is_of_state(root.variable) then return note_copy(self, value, target.line) end
  if not root.variable then
    if target.base == root then self.written[#self.written + 1] = { name = path_of(target), line = target.line } end
    return
  end
  changes(self, target, root, ("`%s = ...`"):format(path_of(target)))
end

-- table.insert(t, ...): t is changed; what is put into the state is copied
function listener:call(node)
  local target = node.target
  if node.method or target.kind ~= "index" or target.base.kind ~= "name" or target.base.variable then return end
  if target.base.name ~= "table" or not WRITERS[target.key or ""] then return end
  local changed = node.arguments[target.key == "move" and #node.arguments or 1]
  local root = changed and root_of(changed)
  if not root then return end
  if root.variable and is_of_state(root.variable) then
    if target.key == "insert" then note_copy(self, node.arguments[#node.arguments], node.line) end
    return
  end
  if target.key == "move" and #node.arguments < 5 then return end
  changes(self, node, root, ("`table.%s`"):format(target.key))
end

-- ---- one file ----

-- Each problem once a line.
local function tidy(findings, comments)
  table.sort(findings, function(a, b)
    if a.line ~= b.line then return a.line < b.line end
    return a.text < b.text
  end)
  local list, seen = {}, {}
  for _, one in ipairs(findings) do
    local key = one.line .. one.text
    if not seen[key] and not (comments[one.line] or ""):find "check: ignore" then list[#list + 1] = one end
    seen[key] = true
  end
  return list
end

local function check_globals(self, sandbox)
  local written = {}
  for _, target in ipairs(self.written) do
    written[target.name] = true
    if sandbox then
      find(self, target.line, "global", "%s is a global here: a state machine has none once it is loaded: declare " ..
        "it `local`, or keep it in the state", target.name)
    end
  end
  for _, one in ipairs(self.globals) do
    -- a library's member, if the library is there at all
    local name = one.node.name
    local problem = sandbox and not written[name] and (sandbox(name) or not written[one.path] and sandbox(one.path))
    if problem then find(self, one.node.line, "not there", "%s", problem) end
  end
end

---What is wrong with a file's text, which compiles.
---@param file string
---@param text string
---@param sandbox? fun(path: string): string?  what it says about a global, or one's member: nil, it is there. Absent:
---                                            the file does not run there
---@return moonclave.check.finding[]
function M.check(file, text, sandbox)
  local self = setmetatable({ file = file, findings = {}, globals = {}, written = {}, copied = {} }, listener)
  local comments = reader.read(text, sandbox and self or { })
  check_globals(self, sandbox)
  return tidy(self.findings, comments)
end

---The app's files that `require` names in a text.
---@param text string
---@return string[]
function M.requires(text)
  local names = {}
  reader.read(text, { call = function(_, node)
    local first = node.arguments[1]
    if node.target.kind == "name" and node.target.name == "require" and first and first.kind == "value" then
      names[#names + 1] = first.value
    end
  end })
  return names
end

return M
