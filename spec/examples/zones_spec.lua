-- The policy example, in the VM that a leader runs it in; and its few commands.
local base = require "moonclave.base"
local fsm = require "moonclave.fsm"
local policyvm = require "moonclave.policyvm"

local NOON, NIGHT = 12 * 3600.0, 3 * 3600.0

local function server(id, zone, more)
  local one = { id = id, role = "voter", address = "127.0.0.1:5001", healthy = true, lag = 0, leader = false,
    priority = 0, promotable = false, silent_for = 0.0, stable_for = 100.0, labels = { zone = zone } }
  for k, v in pairs(more or {}) do one[k] = v end
  one.labels = base.object(one.labels)
  return one
end

local function decided(servers, more)
  local view = { leader = servers[1].id, quorum = 2, servers = servers, term = 1, time = NOON, tolerance = 1,
    settings = { dead_after = 1000.0, stable_for = 10.0, lag_max = 1000, voters_min = 3 } }
  for k, v in pairs(more or {}) do view[k] = v end
  local vm = policyvm.new()
  assert(vm:load(assert(fsm.bundle "examples/zones")))
  local words = {}
  for _, action in ipairs((base.unpack(assert(vm:decide(base.pack(view)))))) do
    words[#words + 1] = table.concat(action, " ")
  end
  return table.concat(words, ", ")
end

local function three(leader, more)
  local servers = { server("n1", "a"), server("n2", "b"), server("n3", "c") }
  servers[leader].leader = true
  for _, one in ipairs(more or {}) do servers[#servers + 1] = one end
  return servers
end

describe("the zones example", function()
  it("is a sound policy", function() assert(policyvm.check(assert(fsm.bundle "examples/zones"))) end)

  it("lets in whom it knows the zone of, up to nine", function()
    assert.are.equal("refuse it has no zone: start it with --label zone=NAME",
      decided(three(1), { server = server("n4", nil) }))
    assert.are.equal("admit learner", decided(three(1), { server = server("n4", "b") }))
    local more = {}
    for i = 4, 9 do more[#more + 1] = server("n" .. i, "d") end
    assert.are.equal("refuse the cluster has nine servers, which is enough",
      decided(three(1, more), { server = server("n10", "b") }))
  end)

  it("promotes by the default's rules, and witnesses never", function()
    local learner = { role = "learner", promotable = true }
    assert.are.equal("promote n4", decided(three(1, { server("n4", "d", learner) })))
    assert.are.equal("", decided(three(1, { server("n4", "a", learner) }))) -- zone a would hold the quorum
    learner.labels = { zone = "d", role = "witness" }
    local witness = server("n4", "d", learner)
    assert.are.equal("", decided(three(1, { witness })))
    local other = server("n5", "e", { role = "learner", promotable = true })
    assert.are.equal("promote n5", decided(three(1, { witness, other })))
  end)

  it("removes the dead by day", function()
    local dead = server("n4", "d", { healthy = false, silent_for = 2000.0, stable_for = 0.0 })
    assert.are.equal("evict n4", decided(three(1, { dead })))
    assert.are.equal("", decided(three(1, { dead }), { time = NIGHT }))
  end)

  it("wants the leader in zone a", function()
    assert.are.equal("", decided(three(1)))
    assert.are.equal("leader n1", decided(three(2)))
    local servers = three(2)
    servers[1].stable_for = 5.0
    assert.are.equal("", decided(servers))
  end)

  it("keeps settings", function()
    local machine = fsm.new()
    assert.equal("ok", (machine:load(assert(fsm.bundle "examples/zones"), {}, { index = 1, term = 1 })))
    assert.equal("ok", (machine:apply({ index = 2, term = 1 }, "set", { name = "color", value = "red" })))
    assert.same({ value = "red", index = 2 }, select(2, machine:query("get", { name = "color" })))
    assert.equal("rejected", (machine:apply({ index = 3, term = 1 }, "set", { value = "red" })))
  end)
end)
