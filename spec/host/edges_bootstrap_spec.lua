-- Edges of joining: whom a blank node asks to be let in, what it makes of the answers, and when it gives up. Most were
-- a guard that nothing else missed (scripts/mutants).
local base = require "moonclave.base"
local world = require "host.world"
local cluster = world.cluster

local ELECTION_MS, HEARTBEAT_MS = 1000, 100 -- as world.lua sets them
local PATIENCE_MS = 4 * ELECTION_MS         -- with one that does not answer

-- A cluster, and n4, which is blank and is to ask those of `join`. Nothing moves but what the spec moves.
local function joiner(join, options)
  local w = cluster(options)
  w:add("n4", { address = "127.0.0.1:5004", join = join or { w.peers[2], w.peers[3] } })
  w.n4:start()
  w:take()
  return w
end

local function says_hello(w, id, change)
  local said = w[id].host:hello()
  for k, v in pairs(change or {}) do said[k] = v end
  return w.n4.host:receive_hello(said)
end

-- Whom n4 asks now, and under which ticket; nil: nobody.
local function asks(w)
  w.n4:turn()
  local packets = w:take(function(p) return p.from == "n4" end)
  assert(#packets < 2, "it asks two at a time")
  local p = packets[1]
  if not p then return nil end
  assert.same({ "forward", "admin" }, { p.kind, p.request.kind })
  assert.same({ "join", { address = "127.0.0.1:5004", id = "n4", incarnation = w.n4.disk.incarnation } },
    (base.unpack(p.request.body)))
  return p.to, p.ticket
end

local function asks_after(w, ms)
  w.now = w.now + ms * 1000
  return asks(w)
end

local function answers(w, id, ticket, code, body)
  w.n4.host:forward_reply(w[id]:identity(), ticket, code, base.pack(base.object(body or {})))
end

local function addresses(node)
  local list = {}
  for i, peer in ipairs(node.peers) do list[i] = peer.address end
  table.sort(list)
  return list
end

describe("a list of --join", function()
  it("that is wrong is said to be wrong where it is", function()
    local w <close> = world.new { nodes = 1 }
    for bad, text in pairs {
      x = "--join: 'x' is not host:port", ["a b=127.0.0.1:5002"] = "--join: 'a b' is not an id",
      ["127.0.0.1:0"] = "--join: '127.0.0.1:0' is not host:port",
    } do
      w.n1:start { join = { bad } }
      assert.equal("usage", w.n1.fatal.code)
      assert.truthy(w.n1.fatal.text:find(text, 1, true), w.n1.fatal.text)
      w.n1:crash()
    end
  end)

  it("means nothing to a node that is a member already", function()
    local w <close> = cluster()
    w.n2:crash()
    w.n2:start { join = { "127.0.0.1:7777" } }
    assert.is_false(w.n2.host:hello().joining)
    assert.same({ w.peers[1], w.peers[3] }, addresses(w.n2))
  end)
end)

describe("a node that joins", function()
  it("asks one that has said hello, at once, and waits for what it says", function()
    local w <close> = joiner()
    assert.is_nil(asks(w))
    assert(says_hello(w, "n2"))
    assert.equal("n2", (asks(w)))
    assert(says_hello(w, "n2"))
    assert(says_hello(w, "n3"))
    assert.is_nil(asks_after(w, PATIENCE_MS - 1))
  end)

  it("goes on to the next one where that is silent, and comes round again", function()
    local w <close> = joiner()
    assert(says_hello(w, "n2"))
    assert(says_hello(w, "n3"))
    assert.equal("n2", (asks(w)))
    assert.is_nil(asks_after(w, PATIENCE_MS - 1))
    assert.equal("n3", (asks_after(w, 1)))
    assert.equal("n2", (asks_after(w, PATIENCE_MS)))
    local alone <close> = joiner { "127.0.0.1:5002" }
    assert(says_hello(alone, "n2"))
    assert.equal("n2", (asks(alone)))
    assert.equal("n2", (asks_after(alone, PATIENCE_MS))) -- there is no other
  end)

  it("asks who is there now, where another has taken the place of the one it asked", function()
    local w <close> = joiner()
    assert(says_hello(w, "n2"))
    assert.equal("n2", (asks(w)))
    assert(says_hello(w, "n3", { address = w.peers[2] }))
    assert.equal("n3", (asks_after(w, PATIENCE_MS)))
  end)

  it("asks the leader that it is told of as soon as that says hello, and once", function()
    local w <close> = joiner()
    assert(says_hello(w, "n2"))
    local _, ticket = asks(w)
    answers(w, "n2", ticket, "not_leader", { leader_address = w.peers[1] })
    assert.same({ w.peers[1], w.peers[2], w.peers[3] }, addresses(w.n4)) -- it is called
    assert.is_nil(asks(w))
    assert(says_hello(w, "n1"))
    local to, second = asks(w)
    assert.equal("n1", to)
    assert(says_hello(w, "n1"))
    assert.is_nil(asks(w))
    answers(w, "n1", second, "ok")
    assert.equal(1, #w.n4.writes)
  end)

  it("calls a member that has called it, or it could ask it nothing", function()
    local w <close> = joiner { "127.0.0.1:5002" }
    assert(says_hello(w, "n2"))
    assert.same({ w.peers[2] }, addresses(w.n4))
    assert(says_hello(w, "n1")) -- the leader: it was asked to let n4 in
    assert.same({ w.peers[1], w.peers[2] }, addresses(w.n4))
    assert(says_hello(w, "n1"))
    assert.equal(2, w.n4.peers_told) -- once
    local _, ticket = asks(w)
    answers(w, "n2", ticket, "not_leader", { leader_address = w.peers[1] })
    assert.equal("n1", (asks(w)))
  end)

  it("asks a leader that it is to call anyway when that says hello, and others until then", function()
    local w <close> = joiner { "127.0.0.1:5001", "127.0.0.1:5002", "127.0.0.1:5003" }
    assert(says_hello(w, "n2"))
    assert(says_hello(w, "n3"))
    local _, ticket = asks(w)
    answers(w, "n2", ticket, "not_leader", { leader_address = w.peers[1] })
    assert.equal(1, w.n4.peers_told)
    assert.is_nil(asks(w))
    assert.equal("n3", (asks_after(w, HEARTBEAT_MS)))
    assert(says_hello(w, "n1"))
    assert.equal("n1", (asks(w)))
  end)

  it("asks a leader that has said hello already as soon as it is told who leads", function()
    local w <close> = joiner { "127.0.0.1:5001", "127.0.0.1:5002", "127.0.0.1:5003" }
    for _, id in ipairs { "n2", "n1", "n3" } do assert(says_hello(w, id)) end
    local to, ticket = asks(w)
    assert.equal("n2", to)
    answers(w, "n2", ticket, "not_leader", { leader_address = w.peers[3] })
    assert.equal("n3", (asks(w)))
    assert.equal(1, w.n4.peers_told)
    assert.equal(1, w.n4:logged "has asked one that does not lead, and asks the leader")
    assert.equal(0, w.n4:logged "does not let n4 in")
  end)

  it("asks another where it is not told who leads, or what is said is no address", function()
    for _, address in ipairs {
      false, 5, "", "nowhere", "127.0.0.1:0", ("h"):rep(267) .. ":5001", ("h"):rep(266) .. ":50012345",
      ("h"):rep(9000) .. ":5001",
    } do
      local w <close> = joiner()
      assert(says_hello(w, "n2"))
      assert(says_hello(w, "n3"))
      local _, ticket = asks(w)
      answers(w, "n2", ticket, "not_leader", { leader_address = address or nil })
      assert.equal(1, w.n4.peers_told, tostring(address))
      assert.is_nil(asks_after(w, HEARTBEAT_MS - 1))
      assert.equal("n3", (asks_after(w, 1)), tostring(address))
    end
    local longest = ("h"):rep(266) .. ":5001"
    local w <close> = joiner()
    assert(says_hello(w, "n2"))
    local _, ticket = asks(w)
    answers(w, "n2", ticket, "not_leader", { leader_address = longest })
    assert.same({ w.peers[2], w.peers[3], longest }, addresses(w.n4))
  end)

  it("asks another after a refusal that time may mend, and says why, once", function()
    for _, code in ipairs { "unavailable", "timeout", "shutting_down", "not_leader" } do
      local w <close> = joiner()
      assert(says_hello(w, "n2"))
      assert(says_hello(w, "n3"))
      local _, ticket = asks(w)
      answers(w, "n2", ticket, code, { message = "not today" })
      assert.is_nil(asks_after(w, HEARTBEAT_MS - 1), code)
      local to, second = asks_after(w, 1)
      assert.equal("n3", to, code)
      answers(w, "n3", second, code, { message = "not today" })
      assert.equal("n2", (asks_after(w, HEARTBEAT_MS)), code)
      assert.equal(1, w.n4:logged "the cluster does not let n4 in: not today; asks again", code)
      assert.is_nil(w.n4.fatal, code)
    end
  end)

  it("asks the same one again where the leader has no room now", function()
    for _, code in ipairs { "overloaded", "disk_full" } do
      local w <close> = joiner()
      assert(says_hello(w, "n2"))
      assert(says_hello(w, "n3"))
      local _, ticket = asks(w)
      answers(w, "n2", ticket, code)
      assert.is_nil(asks_after(w, HEARTBEAT_MS - 1), code)
      assert.equal("n2", (asks_after(w, 1)), code)
      assert.is_nil(w.n4.fatal, code)
    end
  end)

  it("gives up after any other refusal, and says why", function()
    for _, code in ipairs { "wiped", "foreign", "bad_request", "conflict", "too_large" } do
      for _, message in ipairs { "for this reason", false } do
        local w <close> = joiner()
        assert(says_hello(w, "n2"))
        local _, ticket = asks(w)
        answers(w, "n2", ticket, code, { message = message or nil })
        assert.equal(code, w.n4.fatal and w.n4.fatal.code)
        local text = "the cluster does not let n4 in: " .. (message or "")
        assert.equal(text, w.n4.fatal.text:sub(1, #text))
        assert.is_true(#w.n4.fatal.text > #"the cluster does not let n4 in: ")
        assert.equal(0, #w.n4.writes)
      end
    end
  end)

  it("believes the one that it has asked, what it has asked, and nobody else", function()
    local w <close> = joiner()
    assert(says_hello(w, "n2"))
    local _, ticket = asks(w)
    answers(w, "n2", ticket + 1, "ok")
    answers(w, "n3", ticket, "ok")
    answers(w, "n3", ticket, "foreign")
    assert.same({ 0, nil }, { #w.n4.writes, w.n4.fatal })
    answers(w, "n2", ticket, "unavailable")
    answers(w, "n2", ticket, "ok") -- it was answered
    answers(w, "n2", 0, "ok")      -- nothing is out
    assert.equal(0, #w.n4.writes)
    local _, second = asks_after(w, HEARTBEAT_MS)
    answers(w, "n2", second, "ok")
    assert.equal(1, #w.n4.writes)
    assert.equal(w.n2.host:hello().configuration, w.n4.writes[1].configuration)
  end)

  it("belongs to the cluster of whoever it meets first: others are refused, also while it stores", function()
    local w <close> = joiner()
    local other <close> = cluster()
    assert(says_hello(w, "n2"))
    local function meets_other()
      local said = other.n1.host:hello()
      local _, code, text = w.n4.host:receive_hello(said)
      assert.equal("foreign", code)
      assert.truthy(text:find("another one of --join to " .. w.n1.host:status().cluster, 1, true), text)
    end
    meets_other()
    local to, ticket = asks(w)
    assert.equal("n2", to)
    answers(w, "n2", ticket, "ok")
    meets_other()
    w.n4:flush()
    assert.equal(w.n1.disk.cluster, w.n4.disk.cluster)
    assert.equal(w.n1.disk.configuration, w.n4.disk.configuration)
  end)

  it("is a first member all the same where it had not stored that: it need not ask", function()
    local w <close> = cluster()
    w.n3:crash()
    w.n3.disk.cluster, w.n3.disk.configuration, w.n3.disk.entries = 0, "", {}
    w.n3:start { join = { w.peers[1] } }
    assert(w:hello("n1", "n3"))
    assert.equal(1, #w.n3.writes)
    assert.equal(w.n1.disk.configuration, w.n3.writes[1].configuration)
    w:connect_all()
    w:advance(1000)
    assert.equal("n1", w.n3.leader)
    -- It stores that once, and what it had asked elsewhere before is of no use any more.
    local v <close> = cluster()
    local u <close> = cluster()
    v.n3:crash()
    v.n3.disk.cluster, v.n3.disk.configuration, v.n3.disk.entries = 0, "", {}
    v.n3:start { join = { "127.0.0.1:7001" } }
    v:take()
    local said = u.n1.host:hello()
    assert(v.n3.host:receive_hello(said))
    v.n3:turn()
    local asked = v:take(function(p) return p.from == "n3" end)[1]
    assert.equal("n1", asked.to)
    assert(v.n3.host:receive_hello(v.n2.host:hello()))
    v.n3.host:forward_reply(u.n1:identity(), asked.ticket, "ok", "")
    assert.equal(1, #v.n3.writes)
    assert.equal(v.n1.disk.configuration, v.n3.writes[1].configuration)
  end)

  it("asks nobody any more while it stores what it was let in with, however long that takes", function()
    local w <close> = joiner()
    assert(says_hello(w, "n2"))
    local _, ticket = asks(w)
    answers(w, "n2", ticket, "ok")
    assert.is_nil(asks_after(w, 2 * PATIENCE_MS))
    w.n4:refuse() -- its disk is full
    assert.is_nil(asks_after(w, 2 * PATIENCE_MS))
    w.n4.host:timer()
    assert.equal(1, #w.n4.writes)
  end)

  it("begins nothing with others that are blank: it is not asked, and does not ask them", function()
    local w <close> = world.new { nodes = 0 }
    w:add("n4", { address = "127.0.0.1:5004", join = { "127.0.0.1:5005" } }):start()
    w:add("n5", { address = "127.0.0.1:5005", join = { "127.0.0.1:5004" } }):start()
    assert(w:connect("n4", "n5"))
    w:advance(10000)
    assert.same({ 0, 0 }, { w.n4.disk.cluster, w.n5.disk.cluster })
    assert.same({ 0, 0, 0 }, { #w.n4.writes, #w.n5.writes, #w.wire })
  end)

  it("asks nobody any more once it stops", function()
    local w <close> = joiner()
    assert(says_hello(w, "n2"))
    w.n4.host:stop()
    assert.is_nil(asks(w))
    assert.equal(1, w.n4.stopped)
  end)

  it("keeps 64 addresses in mind, its own list among them, and meets others all the same", function()
    local w <close> = joiner { "127.0.0.1:5002" }
    local function meets(number)
      assert(says_hello(w, "n2", { id = "m" .. number, address = "10.0.0.1:" .. number }))
    end
    assert(says_hello(w, "n2"))
    for number = 1, 62 do meets(number) end
    local _, ticket = asks(w)
    answers(w, "n2", ticket, "not_leader", { leader_address = "10.0.0.2:1" })
    assert.equal(64, #w.n4.peers)
    _, ticket = asks_after(w, HEARTBEAT_MS)
    answers(w, "n2", ticket, "not_leader", { leader_address = "10.0.0.2:2" })
    assert.equal(64, w.n4.peers_told) -- not that one too
    assert.equal("m1", (asks_after(w, HEARTBEAT_MS)))
    meets(63) -- whose address is not kept
    assert.equal(64, #w.n4.peers)
    assert.equal("m2", (asks_after(w, PATIENCE_MS)))
  end)

  it("asks one whose address is not kept, if that is the first it meets, and others when that is silent", function()
    local list = {}
    for number = 1, 64 do list[number] = "10.0.0.1:" .. number end
    local w <close> = joiner(list)
    assert(says_hello(w, "n2"))
    assert.equal("n2", (asks(w)))
    assert(says_hello(w, "n3", { address = "10.0.0.1:1" }))
    assert.equal("n3", (asks_after(w, PATIENCE_MS)))
  end)
end)

describe("a node that was let in, removed before it heard of either, and let in again", function()
  it("does not take the removal in the log that it reads for its own", function()
    local w <close> = joiner()
    local function order(action, arguments)
      local ticket = w.n1:admin(action, arguments)
      for _ = 1, 100 do
        if w.n1:told(ticket) then break end
        w:advance(50)
      end
      local code, body = w.n1:told(ticket)
      assert.equal("ok", code)
      return body.index
    end
    local who = { id = "n4", address = "127.0.0.1:5004", incarnation = w.n4.disk.incarnation }
    w.n4.frozen = true -- it hears nothing of all that
    order("join", who)
    order("remove", { id = "n4" })
    local index = order("join", who)
    w.n4.frozen = nil
    says_hello(w, "n2")
    local to, ticket = asks(w)
    answers(w, to, ticket, "ok", { index = index })
    w:connect_all()
    w:settle()
    w:connect_all()
    w:advance(5000)
    assert.equal(0, w.n4.stopped)
    assert.equal(w.n1.host:status().applied_index, w.n4.host:status().applied_index)
    assert.equal("follower", w.n4.role)
    for _, member in ipairs(w.n1.host:members()) do assert.equal("voter", member.role, member.id) end
  end)
end)
