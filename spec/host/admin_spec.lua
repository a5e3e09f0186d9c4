-- Who is a member and who leads: joining, adding, removing, replacing, handing over.
local formats = require "moonclave.formats"
local world = require "host.world"

local function cluster(nodes) return world.cluster { nodes = nodes } end

-- A blank node that is not in anybody's list.
local function newcomer(w, id, join)
  local number = tonumber(id:match "%d+")
  local node = w:add(id, { address = "127.0.0.1:" .. 5000 + number, join = join or { w.peers[1] } })
  node:start()
  return node
end

local function roles(node)
  local list = {}
  for _, member in ipairs(node.host:members()) do list[#list + 1] = member.id .. " " .. member.role end
  return table.concat(list, ", ")
end

local function done(w, node, ticket)
  for _ = 1, 100 do
    if node:told(ticket) then return node:told(ticket) end
    w:advance(50)
  end
  error "no answer"
end

describe("a node started with --join", function()
  it("asks, is let in as a learner, catches up and becomes a voter", function()
    local w <close> = cluster()
    local before = w.n1:submit "x"
    w:settle()
    assert.are.equal("ok done 1 x", w.n1:answer(before))
    newcomer(w, "n4")
    w:connect_all()
    w:advance(100)
    w:connect_all()
    w:advance(3000)
    assert.are.equal(w.n1.disk.cluster, w.n4.disk.cluster)
    assert.are.equal("n1 voter, n2 voter, n3 voter, n4 voter", roles(w.n1))
    assert.are.equal("n1 voter, n2 voter, n3 voter, n4 voter", roles(w.n4))
    assert.are.equal(1, w.n1:logged "n4 has caught up")
    assert.are.equal("done 1 x", w.n4.machine.commands[1] and ("done 1 " .. w.n4.machine.commands[1].body))
    local t = w.n4:submit "y"
    w:advance(150)
    assert.are.equal("ok done 2 y", w.n4:answer(t))
  end)

  it("that asks a follower is told where the leader is", function()
    local w <close> = cluster()
    newcomer(w, "n4", { w.peers[2] })
    assert(w:connect("n4", "n2"))
    w:settle()
    assert.are.equal(0, w.n4.disk.cluster)
    local seen = {}
    for _, peer in ipairs(w.n4.peers) do seen[peer.address] = true end
    assert.is_true(seen[w.peers[1]]) -- it calls n1 now
    assert(w:connect("n4", "n1"))
    w:advance(150)
    assert.are.equal(w.n1.disk.cluster, w.n4.disk.cluster)
  end)

  it("knows whom to answer though nobody of the first configuration is left", function()
    local w <close> = cluster(1)
    newcomer(w, "n2", { w.peers[1] })
    w:connect_all()
    w:advance(3000)
    assert.are.equal("n1 voter, n2 voter", roles(w.n2))
    assert.are.equal("ok", (done(w, w.n2, w.n2:admin("remove", { id = "n1" }))))
    w:advance(4000)
    w.n1:crash()
    assert.is_true(w.n2.host:is_leader())
    newcomer(w, "n3", { "127.0.0.1:5002" })
    w:connect_all()
    w:advance(200)
    local seen = {}
    for _, peer in ipairs(w.n3.peers) do seen[peer.id] = peer.address end
    assert.are.equal("127.0.0.1:5002", seen.n2)
    w:connect_all()
    w:advance(3000)
    assert.are.equal("n2 voter, n3 voter", roles(w.n3))
  end)

  it("may crash between being let in and storing that, and asks again", function()
    local w <close> = cluster()
    newcomer(w, "n4").held = true -- its disk does nothing
    w:connect_all()
    w:advance(200)
    assert.are.equal("n1 voter, n2 voter, n3 voter, n4 learner", roles(w.n1))
    assert.are.equal(0, w.n4.disk.cluster)
    w.n4:crash()
    w.n4.held = false
    w.n4:start()
    w:connect_all()
    w:advance(3000)
    assert.are.equal("n1 voter, n2 voter, n3 voter, n4 voter", roles(w.n4))
  end)

  it("under the id of a member with other data is told to be removed first", function()
    local w <close> = cluster()
    w.n3:crash()
    w.n3:wipe()
    w.n3:start { join = { w.peers[1] } }
    local ok, code = w:connect("n3", "n1")
    assert.is_nil(ok)
    assert.are.equal("wiped", code)
    local t = w.n1:admin("remove", { id = "n3" })
    assert.are.equal("ok", (done(w, w.n1, t)))
    assert.are.equal("n1 voter, n2 voter", roles(w.n1))
    w.n3:crash()
    w.n3:start { join = { w.peers[1] } }
    assert(w:connect("n3", "n1"))
    w:connect_all()
    w:advance(3000)
    assert.are.equal("n1 voter, n2 voter, n3 voter", roles(w.n1))
    assert.are.equal("n1 voter, n2 voter, n3 voter", roles(w.n3))
  end)

  it("under the id of a member asks on by itself until that one is removed", function()
    local w <close> = cluster()
    w.n3:crash()
    w.n3:wipe()
    w.n3:start { join = { w.peers[1] } }
    assert.is_nil(w:connect("n3", "n1"))
    assert.is_false(w.n3.host:status().wiped)
    assert.are.equal("ok", (done(w, w.n1, w.n1:admin("remove", { id = "n3" }))))
    assert(w:connect("n3", "n1"))
    w:connect_all()
    w:advance(3000)
    assert.are.equal("n1 voter, n2 voter, n3 voter", roles(w.n3))
  end)

  it("under an old id is heard as the leader by one that was away and knows its former self only", function()
    local w <close> = cluster()
    w.n2:crash()
    w.n3:crash()
    w.n3:wipe()
    w.n2:start()
    w:connect_all()
    assert.are.equal("ok", (done(w, w.n1, w.n1:admin("remove", { id = "n3" }))))
    w.n3:start { join = { w.peers[1] } }
    newcomer(w, "n4")
    w:connect_all()
    w:advance(3000)
    w:connect_all()
    assert.are.equal("n1 voter, n2 voter, n3 voter, n4 voter", roles(w.n1))
    w.n2:crash() -- and its disk is taken back to the time before the first change
    local entries = w.n2.disk.entries
    local first = 1
    while formats.entry_decode(entries[first]).type ~= 1 do first = first + 1 end
    w.n2.disk.entries = table.move(entries, 1, first - 1, 1, {})
    assert.are.equal("ok", (done(w, w.n1, w.n1:admin("transfer", { id = "n3" }))))
    assert.is_true(w.n3.host:is_leader())
    w.n1:crash()
    w.n2:start()
    assert.are.equal("n1 voter, n2 voter, n3 voter", roles(w.n2))
    assert(w:connect("n3", "n2"))
    w:connect_all()
    w:advance(1000)
    assert.are.equal("n1 voter, n2 voter, n3 voter, n4 voter", roles(w.n2))
  end)

  it("goes on to another member where the one it asks has lost touch", function()
    local w <close> = cluster()
    w:lose("n1", "n2")
    w:lose("n2", "n3")
    w:advance(5000)
    newcomer(w, "n4", { w.peers[2], w.peers[1] })
    assert(w:connect("n4", "n2"))
    w:advance(300)
    assert(w:connect("n4", "n1"))
    w:advance(1000)
    assert.are.equal(w.n1.disk.cluster, w.n4.disk.cluster)
  end)

  it("stays blank while the cluster has no leader, and says so once", function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    newcomer(w, "n4")
    w:connect("n4", "n1")
    for _ = 1, 5 do
      w.n4:turn()
      w:deliver_all()
      w.n1:turn()
      w:deliver_all()
      w.now = w.now + 200000
      w.n4:turn()
    end
    assert.are.equal(0, w.n4.disk.cluster)
    assert.is_true(w.n4:logged "does not let n4 in" <= 1)
    assert.is_nil(w.n4.fatal)
  end)
end)

describe("an operator", function()
  it("adds a server that waits to join, as a learner that stays one", function()
    local w <close> = cluster()
    local t = w.n2:admin("add", { id = "n5", address = "127.0.0.1:5005", learner = true, labels = { zone = "a" } })
    w:advance(200)
    assert.is_nil(w.n2:told(t)) -- nobody knows who n5 is yet
    w:add("n5", { address = "127.0.0.1:5005", join = { w.peers[1] } })
    w.n5:start()
    assert(w:connect("n1", "n5"))
    w:connect_all()
    assert.are.equal("ok", (done(w, w.n2, t)))
    w:advance(3000)
    assert.are.equal("n1 voter, n2 voter, n3 voter, n5 learner", roles(w.n1))
    t = w.n1:admin("promote", { id = "n5" })
    assert.are.equal("ok", (done(w, w.n1, t)))
    w:advance(500)
    assert.are.equal("n1 voter, n2 voter, n3 voter, n5 voter", roles(w.n5))
    t = w.n1:admin("demote", { id = "n5" })
    assert.are.equal("ok", (done(w, w.n1, t)))
    assert.are.equal("n1 voter, n2 voter, n3 voter, n5 learner", roles(w.n1))
  end)

  it("who adds a server that is not there is told so in the end", function()
    local w <close> = cluster()
    local t = w.n1:admin("add", { id = "n5", address = "127.0.0.1:5005" }, { timeout_ms = 1000 })
    w:advance(1200)
    local code, body = w.n1:told(t)
    assert.are.equal("unavailable", code)
    assert.matches("start it with %-%-join", body.message)
  end)

  it("removes a follower, which is told, stops and is refused when it comes back", function()
    local w <close> = cluster()
    local t = w.n2:admin("remove", { id = "n3" })
    assert.are.equal("ok", (done(w, w.n2, t)))
    w:advance(1000)
    assert.are.equal("n1 voter, n2 voter", roles(w.n1))
    assert.are.equal(1, w.n3.stopped)
    assert.are.equal(1, w.n3:logged "was removed from the cluster")
    w.n3:crash()
    w.n3:start()
    local ok, code = w:connect("n3", "n1")
    assert.is_nil(ok)
    assert.are.equal("removed", code)
    w:advance(1000)
    assert.are.equal(1, w.n3.stopped)
  end)

  it("tells a removed server that was away and heard nothing of it", function()
    local w <close> = cluster()
    w.n3:crash()
    local t = w.n1:admin("remove", { id = "n3" })
    assert.are.equal("ok", (done(w, w.n1, t)))
    w.n3:start()
    local ok, code = w:connect("n3", "n2")
    assert.is_nil(ok)
    assert.are.equal("removed", code)
    w:advance(500)
    assert.are.equal(1, w.n3.stopped)
  end)

  it("tells a removed server that was cut off, over a connection that lived through it", function()
    local w <close> = cluster()
    w:isolate "n3"
    assert.are.equal("ok", (done(w, w.n1, w.n1:admin("remove", { id = "n3" }))))
    w:advance(70000)
    w:heal "n3"
    w:advance(20000)
    assert.are.equal(1, w.n3.stopped)
    assert.are.equal(1, w.n3:logged "was removed from the cluster")
  end)

  it("removes the leader, and another one takes over", function()
    local w <close> = cluster()
    local t = w.n1:admin("remove", { id = "n1" })
    assert.are.equal("ok", (done(w, w.n1, t)))
    w:advance(4000)
    assert.are.equal(1, w.n1.stopped)
    local leader = w.n2.host:is_leader() and w.n2 or w.n3
    assert.is_true(leader.host:is_leader())
    assert.are.equal("n2 voter, n3 voter", roles(leader))
  end)

  it("replaces several at once, through a joint configuration", function()
    local w <close> = cluster()
    for _, id in ipairs { "n4", "n5" } do
      newcomer(w, id)
      w:connect_all()
      local t = w.n1:admin("add", { id = id, address = w[id].options.address, learner = true })
      w:connect_all()
      done(w, w.n1, t)
      w:advance(1000)
    end
    local t = w.n1:admin("set", { voters = { "n1", "n4", "n5" } })
    assert.are.equal("ok", (done(w, w.n1, t)))
    w:advance(2000)
    assert.are.equal("n1 voter, n4 voter, n5 voter", roles(w.n1))
    assert.are.equal(1, w.n2.stopped)
    assert.are.equal(1, w.n3.stopped)
    t = w.n5:submit "z"
    w:advance(200)
    assert.are.equal("ok done 1 z", w.n5:answer(t))
  end)

  it("is refused with a reason what cannot be", function()
    local w <close> = cluster()
    local function refused(action, arguments, code, pattern)
      local got, body = done(w, w.n1, w.n1:admin(action, arguments))
      assert.are.equal(code, got)
      assert.matches(pattern, body.message)
    end
    refused("remove", { id = "n9" }, "not_found", "n9")
    refused("remove", {}, "bad_request", "`id`")
    refused("remove", { id = "n2", expected = 12345 }, "conflict", "look again")
    refused("add", { id = "n2", address = "127.0.0.1:5002" }, "conflict", "already")
    refused("add", { id = "n9", address = "nowhere" }, "bad_request", "address")
    refused("set", { voters = { "n1", "n9" } }, "not_found", "n9")
    refused("set", { voters = {} }, "bad_request", "voters")
    refused("transfer", { id = "n9" }, "not_found", "voter")
    refused("frobnicate", {}, "no_such_command", "no such action")
  end)

  it("hears that another change is under way", function()
    local w <close> = cluster()
    w:isolate "n2"
    w:isolate "n3"
    local first = w.n1:admin("remove", { id = "n3" })
    w.n1:turn()
    local second = w.n1:admin("remove", { id = "n2" })
    w.n1:turn()
    w.n1:turn()
    local code, body = w.n1:told(second)
    assert.are.equal("unavailable", code)
    assert.matches("another change", body.message)
    assert.is_nil(w.n1:told(first))
  end)
end)

describe("leadership", function()
  it("is handed to whom the operator names, and commands meanwhile go to the next leader", function()
    local w <close> = cluster()
    local t = w.n2:admin("transfer", { id = "n3" })
    w.n2:turn()
    w:deliver_all()
    w.n1:turn()
    local c = w.n1:submit "x"
    w:advance(500)
    assert.are.equal("ok", (w.n2:told(t)))
    assert.is_true(w.n3.host:is_leader())
    assert.are.equal("ok done 1 x", w.n1:answer(c))
  end)

  it("stays where the target does not answer, and the operator is told", function()
    local w <close> = cluster()
    w:isolate "n3"
    local t = w.n1:admin("transfer", { id = "n3" })
    w:advance(2500)
    local code, body = w.n1:told(t)
    assert.are.equal("unavailable", code)
    assert.matches("no other server took over", body.message)
    assert.is_true(w.n1.host:is_leader())
    local c = w.n1:submit "x"
    w:advance(200)
    assert.are.equal("ok done 1 x", w.n1:answer(c))
  end)

  it("is handed over by a leader that stops, before it goes", function()
    local w <close> = cluster()
    local c = w.n2:submit "x"
    w.n1.host:stop()
    w:advance(300) -- far less than an election timeout
    assert.are.equal(1, w.n1.stopped)
    assert.is_true(w.n2.host:is_leader() or w.n3.host:is_leader())
    w:advance(300)
    assert.are.equal("ok done 1 x", w.n2:answer(c))
  end)
end)
