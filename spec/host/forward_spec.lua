-- Requests at a follower go to the leader; a command is sent again only after a definite refusal.
local world = require "host.world"

local function cluster(options)
  options = options or {}
  options.nodes = 3
  local w = world.new(options)
  w:bootstrap()
  w:elect "n1"
  return w
end

local function forwards(w, from)
  return w:take(function(p) return p.kind == "forward" and p.from == from end)
end

local function lead(w, id) -- and everybody hears of it
  w:elect(id)
  w:advance(150)
end

describe("a follower", function()
  it("passes commands and queries on to the leader, and the answers back", function()
    local w <close> = cluster()
    w.n2:submit("\x91\xA4open", { kind = "session" }) -- at index 3
    w:settle()
    local t = w.n2:submit("x", { session = 3, sequence = 4 })
    local r = w.n2:submit "reject x"
    w:settle()
    assert.are.equal("ok done 1 x", w.n2:answer(t))
    assert.are.same({ code = "rejected", body = "rejected reject x" }, w.n2.replies[r])
    local q = w.n3:query "q"
    w:settle()
    assert.are.equal("ok answer 2 q", w.n3:answer(q))
    local entry = w.n1.machine.commands[1].entry
    assert.are.same({ 3, 4 }, { entry.session, entry.sequence })
    assert.are.equal(3, w.n2:counters().forwards)
    assert.are.equal(0, w.n2:counters().proposals)
  end)

  it("gives the leader what is left of the time", function()
    local w <close> = cluster()
    w.n2:submit("x", { timeout_ms = 700 })
    w.n2:turn()
    assert.are.equal(700, forwards(w, "n2")[1].request.timeout_ms)
  end)

  it("sends a command on when the leader certainly did not take it", function()
    local w <close> = cluster()
    local t = w.n2:submit "x"
    w.n2:turn()
    local packet = forwards(w, "n2")[1]
    lead(w, "n3")
    assert.are.equal("n3", w.n1.leader)
    w:deliver(packet) -- to n1, which leads no more: what was forwarded is never forwarded again
    w.n1:turn()
    assert.are.equal(0, #forwards(w, "n1"))
    w:settle()
    assert.are.equal("ok done 1 x", w.n2:answer(t))
    assert.are.equal(1, #w.n3.machine.commands)
    assert.are.equal(2, w.n2:counters().forwards)
  end)

  it("does not ask the same leader again in the term in which it refused", function()
    local w <close> = cluster()
    local t = w.n2:submit("x", { timeout_ms = 60000 })
    w.n2:turn()
    local packet = forwards(w, "n2")[1]
    w.n2.host:forward_reply(w.n1:identity(), packet.ticket, "not_leader", "")
    w.n2:turn()
    w:settle()
    assert.are.equal(1, w.n2:counters().forwards)
    w:elect "n3"
    w:advance(150)
    assert.are.equal("ok done 1 x", w.n2:answer(t))
  end)

  it("tries another leader when the one it asked is stopping", function()
    local w <close> = cluster()
    w.n1.host:stop()
    local t = w.n2:submit("x", { timeout_ms = 60000 })
    w.n2:turn()
    w:deliver_all()
    w.n1:turn()
    w:deliver_all()
    w.n2:turn()
    assert.is_nil(w.n2:answer(t))
    w:advance(500) -- n1 hands over before it goes
    assert.are.equal(1, w.n1.stopped)
    assert.are.equal("ok done 1 x", w.n2:answer(t))
  end)

  it("tries again soon when the leader could not be reached", function()
    local w <close> = cluster()
    local t = w.n2:submit "x"
    w.n2:turn()
    local packet = forwards(w, "n2")[1]
    w.n2.host:forward_reply({ id = "n1" }, packet.ticket, "unavailable", "")
    w.n2:turn()
    assert.are.equal(0, #forwards(w, "n2"))
    w:advance(150)
    assert.are.equal("ok done 1 x", w.n2:answer(t))
  end)

  it("takes an answer only to the newest attempt, from whom it asked", function()
    local w <close> = cluster()
    local t = w.n2:query "q"
    w.n2:turn()
    local first = forwards(w, "n2")[1]
    w:advance(1001) -- silence: it is asked again
    local second = forwards(w, "n2")[1]
    assert.is_nil(second) -- and answered already
    assert.is_truthy(w.n2:answer(t):match "^ok")
    local u = w.n2:query "r"
    w.n2:turn()
    local packet = forwards(w, "n2")[1]
    w.n2.host:forward_reply(w.n1:identity(), first.ticket, "ok", "stale")
    w.n2.host:forward_reply(w.n3:identity(), packet.ticket, "ok", "not asked")
    w.n2:turn()
    assert.is_nil(w.n2:answer(u))
    w.n2.host:forward_reply(w.n1:identity(), packet.ticket, "ok", "right")
    assert.are.equal("ok right", w.n2:answer(u))
  end)
end)

describe("a command whose leader is lost", function()
  it("has an unknown outcome: it is never sent again, though there is a new leader", function()
    local w <close> = cluster()
    local t = w.n2:submit("x", { timeout_ms = 5000 })
    w.n2:turn()
    w:deliver_all(function(p) return p.kind == "forward" end)
    w.n1:crash() -- who knows what it did before
    w:lose("n1", "n2")
    w:lose("n1", "n3")
    lead(w, "n3")
    assert.are.equal("n3", w.n2.leader)
    assert.is_nil(w.n2:answer(t))
    w:advance(5000)
    assert.are.equal("timeout", w.n2:answer(t))
    assert.are.equal(1, w.n2:counters().forwards)
    assert.are.equal(0, #w.n3.machine.commands)
  end)

  it("is answered when the answer comes in time over another connection", function()
    local w <close> = cluster()
    local t = w.n2:submit "x"
    w.n2:turn()
    w:deliver_all(function(p) return p.kind == "forward" end)
    w:lose("n1", "n2")
    assert(w:connect("n1", "n2"))
    w:settle()
    assert.are.equal("ok done 1 x", w.n2:answer(t))
  end)
end)

describe("a query whose leader is lost", function()
  it("is asked again, of the next leader", function()
    local w <close> = cluster()
    local t = w.n2:query("q", { timeout_ms = 20000 })
    w.n2:turn()
    w:take()
    w.n1:crash()
    w:lose("n1", "n2")
    w:lose("n1", "n3")
    lead(w, "n3")
    assert.are.equal("ok answer 0 q", w.n2:answer(t))
  end)

  it("is asked again when the leader is silent", function()
    local w <close> = cluster()
    local t = w.n2:query("q", { timeout_ms = 20000 })
    w.n2:turn()
    forwards(w, "n2") -- lost
    w:advance(999)
    assert.is_nil(w.n2:answer(t))
    w:advance(2)
    assert.are.equal("ok answer 0 q", w.n2:answer(t))
  end)
end)

describe("without a leader", function()
  it("requests wait, and are served once there is one", function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    local t, u, q = w.n2:submit "x", w.n3:submit "y", w.n2:query "q"
    w:settle()
    assert.is_nil(w.n2:answer(t))
    lead(w, "n2")
    assert.is_truthy(w.n2:answer(t):match "^ok done %d x")
    assert.is_truthy(w.n3:answer(u):match "^ok done %d y")
    assert.is_truthy(w.n2:answer(q):match "^ok answer")
  end)

  it("requests are certainly not done when their time is over", function()
    local w <close> = world.new { nodes = 3 }
    w.n1:start() -- blank, even
    local t, q = w.n1:submit("x", { timeout_ms = 200 }), w.n1:query("q", { timeout_ms = 200 })
    w:advance(250)
    assert.are.equal("unavailable", w.n1:answer(t))
    assert.are.equal("unavailable", w.n1:answer(q))
  end)

  it("what a leader that was cut off gathered is not done, and what waited there is served by the next", function()
    local w <close> = cluster()
    w:isolate "n1"
    w:advance(2500) -- it gives up its office
    assert.is_false(w.n1.host:is_leader())
    local t = w.n1:submit("x", { timeout_ms = 60000 })
    w:settle()
    assert.is_nil(w.n1:answer(t))
    w:heal "n1"
    w:advance(3000)
    assert.are.equal("ok done 1 x", w.n1:answer(t))
  end)
end)

describe("a leader", function()
  it("answers a forwarded request even where its own office ended meanwhile", function()
    local w <close> = cluster()
    local t = w.n2:submit("x", { timeout_ms = 60000 })
    w.n2:turn()
    w:deliver_all(function(p) return p.kind == "forward" end)
    w.n1:turn() -- proposed
    w:take() -- and what it sends is lost
    w:isolate "n1"
    w:elect "n3"
    w:heal "n1"
    w:advance(300)
    assert.are.equal("n3", w.n1.leader)
    -- superseded at n1: refused, certainly; n2 then takes it to n3.
    assert.are.equal("ok done 1 x", w.n2:answer(t))
    assert.are.equal(1, #w.n3.machine.commands)
  end)

  it("ignores requests of a node that was wiped", function()
    local w <close> = cluster()
    local identity = w.n2:identity()
    identity.incarnation = identity.incarnation + 1000
    w.n1.host:forwarded(identity, 1, { kind = "command", body = "x" })
    w:settle()
    assert.are.equal(0, w.n1.host:status().waiting)
    assert.are.equal(0, #w.n1.machine.commands)
  end)
end)
