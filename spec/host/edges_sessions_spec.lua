-- Edges of sessions and keys: limits to the byte, windows and acknowledgements that meet, and bytes of which a single
-- thing is wrong. Each was a guard that nothing else missed (scripts/mutants).
local base = require "moonclave.base"
local sessions = require "moonclave.sessions"

local OPEN = sessions.body "open"

local function machine(settings)
  local s = sessions.new(settings)
  s:advance(1000000)
  return s
end

local function open(s, index) return (s:session { index = index, body = OPEN }) end

-- "ok" where it was run, "ok again" where it was answered from what is kept; else the code.
local function command(s, session, sequence, reply)
  local code, _, ran = s:command { session = session, sequence = sequence, body = "b", reply = reply or "r" }
  return code == "ok" and not ran and "ok again" or code
end

local function keyed(s, text, reply)
  local session, sequence = sessions.key(text)
  local code, _, ran = s:command { session = session, sequence = sequence, keyed = true, body = "b",
    reply = reply or "r" }
  return code == "ok" and not ran and "ok again" or code
end

-- What counts beside the replies' own bytes (sessions.h).
local SESSION, REPLY, KEY = 256, 64, 128

describe("a limit of bytes", function()
  local MOST = 65536

  it("lets a command run in a session while a single byte is free, and none when all is taken", function()
    for _, free in ipairs { 1, 0 } do
      local s = machine { session_bytes_max = MOST }
      open(s, 3)
      assert.equal("ok", command(s, 3, 1, ("x"):rep(MOST - SESSION - REPLY - free)))
      assert.equal(MOST - free, s:figures().bytes)
      assert.equal(free == 1 and "ok" or "overloaded", command(s, 3, 2))
    end
  end)

  it("counts what the command itself lets fall out of its window as free", function()
    for _, free in ipairs { 1, 0 } do
      local s = machine { session_bytes_max = MOST, session_window = 1 }
      open(s, 3)
      open(s, 4)
      assert.equal("ok", command(s, 3, 1, "gone"))
      assert.equal("ok", command(s, 4, 1, ("x"):rep(MOST - 2 * SESSION - REPLY - free)))
      assert.equal(MOST - free + REPLY + #"gone", s:figures().bytes)
      assert.equal(free == 1 and "ok" or "overloaded", command(s, 3, 2))
    end
  end)

  it("lets a session be opened while a single byte is free", function()
    for _, free in ipairs { 1, 0 } do
      local s = machine { session_bytes_max = MOST }
      open(s, 3)
      command(s, 3, 1, ("x"):rep(MOST - SESSION - REPLY - free))
      assert.equal(free == 1 and "ok" or "overloaded", open(s, 4))
    end
  end)

  it("lets a key be taken while a single byte is free", function()
    for _, free in ipairs { 1, 0 } do
      local s = machine { idempotency_bytes_max = MOST }
      assert.equal("ok", keyed(s, "k", ("x"):rep(MOST - KEY - free)))
      assert.equal(free == 1 and "ok" or "overloaded", keyed(s, "l"))
      assert.equal("ok again", keyed(s, "k"))
    end
  end)
end)

describe("a session's window", function()
  it("does not fall back behind what its client has acknowledged", function()
    local s = machine { session_window = 8 }
    open(s, 3)
    for i = 1, 10 do command(s, 3, i) end
    assert.equal("ok", (s:session { index = 9, session = 3, body = sessions.body("renew", 7) }))
    assert.equal("ok", command(s, 3, 11)) -- the window begins at 4 now, what is kept at 8
    for i = 1, 7 do assert.equal("forgotten", command(s, 3, i), i) end
    for i = 8, 11 do assert.equal("ok again", command(s, 3, i), i) end
    assert.equal(SESSION + 4 * (REPLY + 1), s:figures().bytes)
  end)
end)

describe("a refusal", function()
  local function text_of(entry)
    local s = machine()
    open(s, entry.session)
    entry.body, entry.reply = "b", "r"
    s:command(entry)
    entry.body = "another"
    local code, reply = s:command(entry)
    assert.equal("reused", code)
    return base.unpack(reply).message
  end

  it("says whether it was a sequence or a key that was used for something else", function()
    assert.matches("^this sequence was used", text_of { session = 3, sequence = 1 })
    assert.matches("^this idempotency key was used", text_of { session = 3, sequence = 1, keyed = true })
  end)
end)

describe("keys", function()
  it("are kept whatever their hash is, be half of it zero", function()
    local s = machine()
    for _, name in ipairs { { 0, 5 }, { 5, 0 }, { 0, 0 } } do
      local entry = { session = name[1], sequence = name[2], keyed = true, body = "b", reply = "r" }
      local _, _, ran = s:command(entry)
      local _, _, again = s:command(entry)
      assert.same({ true, false }, { ran, again })
    end
    assert.equal(3, s:figures().keys)
  end)

  it("are forgotten in the order they came, however many came and went", function()
    local s = machine { idempotency_timeout_ms = 1600 }
    local clock, taken, kept = 1000000, 0, {}
    local function take(count)
      clock = clock + 100 -- a sixteenth of the time: a key is kept for 16 of these
      s:advance(clock)
      for _ = 1, count do
        taken = taken + 1
        assert.equal("ok", keyed(s, "key " .. taken))
      end
      kept[#kept + 1] = count
    end
    local function expected()
      local sum = 0
      for i = math.max(1, #kept - 15), #kept do sum = sum + kept[i] end
      return sum
    end
    for _ = 1, 20 do take(3) end -- the oldest are no longer where the list began
    for round = 1, 40 do
      take(round)
      assert.same({ open = 0, bytes = 0, keys = expected(), key_bytes = expected() * (KEY + 1) }, s:figures())
      local oldest = taken - expected() + 1
      assert.equal("ok again", keyed(s, "key " .. oldest))
      assert.equal("ok again", keyed(s, "key " .. taken))
    end
    local forgotten = taken - expected()
    assert.equal("ok", keyed(s, "key " .. forgotten)) -- is new again
  end)
end)

describe("the bytes of sessions", function()
  local kept = "\xB2" .. ("\0"):rep(16) .. "\0\0"
  local aged = "\xB2" .. ("\0"):rep(8) .. "\1" .. ("\0"):rep(9)
  local NAME = "\xC4\x10" .. ("\xFF"):rep(15)

  local function whole(keys, opened, change)
    change = change or {}
    return "\x85\xA6age_ms" .. (change.age or "\x09") .. "\xA8clock_ms" .. (change.clock or "\x09") .. "\xA4keys"
      .. keys .. "\xA4open" .. opened .. "\xA7version" .. (change.version or "\x01")
  end

  local function session(active, floor, replies)
    return "\x83\xA6active" .. active .. "\xA5floor" .. floor .. "\xA7replies" .. replies
  end

  local GOOD = session("\x09", "\x00", "\x90")

  local function refused(cases)
    for what, bytes in pairs(cases) do
      local s, code = sessions.decode(bytes)
      assert.is_nil(s, what)
      assert.equal("corrupt", code, what)
    end
  end

  it("may hold a session with the number 1, alone or among others", function()
    for what, opened in pairs { alone = "\x91" .. GOOD, among = "\x82\x01" .. GOOD .. "\x07" .. GOOD } do
      local s = assert(sessions.decode(whole("\x90", opened)), what)
      assert.equal("ok", command(s, 1, 1))
      assert.equal("ok again", command(s, 1, 1))
    end
  end)

  it("of another version that are damaged besides are damaged; a version that is no number is damage, too", function()
    local other = whole("\x90", "\x90", { version = "\x02" })
    assert.equal("version", select(2, sessions.decode(other)))
    refused {
      ["more behind them"] = other .. "\0",
      ["a version as text"] = whole("\x90", "\x90", { version = "\xA11" }),
      ["no version"] = "\x84\xA6age_ms\x09\xA8clock_ms\x09\xA4keys\x90\xA4open\x90",
      ["a list"] = "\x95\x09\x09\x90\x90\x01",
    }
  end)

  it("have the things that sessions have, each of its kind, and no others", function()
    local float = "\xCB" .. ("\0"):rep(8)
    refused {
      ["one thing more"] = "\x86\xA6age_ms\x09\xA8clock_ms\x09\xA4keys\x90\xA4open\x90\xA7version\x01\xA1z\x01",
      ["no sessions"] = whole("\x90", "\x01"),
      ["an age as text"] = whole("\x90", "\x90", { age = "\xA11" }),
      ["a clock with a fraction"] = whole("\x90", "\x90", { clock = "\xCB\x3F\xE0" .. ("\0"):rep(6) }),
    }
    for what, one in pairs {
      ["one thing more"] = "\x84\xA6active\x09\xA5floor\x00\xA7replies\x90\xA1z\x01",
      ["one thing less"] = "\x82\xA6active\x09\xA5floor\x00",
      ["a time with a fraction"] = session(float, "\x00", "\x90"),
      ["a floor with a fraction"] = session("\x09", float, "\x90"),
      ["replies that are none"] = session("\x09", "\x00", "\x01"),
      ["a reply without a number"] = session("\x09", "\x00", "\x81\xA1x" .. kept),
      ["a reply that is a number"] = session("\x09", "\x00", "\x81\x04\x07"),
      ["a reply that is a table"] = session("\x09", "\x00", "\x81\x04\x90"),
      ["a reply with an age"] = session("\x09", "\x00", "\x81\x04" .. aged),
      ["a reply that ends in its head"] = session("\x09", "\x00", "\x81\x04\xB1" .. ("\0"):rep(17)),
      ["a bad reply behind a good one"] = session("\x09", "\x00", "\x82\x04" .. kept .. "\x05\xA1x"),
    } do
      refused {
        [what] = whole("\x90", "\x81\x03" .. one),
        [what .. ", before a sound session"] = whole("\x90", "\x82\x03" .. one .. "\x07" .. GOOD),
        [what .. ", behind a sound session"] = whole("\x90", "\x82\x03" .. GOOD .. "\x07" .. one),
      }
    end
    for what, one in pairs {
      ["a key that is a number"] = "\x05" .. kept,
      ["a key with a number for its reply"] = NAME .. "\xFE\x07",
      ["a key with a table for its reply"] = NAME .. "\xFE\x90",
      ["a key whose reply ends in its head"] = NAME .. "\xFE\xB1" .. ("\0"):rep(17),
      ["a key whose reply has no code"] = NAME .. "\xFE\xB2" .. ("\0"):rep(16) .. "\xFF\xFF",
    } do
      refused {
        [what] = whole("\x81" .. one, "\x90"),
        [what .. ", behind a sound key"] = whole("\x82" .. NAME .. "\x00" .. kept .. one, "\x90"),
      }
    end
    assert.is_truthy(sessions.decode(whole("\x82" .. NAME .. "\x00" .. kept .. NAME .. "\xFE" .. kept,
      "\x82\x03" .. GOOD .. "\x07" .. GOOD)))
  end)
end)
