-- What the specs of the membership policy share.
local M = {}

-- One node's timer fires until it leads; it has had no turn since, and nothing of its term is on its way. `meanwhile`,
-- if given, is called each time that it has asked for votes.
function M.elect_at_once(w, id, meanwhile)
  local node = w[id]
  for _ = 1, 50 do
    w.now = math.max(w.now, node.timer)
    node.host:timer()
    for _ = 1, 3 do
      node:turn()
      if meanwhile then meanwhile() end
      node:flush()
      node:turn()
      w:deliver_all(function(p) return p.to ~= id end)
      for _, other in ipairs(w.nodes) do
        if other ~= node then
          other:turn()
          other:flush()
          other:turn()
        end
      end
      w:deliver_all(function(p) return p.to == id end)
      if node.host:is_leader() then return end
    end
  end
  error(id .. " is not elected", 2)
end

function M.status(node) return node.host:status().policy end

return M
