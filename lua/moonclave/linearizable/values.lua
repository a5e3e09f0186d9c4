-- Plain Lua values for the checker of models: copies, a text that equal values share, and one for people.
local M = {}

local KINDS = { ["nil"] = true, boolean = true, number = true, string = true, table = true }

-- Booleans, then numbers, then strings.
local function before(a, b)
  local kind, other = type(a), type(b)
  if kind ~= other then return kind < other end
  if kind == "boolean" then return not a and b end
  return a < b
end

---The table's keys in one order, whatever its history.
---@param t table
function M.keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys, before)
  return keys
end

---A copy all the way down.
function M.copy(value)
  if type(value) ~= "table" then return value end
  local copy = {}
  for key, inner in pairs(value) do copy[key] = M.copy(inner) end
  return copy
end

---Deeply equal? 1 and 1.0 are, as in Lua.
function M.equal(a, b)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" then return false end
  for key, value in pairs(a) do
    if not M.equal(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

local function write(value, out, depth)
  local kind = type(value)
  if not KINDS[kind] then error("a model's state is plain data: it has a " .. kind, 0) end
  if kind ~= "table" then
    out[#out + 1] = kind == "string" and #value .. ":" .. value or tostring(value)
    return
  end
  if depth > 100 then error("a model's state is nested deeper than 100 tables", 0) end
  out[#out + 1] = "{"
  for _, key in ipairs(M.keys(value)) do
    write(key, out, depth + 1)
    out[#out + 1] = "="
    write(value[key], out, depth + 1)
    out[#out + 1] = ","
  end
  out[#out + 1] = "}"
end

---A text that two values share only when they are equal; raises what is no plain data.
function M.text(value)
  if type(value) == "string" then return #value .. ":" .. value end
  local out = {}
  write(value, out, 0)
  return table.concat(out)
end

local function show(value, left)
  local kind = type(value)
  if kind == "string" then
    local text = #value > left and value:sub(1, left) .. "..." or value
    return ('"%s"'):format((text:gsub('[%c"\\\127-\255]', function(c)
      if c == '"' or c == "\\" then return "\\" .. c end
      return ("\\x%02x"):format(c:byte())
    end)))
  end
  if kind ~= "table" then return tostring(value) end
  local parts, used, count = {}, 0, #value
  for _, key in ipairs(M.keys(value)) do
    if used > left then
      parts[#parts + 1] = "..."
      break
    end
    local inner = show(value[key], math.max(8, left - used))
    if math.type(key) == "integer" and key >= 1 and key <= count then
      parts[#parts + 1] = inner
    elseif type(key) == "string" and key:find "^[%a_][%w_]*$" then
      parts[#parts + 1] = key .. "=" .. inner
    else
      parts[#parts + 1] = "[" .. show(key, 20) .. "]=" .. inner
    end
    used = used + #parts[#parts]
  end
  return "{" .. table.concat(parts, ", ") .. "}"
end

---For people: a Lua literal, cut to about `length` characters (default 80).
---@param value any
---@param length? integer
function M.show(value, length) return show(value, length or 80) end

return M
