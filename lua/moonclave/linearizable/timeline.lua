-- What the searches share: the completed operations as a list from which one can be taken and put back, and sets of
-- numbers that can be written down.
local M = {}

local WORD_BITS = 60

---The completed operations as a list of their beginnings and ends in the order of time; equal times overlap. Returns
---the head: what `head.next` leads to are nodes { op, id, time, finish } and { is_end, time }, ids count from 1.
---@param completed { invoked: number, returned: number }[]
---@return table head
function M.new(completed)
  local nodes = {}
  for id, op in ipairs(completed) do
    local begin = { op = op, id = id, time = op.invoked }
    local finish = { is_end = true, time = op.returned }
    begin.finish = finish
    nodes[#nodes + 1], nodes[#nodes + 2] = begin, finish
    begin.order, finish.order = #nodes - 1, #nodes
  end
  table.sort(nodes, function(a, b)
    if a.time ~= b.time then return a.time < b.time end
    if a.is_end ~= b.is_end then return not a.is_end end
    return a.order < b.order
  end)
  local head = {}
  local last = head
  for _, node in ipairs(nodes) do
    last.next, node.previous = node, last
    last = node
  end
  return head
end

local function unlink(node)
  node.previous.next = node.next
  if node.next then node.next.previous = node.previous end
end

local function relink(node)
  node.previous.next = node
  if node.next then node.next.previous = node end
end

---Takes an operation's beginning and end out of the list.
function M.take(node)
  unlink(node)
  unlink(node.finish)
end

---Puts them back; in the opposite order of taking.
function M.put_back(node)
  relink(node.finish)
  relink(node)
end

---A set of numbers 1..n that can be written down as text: whole words that are full are only counted.
---@param n integer
function M.set(n)
  local words, full = {}, (1 << WORD_BITS) - 1
  local count = (n + WORD_BITS - 1) // WORD_BITS
  for i = 1, count do words[i] = 0 end
  local set = {}

  function set.flip(id)
    local word = (id - 1) // WORD_BITS + 1
    words[word] = words[word] ~ (1 << (id - 1) % WORD_BITS)
  end

  local low = 1
  function set.text()
    while low <= count and words[low] == full do low = low + 1 end
    while low > 1 and words[low - 1] ~= full do low = low - 1 end
    local high = low
    for i = count, low, -1 do
      if words[i] ~= 0 then
        high = i
        break
      end
    end
    return count == 0 and "" or low .. ":" .. table.concat(words, ",", low, math.min(high, count))
  end

  return set
end

return M
