-- Edges of what a node watches: limits to the microsecond, when it wakes for them, what is told once and what not at
-- all. Most were a guard that nothing else missed (scripts/mutants).
local world = require "host.world"

-- A node alone whose core has next to nothing to do: what it wakes for is what it watches.
local function quiet()
  local w = world.new { nodes = 1, settings = { election_timeout_ms = 600000, heartbeat_ms = 60000,
    slow_disk_ms = 250, slow_apply_ms = 100 } }
  w.n1:start { apply_slice_us = 1000 }
  w:settle()
  w.n1.events = {}
  w.n1.on_apply = function(_, body) w.now = w.now + (tonumber(body:match "%d+") or 0) end -- microseconds
  return w
end

-- A write that is completed after so many microseconds, with no turn in between.
local function write(w, us)
  w.n1:submit "x"
  w.n1.host:turn()
  w.now = w.now + us
  w.n1:flush()
  w.n1:turn()
end

local function apply(w, us)
  w.n1:submit("takes " .. us)
  w:settle()
  return (w.n1.host:applied())
end

describe("a disk", function()
  it("is slow when slow_disk_ms are over, and quick when it has been for ten seconds", function()
    local w <close> = quiet()
    w.n1.held = true
    w.n1:submit("x", { timeout_ms = 600000 })
    w:settle()
    assert.equal(w.now + 250000, w.n1.timer)
    w:advance(249)
    assert.same({}, w.n1:told_of "slow_disk")
    assert.same({ 249000, false }, { w.n1.host:load().disk_waits_us, w.n1.host:load().disk_slow })
    w:advance(1)
    local first = { count = 1, longest_ms = 250, slow = true }
    assert.same({ first }, w.n1:told_of "slow_disk")
    assert.same({ 250000, true }, { w.n1.host:load().disk_waits_us, w.n1.host:load().disk_slow })
    w:advance(12000) -- it is not quick while it stands
    assert.same({ first }, w.n1:told_of "slow_disk")
    w.n1.held = nil
    w:settle()
    assert.same({ 0, true }, { w.n1.host:load().disk_waits_us, w.n1.host:load().disk_slow })
    assert.equal(w.now + 10000000, w.n1.timer)
    w:advance(5000)
    write(w, 1000) -- a quick one makes no difference
    assert.equal(0, w.n1.host:load().disk_waits_us)
    w:advance(4998)
    assert.same({ first }, w.n1:told_of "slow_disk")
    w:advance(1)
    assert.same({ first, { count = 1, longest_ms = 12250, slow = false } }, w.n1:told_of "slow_disk")
    assert.is_false(w.n1.host:load().disk_slow)
    assert.equal(1, w.n1:counters().slow_writes)
  end)

  it("is slow also where nobody could look before it had completed", function()
    local w <close> = quiet()
    write(w, 249999)
    assert.same({}, w.n1:told_of "slow_disk")
    write(w, 250000)
    assert.same({ { count = 1, longest_ms = 250, slow = true } }, w.n1:told_of "slow_disk")
    assert.equal(1, w.n1:logged "warn the disk is slow: 250 ms %(the limit is slow_disk_ms%)")
  end)

  it("is told of twice, however often it is slow, with the longest", function()
    local w <close> = quiet()
    for _, us in ipairs { 300000, 400000, 260000 } do write(w, us) end
    w.n1.held = true
    w.n1:submit("x", { timeout_ms = 600000 })
    w:advance(350) -- one that is seen to be slow while it is under way, and is not the longest
    w.n1.held = nil
    w:advance(10000)
    local function told(count, longest)
      return { count = count, longest_ms = longest, slow = false }
    end
    local events = w.n1:told_of "slow_disk"
    assert.same({ { count = 1, longest_ms = 300, slow = true }, told(4, 400) }, events)
    assert.equal(4, w.n1:counters().slow_writes)
    assert.equal(1, w.n1:logged "info the disk is quick again: it was slow 4 times, 400 ms at most")
    write(w, 250000) -- and anew
    w:advance(10000)
    events = w.n1:told_of "slow_disk"
    assert.same({ { count = 1, longest_ms = 250, slow = true }, told(1, 250) }, { events[3], events[4] })
    assert.equal(4, #events)
  end)

  it("is measured from the last thing it has done, not from what it was asked last", function()
    local w <close> = quiet()
    w.n1.held = true
    for i = 1, 3 do
      w.n1:submit("x" .. i)
      w:settle()
      w:advance(100)
    end
    assert.same({ 3, true, 1 }, { #w.n1.writes, w.n1.host:load().disk_slow, #w.n1:told_of "slow_disk" })
    w.n1:flush(1)
    assert.equal(0, w.n1.host:load().disk_waits_us)
    w:advance(249)
    assert.equal(1, w.n1:counters().slow_writes)
    w:advance(1)
    assert.equal(2, w.n1:counters().slow_writes)
    w.n1.held = nil
    w:settle()
    w:advance(250)
    assert.same({ 0, 2 }, { w.n1.host:load().disk_waits_us, w.n1:counters().slow_writes })
  end)
end)

describe("applying", function()
  it("is slow at slow_apply_ms, with the entry that took longest, the last one of them", function()
    local w <close> = quiet()
    apply(w, 99999)
    assert.same({}, w.n1:told_of "slow_apply")
    local index = apply(w, 100000)
    local first = { count = 1, index = index, longest_ms = 100, slow = true }
    assert.same({ first }, w.n1:told_of "slow_apply")
    assert.is_true(w.n1.host:load().apply_slow)
    apply(w, 150000)
    index = apply(w, 150000)
    apply(w, 120000)
    assert.equal(w.now + 10000000, w.n1.timer)
    w:advance(9999)
    assert.same({ first }, w.n1:told_of "slow_apply")
    w:advance(1)
    assert.same({ first, { count = 4, index = index, longest_ms = 150, slow = false } }, w.n1:told_of "slow_apply")
    assert.same({ false, 4, 0 },
      { w.n1.host:load().apply_slow, w.n1:counters().slow_applies, w.n1:counters().slow_writes })
    assert.equal(1, w.n1:logged "warn applying is slow: 100 ms %(the limit is slow_apply_ms%)")
    assert.equal(1, w.n1:logged "info applying is quick again: it was slow 4 times, 150 ms at most")
  end)

  it("and a disk are watched apart: it wakes for whichever is quick again first", function()
    for _, applied_first in ipairs { true, false } do
      local w <close> = quiet()
      local function slow(applies)
        if applies then apply(w, 100000) else write(w, 250000) end
        return w.now + 10000000
      end
      local first = slow(applied_first)
      local second = slow(not applied_first)
      assert.is_true(second > first)
      assert.equal(first, w.n1.timer)
      w:advance((first - w.now) // 1000)
      local one, other = "slow_apply", "slow_disk"
      if not applied_first then one, other = other, one end
      assert.same({ 2, 1 }, { #w.n1:told_of(one), #w.n1:told_of(other) })
      assert.equal(second, w.n1.timer)
      w:advance((second - w.now) // 1000)
      assert.same({ 2, 2 }, { #w.n1:told_of(one), #w.n1:told_of(other) })
    end
  end)

  it("is quick again also while the disk stands", function()
    local w <close> = quiet()
    apply(w, 100000)
    w.n1.held = true
    w.n1:submit("x", { timeout_ms = 600000 })
    w:settle()
    w:advance(10000)
    assert.same({ 2, 1 }, { #w.n1:told_of "slow_apply", #w.n1:told_of "slow_disk" })
  end)
end)

-- n1's disk stands from now on, with a write; nobody has what is in it but n1, unless the others say so.
local function stand(w)
  w.n1.events = {}
  w.n1.held = true
  w.n1:submit("x", { timeout_ms = 600000 })
  w:settle()
  return w.now
end

-- n1 votes alone, n2 learns: it leads, and nobody can take its place.
local function with_a_learner(settings)
  local w = world.cluster { nodes = 2, settings = settings }
  w.n1:admin("demote", { id = "n2", force = true })
  w:advance(500)
  assert.equal("learner", w.n1.host:members()[2].role)
  return w
end

describe("a leader whose disk stands", function()
  it("hands over after an election timeout to the microsecond", function()
    local w <close> = world.cluster()
    local since = stand(w)
    w:advance(950)
    w.now = since + 999999
    w.n1:turn()
    assert.same({ 0, {} }, { w.n1:counters().handovers, w.n1:told_of "handover" })
    w.now = since + 1000000
    w.n1:turn()
    assert.same({ 1, { { reason = "slow_disk" } } }, { w.n1:counters().handovers, w.n1:told_of "handover" })
  end)

  it("asks for a successor once a heartbeat", function()
    local w <close> = with_a_learner()
    local since = stand(w)
    w:advance(950)
    local steps = w.n1:counters().steps
    local function turn_at(us)
      w.now = since + us
      w.n1:turn()
      return w.n1:counters().steps - steps
    end
    assert.same({ 0, 1, 1, 1, 2, 2, 3 }, { turn_at(999999), turn_at(1000000), turn_at(1000000), turn_at(1099999),
      turn_at(1100000), turn_at(1100001), turn_at(1200000) })
    assert.same({ 0, {}, 0 },
      { w.n1:counters().handovers, w.n1:told_of "handover", w.n1:logged "hands leadership over" })
  end)

  it("tries again four election timeouts after one who did not take it", function()
    local w <close> = world.cluster()
    local deliver = w.deliver
    w.deliver = function(self, p) return p.name ~= "timeout_now" and deliver(self, p) end
    local since = stand(w)
    w:advance(1100)
    assert.same({ 1, true }, { w.n1:counters().handovers, w.n1.host:is_leader() })
    w:advance(3800)
    assert.same({ 1, true }, { w.n1:counters().handovers, w.n1.host:is_leader() })
    w:advance(300)
    assert.same({ 2, true }, { w.n1:counters().handovers, w.n1.host:is_leader() })
    assert.equal(2, #w.n1:told_of "handover")
    assert.equal(5200000, w.now - since)
  end)

  it("leaves it to stopping, once it stops", function()
    local w <close> = world.cluster()
    w.n2.held, w.n3.held = true, true
    stand(w)
    w:advance(500)
    w.n1.host:stop()
    w:advance(1100) -- stopping has given up
    w.n2.held, w.n3.held = nil, nil
    w:advance(1000)
    assert.same({ 0, {} }, { w.n1:counters().handovers, w.n1:told_of "handover" })
  end)
end)

describe("a follower whose disk stands", function()
  it("has nothing to hand over, and does not try", function()
    local w <close> = world.cluster()
    w.n2.held = true
    w.n1:submit "x"
    w:settle()
    w:advance(1050)
    assert.is_true(w.n2.host:load().disk_waits_us >= 1000000)
    local steps = w.n2:counters().steps
    for _ = 1, 3 do
      w.now = w.now + 200000
      w.n2:turn()
    end
    assert.equal(steps, w.n2:counters().steps)
  end)
end)
