-- Edges of requests: limits to the unit, what is asked once and not again, what is left alone. Each was a guard that
-- nothing else missed (scripts/mutants).
local world = require "host.world"
local cluster, lone = world.cluster, world.lone

describe("the queries of a turn", function()
  it("end with its time, those of a round as well as those of any state", function()
    local w <close> = lone { apply_slice_us = 10 }
    local asked = 0
    w.n1.on_query = function()
      asked = asked + 1
      w.now = w.now + 10
    end
    for i = 1, 3 do w.n1:query("q" .. i, { stale = i < 3 }) end
    assert.same({ true, 1 }, { w.n1.host:turn(), asked })
  end)

  it("without a limit are all answered in it", function()
    local w <close> = lone()
    local asked = 0
    w.n1.on_query = function()
      asked = asked + 1
      w.now = w.now + 1000000
    end
    for i = 1, 5 do w.n1:query("q" .. i, { timeout_ms = 60000 }) end
    assert.same({ false, 5 }, { w.n1.host:turn(), asked })
  end)
end)

describe("a timer", function()
  it("that is not the core's is not given to it", function()
    local w <close> = lone()
    w.now = w.now + 10000000
    w.n1.host:timer() -- from before it led: alone, the core wants none any more
    local steps = w.n1:counters().steps
    w.now = w.now + 10000000
    w.n1.host:timer()
    w.n1.host:turn()
    assert.equal(steps, w.n1:counters().steps)
  end)

  it("ends what waits at its deadline to the microsecond", function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    local t = w.n1:submit("x", { timeout_ms = 10 })
    w.n1:turn()
    w.now = w.now + 9999
    w.n1:turn()
    assert.is_nil(w.n1:answer(t))
    w.now = w.now + 1
    w.n1:turn()
    assert.equal("unavailable", w.n1:answer(t))
  end)
end)

describe("a full disk", function()
  -- A leader with two writes out, the first of which is refused.
  local function refused()
    local w = cluster()
    w.n1:submit "x"
    w.n1:turn()
    w.n1:submit "y"
    w.n1:turn()
    local first, second = w.n1.writes[1].sequence, w.n1.writes[2].sequence
    w.n1.writes = {}
    w.n1.host:persisted(first, "disk_full")
    return w, second
  end

  it("is not thought over by a late report of what was rolled back", function()
    local w, second = refused()
    w.n1.host:persisted(second)
    assert.is_true(w.n1.host:status().disk_full)
    getmetatable(w).__close(w)
  end)

  it("is told to the core once", function()
    local w, second = refused()
    local steps = w.n1:counters().steps
    w.n1.host:persisted(second, "disk_full")
    assert.equal(steps, w.n1:counters().steps)
    getmetatable(w).__close(w)
  end)
end)

describe("a limit", function()
  local half = ("x"):rep(2048 - 72) -- and an entry's header
  local function with(settings)
    local w = world.new { nodes = 3, settings = settings }
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    return w
  end

  it("of uncommitted bytes is met by what fills it to the byte", function()
    local w <close> = with { uncommitted_bytes_max = 4096 }
    local tickets = {}
    for i = 1, 3 do tickets[i] = w.n1:submit(half) end
    local batches = w.n1:counters().propose_steps
    w.n1:turn()
    assert.equal(batches + 1, w.n1:counters().propose_steps)
    assert.same({ nil, nil, "overloaded" },
      { w.n1:answer(tickets[1]), w.n1:answer(tickets[2]), w.n1:answer(tickets[3]) })
    assert.equal(4096, w.n1.host:status().uncommitted_bytes)
    w:settle()
    local one = w.n1:submit(half)
    w.n1:turn()
    local two = w.n1:submit(half)
    w.n1:turn()
    local three = w.n1:submit(half)
    w.n1:turn()
    assert.same({ nil, nil, "overloaded" }, { w.n1:answer(one), w.n1:answer(two), w.n1:answer(three) })
  end)

  it("of waiting bytes is met by what fills it to the byte", function()
    local w <close> = world.new { nodes = 3, settings = { waiting_bytes_max = 65536 } }
    w:bootstrap()
    local a, b = w.n1:submit(("x"):rep(60000)), w.n1:submit(("x"):rep(5536))
    local c = w.n1:submit "x"
    w.n1:turn()
    assert.same({ nil, nil, "overloaded" }, { w.n1:answer(a), w.n1:answer(b), w.n1:answer(c) })
    assert.same({ 2, 65536 }, { w.n1.host:status().waiting, w.n1.host:status().waiting_bytes })
  end)

  it("of an entry's bytes is met by what fills it to the byte", function()
    local w <close> = with { entry_bytes_max = 1024 }
    local a, b = w.n1:submit(("x"):rep(1024)), w.n1:submit(("x"):rep(1025))
    w:settle()
    assert.same({ "ok done 1 " .. ("x"):rep(1024), "too_large" }, { w.n1:answer(a), w.n1:answer(b) })
  end)
end)

describe("a command", function()
  it("is one, whatever it says of staleness", function()
    local w <close> = lone()
    local t = w.n1:submit("x", { stale = true })
    w:settle()
    assert.same({ "ok done 1 x", 1 }, { w.n1:answer(t), #w.n1.machine.commands })
  end)

  it("refused is told why in words", function()
    local w <close> = cluster()
    local t = w.n1:submit(("x"):rep(20000000))
    w.n1:turn()
    assert.truthy(w.n1.replies[t].body:find("message", 1, true))
    assert.truthy(#w.n1.replies[t].body > 40, w.n1.replies[t].body)
  end)
end)

describe("deadlines", function()
  it("come in their order: the timer is set for the first, whenever that came", function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    local now = w.now
    for _, ms in ipairs { 50, 20, 80, 10, 90, 30, 70 } do
      w.n1:submit("x", { timeout_ms = ms })
      w.n1:turn()
    end
    assert.equal(now + 10000, w.n1.timer)
    w.n1:submit("x", { timeout_ms = 5000 })
    w.n1:turn()
    assert.equal(now + 10000, w.n1.timer)
  end)
end)

describe("requests with one deadline", function()
  it("are told in the order in which they came", function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    local tickets = {}
    for i = 1, 9 do tickets[i] = w.n1:submit("x", { timeout_ms = 10 }) end
    w.n1:turn()
    w.now = w.now + 10000
    w.n1:turn()
    assert.same(tickets, w.n1.reply_order)
  end)
end)

describe("a turn", function()
  it("is not over while those who waited for the app are still to be looked at", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start()
    local t = w.n1:submit("x", { timeout_ms = 60000 })
    local loaded_in
    for turn = 1, 20 do
      local more = w.n1.host:turn()
      if #w.n1.loaded > 0 and not loaded_in then
        loaded_in = turn
        assert.is_true(more)
      end
      if not more then w.n1:flush() end
    end
    assert.equal("ok done 1 x", w.n1:answer(t))
  end)

  it("tells what was refused before it what it was refused for, however late it comes", function()
    local w <close> = lone()
    local t = w.n1:submit(("x"):rep(20000000), { timeout_ms = 1 })
    w.now = w.now + 1000000
    w.n1:turn()
    assert.equal("too_large", w.n1:answer(t))
  end)
end)

describe("a timer that is a client's", function()
  it("leaves the core alone", function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    w.n1:submit("x", { timeout_ms = 1 })
    w.n1:turn()
    local steps = w.n1:counters().steps
    w.now = w.now + 1000
    w.n1.host:timer()
    w.n1.host:turn()
    assert.equal(steps, w.n1:counters().steps)
  end)
end)

describe("what is not known", function()
  it("is cancelled, lost or answered without harm", function()
    local w <close> = cluster()
    w.n1.host:cancel(987654321)
    w.n1.host:peer_lost "n77"
    w.n1.host:forward_reply(w.n2:identity(), 987654321, "ok", "")
    assert.is_nil(w.n1.fatal)
  end)

  it("is not believed: a message in another's name", function()
    local w <close> = cluster()
    w.n3:submit "x"
    w:elect "n1"
    w.now = w.now + 100000
    w.n1.host:timer()
    w.n1:turn()
    local packet = w:take(function(p) return p.kind == "message" and p.to == "n2" end)[1]
    local steps = w.n2:counters().steps
    w.n2.host:receive(w.n3:identity(), packet.frame) -- n1's words over n3's connection
    assert.equal(steps, w.n2:counters().steps)
    w.n2.host:receive(w.n1:identity(), packet.frame)
    assert.equal(steps + 1, w.n2:counters().steps)
  end)
end)

describe("what is with the leader", function()
  local function asked()
    local w = cluster()
    local t = w.n2:query("q", { timeout_ms = 60000 })
    w.n2:turn()
    assert.equal(1, w.n2:counters().forwards)
    return w, t
  end

  it("is not asked again because another's connection broke, or came back", function()
    local w = asked()
    w.n2.host:peer_lost "n3"
    w.n2:turn()
    assert(w.n2.host:receive_hello(w.n3.host:hello()))
    w.n2:turn()
    assert.equal(1, w.n2:counters().forwards)
    getmetatable(w).__close(w)
  end)

  it("and could not be done now is asked again a heartbeat later, whoever says hello meanwhile", function()
    local w = asked()
    local packet = w:take(function(p) return p.kind == "forward" end)[1]
    w.n2.host:forward_reply(w.n1:identity(), packet.ticket, "unavailable", "")
    w.n2:turn()
    assert(w.n2.host:receive_hello(w.n3.host:hello()))
    w.n2:turn()
    assert.equal(1, w.n2:counters().forwards)
    w.now = w.now + 100000
    w.n2:turn()
    assert.equal(2, w.n2:counters().forwards)
    getmetatable(w).__close(w)
  end)

  it("is not sent into a broken connection, but the moment that is to be tried again", function()
    local w <close> = cluster()
    w.n2.host:peer_lost "n1"
    local t = w.n2:submit("x", { timeout_ms = 60000 })
    w.n2:turn()
    w.now = w.now + 99999
    w.n2:turn()
    assert.equal(0, w.n2:counters().forwards)
    w.now = w.now + 1
    w.n2:turn()
    assert.equal(1, w.n2:counters().forwards)
    w:settle()
    assert.equal("ok done 1 x", w.n2:answer(t))
  end)

  it("and is a query is asked again when the connection has broken and is there again", function()
    local w = asked()
    w:take()
    w.n2.host:peer_lost "n1"
    w.n2:turn()
    assert(w.n2.host:receive_hello(w.n1.host:hello()))
    w.n2:turn()
    assert.equal(2, w.n2:counters().forwards)
    getmetatable(w).__close(w)
  end)

  it("is not tried sooner for a hello of the leader's that was refused", function()
    local w <close> = cluster()
    w.n2.host:peer_lost "n1"
    w.n2:submit "x"
    w.n2:turn()
    local said = w.n1.host:hello()
    said.format_level = 2
    assert.is_nil(w.n2.host:receive_hello(said))
    w.n2:turn()
    assert.equal(0, w.n2:counters().forwards)
  end)

  it("is tried at once where the leader has said hello again", function()
    local w <close> = cluster()
    w.n2.host:peer_lost "n1"
    w.n2:submit "x"
    w.n2:turn()
    assert(w.n2.host:receive_hello(w.n1.host:hello()))
    w.n2:turn()
    assert.equal(1, w.n2:counters().forwards)
  end)

  it("and is a query is told of a stop that it was not done, a command that nobody knows", function()
    local w <close> = cluster { settings = { stop_timeout_ms = 1000 } }
    local q, t = w.n2:query("q", { timeout_ms = 60000 }), w.n2:submit("x", { timeout_ms = 60000 })
    w.n2:turn()
    w:take()
    w.n2.host:stop()
    w.n2:turn()
    w.now = w.now + 600000
    w.n2:turn()
    assert.same({ "shutting_down", "timeout" }, { w.n2:answer(q), w.n2:answer(t) })
  end)
end)
