-- Edges of where requests go: what is refused at the door, who answers a query, what is sent again and until when.
-- Each was a guard that nothing else missed (scripts/mutants).
local sessions = require "moonclave.sessions"
local world = require "host.world"

local function cluster(settings) return world.cluster { settings = settings } end

local function keyed(text, timeout_ms)
  local session, sequence = sessions.key(text)
  return { kind = "keyed", session = session, sequence = sequence, timeout_ms = timeout_ms or 60000 }
end

local function open(w, node)
  local ticket = w[node]:submit(sessions.body "open", { kind = "session" })
  w:settle()
  return require("moonclave.base").unpack(w[node].replies[ticket].body).session
end

local function forwards(w, from)
  return w:take(function(p) return p.kind == "forward" and p.from == from end)
end

describe("a sequence", function()
  it("that is none is refused at the door, and costs no entry", function()
    local w <close> = cluster()
    local s = open(w, "n1")
    local proposals = w.n1:counters().proposals
    for _, sequence in ipairs { 0, -1, math.mininteger } do
      local t = w.n1:submit("x", { session = s, sequence = sequence })
      w:settle()
      assert.equal("bad_request", w.n1:answer(t))
    end
    assert.equal(proposals, w.n1:counters().proposals)
    local t = w.n1:submit("x", { session = s, sequence = math.maxinteger })
    w:settle()
    assert.equal("ok done 1 x", w.n1:answer(t))
  end)

  it("is whatever it is in the hash of a key, and in a query that has no use for it", function()
    local w <close> = cluster()
    local highest = 0
    for i = 1, 8 do
      local options = keyed("key " .. i)
      if options.sequence < 0 then highest = highest + 1 end -- a number above 2^63 - 1
      local t = w.n1:submit("x" .. i, options)
      w:settle()
      assert.equal(("ok done %d x%d"):format(i, i), w.n1:answer(t))
    end
    assert.is_true(highest > 0)
    local q = w.n1:query("q", { sequence = 5 })
    w:settle()
    assert.equal("ok answer 8 q", w.n1:answer(q))
  end)
end)

describe("a command under a key", function()
  -- Forwarded by n2 to a leader that is silent from then on.
  local function asked(idempotency_ms, options)
    local w = cluster { idempotency_timeout_ms = idempotency_ms }
    local t = w.n2:submit("x", options or keyed "key")
    w.n2:turn()
    return w, t, forwards(w, "n2")[1]
  end

  it("is sent again until half of the time that keys are kept is over, not at that moment", function()
    for idempotency_ms, count in pairs { [2000] = 1, [2002] = 2 } do
      local w <close> = (asked(idempotency_ms))
      w.now = w.now + 1000000 -- an election timeout
      w.n2:turn()
      assert.equal(count, w.n2:counters().forwards)
    end
  end)

  it("that is too old to be sent again waits on for its answer", function()
    local world_of, t, packet = asked(2000)
    local w <close> = world_of
    w:advance(1500)
    assert.is_nil(w.n2:answer(t))
    w:deliver(packet) -- slow
    w:settle()
    assert.equal("ok done 1 x", w.n2:answer(t))
    assert.equal(1, w.n2:counters().forwards)
  end)

  it("has that limit; one in a session has none but its deadline", function()
    local w <close> = cluster { idempotency_timeout_ms = 2000 }
    local s = open(w, "n2")
    w:settle()
    local before = w.n2:counters().forwards
    w.n2:submit("x", { session = s, sequence = 1, timeout_ms = 60000 })
    for count, ms in ipairs { 0, 1000, 2000, 4000 } do -- twice as long each time
      w.now = w.now + ms * 1000
      w.n2:turn()
      assert.equal(before + count, w.n2:counters().forwards)
    end
  end)

  it("is sent once by who does not know yet how long keys are kept", function()
    local w <close> = world.new { nodes = 3 }
    w.n1.options.bundle = "" -- it leads, and has no app to bring
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    w.n2:submit("x", keyed "key")
    w.n2:turn()
    assert.equal(1, w.n2:counters().forwards)
    w:lose("n1", "n2")
    assert(w:connect("n1", "n2"))
    w.n2:turn()
    w.now = w.now + 5000000
    w.n2:turn()
    assert.equal(1, w.n2:counters().forwards)
  end)
end)

describe("a command in a session whose leader is silent", function()
  it("is sent again after an election timeout, then after twice as long each time, up to 256 of them", function()
    local w <close> = cluster { election_timeout_ms = 20, heartbeat_ms = 5 }
    local s = open(w, "n2")
    local before = w.n2:counters().forwards
    w.n2:submit("x", { session = s, sequence = 1, timeout_ms = 600000 })
    w.n2:turn()
    for sent = 1, 11 do
      local wait_us = 20000 << math.min(sent - 1, 8)
      w.now = w.now + wait_us - 1
      w.n2:turn()
      assert.equal(before + sent, w.n2:counters().forwards)
      w.now = w.now + 1
      w.n2:turn()
      assert.equal(before + sent + 1, w.n2:counters().forwards)
    end
  end)
end)

describe("what a lost leader was asked", function()
  it("is asked again where it opens a session: one too many expires", function()
    local w <close> = cluster()
    local t = w.n2:submit(sessions.body "open", { kind = "session", timeout_ms = 60000 })
    w.n2:turn()
    assert.equal(1, #forwards(w, "n2"))
    w:lose("n1", "n2")
    assert(w:connect("n1", "n2"))
    w:settle()
    assert.equal("ok", (w.n2:told(t)))
    assert.equal(2, w.n2:counters().forwards)
  end)

  it("about its members is not done by the next, whatever session it names, and its operator is told", function()
    local w <close> = cluster()
    w:isolate "n1"
    local t = w.n1:admin("remove", { id = "n3" }, { session = 5 })
    w.n1:turn()
    w:elect "n2"
    w:heal "n1"
    w:advance(1000)
    assert.equal("n2", w.n1.leader)
    assert.equal("unavailable", (w.n1:told(t)))
    assert.equal(3, #w.n2.host:members())
  end)
end)

describe("a leader that says it does not know in time", function()
  local function told(kind, options)
    local w = cluster()
    local o = { kind = kind, timeout_ms = 60000 }
    for k, v in pairs(options or {}) do o[k] = v end
    local t = w.n2:submit("x", o)
    w.n2:turn()
    w.n2.host:forward_reply(w.n1:identity(), forwards(w, "n2")[1].ticket, "timeout", "")
    w.n2:turn()
    local answer = w.n2:answer(t)
    w:settle()
    w:advance(150)
    return w, answer, w.n2:answer(t)
  end

  it("has given the answer to a plain command, and to a query", function()
    for _, kind in ipairs { "command", "query" } do
      local of, answer = told(kind)
      local w <close> = of
      assert.same({ "timeout", 1 }, { answer, w.n2:counters().forwards })
    end
  end)

  it("is asked again for a command that is done once however often it is sent", function()
    local of, answer, later = told("keyed", keyed "key")
    local w <close> = of
    assert.same({ nil, "ok done 1 x" }, { answer, later })
    assert.equal(2, w.n2:counters().forwards)
  end)
end)

describe("a leader that has no room now", function()
  it("is asked again for what may have been done before, and has answered what certainly was not", function()
    for _, full in ipairs { "overloaded", "disk_full" } do
      local w <close> = cluster()
      local function refuse(code)
        w.n2.host:forward_reply(w.n1:identity(), forwards(w, "n2")[1].ticket, code, "")
        w.n2:turn()
      end
      local t = w.n2:submit("x", keyed "key")
      w.n2:turn()
      refuse(full)
      assert.equal(full, w.n2:answer(t))
      t = w.n2:submit("x", keyed "key")
      w.n2:turn()
      refuse "timeout" -- perhaps it will be done
      w.now = w.now + 100000
      w.n2:turn()
      refuse(full)
      assert.is_nil(w.n2:answer(t))
      w:advance(150)
      assert.equal("ok done 1 x", w.n2:answer(t))
    end
  end)
end)

describe("a follower that may answer queries", function()
  local function reader()
    local w = world.new { nodes = 3 }
    w.n2.options.settings = { follower_reads = 1 }
    return w
  end

  it("answers them itself, from a state as new as the leader's, and passes commands on", function()
    local w <close> = reader()
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    local asked = {}
    for _, node in ipairs(w.nodes) do node.on_query = function(body) asked[#asked + 1] = node.id .. body end end
    local t = w.n1:submit "x"
    w:settle()
    assert.equal("ok done 1 x", w.n1:answer(t))
    local q = w.n2:query "q" -- n2 has not heard yet that x is committed
    w.n2:turn()
    assert.is_nil(w.n2:answer(q))
    w:advance(150)
    assert.equal("ok answer 1 q", w.n2:answer(q))
    local c = w.n2:submit "y"
    w:settle()
    assert.equal("ok done 2 y", w.n2:answer(c))
    assert.same({ { "n2q" }, 1 }, { asked, w.n2:counters().forwards })
  end)

  it("passes them on where the app does not load here", function()
    local w <close> = reader()
    w.n2.on_load = function() return "it does not load here" end
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    local q = w.n2:query "q"
    w:settle()
    assert.equal("ok answer 0 q", w.n2:answer(q))
    assert.equal(1, w.n2:counters().forwards)
  end)

  it("asks nobody while it knows no leader", function()
    local w <close> = reader()
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    w:isolate "n2"
    w:advance(5000)
    assert.equal("", w.n2.leader)
    local before = w.n2:counters()
    local q = w.n2:query("q", { timeout_ms = 60000 })
    w:advance(1000)
    assert.equal(before.reads, w.n2:counters().reads)
    w:heal "n2"
    w:advance(3000)
    assert.equal("ok answer 0 q", w.n2:answer(q))
  end)
end)

describe("a query that is content with the leader's lease", function()
  it("is answered by it in the same turn, asking nobody; one that wants a majority's word waits for that", function()
    local w <close> = cluster { leases = 1 }
    local before = w.n1:counters()
    local q, r = w.n1:query("q", { lease = true }), w.n1:query "r"
    w.n1:turn()
    assert.same({ "ok answer 0 q", nil }, { w.n1:answer(q), w.n1:answer(r) })
    local after = w.n1:counters()
    assert.same({ 2, 2 }, { after.reads - before.reads, after.read_rounds - before.read_rounds })
    w:settle()
    assert.equal("ok answer 0 r", w.n1:answer(r))
  end)

  it("is one like any other where leases are off", function()
    local w <close> = cluster()
    local before = w.n1:counters()
    local q, r = w.n1:query("q", { lease = true }), w.n1:query "r"
    w.n1:turn()
    assert.same({}, w.n1.replies)
    local after = w.n1:counters()
    assert.same({ 2, 1 }, { after.reads - before.reads, after.read_rounds - before.read_rounds })
    w:settle()
    assert.same({ "ok answer 0 q", "ok answer 0 r" }, { w.n1:answer(q), w.n1:answer(r) })
  end)

  it("is so with a follower's leader, too", function()
    local w <close> = cluster { leases = 1 }
    local q = w.n2:query("q", { lease = true })
    w.n2:turn()
    w:deliver_all()
    w.n1:turn()
    w:deliver_all(function(p) return p.kind == "forward_reply" end)
    assert.equal("ok answer 0 q", w.n2:answer(q))
  end)
end)

describe("a leader that has no room for more", function()
  local large = ("x"):rep(2048 - 72) -- and an entry's header

  it("tells a command that is new so, and keeps one that may have been done, until there is room", function()
    local w <close> = cluster { uncommitted_bytes_max = 4096 }
    local s = open(w, "n2")
    local perhaps = {}
    for i = 1, 3 do perhaps[i] = w.n2:submit(large, { session = s, sequence = i, timeout_ms = 60000 }) end
    w.n2:turn()
    assert.equal(3, #forwards(w, "n2")) -- n1 may have done them: nobody knows
    w.n1:crash()
    w:lose("n1", "n2")
    w:lose("n1", "n3")
    w:elect "n2" -- the first of them is all that it takes beside its own first entry
    local function done(i) return ("ok done %d %s"):format(i, large) end
    assert.same({ done(1) }, { w.n2:answer(perhaps[1]), w.n2:answer(perhaps[2]), w.n2:answer(perhaps[3]) })
    w:advance(150)
    assert.same({ done(2), done(3) }, { w.n2:answer(perhaps[2]), w.n2:answer(perhaps[3]) })
    w.n2:submit(large)
    w.n2:submit(large)
    local new = w.n2:submit("new", { session = s, sequence = 4 })
    w.n2:turn()
    assert.equal("overloaded", w.n2:answer(new))
  end)

  it("takes sixty-four commands of a turn in one step", function()
    local w <close> = cluster()
    local before = w.n1:counters()
    for i = 1, 64 do w.n1:submit("x" .. i) end
    w.n1:turn()
    local after = w.n1:counters()
    assert.same({ 64, 1 }, { after.proposals - before.proposals, after.propose_steps - before.propose_steps })
    w:settle()
    assert.equal(64, #w.n1.machine.commands)
  end)
end)

describe("a round of queries", function()
  it("is not answered by another's answer, nor forgotten for it", function()
    local w <close> = cluster { leases = 1 }
    local q = w.n1:query "q" -- wants a majority's word
    w.n1:turn()
    local r = w.n1:query("r", { lease = true })
    w.n1:turn()
    assert.same({ nil, "ok answer 0 r" }, { w.n1:answer(q), w.n1:answer(r) })
    local s = w.n1:query "s"
    w.n1:turn()
    assert.is_nil(w.n1:answer(s))
    w:settle()
    assert.same({ "ok answer 0 q", "ok answer 0 s" }, { w.n1:answer(q), w.n1:answer(s) })
  end)

  it("ends well though nobody waits for its answer any more", function()
    local w <close> = cluster()
    w.n1.host:cancel(w.n1:query "q")
    local gone = w.n1:query "gone"
    w.n1:turn()
    w.n1.host:cancel(gone)
    w.n1:turn()
    local late = w.n1:query("late", { timeout_ms = 1 })
    w.n1:turn()
    w.now = w.now + 1000
    w.n1:turn()
    assert.equal("timeout", w.n1:answer(late))
    w:settle()
    local r = w.n1:query "r"
    w:settle()
    assert.equal("ok answer 0 r", w.n1:answer(r))
  end)

  it("is over once it is answered: the last of thousands costs what the first did", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start()
    w:settle()
    local before = w.n1:counters().read_rounds
    for _ = 1, 3000 do -- were they kept, millions would be looked at: the runner of mutants counts that
      local q = w.n1:query "q"
      w.n1.host:turn()
      assert.equal("ok answer 0 q", w.n1:answer(q))
    end
    assert.equal(before + 3000, w.n1:counters().read_rounds)
  end)

  it("is not run on a machine that has failed in the same turn", function()
    for _, body in ipairs { "exhaust in a command", "exhaust in a query" } do
      local w <close> = world.new { nodes = 1 }
      w.n1:start()
      w:settle()
      local asked = {}
      w.n1.on_query = function(q) asked[#asked + 1] = q end
      local command = body:match "command"
      if command then
        w.n1:submit(body)
        w.n1:turn()
        w.n1:flush()
      end
      local expected = command and {} or { body }
      if not command then w.n1:query(body, { stale = true }) end
      w.n1:query("q", { stale = true })
      w.n1:query "r"
      w.n1.host:turn()
      assert.same({ "internal", expected, {} }, { w.n1.fatal.code, asked, w.n1.replies })
    end
  end)
end)

describe("a leader that hands over", function()
  it("counts what it does not take as proposed nowhere", function()
    local w <close> = cluster()
    w:isolate "n3"
    local transfer = w.n1:admin("transfer", { id = "n3" })
    w.n1:turn()
    local before = w.n1:counters()
    local t = w.n1:submit("x", { timeout_ms = 60000 })
    w.n1:turn()
    local after = w.n1:counters()
    assert.same({ before.proposals, before.propose_steps }, { after.proposals, after.propose_steps })
    assert.is_nil(w.n1:answer(t))
    w:advance(2000) -- n3 does not take over: n1 leads on
    assert.equal("unavailable", (w.n1:told(transfer)))
    assert.equal("ok done 1 x", w.n1:answer(t))
    assert.equal(before.proposals + 1, w.n1:counters().proposals)
  end)
end)

describe("a leader whose time to stop is over", function()
  it("tells who waits for a server to add that nothing was done", function()
    local w <close> = world.new { nodes = 1, settings = { stop_timeout_ms = 100 } }
    w.n1:start()
    w:settle()
    local t = w.n1:admin("add", { id = "n5", address = "127.0.0.1:5005" })
    w.n1:turn()
    w.n1.host:stop()
    w.n1:turn()
    assert.is_nil(w.n1:told(t))
    w.now = w.now + 50000
    w.n1:turn()
    assert.equal("shutting_down", (w.n1:told(t)))
  end)

  it("tells who waits for another to lead that it may yet", function()
    local w <close> = cluster { stop_timeout_ms = 1000 }
    w:isolate "n3"
    local t = w.n1:admin("transfer", { id = "n3" })
    w.n1:turn()
    w.n1.host:stop()
    w.n1:turn()
    assert.is_nil(w.n1:told(t))
    w.now = w.now + 500000
    w.n1:turn()
    assert.equal("timeout", (w.n1:told(t)))
  end)
end)

describe("a node that ends while requests wait on it", function()
  it("gives back what they brought", function()
    collectgarbage()
    local before = world.host.blobs()
    do
      local w <close> = world.new { nodes = 1 }
      w.n1:start { peers = { "127.0.0.1:5001", "127.0.0.1:5002" } } -- blank: nobody to ask
      for i = 1, 40 do w.n1:submit(("x"):rep(i * 300)) end
      w.n1:turn()
      assert.equal(40, w.n1.host:status().waiting)
      assert.is_true(world.host.blobs() > before)
    end
    collectgarbage()
    assert.equal(before, world.host.blobs())
  end)
end)
