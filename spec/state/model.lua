-- The state tree in plain Lua, slow and obvious: what the real one is held against.
-- A node is { values = {key -> scalar or node}, object = kind when empty }.
local model = {}

function model.node(object)
  return { values = {}, object = object or false }
end

local function is_node(value)
  return type(value) == "table"
end

local function before(a, b)
  if math.type(a) ~= math.type(b) then return math.type(a) == "integer" end
  return a < b
end

function model.keys(node)
  local keys = {}
  for key in pairs(node.values) do keys[#keys + 1] = key end
  table.sort(keys, before)
  return keys
end

function model.length(node)
  local n = 0
  while node.values[n + 1] ~= nil do n = n + 1 end
  return n
end

function model.put(node, key, value)
  local only = next(node.values, next(node.values)) == nil
  if value == nil and node.values[key] ~= nil and only then node.object = key ~= 1 end
  node.values[key] = value
end

function model.copy(value)
  if not is_node(value) then return value end
  local copy = model.node(value.object)
  for key, inner in pairs(value.values) do copy.values[key] = model.copy(inner) end
  return copy
end

-- As the Lua table that goes into a tree: nested tables first to last, empty objects marked.
function model.plain(node, object)
  local plain = {}
  if next(node.values) == nil and node.object then return object(plain) end
  for key, value in pairs(node.values) do
    plain[key] = is_node(value) and model.plain(value, object) or value
    if not is_node(value) then plain[key] = value end
  end
  return plain
end

-- Every node below, with its path.
function model.nodes(node, path, found)
  path, found = path or {}, found or {}
  found[#found + 1] = { node = node, path = path }
  for _, key in ipairs(model.keys(node)) do
    if is_node(node.values[key]) then
      local deeper = { table.unpack(path) }
      deeper[#deeper + 1] = key
      model.nodes(node.values[key], deeper, found)
    end
  end
  return found
end

model.is_node = is_node
return model
