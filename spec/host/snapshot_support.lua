-- What the specs of the host's snapshots share.
local world = require "host.world"

local M = {}

-- Settings with which no snapshot is taken but by hand.
M.NEVER = { snapshot_log_bytes = 1 << 40, trailing_entries = 0, snapshot_chunk_bytes = 1 << 20 }

-- One node that leads.
function M.lone(settings)
  local w = world.new { nodes = 1, settings = settings or M.NEVER }
  w:bootstrap()
  w:elect "n1"
  w:settle()
  return w
end

-- Commands, one after the other, at `node` (n1).
function M.write(w, count, size, node)
  for i = 1, count do
    (node or w.n1):submit(("put %d "):format(i) .. ("x"):rep(size or 20))
    w:settle()
  end
end

-- n1, alone, leads before long, and dies of what it then applies, if of anything.
function M.until_fatal(w)
  for _ = 1, 10 do
    if w.n1.fatal then break end
    w.now = math.max(w.now, w.n1.timer)
    w.n1.host:timer()
    w:settle()
  end
end

return M
