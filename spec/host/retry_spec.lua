-- Commands in sessions and under keys, in hosts whose leaders are lost: done once, and answered alike.
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local sessions = require "moonclave.sessions"
local world = require "host.world"

world.host.mutant(os.getenv "MOONCLAVE_GUARD_OFF" or "") -- raft/mutants_spec.lua: a story without its guard

local OPEN, CLOSE = sessions.body "open", sessions.body "close"

local function cluster(settings, nodes) return world.cluster { nodes = nodes, settings = settings } end

local function lead(w, id) -- and everybody hears of it
  w:elect(id)
  w:advance(150)
end

local function kill(w, id)
  w[id]:crash()
  for _, other in ipairs(w.nodes) do
    if other.id ~= id then w:lose(id, other.id) end
  end
end

local function open(w, node)
  local ticket = w[node]:submit(OPEN, { kind = "session" })
  w:settle()
  assert.are.equal("ok", w[node].replies[ticket].code)
  return base.unpack(w[node].replies[ticket].body).session
end

local function keyed(text, timeout_ms)
  local session, sequence = sessions.key(text)
  return { kind = "keyed", session = session, sequence = sequence, timeout_ms = timeout_ms }
end

local function forwards(w, from)
  return w:take(function(p) return p.kind == "forward" and p.from == from end)
end

local function same_everywhere(w)
  local first
  for _, node in ipairs(w.nodes) do
    local applied = { node.host and node.host:applied() }
    if node.host then
      first = first or applied
      assert.are.same(first, applied)
      assert.are.same(w.nodes[1].host and w.nodes[1].host:status().sessions or node.host:status().sessions,
        node.host:status().sessions)
    end
  end
end

describe("a command in a session", function()
  it("has one effect where two nodes propose it at once: both get the one reply", function()
    local w <close> = cluster()
    local s = open(w, "n2")
    local a = w.n2:submit("x", { session = s, sequence = 1 })
    local b = w.n3:submit("x", { session = s, sequence = 1 })
    local c = w.n1:submit("x", { session = s, sequence = 1 })
    w:settle()
    assert.are.equal("ok done 1 x", w.n2:answer(a))
    assert.are.equal("ok done 1 x", w.n3:answer(b))
    assert.are.equal("ok done 1 x", w.n1:answer(c))
    w:advance(150)
    for _, node in ipairs(w.nodes) do assert.are.equal(1, #node.machine.commands) end
    same_everywhere(w)
  end)

  it("has one effect where a batch holds it several times, between others", function()
    local w <close> = cluster()
    local s = open(w, "n1")
    local steps = w.n1:counters().propose_steps
    local tickets = {}
    for i, what in ipairs { { 1, "x" }, { 2, "reject y" }, { 1, "x" }, { 2, "reject y" }, { 1, "z" } } do
      tickets[i] = w.n1:submit(what[2], { session = s, sequence = what[1] })
    end
    w:settle()
    assert.are.equal(1, w.n1:counters().propose_steps - steps)
    assert.are.same({ "ok done 1 x", "rejected", "ok done 1 x", "rejected", "reused" },
      { w.n1:answer(tickets[1]), w.n1:answer(tickets[2]), w.n1:answer(tickets[3]), w.n1:answer(tickets[4]),
        w.n1:answer(tickets[5]) })
    assert.are.equal("rejected reject y", w.n1.replies[tickets[4]].body)
    assert.are.equal(2, #w.n1.machine.commands)
  end)

  it("that its client sends again, to another node after the leader died, gets the first reply", function()
    local w <close> = cluster()
    local s = open(w, "n1")
    local first = w.n1:submit("x", { session = s, sequence = 1 })
    w:settle()
    assert.are.equal("ok done 1 x", w.n1:answer(first))
    kill(w, "n1")
    lead(w, "n2")
    local again = w.n3:submit("x", { session = s, sequence = 1 })
    local other = w.n3:submit("y", { session = s, sequence = 2 })
    w:settle()
    assert.are.equal("ok done 1 x", w.n3:answer(again))
    assert.are.equal("ok done 2 y", w.n3:answer(other))
  end)

  it("is known again after a restart from the log, on every node alike", function()
    local w <close> = cluster()
    local s = open(w, "n1")
    w.n1:submit("x", { session = s, sequence = 1 })
    w.n1:submit("k", keyed "key")
    w:settle()
    w:advance(150)
    local before = { w.n2.host:applied() }
    local figures = w.n2.host:status().sessions
    assert.are.same({ 1, 1 }, { figures.open, figures.keys })
    kill(w, "n2")
    w.n2:start()
    w:connect_all()
    w:advance(1500)
    assert.are.same(before, { w.n2.host:applied() })
    assert.are.same(figures, w.n2.host:status().sessions)
    lead(w, "n2")
    local again, key = w.n2:submit("x", { session = s, sequence = 1 }), w.n2:submit("k", keyed "key")
    w:settle()
    assert.are.equal("ok done 1 x", w.n2:answer(again))
    assert.are.equal("ok done 2 k", w.n2:answer(key))
    assert.are.equal(2, #w.n2.machine.commands)
  end)

  it("is told that its session has expired, by every node at the same entry", function()
    local w <close> = cluster { session_timeout_ms = 5000 }
    local s = open(w, "n1")
    w.wall = w.wall + 4999
    local a = w.n1:submit("x", { session = s, sequence = 1 })
    w:settle()
    w.wall = w.wall + 5000
    assert.are.equal(1, w.n1.host:status().sessions.open) -- no entry, no time
    local plain = w.n1:submit "p"
    local late = w.n1:submit("y", { session = s, sequence = 2 })
    local retry = w.n3:submit("x", { session = s, sequence = 1 })
    w:settle()
    assert.are.equal("ok done 1 x", w.n1:answer(a))
    assert.are.equal("ok done 2 p", w.n1:answer(plain))
    assert.are.equal("session_expired", w.n1:answer(late))
    assert.are.equal("session_expired", w.n3:answer(retry))
    w:advance(150)
    for _, node in ipairs(w.nodes) do assert.are.equal(2, #node.machine.commands) end
    same_everywhere(w)
  end)

  it("is refused where session and sequence do not fit together", function()
    local w <close> = cluster(nil, 1)
    local s = open(w, "n1")
    for _, bad in ipairs {
      { session = s }, { session = s, sequence = -1 }, { sequence = 3 },
      { kind = "session", session = s, body = OPEN }, { kind = "session", body = CLOSE },
      { kind = "session", body = sessions.body("renew", 4) }, { kind = "session", body = "\x91\xA4what" },
      { kind = "session", session = s, body = "\x91\xA5renew" }, { kind = "session", body = "x" },
    } do
      local ticket = w.n1:submit(bad.body or "x", bad)
      w:settle()
      assert.are.equal("bad_request", w.n1:answer(ticket))
    end
    assert.are.equal(0, #w.n1.machine.commands)
  end)
end)

describe("a session", function()
  it("is renewed and closed through any node", function()
    local w <close> = cluster { session_timeout_ms = 5000, session_window = 7 }
    local s = open(w, "n2")
    w.wall = w.wall + 3000
    local renewed = w.n3:submit(sessions.body "renew", { kind = "session", session = s })
    w:settle()
    assert.are.same({ session = s, timeout_ms = 5000, window = 7, expires_ms = w.wall + 5000 },
      base.unpack(w.n3.replies[renewed].body))
    local closed = w.n3:submit(CLOSE, { kind = "session", session = s })
    w:settle()
    assert.are.same({ closed = true }, base.unpack(w.n3.replies[closed].body))
    assert.are.equal(0, w.n1.host:status().sessions.open)
  end)

  it("entry that does what this program does not know stops the node", function()
    local w <close> = cluster(nil, 1)
    w.n1:crash()
    local entries = w.n1.disk.entries
    local last = formats.entry_decode(entries[#entries])
    local entry = { type = 5, payload = "\x91\xA4what", index = last.index + 1, term = last.term }
    entry.time_ms = last.time_ms
    entry.chain = formats.entry_chain(entry, last.chain)
    entries[#entries + 1] = formats.entry_encode(entry)
    w.n1:start()
    w:settle()
    assert.are.equal("version", w.n1.fatal.code)
  end)
end)

describe("the chain", function()
  it("covers sessions and keys", function()
    local function chain(settings)
      local w <close> = cluster(settings, 1)
      w.n1:submit("x", keyed "key")
      w:settle()
      w.wall = w.wall + 700
      w.n1:submit "y"
      w:settle()
      return (select(2, w.n1.host:applied()))
    end
    assert.are.equal(chain { idempotency_timeout_ms = 20000 }, chain { idempotency_timeout_ms = 20000 })
    assert.are_not.equal(chain { idempotency_timeout_ms = 1000 }, chain { idempotency_timeout_ms = 20000 })
  end)
end)

-- From now on what is forwarded is lost on its way, without a word. The times (ms from now) at which it was sent.
local function lose_forwards(w)
  local deliver, started, sent = w.deliver, w.now, {}
  function w:deliver(packet)
    if packet.kind ~= "forward" then return deliver(self, packet) end
    sent[#sent + 1] = (self.now - started) // 1000
    self.forwarded = packet
  end
  return sent
end

-- A command forwarded by n2 to n1, which does it with the others; then n1 dies, before n2 hears of it.
local function done_but_not_told(w, options)
  local ticket = w.n2:submit("x", options)
  w.n2:turn()
  w:deliver_all(function(p) return p.kind == "forward" end)
  w.n1:turn()
  w.n1:flush()
  for _ = 1, 4 do -- n3 acknowledges, n1 commits; n2 gets nothing but the entry
    w:deliver_all(function(p) return p.kind == "message" and p.from ~= "n2" end)
    w.n2:turn()
    w.n2:flush()
    w.n3:turn()
    w.n3:flush()
    w.n3:turn()
  end
  w.n1:turn()
  assert.is_nil(w.n2:answer(ticket))
  kill(w, "n1")
  return ticket
end

describe("a command that was forwarded to a leader that was lost", function()
  for name, options_of in pairs {
    ["in a session"] = function(w) return { session = open(w, "n2"), sequence = 1, timeout_ms = 20000 } end,
    ["under a key"] = function() return keyed("key", 20000) end,
  } do
    it("is sent again to the next one, " .. name .. ": done once, the first reply", function()
      local w <close> = cluster()
      local ticket = done_but_not_told(w, options_of(w))
      lead(w, "n3")
      w:settle()
      assert.are.equal("ok done 1 x", w.n2:answer(ticket))
      assert.are.equal(1, #w.n3.machine.commands)
      local commands = 0
      for _, bytes in ipairs(w.n3.disk.entries) do
        if formats.entry_decode(bytes).type == 4 then commands = commands + 1 end
      end
      assert.are.equal(2, commands) -- twice in the log
    end)

    it("is sent again where it was lost on the way, " .. name, function()
      local w <close> = cluster()
      local options = options_of(w)
      local before = w.n2:counters().forwards
      local ticket = w.n2:submit("x", options)
      w.n2:turn()
      assert.are.equal(1, #forwards(w, "n2")) -- and gone, without a word
      w:advance(999)
      assert.are.equal(0, #forwards(w, "n2"))
      assert.is_nil(w.n2:answer(ticket))
      w:advance(2)
      assert.are.equal("ok done 1 x", w.n2:answer(ticket))
      assert.are.equal(2, w.n2:counters().forwards - before)
    end)

    it("is sent again, twice as late each time, to a leader that does not answer, " .. name, function()
      local w <close> = cluster()
      local options = options_of(w)
      options.timeout_ms = 16000
      local sent = lose_forwards(w)
      local ticket = w.n2:submit("x", options)
      w:advance(17000)
      assert.are.same({ 0, 1000, 3000, 7000, 15000 }, sent)
      assert.are.equal("timeout", w.n2:answer(ticket))
    end)
  end

  it("is unknown at its deadline where no other leader was found, though it is parked then", function()
    local w <close> = cluster()
    local ticket = w.n2:submit("x", { session = open(w, "n2"), sequence = 1, timeout_ms = 5000 })
    local fresh = w.n2:submit("y", { session = 3, sequence = 2, timeout_ms = 5000 })
    w.n2:turn()
    w:take()
    kill(w, "n1")
    kill(w, "n3")
    w:advance(2500)
    local parked = w.n2:submit("z", { session = 3, sequence = 3, timeout_ms = 5000 })
    w:advance(5100)
    assert.are.equal("timeout", w.n2:answer(ticket))
    assert.are.equal("timeout", w.n2:answer(fresh))
    assert.are.equal("unavailable", w.n2:answer(parked)) -- never sent: certainly not done
  end)

  it("is unknown where its session is gone when it is sent again", function()
    local w <close> = cluster()
    local s = open(w, "n2")
    local ticket = done_but_not_told(w, { session = s, sequence = 1, timeout_ms = 20000 })
    w.n2.host:status()
    lead(w, "n3")
    assert.are.equal("ok done 1 x", w.n2:answer(ticket))
    -- the same, but the session is closed before the retry gets there
    local second = w.n2:submit("y", { session = s, sequence = 2, timeout_ms = 20000 })
    w.n2:turn()
    forwards(w, "n2")
    w.n3:submit(CLOSE, { kind = "session", session = s })
    w:settle()
    w:advance(1100)
    assert.are.equal("timeout", w.n2:answer(second))
    assert.is_truthy(w.n2.replies[second].body:find("session_expired", 1, true))
    local third = w.n2:submit("y", { session = s, sequence = 2, timeout_ms = 20000 })
    w:settle()
    assert.are.equal("session_expired", w.n2:answer(third)) -- of this request it is certain
    assert.are.equal(1, #w.n3.machine.commands)
  end)

  it("is not sent again under a key that may be forgotten by then", function()
    local w <close> = cluster { idempotency_timeout_ms = 3000 }
    local sent = lose_forwards(w)
    local ticket = w.n2:submit("x", keyed("key", 20000))
    w:advance(21000)
    assert.are.equal("timeout", w.n2:answer(ticket))
    assert.are.same({ 0, 1000 }, sent) -- not at 3000: half of its time is over
  end)

  it("is not sent again under such a key where the leader refuses the second attempt, later", function()
    local w <close> = cluster { idempotency_timeout_ms = 3000 }
    local sent = lose_forwards(w)
    local ticket = w.n2:submit("x", keyed("key", 4000))
    w:advance(1600)
    assert.are.same({ 0, 1000 }, sent)
    w.deliver = nil -- the way is free again, but the key may be forgotten before what is sent now gets there
    w.n2.host:forward_reply(w.n1:identity(), w.forwarded.ticket, "unavailable", "")
    w:advance(3000)
    assert.are.equal("timeout", w.n2:answer(ticket))
    assert.are.equal(2, w.n2:counters().forwards)
  end)

  it("tries on where the leader has no room for it, and only then", function()
    local w <close> = cluster()
    local s = open(w, "n2")
    local sent = lose_forwards(w)
    local ticket = w.n2:submit("y", { session = s, sequence = 2, timeout_ms = 4000 })
    w:advance(1100)
    assert.are.same({ 0, 1000 }, sent)
    w.deliver = nil
    w.n2.host:forward_reply(w.n1:identity(), w.forwarded.ticket, "overloaded", "")
    w.n2:turn()
    assert.is_nil(w.n2:answer(ticket)) -- the first attempt may be done
    w:advance(150)
    assert.are.equal("ok done 1 y", w.n2:answer(ticket))
    local fresh = w.n2:submit("z", { session = s, sequence = 3, timeout_ms = 4000 })
    w.n2:turn()
    w.n2.host:forward_reply(w.n1:identity(), forwards(w, "n2")[1].ticket, "overloaded", "")
    w.n2:turn()
    assert.are.equal("overloaded", w.n2:answer(fresh)) -- nothing of it can have been done
  end)

  it("is sent again when the leader lost sight of it", function()
    local w <close> = cluster()
    local ticket = w.n2:submit("x", { session = open(w, "n2"), sequence = 1, timeout_ms = 4000 })
    w.n2:turn()
    w.n2.host:forward_reply(w.n1:identity(), forwards(w, "n2")[1].ticket, "timeout", "")
    w.n2:turn()
    assert.is_nil(w.n2:answer(ticket))
    w:advance(150)
    assert.are.equal("ok done 1 x", w.n2:answer(ticket))
  end)

  it("is unknown when its own node stops while it looks for another leader", function()
    local w <close> = cluster()
    local ticket = w.n2:submit("x", { session = open(w, "n2"), sequence = 1, timeout_ms = 60000 })
    local parked
    w.n2:turn()
    w:take()
    kill(w, "n1")
    w.n2:turn()
    parked = w.n2:submit("y", { session = 3, sequence = 2, timeout_ms = 60000 })
    w.n2.host:stop()
    w.n2:turn()
    assert.are.equal("timeout", w.n2:answer(ticket))
    assert.are.equal("shutting_down", w.n2:answer(parked))
  end)
end)

describe("a command whose entry was superseded", function()
  for name, options_of in pairs {
    ["in a session"] = function(w) return { session = open(w, "n1"), sequence = 1, timeout_ms = 60000 } end,
    ["under a key"] = function() return keyed("key", 60000) end,
  } do
    it("goes to the next leader by itself, " .. name, function()
      local w <close> = cluster()
      local options = options_of(w)
      w:advance(150)
      local ticket = w.n1:submit("x", options)
      w.n1:turn() -- proposed
      w:take() -- and lost
      w:isolate "n1"
      w:elect "n3"
      w:heal "n1"
      w:advance(400)
      assert.are.equal("n3", w.n1.leader)
      assert.are.equal("ok done 1 x", w.n1:answer(ticket))
      assert.are.equal(1, #w.n3.machine.commands)
    end)
  end
end)

describe("a key", function()
  it("is no session to the app, and is forwarded as a key", function()
    local w <close> = cluster()
    local options = keyed "key"
    local ticket = w.n2:submit("x", options)
    local again = w.n3:submit("x", options)
    local other = w.n3:submit("y", options)
    w:settle()
    assert.are.equal("ok done 1 x", w.n2:answer(ticket))
    assert.are.equal("ok done 1 x", w.n3:answer(again))
    assert.are.equal("reused", w.n3:answer(other))
    local entry = w.n1.machine.commands[1].entry
    assert.are.same({ 0, 0 }, { entry.session, entry.sequence })
    local last = formats.entry_decode(w.n1.disk.entries[#w.n1.disk.entries])
    assert.are.same({ 4, 1, options.session, options.sequence }, { last.type, last.flags, last.session, last.sequence })
  end)
end)
