-- What the specs of entries that a node dies of share.
local M = {}

-- The process ends, if it has not, and begins again on the same disk.
function M.again(w, node, changes)
  node:crash()
  node:start(changes)
  w:connect_all()
  w:advance(300)
end

-- Whoever has died is started again, until nobody dies any more.
function M.die_twice(w)
  for _ = 1, 20 do
    local died = false
    for _, node in ipairs(w.nodes) do
      if node.fatal then
        assert(node.fatal.code == "internal", node.fatal.text)
        died = true
        M.again(w, node)
      end
    end
    w:advance(5000)
    for _, node in ipairs(w.nodes) do died = died or node.fatal ~= nil end
    if not died then return end
  end
  error "they die on"
end

return M
