-- Bugs of disks that fail, lag or forget (see all.lua).
local assert = require "luassert"
local Cluster = require "support.raft_cluster"

local function played(options)
  options = options or {}
  options.ids, options.run = options.ids or { "a", "b", "c" }, options.run or { "a" }
  return Cluster.new(options)
end

-- A leader whose NOOP is committed, with b and c played.
local function leader(options)
  local c = played(options)
  c:crown "a"
  c.a:persist()
  local last = c.a:status().last_index
  c:ack("b", "a", last)
  c:ack("c", "a", last)
  c:take "b"
  c:take "c"
  return c
end

local function refusal(c, from, fields)
  local message = { type = "append_result", from = from, term = c.a:status().term, success = false, prev_index = 0,
    last_index = 0, conflict_index = 1, conflict_term = 0 }
  for name, value in pairs(fields) do message[name] = value end
  c.a:receive(message)
end

return function(bug)
  bug(26, "a write that had failed vouched for what a peer still held", { "old_write_vouches" }, function()
    local c = leader()
    c.a:propose "x"
    c.a:refuse() -- rolled back
    c:ack("b", "a", 2)
    assert.same({ "follower", 1, 1 }, { c.a:role(), c.a:status().commit_index, c.a:status().durable_index })
    c.a:restart()
    assert.same({ 1, 1 }, { c.a:status().last_index, #c.a.disk.log })
  end)

  bug(26, "the report of an old write vouched for the entry that had replaced its own",
    { "old_write_vouches" }, function()
    local c = played()
    c:append("b", "a", 1, Cluster.log { 1, 1, 1 }, 0, 3)
    c:append("c", "a", 2, Cluster.log { 1, 2, 2 }, 1, 2)
    c.a:persist(1)
    assert.equal(1, c.a:status().durable_index)
    for _, answer in ipairs(c:take("c", "append_result")) do assert(answer.match <= 1) end
  end)

  bug(39, "a follower acknowledged what the end of its log then lost", { "ack_not_durable" }, function()
    local c = played()
    local log = Cluster.log { 1, 1, 1 }
    c:append("b", "a", 1, log, 0, 1)
    c.a:persist()
    c:append("b", "a", 1, log, 1, 2)
    c:append("b", "a", 1, log, 3, 0) -- a heartbeat, answered at once
    local acknowledged = 0
    for _, answer in ipairs(c:take("b", "append_result")) do acknowledged = math.max(acknowledged, answer.match) end
    c.a:restart()
    assert.same({ 1, 1 }, { acknowledged, c.a:status().last_index })
  end)

  bug(39, "a leader goes on with a follower that asks again for what it had acknowledged", {}, function()
    local c = leader()
    c.a:propose "x"
    c.a:persist()
    c:ack("b", "a", 2)
    refusal(c, "b", { prev_index = 2 })
    assert.same({ 2, 2 }, { c.a:status().peers.b.match, c.a:status().commit_index })
  end)
end
