-- The membership policy: what it is shown, what of its word is done, and what is refused whatever it says.
local members = require "host.members_support"
local world = require "host.world"
local newcomer, roles, done = members.newcomer, members.roles, members.done

local SETTINGS = { policy_interval_ms = 500, policy_voters_min = 2 }

local function cluster(policy, options)
  options = options or {}
  options.nodes = options.nodes or 3
  options.policy = policy
  local settings = {}
  for k, v in pairs(SETTINGS) do settings[k] = v end
  for k, v in pairs(options.settings or {}) do settings[k] = v end
  options.settings = settings
  return world.cluster(options)
end

-- A policy whose words the spec changes as it goes: says.admit, says.review.
local function said()
  local says = { admit = { { "admit", "learner" } }, review = {} }
  return says, function(view)
    if view.server then
      says.server = view.server
      if type(says.admit) == "string" then return nil, says.admit end
      return says.admit
    end
    says.view = view
    local review = says.review
    if says.once then says.review = {} end
    if type(review) == "string" then return nil, review end
    return review
  end
end

local function policy_status(node) return node.host:status().policy end

local function join(w, id, options)
  local node = newcomer(w, id, options)
  w:connect_all()
  w:advance(100)
  w:connect_all()
  w:advance(1500)
  return node
end

describe("what a policy is shown", function()
  it("is every server as the leader sees it, and the settings of the default one", function()
    local says, policy = said()
    local w <close> = cluster(policy, { settings = { policy_stable_ms = 7000, policy_dead_ms = 60000 } })
    w:advance(3000)
    local view = says.view
    assert.are.same({ "n1", 2, 1, w.n1.term }, { view.leader, view.quorum, view.tolerance, view.term })
    assert.are.same({ dead_after = 60.0, stable_for = 7.0, lag_max = 1000, voters_min = 2 }, view.settings)
    assert.are.equal(w.wall / 1000, view.time)
    assert.is_nil(view.server)
    assert.are.equal(3, #view.servers)
    local own, other = view.servers[1], view.servers[2]
    assert.are.same({ "n1", "voter", true, true, 0.0 }, { own.id, own.role, own.leader, own.healthy, own.silent_for })
    assert.are.same({ "n2", w.peers[2], "voter", false, true, 0, false, 0 },
      { other.id, other.address, other.role, other.leader, other.healthy, other.lag, other.promotable, other.priority })
    assert.is_true(other.stable_for >= 1 and other.silent_for < 0.3)
  end)

  it("counts silence and health from when this node leads", function()
    local says, policy = said()
    local w <close> = cluster(policy)
    w:isolate "n3"
    w:advance(6000)
    local silent = says.view.servers[3]
    assert.is_true(silent.silent_for > 5 and silent.silent_for < 7)
    assert.are.same({ false, 0.0 }, { silent.healthy, silent.stable_for })
    assert.are.equal(0, says.view.tolerance)
    w.n1:crash()
    w:heal "n3"
    w:elect "n2"
    w:isolate "n3"
    w:advance(1100)
    assert.are.equal("n2", says.view.leader)
    assert.is_true(says.view.servers[3].silent_for < 2)
  end)

  it("counts the silence of one that has just come from when it came", function()
    local says, policy = said()
    local w <close> = cluster(policy)
    w:advance(20000)
    newcomer(w, "n4").held = true -- its disk does nothing: it does not answer
    w:connect_all()
    w:advance(100)
    w:connect_all()
    w:advance(1500)
    local silent = says.view.servers[4]
    assert.are.equal("n4", silent.id)
    assert.is_true(silent.silent_for > 0.5 and silent.silent_for < 3, silent.silent_for)
  end)

  it("of one that wants to be let in is what it says of itself, with its labels but for the program's own", function()
    local says, policy = said()
    local w <close> = cluster(policy)
    newcomer(w, "n4")
    w:connect_all()
    local ticket = w.n1:admin("add", { id = "n4", address = "127.0.0.1:5004", labels = { zone = "b", rack = "7" } })
    w:connect_all()
    assert.are.equal("ok", (done(w, w.n1, ticket)))
    assert.are.same({ zone = "b", rack = "7" }, says.server.labels)
    assert.are.same({ "n4", "127.0.0.1:5004", "learner", false },
      { says.server.id, says.server.address, says.server.role, says.server.promotable })
    w:advance(1000)
    assert.are.same({ zone = "b", rack = "7" }, says.view.servers[4].labels)
  end)
end)

describe("labels", function()
  local base = require "moonclave.base"

  it("come with one that joins, are set and taken away by operators, and are shown to the policy", function()
    local says, policy = said()
    local w <close> = cluster(policy)
    join(w, "n4", { labels = base.pack { zone = "b" } })
    assert.are.same({ zone = "b" }, says.server.labels)
    w:advance(600)
    assert.are.same({ zone = "b" }, says.view.servers[4].labels)
    local labels = base.object { zone = "c", rack = "7" }
    assert.are.equal("ok", (done(w, w.n1, w.n1:admin("labels", { id = "n1", labels = labels }))))
    assert.are.equal("ok", (done(w, w.n1, w.n1:admin("labels", { id = "n4", labels = { zone = base.null } }))))
    w:advance(600)
    assert.are.same({ zone = "c", rack = "7" }, says.view.servers[1].labels)
    assert.are.same({}, says.view.servers[4].labels)
    assert.is_true(says.view.servers[4].promotable) -- the program's own are not touched
  end)

  it("are refused where they are none, or nobody's", function()
    local _, policy = said()
    local w <close> = cluster(policy)
    for _, row in ipairs {
      { { id = "n1" }, "bad_request", "`labels` is a map of names to texts, or to null" },
      { { id = "n1", labels = 5 }, "bad_request", "`labels` is a map of names to texts" },
      { { id = "n1", labels = { zone = 5 } }, "bad_request", "`labels` is a map of names to texts" },
      { { id = "n1", labels = { ["moonclave.wants"] = "voter" } }, "bad_request", "are not yours" },
      { { id = "n1", labels = { ["moonclave.wants"] = base.null } }, "bad_request", "are not yours" },
      { { id = "n9", labels = { zone = "a" } }, "not_found", "there is no server n9" },
    } do
      local code, body = done(w, w.n1, w.n1:admin("labels", row[1]))
      assert.are.equal(row[2], code)
      assert.is_truthy(body.message:find(row[3], 1, true), body.message)
    end
  end)
end)

describe("a server that joins", function()
  it("votes when the policy says so, and no sooner", function()
    local says, policy = said()
    local w <close> = cluster(policy)
    join(w, "n4")
    w:advance(5000)
    assert.are.equal("n1 voter, n2 voter, n3 voter, n4 learner", roles(w.n1))
    assert.is_true(says.view.servers[4].promotable)
    assert.is_true(says.view.servers[4].stable_for > 3)
    says.review = { { "promote", "n4" } }
    w:advance(1000)
    assert.are.equal("n1 voter, n2 voter, n3 voter, n4 voter", roles(w.n4))
    assert.are.equal(1, w.n1:logged "the policy makes n4 a voter")
    assert.are.equal("promote n4", policy_status(w.n1).done_last)
  end)

  it("votes as soon as it has caught up where the policy admits it as a voter", function()
    local says, policy = said()
    says.admit = { { "admit", "voter" } }
    local w <close> = cluster(policy)
    join(w, "n4")
    w:advance(2000)
    assert.are.equal("n1 voter, n2 voter, n3 voter, n4 voter", roles(w.n1))
  end)

  it("is told why it is refused, and so is the operator who adds it, unless by force", function()
    local says, policy = said()
    says.admit = { { "refuse", "not on a Friday" } }
    local w <close> = cluster(policy)
    local node = join(w, "n4")
    assert.are.equal("refused", node.fatal.code)
    assert.is_truthy(node.fatal.text:find("the cluster does not let n4 in: the membership policy refuses n4: " ..
      "not on a Friday", 1, true), node.fatal.text)
    node:crash()
    node:start()
    w:connect_all()
    local code, body = done(w, w.n1, w.n1:admin("add", { id = "n4", address = "127.0.0.1:5004", incarnation = 7 }))
    assert.are.same({ "refused", "the membership policy refuses n4: not on a Friday" }, { code, body.message })
    code = done(w, w.n1, w.n1:admin("add", { id = "n5", address = "127.0.0.1:5005", incarnation = 7, force = true }))
    assert.are.equal("ok", code)
    assert.are.equal("n1 voter, n2 voter, n3 voter, n5 learner", roles(w.n1))
  end)

  it("asks on while the policy fails, and is let in once it does not", function()
    local says, policy = said()
    says.admit = "policy.lua:3: it is broken"
    local w <close> = cluster(policy)
    local node = join(w, "n4")
    assert.is_nil(node.fatal)
    assert.is_true(node:logged "policy.lua:3: it is broken; asks again" > 0)
    assert.are.equal("n1 voter, n2 voter, n3 voter", roles(w.n1))
    assert.are.equal(1, w.n1:logged "the membership policy has failed, and nothing is changed: policy.lua:3")
    local code, body = done(w, w.n1, w.n1:admin("add", { id = "n5", address = "127.0.0.1:5005", incarnation = 7 }))
    assert.are.equal("unavailable", code)
    assert.is_truthy(body.message:find("policy.lua:3: it is broken", 1, true))
    says.admit = { { "admit", "learner" } }
    w:advance(3000)
    assert.are.equal("n1 voter, n2 voter, n3 voter, n4 learner", roles(w.n1))
  end)

  it("waits where the policy does not answer, and is asked about again", function()
    local asked, answers = 0, false
    local w <close> = cluster(function(view)
      if not view.server then return {} end
      asked = asked + 1
      return answers and { { "admit", "learner" } }
    end)
    local node = join(w, "n4")
    w:advance(8000)
    assert.is_nil(node.fatal)
    assert.is_true(asked > 1 and asked < 6, asked)
    answers = true
    w:advance(6000)
    assert.are.equal("n1 voter, n2 voter, n3 voter, n4 learner", roles(w.n1))
  end)

  it("needs no word where there is no policy, or none any more", function()
    local _, policy = said()
    local w <close> = cluster(policy)
    join(w, "n4")
    assert.are.equal("n1 voter, n2 voter, n3 voter, n4 learner", roles(w.n1))
    w.n1:crash()
    w.n1:start { settings = { policy_interval_ms = 0, election_timeout_ms = 1000, heartbeat_ms = 100 } }
    w:connect_all()
    w:advance(200)
    w:elect "n1"
    w:advance(1500)
    assert.are.equal("n1 voter, n2 voter, n3 voter, n4 voter", roles(w.n1))
    assert.is_false(policy_status(w.n1).active)
  end)
end)

describe("operators' commands", function()
  it("are what they were: who is added votes, who is added as a learner or demoted does not", function()
    local says, policy = said()
    local w <close> = cluster(policy)
    newcomer(w, "n4")
    newcomer(w, "n5")
    w:connect_all()
    local learner = w.n1:admin("add", { id = "n4", address = "127.0.0.1:5004", learner = true })
    w:connect_all()
    assert.are.equal("ok", (done(w, w.n1, learner)))
    local voter = w.n1:admin("add", { id = "n5", address = "127.0.0.1:5005" })
    w:connect_all()
    assert.are.equal("ok", (done(w, w.n1, voter)))
    says.review = { { "promote", "n4" } }
    w:advance(3000)
    assert.are.equal("n1 voter, n2 voter, n3 voter, n4 learner, n5 voter", roles(w.n1))
    assert.are.equal(1, w.n1:logged "wants: promote n4: an operator wants it to be a learner")
    assert.are.equal("ok", (done(w, w.n1, w.n1:admin("demote", { id = "n5" }))))
    says.review = { { "promote", "n5" } }
    w:advance(2000)
    assert.are.equal("n1 voter, n2 voter, n3 voter, n4 learner, n5 learner", roles(w.n1))
    assert.are.equal("ok", (done(w, w.n1, w.n1:admin("promote", { id = "n5" }))))
    w:advance(1000)
    assert.are.equal("n1 voter, n2 voter, n3 voter, n4 learner, n5 voter", roles(w.n1))
  end)
end)

describe("a request that had to wait", function()
  it("is answered by its entry, however long that takes to be committed", function()
    local _, policy = said()
    local w <close> = cluster(policy)
    newcomer(w, "n4")
    local ticket = w.n1:admin("add", { id = "n4", address = "127.0.0.1:5004" }) -- waits for its hello, and the policy
    w:settle()
    w.n2.held, w.n3.held = true, true -- their disks do nothing for a while: several heartbeats
    w:connect_all()
    w:advance(700)
    assert.is_nil(w.n1:told(ticket))
    w.n2.held, w.n3.held = false, false
    local code, body = done(w, w.n1, ticket)
    assert.are.equal("ok", code, body.message)
  end)
end)

describe("a server", function()
  it("that the policy evicts goes, and hears of it", function()
    local says, policy = said()
    local w <close> = cluster(policy)
    w:isolate "n3"
    w:advance(2000)
    says.review = { { "evict", "n3" } }
    w:advance(1000)
    assert.are.equal("n1 voter, n2 voter", roles(w.n1))
    w:heal "n3"
    w:advance(12000)
    assert.is_true(w.n3:logged "was removed" > 0)
  end)

  it("that the policy demotes keeps the log, and may be promoted again", function()
    local says, policy = said()
    local w <close> = cluster(policy)
    says.review = { { "demote", "n3" } }
    w:advance(1000)
    assert.are.equal("n1 voter, n2 voter, n3 learner", roles(w.n1))
    says.review = { { "promote", "n3" } }
    w:advance(1000)
    assert.are.equal("n1 voter, n2 voter, n3 voter", roles(w.n1))
  end)

  it("that the policy prefers leads, once its leader has led for a while, and not again soon", function()
    local says, policy = said()
    local w <close> = cluster(policy)
    says.review = { { "leader", "n2" } }
    w:advance(1500)
    assert.is_true(w.n1.host:is_leader())
    w:advance(5000)
    assert.is_true(w.n2.host:is_leader())
    says.review = { { "leader", "n1" } }
    w:advance(6000)
    assert.is_true(w.n1.host:is_leader())
    local term = w.n1.term
    says.review = { { "leader", "n1" } }
    w:advance(3000)
    assert.are.equal(term, w.n1.term)
  end)
end)

describe("the host refuses, and says why:", function()
  -- name, nodes, what was isolated, what the policy says, the reason, settings
  local rows = {
    { "to remove the leader", 3, {}, { { "evict", "n1" } }, "evict n1: it leads" },
    { "to demote the leader", 3, {}, { { "demote", "n1" } }, "demote n1: it leads" },
    { "a server that is not there", 3, {}, { { "evict", "n9" } }, "evict n9: there is no such server" },
    { "an id that is none", 3, {}, { { "evict", "" } }, "there is no such server" },
    { "fewer voters than policy_voters_min", 3, {}, { { "evict", "n3" } },
      "evict n3: 2 voters would be left, and policy_voters_min is 3", { policy_voters_min = 3 } },
    { "to demote below it", 3, {}, { { "demote", "n3" } },
      "demote n3: 2 voters would be left, and policy_voters_min is 3", { policy_voters_min = 3 } },
    { "what leaves no majority that is heard", 5, { "n4", "n5" }, { { "evict", "n3" } },
      "evict n3: of the 4 voters that would be left 2 are heard: no majority" },
    { "more than a minority at once", 3, {}, { { "evict", "n2" }, { "evict", "n3" } },
      "evict n3: it would take more than a minority of the votes at once" },
    { "the same in two words", 3, {}, { { "evict", "n2" }, { "demote", "n3" } },
      "demote n3: it would take more than a minority of the votes at once" },
    { "to promote a voter", 3, {}, { { "promote", "n2" } }, "promote n2: it is a voter" },
    { "to let somebody in unasked", 3, {}, { { "admit", "learner" } }, "it was not asked to let anybody in" },
    { "a leader that is not heard", 3, { "n3" }, { { "leader", "n3" } }, "leader n3: it does not keep up" },
  }
  for _, row in ipairs(rows) do
    it(row[1], function()
      local says, policy = said()
      local w <close> = cluster(policy, { nodes = row[2], settings = row[6] })
      for _, id in ipairs(row[3]) do w:isolate(id) end
      w:advance(3000)
      local before, term = roles(w.n1), w.n1.term
      says.review = row[4]
      w:advance(3000)
      assert.are.equal(before, roles(w.n1))
      assert.are.equal(term, w.n1.term)
      assert.are.equal(1, w.n1:logged("refuses what the membership policy wants: .*" .. row[5]:gsub("%p", "%%%0")))
      assert.is_truthy(policy_status(w.n1).refusal:find(row[5], 1, true))
      assert.is_true(policy_status(w.n1).refused >= #row[4])
      assert.are.equal(0, policy_status(w.n1).done)
    end)
  end

  it("a learner as the leader, and a vote for one that has not caught up", function()
    local says, policy = said()
    local w <close> = cluster(policy)
    join(w, "n4")
    says.review = { { "leader", "n4" } }
    w:advance(1000)
    assert.are.equal(1, w.n1:logged "leader n4: only a voter can lead")
    w:isolate "n4"
    w:advance(2000)
    says.review = { { "promote", "n4" } }
    w:advance(1000)
    assert.are.equal(1, w.n1:logged "promote n4: it has not caught up")
    assert.are.equal("n1 voter, n2 voter, n3 voter, n4 learner", roles(w.n1))
  end)

  it("goes on to what is safe behind what is not, and does one thing at a time", function()
    local says, policy = said()
    local w <close> = cluster(policy, { nodes = 5 })
    says.review, says.once = { { "evict", "n9" }, { "evict", "n5" }, { "demote", "n4" } }, true
    w:advance(3000)
    assert.are.equal("n1 voter, n2 voter, n3 voter, n4 voter", roles(w.n1))
  end)
end)

describe("a policy that", function()
  local answers = {
    { "raises", "policy.lua:7: attempt to index a nil value", "policy.lua:7: attempt to index a nil value" },
    { "answers no list", "\x81", "its answer is no list of actions" },
    { "answers a number", require("moonclave.base").pack(7), "its answer is no list of actions" },
    { "says what is no action", { { "promote", "n2" }, { "explode", "n3" } }, "its answer is no list of actions" },
    { "says too much of it", { { "evict", "n3", "n2" } }, "its answer is no list of actions" },
    { "names a number", { { "evict", 3 } }, "its answer is no list of actions" },
  }
  for _, row in ipairs(answers) do
    it(row[1] .. " changes nothing, and its failure is told once", function()
      local answer = row[2]
      local w <close> = cluster(function(_, _, _)
        if row[1] == "raises" then return nil, answer end
        return answer
      end)
      w:advance(5000)
      assert.are.equal("n1 voter, n2 voter, n3 voter", roles(w.n1))
      assert.are.equal(1, w.n1:logged "the membership policy has failed, and nothing is changed")
      local status = policy_status(w.n1)
      assert.are.same({ true, row[3], 0 }, { status.active, status.problem, status.done })
      assert.is_true(status.failed > 3 and status.failed == status.asked)
    end)
  end

  it("is well again has no problem any more", function()
    local says, policy = said()
    local w <close> = cluster(policy)
    says.review = "policy.lua:1: no"
    w:advance(1000)
    assert.are.equal("policy.lua:1: no", policy_status(w.n1).problem)
    says.review = {}
    w:advance(1000)
    assert.are.equal("", policy_status(w.n1).problem)
  end)

  it("answers late, after another has led, is not heard", function()
    local kept
    local w <close> = cluster(function(_, node)
      kept = kept or node
      return false
    end)
    w:advance(1000)
    assert.are.equal(w.n1, kept)
    w.n1.host:policy_decided(999, require("moonclave.base").pack { { "evict", "n3" } })
    w:advance(500)
    assert.are.equal("n1 voter, n2 voter, n3 voter", roles(w.n1))
    local ticket = policy_status(w.n1).asked
    w:elect "n2"
    w.n1.host:policy_decided(ticket, require("moonclave.base").pack { { "evict", "n3" } })
    w:advance(1000)
    assert.are.equal("n1 voter, n2 voter, n3 voter", roles(w.n2))
  end)

  it("does not answer is asked again after four election timeouts", function()
    local asked = 0
    local w <close> = cluster(function()
      asked = asked + 1
      return false
    end)
    w:advance(3500)
    assert.are.equal(1, asked)
    w:advance(2500)
    assert.are.equal(2, asked)
  end)
end)
