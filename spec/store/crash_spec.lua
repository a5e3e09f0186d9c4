-- The disk that loses what was not synced: a crash at every call in turn.
local support = require "store.support"

-- Plays the story with a fault at each call in turn; `after` looks at what is there then.
local function at_every_call(kind, seed, after)
  local story = support.story()
  local call = 0
  repeat
    call = call + 1
    local disk = support.disk(seed * 100000 + call)
    disk:fail(kind, call)
    local done, s, code = support.play(disk, story)
    local context = string.format("seed %d, %s at call %d, %d steps acknowledged", seed, kind, call, done)
    after(disk, story, done, s, code, context)
  until done == #story and disk:counts() < call
  return call
end

describe("a power cut at every write, sync, truncate and delete call", function()
  local function check(loss)
    return function(disk, story, done, s, _, context)
      disk:power_cut(loss)
      if s then s:close() end
      local again, code, text = support.open(disk)
      assert(again, context .. ": " .. tostring(code) .. " " .. tostring(text))
      local found = support.assert_one_of(again, context, support.states(story, done))

      -- What was found is reported as durable: the next power cut must not take it.
      disk:power_cut("all")
      again:close()
      local third = assert(support.open(disk))
      support.assert_one_of(third, context .. ", second cut", found)

      -- And it goes on.
      local writes = {{hard_state = {term = 9, vote = "n1"}, entries = support.entries(found, 9, {10, 600})}}
      assert(third:persist(writes))
      disk:power_cut("all")
      third:close()
      local fourth = assert(support.open(disk))
      support.assert_one_of(fourth, context .. ", went on", support.after(found, writes))
      fourth:close()
    end
  end

  it("loses nothing that was acknowledged when every unsynced write is lost", function()
    assert.is_true(at_every_call("crash", 1, check "all") > 100)
  end)

  it("loses nothing that was acknowledged when any sectors of the unsynced writes survive", function()
    for seed = 2, 9 do
      assert.is_true(at_every_call("crash", seed, check "some") > 100)
    end
  end)

  it("loses nothing when only the process dies, and makes durable what it finds", function()
    at_every_call("crash", 10, function(disk, story, done, s, _, context)
      disk:kill()
      if s then s:close() end
      local again, code, text = support.open(disk)
      assert(again, context .. ": " .. tostring(code) .. " " .. tostring(text))
      local found = support.assert_one_of(again, context, support.states(story, done))
      disk:power_cut("all")
      again:close()
      local third = assert(support.open(disk))
      support.assert_one_of(third, context .. ", then a cut", found)
      third:close()
    end)
  end)

  it("survives a second crash at every call of the recovery", function()
    local story = support.story()
    for call = 5, 150, 7 do
      local recovery = 0
      repeat
        recovery = recovery + 1
        local disk = support.disk(call * 1000 + recovery)
        disk:fail("crash", call)
        local done, s = support.play(disk, story)
        disk:power_cut("some")
        if s then s:close() end
        local before = disk:counts()
        disk:fail("crash", recovery)
        local again = support.open(disk)
        local finished = disk:counts() - before < recovery
        disk:power_cut("some")
        if again then again:close() end
        local third, code, text = support.open(disk)
        local context = string.format("call %d, recovery call %d", call, recovery)
        assert(third, context .. ": " .. tostring(code) .. " " .. tostring(text))
        support.assert_one_of(third, context, support.states(story, done))
        third:close()
      until finished
    end
  end)

  it("keeps the incarnation that the first open reported", function()
    for call = 1, 40 do
      local disk = support.disk(call)
      disk:fail("crash", call)
      local s = support.open(disk)
      local reported = s and s:identity().incarnation
      disk:power_cut("some")
      if s then s:close() end
      local again = assert(support.open(disk, {incarnation = 88}))
      local incarnation = again:identity().incarnation
      if reported then assert.are.equal(reported, incarnation) end
      assert.is_true(incarnation == 77 or incarnation == 88)
      again:close()
    end
  end)
end)

describe("an I/O error at every call", function()
  local function check(loss)
    return function(disk, story, done, s, code, context)
      if s and code then
        assert.are.equal("io_error", code, context)
        -- It stops: every further call gives the same answer and touches the disk no more, closing included.
        local calls, _, syncs = disk:counts()
        for _, try in ipairs{
          function() return s:persist{{hard_state = {term = 99, vote = ""}}} end,
          function() return s:tidy() end,
          function() return s:read(1, 5) end,
        } do
          local ok, again = try()
          assert.is_nil(ok, context)
          assert.are.equal("io_error", again, context)
        end
        s:close()
        local calls_after, _, syncs_after = disk:counts()
        assert.are.equal(calls, calls_after, context)
        assert.are.equal(syncs, syncs_after, context)
      elseif s then
        s:close()
      end
      if loss == "kill" then disk:kill() else disk:power_cut(loss) end
      local again, why, text = support.open(disk)
      assert(again, context .. ": " .. tostring(why) .. " " .. tostring(text))
      local found = support.assert_one_of(again, context, support.states(story, done))
      disk:power_cut("all")
      again:close()
      local third, why_not, what = support.open(disk)
      assert(third, context .. ", then a cut: " .. tostring(why_not) .. " " .. tostring(what))
      support.assert_one_of(third, context .. ", then a cut", found)
      third:close()
    end
  end

  it("stops the store; a restart on the same page cache has all that was acknowledged", function()
    assert.is_true(at_every_call("error", 20, check "kill") > 100)
  end)

  it("stops the store; after a power cut all that was acknowledged is there", function()
    at_every_call("error", 21, check "all")
    for seed = 22, 25 do at_every_call("error", seed, check "some") end
  end)

  it("at every read too", function()
    local story = support.story()
    local read = 0
    repeat
      read = read + 1
      local disk = support.disk(read)
      disk:fail("read_error", read)
      local done, s, code = support.play(disk, story)
      local _, reads = disk:counts()
      if done < #story then assert.are.equal("io_error", code, "read " .. read) end
      disk:power_cut("all")
      if s then s:close() end
      local again = assert(support.open(disk))
      support.assert_one_of(again, "read error " .. read, support.states(story, done))
      again:close()
    until reads < read
    assert.is_true(read > 20)
  end)
end)

describe("an I/O error after the commit is durable", function()
  -- A store with a long WAL; what is acknowledged; how many calls `act` makes on it.
  local function prepared(seed)
    local disk = support.disk(seed)
    local s = assert(support.open(disk, {checkpoint_pages = 12}))
    local state = support.blank()
    for _, size in ipairs{2000, 3000, 600} do
      local write = {entries = support.entries(state, 1, {size})}
      assert(s:persist{write})
      state = support.after(state, {write})
    end
    return disk, s, state
  end

  local function check_durable(disk, s, state, context)
    disk:power_cut("all")
    s:close()
    local again, code, text = support.open(disk)
    assert(again, context .. ": " .. tostring(code) .. " " .. tostring(text))
    support.assert_one_of(again, context, state)
    again:close()
  end

  it("in a checkpoint is reported by the tidying, and the commits stay", function()
    local disk, s = prepared(1)
    local before = disk:counts()
    assert(s:tidy())
    assert.are.equal(1, s:counters().checkpoints)
    local calls = disk:counts() - before
    assert.is_true(calls >= 10)
    s:close()
    for call = 1, calls do
      local state
      disk, s, state = prepared(call)
      disk:fail("error", call)
      local ok, code = s:tidy()
      assert.is_nil(ok, "call " .. call)
      assert.are.equal("io_error", code)
      check_durable(disk, s, state, "checkpoint call " .. call)
    end
  end)

  it("in a persist that had to checkpoint is reported by the next call, and the commit stays", function()
    local function persist_much(s, state)
      local write = {entries = support.entries(state, 1, {24000})}
      local ok = s:persist{write}
      return ok, ok and support.after(state, {write}) or state
    end
    local disk, s, state = prepared(1)
    local before = disk:counts()
    assert(persist_much(s, state))
    assert.are.equal(1, s:counters().checkpoints)
    local calls, late = disk:counts() - before, 0
    s:close()
    for call = 1, calls do
      disk, s, state = prepared(call)
      disk:fail("error", call)
      local ok
      ok, state = persist_much(s, state)
      if ok then
        late = late + 1
        local tidied, code = s:tidy()
        assert.is_nil(tidied, "call " .. call)
        assert.are.equal("io_error", code)
        check_durable(disk, s, state, "persist call " .. call)
      else
        s:close()
      end
    end
    assert.is_true(late >= 10 and late < calls)
  end)

  it("in the mark is reported by the next call, and the commit stays", function()
    local disk, s, state = prepared(1)
    local before = disk:counts()
    assert(s:persist{{hard_state = {term = 2, vote = "n1"}}})
    local calls = disk:counts() - before
    s:close()
    disk, s, state = prepared(2)
    disk:fail("error", calls) -- the mark comes last
    local write = {hard_state = {term = 2, vote = "n1"}}
    assert(s:persist{write})
    local ok, code, text = s:persist{write}
    assert.is_nil(ok)
    assert.are.equal("io_error", code)
    assert.is_truthy(text:find(support.MARK, 1, true))
    check_durable(disk, s, support.after(state, {write}), "mark")
  end)

  it("and a full disk in a checkpoint is no error: the WAL waits", function()
    local disk, s = prepared(1)
    local before = disk:counts()
    assert(s:tidy())
    local calls = disk:counts() - before
    s:close()
    for call = 1, calls do
      local state
      disk, s, state = prepared(call)
      disk:fail("full", call)
      assert(s:tidy())
      local write = {entries = support.entries(state, 1, {100})}
      assert(s:persist{write})
      assert(s:tidy())
      assert.are.equal(1, s:counters().checkpoints, "call " .. call)
      check_durable(disk, s, support.after(state, {write}), "full checkpoint call " .. call)
    end
  end)
end)

describe("a full disk at every write", function()
  it("refuses, has done nothing of it, and goes on when there is room", function()
    local story = support.story()
    local call, refused = 0, 0
    repeat
      call = call + 1
      local disk = support.disk(call)
      disk:fail("full", call)
      local done, s, code = support.play(disk, story, function()
        refused = refused + 1
        return true
      end)
      local context = "full at call " .. call
      assert.are.equal(#story, done, context .. ": " .. tostring(code))
      disk:power_cut("all")
      s:close()
      local again = assert(support.open(disk))
      support.assert_one_of(again, context, story[#story].state)
      again:close()
    until disk:counts() < call
    assert.is_true(refused > 30)
  end)

  it("has done nothing of what it refused, even when the process dies right after", function()
    local story = support.story()
    for _, ending in ipairs{"kill", "all", "some"} do
      local call, refused = 0, 0
      repeat
        call = call + 1
        local disk = support.disk(call)
        disk:fail("full", call)
        local done, s, code = support.play(disk, story)
        if code == "disk_full" and s then
          refused = refused + 1
          if ending == "kill" then disk:kill() else disk:power_cut(ending) end
          s:close()
          local again = assert(support.open(disk))
          support.assert_one_of(again, "full at call " .. call, (support.states(story, done)))
          again:close()
        elseif s then
          s:close()
        end
      until disk:counts() < call
      assert.is_true(refused > 20)
    end
  end)

  it("stays up on a disk that is full for long, and finds nothing torn when room returns", function()
    local disk = support.disk(5)
    local s = assert(support.open(disk))
    local state, refusals = support.blank(), 0
    disk:quota(40000)
    for round = 1, 300 do
      local writes = {{entries = support.entries(state, 1, {100 + round % 7 * 90})}}
      local ok, code = s:persist(writes)
      if ok then
        state = support.after(state, writes)
      else
        assert.are.equal("disk_full", code)
        refusals = refusals + 1
        if refusals % 20 == 0 then disk:quota(40000 + refusals * 600) end
      end
      assert(s:tidy())
      if round % 50 == 0 then
        if round % 100 == 0 then disk:power_cut("some") else disk:kill() end
        s:close()
        s = assert(support.open(disk))
        support.assert_one_of(s, "round " .. round, state)
      end
    end
    assert.is_true(refusals > 50)
    assert.is_true(#state.log > 100)
    s:close()
  end)
end)
