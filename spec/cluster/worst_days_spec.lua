-- Worst days, rehearsed with real processes under load: the leader's disk is full, or does not answer; clocks jump. The
-- cluster goes on, comes back by itself, and what clients saw is linearizable: nothing acknowledged is lost.
local base = require "moonclave.base"
local cluster = require "support.cluster"
local history = require "support.history"
local http = require "moonclave.http"
local shim = require "support.shim"

local ELECTION_MS = 1000

local function number(status, key) return status and tonumber(status:match('"' .. key .. '":(%d+)')) end

-- What a node tells of itself, by type.
local function events(c, name, types)
  local code, text = cluster.execute(cluster.program, { "events", "--once", "--json", "--type", types,
    "--addr", "127.0.0.1:" .. c.nodes[name].port })
  assert.equal(0, code, text)
  local list = {}
  for line in text:gmatch "[^\n]+" do list[#list + 1] = base.unpack(assert(http.json_to_value(line))) end
  return list
end

local function health(c, name)
  return cluster.execute(cluster.program, { "health", "--addr", "127.0.0.1:" .. c.nodes[name].port })
end

local function started()
  local c = cluster.new { wrap = shim.wrap, flags = { "--election-timeout-ms=" .. ELECTION_MS,
    "--request-timeout-ms=2500", "--log-level=info" } }
  c:start()
  return c
end

-- It has applied what `leader` has committed by now, and takes part.
local function catches_up(c, name, leader)
  local goal = number(c:status(leader), "commit_index")
  cluster.eventually(name .. " has caught up", function()
    local status = c:status(name)
    local applied = number(status, "applied_index")
    return applied and applied >= goal and status:find('"disk_full":false', 1, true), status
  end)
end

if not shim.library() then
  pending "worst days (no C compiler to make the preloaded library with)"
  return
end

describe("on a worst day", function()
  it("a full disk makes the leader hand over, and it comes back by itself when there is room", function()
    cluster.run(function()
      local c <close> = started()
      local load <close> = history.start(c, { clients = 4, seed = 1 })
      load:enough(40)
      local full = c:leader()
      shim.set(c, full, { full = true })
      local leader = c:leader(full)
      load:enough(40)
      assert.is_truthy(c:status(full):find('"disk_full":true', 1, true))
      local code, text = health(c, leader)
      assert.equal(1, code, text)
      assert.matches("^degraded: 2 of 3 voters, no further failure can be survived: " .. full .. " ", text)
      assert.matches(full .. " has a full disk", text)
      shim.set(c, full, {})
      catches_up(c, full, c:leader())
      local told = {}
      for _, event in ipairs(events(c, full, "disk_full,disk_room,leader")) do told[#told + 1] = event.type end
      assert.matches("disk_full .*disk_room", table.concat(told, " "))
      cluster.eventually("it is healthy again", function()
        local now, said = health(c, leader)
        return now == 0, said
      end)
      load:enough(40)
      load:finish()
    end)
  end)

  it("a disk that does not answer makes the leader hand over within two election timeouts", function()
    cluster.run(function()
      local c <close> = started()
      local load <close> = history.start(c, { clients = 4, seed = 2 })
      load:enough(40)
      local slow = c:leader()
      shim.set(c, slow, { sync_ms = 600000 })
      local leader = c:leader(slow)
      load:enough(40) -- while it stands
      local stalled_ms, over_ms
      for _, event in ipairs(events(c, slow, "slow_disk,handover,role")) do
        if event.type == "slow_disk" and not stalled_ms then stalled_ms = event.time_ms - event.data.longest_ms end
        if event.type == "role" and stalled_ms and not over_ms and event.data.role == "follower" then
          over_ms = event.time_ms
        end
      end
      assert.is_true(stalled_ms and over_ms and over_ms - stalled_ms <= 2 * ELECTION_MS,
        ("%s ms"):format(over_ms and over_ms - (stalled_ms or 0)))
      assert.matches("hands leadership over", c:log(slow))
      assert.is_true(number(c:status(slow), "handovers") >= 1)
      local code, text = health(c, leader)
      assert.equal(1, code, text)
      shim.set(c, slow, {})
      catches_up(c, slow, c:leader())
      load:enough(40)
      load:finish()
    end)
  end)

  it("clocks that jump an hour ahead and two behind disturb nobody", function()
    cluster.run(function()
      local c <close> = started()
      local load <close> = history.start(c, { clients = 4, seed = 3 })
      load:enough(40)
      local leader = c:leader()
      local term, clock = number(c:status(leader), "term"), 0
      local function goes_on()
        load:enough(40)
        local status = c:status(leader)
        assert.equal(term, number(status, "term"))
        assert.is_truthy(status:find('"role":"leader"', 1, true))
        local now = number(status, "time_ms")
        assert.is_true(now >= clock, "the replicated clock goes back")
        clock = now
      end
      goes_on()
      for _, jump_ms in ipairs { 3600000, -7200000, 86400000, 0 } do
        for _, name in ipairs(c.names) do
          if jump_ms >= 0 or name == leader then shim.set(c, name, { clock_ms = jump_ms }) end
          goes_on()
        end
      end
      assert.is_true(clock >= os.time() * 1000 + 80000000) -- it has believed the clock that was ahead, and stays there
      shim.set(c, c.names[1] == leader and c.names[2] or c.names[1], { clock_ms = -600000 })
      local _, text = health(c, leader)
      assert.matches("has a clock that is %d+%.%d s behind " .. leader, text)
      load:finish()
    end)
  end)
end)
