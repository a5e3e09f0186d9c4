-- Exactly once: the rules of sessions and keys, alone. In hosts that lose leaders: retry_spec.lua.
local base = require "moonclave.base"
local sessions = require "moonclave.sessions"

sessions.mutant(os.getenv "MOONCLAVE_GUARD_OFF" or "") -- raft/mutants_spec.lua tells stories to builds without a guard

local SECOND = 1000
local OPEN, CLOSE = sessions.body "open", sessions.body "close"

-- ---- the rules, alone ----

-- Sessions at a clock, with the settings given and small limits.
local function machine(settings)
  local s = sessions.new(settings)
  s:advance(1000 * SECOND)
  return s
end

local function open(s, index)
  local code, reply = s:session { index = index, body = OPEN }
  assert.are.equal("ok", code)
  return base.unpack(reply)
end

-- "ok reply" where it was run, "ok reply again" where it was answered from what is kept.
local function command(s, session, sequence, body, reply, code)
  local c, r, ran = s:command {
    session = session, sequence = sequence, body = body or "b" .. sequence, reply = reply or "r" .. sequence,
    code = code,
  }
  if c ~= "ok" and r:byte() == 0x82 then return c end
  return c .. " " .. r .. (ran and "" or " again")
end

local function keyed(s, text, body, reply)
  local session, sequence = sessions.key(text)
  local c, r, ran = s:command { session = session, sequence = sequence, keyed = true, body = body, reply = reply }
  if c ~= "ok" then return c end
  return c .. " " .. r .. (ran and "" or " again")
end

describe("a session", function()
  it("is asked for in these bytes", function()
    assert.are.equal("\x91\xA4open", sessions.body "open")
    assert.are.equal("\x92\xA5renew\xCC\x80", sessions.body("renew", 128))
    assert.are.equal("\x91\xA5close", sessions.body "close")
  end)

  it("is named after its entry, and says how long it lives and how much it keeps", function()
    local s = machine { session_timeout_ms = 5000, session_window = 9 }
    assert.are.same({ session = 17, timeout_ms = 5000, window = 9, expires_ms = 1005 * SECOND }, open(s, 17))
    assert.are.same({ open = 1, bytes = 256, keys = 0, key_bytes = 0 }, s:figures())
  end)

  it("runs a sequence once: again it is answered with the same bytes and code", function()
    local s = machine()
    open(s, 3)
    assert.are.equal("ok r1", command(s, 3, 1))
    assert.are.equal("ok r1 again", command(s, 3, 1, "b1", "other"))
    assert.are.equal("rejected no", command(s, 3, 2, "b2", "no", "rejected"))
    assert.are.equal("rejected no again", command(s, 3, 2, "b2", "yes"))
    assert.are.equal("ok  again", (command(s, 3, 3, "b3", "") and command(s, 3, 3, "b3", "x")))
  end)

  it("keeps sessions apart, and commands without one alone", function()
    local s = machine()
    open(s, 3)
    open(s, 4)
    assert.are.equal("ok a", command(s, 3, 1, "b", "a"))
    assert.are.equal("ok b", command(s, 4, 1, "b", "b"))
    assert.are.equal("ok c", command(s, 0, 0, "b", "c"))
    assert.are.equal("ok d", command(s, 0, 0, "b", "d"))
  end)

  it("takes sequences in any order within its window, and no older ones", function()
    local s = machine { session_window = 4 }
    open(s, 3)
    assert.are.equal("ok r6", command(s, 3, 6)) -- 2 is forgotten, unused
    assert.are.equal("forgotten", command(s, 3, 2))
    assert.are.equal("ok r3", command(s, 3, 3))
    assert.are.equal("ok r5", command(s, 3, 5))
    assert.are.equal("ok r3 again", command(s, 3, 3))
    assert.are.equal("ok r7", command(s, 3, 7))
    assert.are.equal("forgotten", command(s, 3, 3))
    assert.are.equal("ok r4", command(s, 3, 4))
    assert.are.equal("ok r1000", command(s, 3, 1000))
    assert.are.equal("forgotten", command(s, 3, 996))
    assert.are.equal("ok r997", command(s, 3, 997))
    assert.are.equal(256 + 64 * 2 + #"r1000" + #"r997", s:figures().bytes)
  end)

  it("refuses a sequence that was used for another command", function()
    local s = machine()
    open(s, 3)
    command(s, 3, 1, "put a")
    assert.are.equal("reused", command(s, 3, 1, "put b"))
    assert.are.equal("ok r1 again", command(s, 3, 1, "put a"))
  end)

  it("refuses sequences that are none", function()
    local s = machine()
    open(s, 3)
    for _, sequence in ipairs { 0, -1, math.mininteger } do
      assert.are.equal("bad_request", command(s, 3, sequence))
    end
    assert.are.equal("ok r" .. math.maxinteger, command(s, 3, math.maxinteger))
    assert.are.equal("ok r" .. math.maxinteger .. " again", command(s, 3, math.maxinteger))
  end)

  it("that was never opened, or was closed, is refused", function()
    local s = machine()
    assert.are.equal("session_expired", command(s, 3, 1))
    open(s, 3)
    command(s, 3, 1)
    assert.are.same({ closed = true }, base.unpack(select(2, s:session { index = 4, session = 3, body = CLOSE })))
    assert.are.same({ closed = false }, base.unpack(select(2, s:session { index = 5, session = 3, body = CLOSE })))
    assert.are.equal("session_expired", command(s, 3, 1))
    assert.are.equal("session_expired", (s:session { index = 6, session = 3, body = sessions.body "renew" }))
    assert.are.same({ open = 0, bytes = 0, keys = 0, key_bytes = 0 }, s:figures())
  end)

  it("expires at the first entry whose clock is its timeout behind its last use, not one before", function()
    local s = machine { session_timeout_ms = 10 * SECOND }
    open(s, 3)
    s:advance(1000 * SECOND + 9999)
    assert.are.equal("ok r1", command(s, 3, 1)) -- and is renewed by it
    s:advance(1000 * SECOND + 9999 + 9999)
    assert.are.equal("ok r1 again", command(s, 3, 1)) -- a retry renews it, too
    s:advance(1000 * SECOND + 3 * 9999)
    assert.are.equal("bad_request", command(s, 3, 0)) -- and a mistake
    s:advance(1000 * SECOND + 4 * 9999)
    assert.are.equal("ok", (s:session { index = 9, session = 3, body = sessions.body "renew" }))
    s:advance(1000 * SECOND + 4 * 9999 + 10000)
    assert.are.equal(0, s:figures().open)
    assert.are.equal("session_expired", command(s, 3, 1))
  end)

  it("expires by itself: the others live on", function()
    local s = machine { session_timeout_ms = 10 * SECOND }
    for i = 1, 5 do
      s:advance((1000 + i) * SECOND)
      open(s, i)
    end
    s:advance(1006 * SECOND)
    command(s, 2, 1)
    s:advance(1013 * SECOND)
    local alive = {}
    for i = 1, 5 do alive[i] = command(s, i, 1) ~= "session_expired" end
    assert.are.same({ false, true, false, true, true }, alive)
  end)

  it("expires, and nothing is done twice, when a clock jumps; it does not go back", function()
    local s = machine { session_timeout_ms = 10 * SECOND }
    open(s, 3)
    command(s, 3, 1)
    s:advance(1 << 50)
    s:advance(1000 * SECOND)
    assert.are.equal("session_expired", command(s, 3, 1))
    assert.are.equal("session_expired", command(s, 3, 2))
  end)

  it("lets go of the replies that its client says it has", function()
    local s = machine()
    open(s, 3)
    for i = 1, 10 do command(s, 3, i) end
    assert.are.equal("ok", (s:session { index = 9, session = 3, body = sessions.body("renew", 7) }))
    assert.are.equal("forgotten", command(s, 3, 7))
    assert.are.equal("ok r8 again", command(s, 3, 8))
    assert.are.equal(256 + 64 * 3 + 2 + 2 + 3, s:figures().bytes)
    assert.are.equal("ok", (s:session { index = 10, session = 3, body = sessions.body("renew", 1000) }))
    assert.are.equal("forgotten", command(s, 3, 10))
    assert.are.equal("ok r11", command(s, 3, 11))
  end)

  it("is not opened past sessions_max, until another is gone", function()
    local s = machine { sessions_max = 2, session_timeout_ms = 10 * SECOND }
    open(s, 3)
    s:advance(1005 * SECOND)
    open(s, 4)
    assert.are.equal("overloaded", (s:session { index = 5, body = OPEN }))
    s:advance(1010 * SECOND)
    assert.are.equal(6, open(s, 6).session)
    assert.are.equal("overloaded", (s:session { index = 7, body = OPEN }))
    s:session { index = 8, session = 6, body = CLOSE }
    open(s, 9)
  end)

  it("past session_bytes_max runs nothing new, but answers retries, and goes on where it makes its own room", function()
    local s = machine { session_bytes_max = 65536, session_window = 2 }
    open(s, 3)
    open(s, 4)
    local large = ("x"):rep(33000)
    assert.are.equal("ok " .. large, command(s, 3, 1, "b", large))
    assert.are.equal("ok " .. large, command(s, 4, 1, "b", large)) -- looked at before it runs: it may go past
    assert.are.equal("overloaded", command(s, 4, 2))
    assert.are.equal("overloaded", (s:session { index = 5, body = OPEN }))
    assert.are.equal("ok " .. large .. " again", command(s, 4, 1, "b"))
    assert.are.equal("ok r3", command(s, 4, 3)) -- 1 falls out of the window
    assert.are.equal("ok r2", command(s, 4, 2)) -- refused before, it was not done, and is now
    assert.are.equal("ok r2", command(s, 3, 2))
  end)
end)

describe("an idempotency key", function()
  it("has its command run once", function()
    local s = machine()
    assert.are.equal("ok one", keyed(s, "k", "b", "one"))
    assert.are.equal("ok one again", keyed(s, "k", "b", "two"))
    assert.are.equal("ok two", keyed(s, "l", "b", "two"))
    assert.are.same({ open = 0, bytes = 0, keys = 2, key_bytes = 2 * (128 + 3) }, s:figures())
  end)

  it("with another command is refused", function()
    local s = machine()
    keyed(s, "k", "put a", "one")
    assert.are.equal("reused", keyed(s, "k", "put b", "two"))
  end)

  it("is a hash of its bytes and of its place among a request's commands", function()
    local seen = {}
    for _, text in ipairs { "a", "b", "a\0", ("a"):rep(255) } do
      for nth = 0, 3 do
        local high, low = sessions.key(text, nth)
        local name = ("%x %x"):format(high, low)
        assert.is_nil(seen[name])
        seen[name] = true
        assert.are.same({ high, low }, { sessions.key(text, nth) })
      end
    end
    for _, text in ipairs { "", ("a"):rep(256) } do
      assert.are.equal("bad_request", select(2, sessions.key(text)))
    end
  end)

  it("has this hash for ever, by whatever node a retry comes in", function()
    local function hex(text, nth) return ("%016x %016x"):format(sessions.key(text, nth)) end
    assert.are.equal("73303ac437713a03 c66df6b9fbffdb4e", hex("order-17", 0))
    assert.are.equal("b011f352801ac4d1 65477b9b7a02dd99", hex("order-17", 1))
  end)

  it("is kept for its time and then forgotten, by entries that come often enough", function()
    local s = machine { idempotency_timeout_ms = 16 * SECOND }
    keyed(s, "k", "b", "one")
    for i = 1, 15 do s:advance((1000 + i) * SECOND) end
    assert.are.equal("ok one again", keyed(s, "k", "b", "two"))
    s:advance(1016 * SECOND - 1)
    assert.are.equal("ok one again", keyed(s, "k", "b", "two"))
    s:advance(1016 * SECOND)
    assert.are.equal(0, s:figures().keys)
    assert.are.equal("ok two", keyed(s, "k", "b", "two"))
  end)

  it("survives a leader's clock that jumps: a gap counts as a sixteenth of the time at most", function()
    local s = machine { idempotency_timeout_ms = 16 * SECOND }
    keyed(s, "k", "b", "one")
    s:advance(1 << 50)
    assert.are.equal("ok one again", keyed(s, "k", "b", "two"))
    for i = 1, 14 do s:advance((1 << 50) + i * SECOND) end
    assert.are.equal("ok one again", keyed(s, "k", "b", "two"))
    s:advance((1 << 50) + 15 * SECOND)
    assert.are.equal("ok two", keyed(s, "k", "b", "two"))
  end)

  it("is not taken past the limits of number and of bytes; what is kept is answered", function()
    local s = machine { idempotency_keys_max = 2, idempotency_timeout_ms = 16 * SECOND }
    keyed(s, "k", "b", "one")
    s:advance(1001 * SECOND)
    keyed(s, "l", "b", "two")
    assert.are.equal("overloaded", keyed(s, "m", "b", "x"))
    assert.are.equal("ok one again", keyed(s, "k", "b", "x"))
    for i = 2, 16 do s:advance((1000 + i) * SECOND) end
    assert.are.equal("ok three", keyed(s, "m", "b", "three"))
    assert.are.equal("overloaded", keyed(s, "n", "b", "x"))
    s = machine { idempotency_bytes_max = 65536 }
    keyed(s, "k", "b", ("x"):rep(65000))
    assert.are.equal("ok more", keyed(s, "l", "b", "more") )
    assert.are.equal("ok y", keyed(s, "m", "b", "y"))
    assert.are.equal("ok " .. ("z"):rep(300), keyed(s, "n", "b", ("z"):rep(300)))
    assert.are.equal("overloaded", keyed(s, "o", "b", "x"))
  end)
end)

describe("sessions as bytes", function()
  it("have these", function()
    local s = sessions.new { session_window = 2 }
    assert.are.equal("\x85\xA6age_ms\x00\xA8clock_ms\x00\xA4keys\x90\xA4open\x90\xA7version\x01", s:encode())
    s:advance(5)
    open(s, 3)
    command(s, 3, 2, "b", "r")
    local hash = ("<i8"):pack(base.hash "b")
    assert.are.equal("\x85\xA6age_ms\x05\xA8clock_ms\x05\xA4keys\x90\xA4open\x81\x03\x83\xA6active\x05\xA5floor\x00"
      .. "\xA7replies\x81\x02\xC4\x13" .. hash .. ("\0"):rep(8) .. "\0\0r\xA7version\x01", s:encode())
  end)

  -- One step of a random history on several machines at once: all must answer alike.
  local function random_step(random, clock, index, machines)
    local roll = random(100)
    local answers = {}
    for _, s in ipairs(machines) do s:advance(clock) end
    local entry
    if roll <= 20 then
      entry = { index = index, body = OPEN, what = "session" }
    elseif roll <= 23 then
      entry = { index = index, session = index - random(40), body = CLOSE, what = "session" }
    elseif roll <= 30 then
      entry = { index = index, session = index - random(40), body = sessions.body("renew", random(0, 30)) }
      entry.what = "session"
    elseif roll <= 45 then
      local session, sequence = sessions.key("key " .. random(60))
      entry = { session = session, sequence = sequence, keyed = true, body = "b" .. random(2), what = "command" }
    else
      entry = { session = index - random(40), sequence = random(0, 40), body = "b" .. random(8) // 8, what = "command" }
    end
    entry.reply, entry.code = "reply " .. index .. ("x"):rep(random(40)), random(5) == 1 and "rejected" or nil
    for i, s in ipairs(machines) do
      local method = s[entry.what]
      answers[i] = table.concat({ tostring(s:hash()), (function(code, reply, ran)
        return code .. "|" .. reply .. "|" .. tostring(ran)
      end)(method(s, entry)) }, " ")
    end
    for i = 2, #machines do assert.are.equal(answers[1], answers[i], "at entry " .. index) end
    return answers[1]
  end

  it("read back answer everything that follows as the ones that wrote them, and write the same bytes", function()
    local settings = {
      session_timeout_ms = 3000, session_window = 6, sessions_max = 12, idempotency_timeout_ms = 2000,
      idempotency_keys_max = 20, session_bytes_max = 65536,
    }
    local kinds = {}
    for seed = 1, 60 do
      math.randomseed(seed)
      local random, clock, index = math.random, 10000, 100
      local machines = { sessions.new(settings) }
      for step = 1, 300 do
        index = index + 1
        if random(3) == 1 then clock = clock + random(0, random(10) == 1 and 2500 or 60) end
        local answer = random_step(random, clock, index, machines)
        local kind = answer:match " (.-)|" .. answer:match "|(%a*)$"
        kinds[kind] = (kinds[kind] or 0) + 1
        if step % 25 == 0 then
          local bytes = machines[1]:encode()
          local again = assert(sessions.decode(bytes, settings))
          assert.are.equal(bytes, again:encode())
          assert.are.equal(machines[1]:hash(), again:hash())
          assert.are.same(machines[1]:figures(), again:figures())
          machines = { machines[1], again, machines[2] } -- and the one read before goes on, too
        end
      end
      for i = 2, #machines do assert.are.equal(machines[1]:encode(), machines[i]:encode()) end
    end
    -- the histories did meet what there is to meet
    for _, kind in ipairs { "oktrue", "okfalse", "rejectedtrue", "rejectedfalse", "session_expiredfalse",
      "forgottenfalse", "reusedfalse", "overloadedfalse", "overloadednil" } do
      assert.is_true((kinds[kind] or 0) > 20, kind .. ": " .. tostring(kinds[kind]))
    end
  end)

  local function example()
    local s = machine { session_window = 8 }
    open(s, 3)
    open(s, 7)
    for i = 1, 12 do command(s, 3, i) end
    command(s, 7, 5, "b", "no", "rejected")
    for i = 1, 5 do keyed(s, "key " .. i, "b", "r" .. i) end
    return s:encode()
  end

  it("that end early, or have a byte changed, are refused or are others: never a crash, never the same", function()
    local bytes = example()
    for size = 0, #bytes - 1 do
      local s, code = sessions.decode(bytes:sub(1, size))
      assert.is_nil(s)
      assert.are.equal("corrupt", code)
    end
    for at = 1, #bytes do
      for _, flip in ipairs { 0x01, 0x80, 0xFF } do
        local changed = bytes:sub(1, at - 1) .. string.char(bytes:byte(at) ~ flip) .. bytes:sub(at + 1)
        local s, code = sessions.decode(changed)
        if s then
          assert.are.equal(changed, s:encode())
        else
          assert.is_true(code == "corrupt" or code == "version", code)
        end
      end
    end
    assert.is_nil((sessions.decode(bytes .. "\0")))
  end)

  it("of another version say so", function()
    local changed, count = example():gsub("\xA7version\x01", "\xA7version\x02")
    assert.are.equal(1, count)
    local s, code, text = sessions.decode(changed)
    assert.is_nil(s)
    assert.are.equal("version", code)
    assert.is_truthy(text:find("version 2", 1, true))
  end)

  it("that are not what sessions look like are refused", function()
    local function whole(keys, opened, age, clock)
      return "\x85\xA6age_ms" .. (age or "\x09") .. "\xA8clock_ms" .. (clock or "\x09") .. "\xA4keys" .. keys
        .. "\xA4open" .. opened .. "\xA7version\x01"
    end
    local function session(active, floor, replies)
      return "\x83\xA6active" .. active .. "\xA5floor" .. floor .. "\xA7replies" .. replies
    end
    local kept = "\xB2" .. ("\0"):rep(16) .. "\0\0"
    assert.is_truthy(sessions.decode(whole("\x90", "\x81\x03" .. session("\x09", "\x00", "\x81\x04" .. kept))))
    for what, bytes in pairs {
      ["no table of keys"] = whole("\x01", "\x90"),
      ["a session without a number"] = whole("\x90", "\x81\xA1x" .. session("\x09", "\x00", "\x90")),
      ["a session with number 0"] = whole("\x90", "\x81\x00" .. session("\x09", "\x00", "\x90")),
      ["a session that is none"] = whole("\x90", "\x81\x03\x01"),
      ["a session used in the future"] = whole("\x90", "\x81\x03" .. session("\x0A", "\x00", "\x90")),
      ["a floor below 0"] = whole("\x90", "\x81\x03" .. session("\x09", "\xFF", "\x90")),
      ["a reply below the floor"] = whole("\x90", "\x81\x03" .. session("\x09", "\x04", "\x81\x04" .. kept)),
      ["a reply that is none"] = whole("\x90", "\x81\x03" .. session("\x09", "\x00", "\x81\x04\xA1x")),
      ["a reply with a code that is none"] = whole("\x90", "\x81\x03"
        .. session("\x09", "\x00", "\x81\x04\xC4\x12" .. ("\0"):rep(16) .. "\xFF\xFF")),
      ["a key with a short name"] = whole("\x81\xC4\x0F" .. ("\xFF"):rep(15) .. kept, "\x90"),
      ["a key kept in the future"] = whole("\x81\xC4\x10" .. ("\xFF"):rep(16) .. "\xB2" .. ("\0"):rep(8)
        .. "\x0A" .. ("\0"):rep(9), "\x90"),
      ["numbers that are not shortest"] = whole("\x90", "\x90", "\xCC\x09"),
      ["a float"] = whole("\x90", "\x90", "\xCB" .. ("\0"):rep(8)),
      ["gigabytes in five bytes"] = "\xDF\xFF\xFF\xFF\xFF",
      ["nothing"] = "",
    } do
      local s, code = sessions.decode(bytes)
      assert.is_nil(s, what)
      assert.are.equal("corrupt", code, what)
    end
  end)
end)
