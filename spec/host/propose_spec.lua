-- Commands at a leader: one batch a turn, refusal before collapse, and outcomes that are never the wrong one.
local world = require "host.world"

local function single(options)
  options = options or {}
  options.nodes = 1
  local w = world.new(options)
  w.n1:start()
  w:settle()
  assert(w.n1.host:is_leader())
  return w
end

local function cluster(options)
  options = options or {}
  options.nodes = 3
  local w = world.new(options)
  w:bootstrap()
  w:elect "n1"
  return w
end

describe("commands of one turn", function()
  it("become one proposal, one write and one append for each follower", function()
    local w <close> = cluster()
    w:advance(50)
    local before, tickets = w.n1:counters(), {}
    for i = 1, 64 do tickets[i] = w.n1:submit("c" .. i) end
    assert.are.same({}, w.n1.replies)
    w.n1.host:turn()
    local after = w.n1:counters()
    assert.are.equal(64, after.proposals - before.proposals)
    assert.are.equal(1, after.propose_steps - before.propose_steps)
    assert.are.equal(2, after.append_messages - before.append_messages)
    assert.are.equal(1, #w.n1.writes)
    w:settle()
    for i = 1, 64 do assert.are.equal(("ok done %d c%d"):format(i, i), w.n1:answer(tickets[i])) end
  end)

  it("are answered with what the state machine said, refusals too", function()
    local w <close> = single()
    local t = w.n1:submit "reject me"
    w:settle()
    assert.are.same({ code = "rejected", body = "rejected reject me" }, w.n1.replies[t])
  end)

  it("are stamped with the clock, which never goes back, and with a seed", function()
    local w <close> = single()
    w.n1:submit "a"
    w:settle()
    w.wall = w.wall - 3600000
    w.n1:submit "b"
    w:settle()
    w.wall = w.wall + 7200000
    w.n1:submit "c"
    w:settle()
    local c = w.n1.machine.commands
    assert.are.equal(c[1].entry.time_ms, c[2].entry.time_ms)
    assert.are.equal(c[1].entry.time_ms + 3600000, c[3].entry.time_ms)
    assert.are_not.equal(c[1].entry.seed, c[2].entry.seed)
    assert.are_not.equal(c[2].entry.seed, c[3].entry.seed)
    assert.are.equal(c[3].entry.time_ms, w.n1.host:status().time_ms)
  end)

  it("carry their session and sequence to the state machine", function()
    local w <close> = single()
    w.n1:submit("\x91\xA4open", { kind = "session" }) -- at index 3
    w.n1:submit("a", { session = 3, sequence = 9 })
    w:settle()
    local entry = w.n1.machine.commands[1].entry
    assert.are.same({ 3, 9 }, { entry.session, entry.sequence })
  end)

  it("of any size keep their bytes", function()
    local w <close> = single()
    local tickets, sizes = {}, { 0, 1, 100, 4096, 4097, 16384, 16385, 200000, 3, 4000, 4000, 4000, 4000, 4000 }
    for i, size in ipairs(sizes) do tickets[i] = w.n1:submit(string.char(64 + i):rep(size)) end
    w:settle()
    for i, size in ipairs(sizes) do
      assert.are.equal(("ok done %d %s"):format(i, string.char(64 + i):rep(size)), w.n1:answer(tickets[i]))
    end
  end)
end)

describe("too much", function()
  it("uncommitted is refused: what fits is taken, the rest certainly not done", function()
    local w <close> = cluster { settings = { uncommitted_bytes_max = 4096 } }
    w:isolate "n2"
    w:isolate "n3"
    local tickets = {}
    for i = 1, 10 do tickets[i] = w.n1:submit(("x"):rep(928)) end -- 1,000 bytes each with the header
    w.n1:turn()
    for i = 1, 4 do assert.is_nil(w.n1:answer(tickets[i])) end
    for i = 5, 10 do assert.are.equal("overloaded", w.n1:answer(tickets[i])) end
    local late = w.n1:submit(("x"):rep(928))
    w.n1:turn()
    assert.are.equal("overloaded", w.n1:answer(late))
    w:heal "n2"
    w:heal "n3"
    w:advance(500)
    for i = 1, 4 do assert.is_truthy(w.n1:answer(tickets[i]):match "^ok") end
    assert.are.equal(4, #w.n1.machine.commands)
    local again = w.n1:submit(("x"):rep(928))
    w:settle()
    assert.is_truthy(w.n1:answer(again):match "^ok")
  end)

  it("for the limit of uncommitted bytes goes alone, but goes", function()
    local w <close> = single { settings = { uncommitted_bytes_max = 4096 } }
    local t = w.n1:submit(("x"):rep(10000))
    local u = w.n1:submit "small"
    w:settle()
    assert.is_truthy(w.n1:answer(t):match "^ok")
    assert.are.equal("overloaded", w.n1:answer(u))
  end)

  it("for one entry is refused as too large, a query too", function()
    local w <close> = single { settings = { entry_bytes_max = 1024 } }
    local t, q, fits = w.n1:submit(("x"):rep(1025)), w.n1:query(("x"):rep(1025)), w.n1:submit(("x"):rep(1024))
    w:settle()
    assert.are.equal("too_large", w.n1:answer(t))
    assert.are.equal("too_large", w.n1:answer(q))
    assert.is_truthy(w.n1:answer(fits):match "^ok")
  end)

  it("waiting is refused, by number", function()
    local w <close> = cluster { settings = { waiting_max = 3 } }
    w:isolate "n1"
    local tickets = {}
    for i = 1, 5 do tickets[i] = w.n1:submit "x" end
    w.n1:turn()
    for i = 1, 3 do assert.is_nil(w.n1:answer(tickets[i])) end
    for i = 4, 5 do assert.are.equal("overloaded", w.n1:answer(tickets[i])) end
    assert.are.equal(3, w.n1.host:status().waiting)
    w:heal "n1"
    w:advance(300)
    for i = 1, 3 do assert.is_truthy(w.n1:answer(tickets[i]):match "^ok") end
    assert.are.equal(0, w.n1.host:status().waiting)
  end)

  it("waiting is refused, by bytes, and forgotten when answered", function()
    local w <close> = single { settings = { waiting_bytes_max = 65536 } }
    local tickets = {}
    for i = 1, 3 do tickets[i] = w.n1:submit(("x"):rep(30000)) end
    w.n1.host:turn()
    assert.are.equal("overloaded", w.n1:answer(tickets[3]))
    assert.are.equal(60000, w.n1.host:status().waiting_bytes)
    w:settle()
    assert.are.equal(0, w.n1.host:status().waiting_bytes)
    local t = w.n1:submit(("x"):rep(60000))
    w:settle()
    assert.is_truthy(w.n1:answer(t):match "^ok")
  end)
end)

describe("a command in the log", function()
  it("that finds no majority in time has an unknown outcome, and is not answered again when it commits after all",
    function()
      local w <close> = cluster()
      w:isolate "n1"
      local t = w.n1:submit("x", { timeout_ms = 300 })
      w:advance(299)
      assert.is_nil(w.n1:answer(t))
      w:advance(2)
      assert.are.equal("timeout", w.n1:answer(t))
      w:heal "n1"
      w:advance(500)
      assert.are.equal("x", w.n1.machine.commands[1].body) -- the world answers each ticket at most once
    end)

  it("has the default timeout when the client names none", function()
    local w <close> = cluster { settings = { request_timeout_ms = 400 } }
    w:isolate "n1"
    local t, u = w.n1:submit "x", w.n1:submit("y", { timeout_ms = 100 })
    w:advance(150)
    assert.are.same({ nil, "timeout" }, { w.n1:answer(t), w.n1:answer(u) })
    w:advance(300)
    assert.are.equal("timeout", w.n1:answer(t))
  end)

  it("is certainly not done once another leader's entry is applied at its index, and not a moment earlier", function()
    local w <close> = cluster()
    local last = w.n1.host:status().last_index
    w:isolate "n1"
    local t = w.n1:submit("lost", { timeout_ms = 60000 })
    w:settle()
    assert.are.equal(last + 1, w.n1.host:status().last_index)
    w:elect "n2" -- its no-op has the same index
    assert.are.equal(last + 1, w.n2.host:status().commit_index)
    assert.is_nil(w.n1:answer(t))
    w:heal "n1"
    w:advance(150)
    assert.are.equal("n2", w.n1.leader)
    assert.are.equal("unavailable", w.n1:answer(t))
    assert.is_truthy(w.n1.replies[t].body:find("not done", 1, true))
    for _, node in ipairs(w.nodes) do assert.are.equal(0, #node.machine.commands) end
  end)

  it("may be done though its leader lost its office, and then the client is told so", function()
    local w <close> = cluster()
    local t = w.n1:submit("kept", { timeout_ms = 60000 })
    w.n1:turn()
    local appends = w:take() -- on their way to n2 and n3
    w:isolate "n1"
    for _, p in ipairs(appends) do
      if p.to == "n2" then
        w.cut.n1 = nil
        w:deliver(p)
        w.cut.n1 = true
      end
    end
    w.n2:turn()
    w.n2:flush()
    w:elect "n2" -- with the entry in its log
    assert.are.equal("kept", w.n2.machine.commands[1].body)
    assert.is_nil(w.n1:answer(t))
    w:heal "n1"
    w:advance(300)
    assert.are.equal("n2", w.n1.leader)
    assert.are.equal("ok done 1 kept", w.n1:answer(t))
  end)

  it("is found by index and term: two that waited at one index get each their own answer", function()
    local w <close> = cluster()
    w:isolate "n1"
    local old = w.n1:submit("old", { timeout_ms = 60000 })
    w:settle()
    w:elect "n2"
    local other = w.n2:submit "other"
    w:settle()
    assert.is_truthy(w.n2:answer(other):match "^ok")
    -- n1 learns of n2's term, but its log is still its own; it is elected again only behind n2's entries.
    w:heal "n1"
    w:advance(300)
    assert.are.equal("unavailable", w.n1:answer(old))
    w:elect "n1"
    local new = w.n1:submit "new"
    w:settle()
    assert.are.equal("ok done 2 new", w.n1:answer(new))
  end)

  it("that is cancelled is not answered, and takes effect all the same", function()
    local w <close> = cluster()
    local t = w.n1:submit "x"
    w.n1:turn()
    w.n1.host:cancel(t)
    w:settle()
    assert.is_nil(w.n1.replies[t])
    assert.are.equal("x", w.n1.machine.commands[1].body)
    assert.are.equal(0, w.n1.host:status().waiting)
  end)

  it("that is cancelled within its turn is never proposed", function()
    local w <close> = single()
    local t, refused = w.n1:submit "x", w.n1:submit(("x"):rep(3000000))
    w.n1.host:cancel(t)
    w.n1.host:cancel(refused)
    w.n1.host:cancel(12345678) -- nobody's
    w:settle()
    assert.are.same({}, w.n1.replies)
    assert.are.equal(0, #w.n1.machine.commands)
  end)
end)

describe("the deadlines of many", function()
  it("come in their order, whatever the order of asking and answering", function()
    local w <close> = cluster()
    w:isolate "n1"
    local due, asked = {}, {}
    for i = 1, 200 do
      local ms = (i * 7919) % 500 + 1
      local t = w.n1:submit("x", { timeout_ms = ms })
      asked[#asked + 1] = { ticket = t, ms = ms }
    end
    w.n1:turn()
    for i = 1, 200, 3 do
      w.n1.host:cancel(asked[i].ticket)
      asked[i].cancelled = true
    end
    local began = w.now
    for step = 50, 500, 50 do
      w:advance(50)
      for _, a in ipairs(asked) do
        local over = began + a.ms * 1000 <= w.now
        local expected = not a.cancelled and over and "timeout" or nil
        assert.are.equal(expected, w.n1:answer(a.ticket), a.ms .. " at " .. step)
      end
    end
    assert.are.same({}, due)
    assert.are.equal(0, w.n1.host:status().waiting)
  end)
end)

describe("memory", function()
  it("of every request is given back", function()
    local before = world.host.blobs()
    do
      local w <close> = cluster()
      for _ = 1, 20 do
        for i = 1, 50 do w.n1:submit(("x"):rep(i * 37)) end
        w:settle()
      end
      w:isolate "n1"
      for i = 1, 50 do w.n1:submit(("x"):rep(i * 370)) end -- these wait when the host is freed
      w.n1:turn()
    end
    assert.are.equal(before, world.host.blobs())
  end)
end)
