-- Where many stories of the core begin: server a runs, the spec plays the others.
local Cluster = require "support.raft_cluster"

local M = {}

function M.played(options)
  options = options or {}
  options.ids, options.run = options.ids or { "a", "b", "c" }, options.run or { "a" }
  return Cluster.new(options)
end

-- A leader whose NOOP is committed, with b and c played.
function M.leader(options)
  local c = M.played(options)
  c:crown "a"
  c.a:persist()
  local last = c.a:status().last_index
  c:ack("b", "a", last)
  c:ack("c", "a", last)
  c:take "b"
  c:take "c"
  return c
end

return M
