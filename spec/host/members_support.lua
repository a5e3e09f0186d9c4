-- What the specs of members share.
local M = {}

-- A blank node that is not in anybody's list; `options` as of world:add.
function M.newcomer(w, id, options)
  options = options or {}
  options.address = "127.0.0.1:" .. 5000 + tonumber(id:match "%d+")
  options.join = options.join or { w.peers[1] }
  return w:add(id, options):start()
end

-- "n1 voter, n2 learner": as this node knows it.
function M.roles(node)
  local list = {}
  for _, member in ipairs(node.host:members()) do list[#list + 1] = member.id .. " " .. member.role end
  return table.concat(list, ", ")
end

-- What is answered, which may take a while.
function M.done(w, node, ticket)
  for _ = 1, 100 do
    if node:told(ticket) then return node:told(ticket) end
    w:advance(50)
  end
  error("no answer", 2)
end

return M
