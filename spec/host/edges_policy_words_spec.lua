-- What a membership policy is shown, number by number, and its words judged one by one: what is safe to the last voter,
-- what is refused with which reason, what is not done now and nobody's fault.
local base = require "moonclave.base"
local members = require "host.members_support"
local support = require "host.policy_support"
local world = require "host.world"
local newcomer, roles, done = members.newcomer, members.roles, members.done
local elect_at_once, status = support.elect_at_once, support.status

-- A policy whose words the spec changes as it goes: says.review; who joins is a learner. says.views: all it was shown.
-- options.n2: settings of that node alone.
local function cluster(options)
  options = options or {}
  local says = { review = {}, views = {}, admit = { { "admit", "learner" } } }
  options.nodes = options.nodes or 3
  options.policy = function(view)
    if view.server then
      says.case = view
      return says.admit
    end
    says.view = view
    says.views[#says.views + 1] = view
    return says.review
  end
  local settings = { policy_interval_ms = 100, policy_voters_min = 1 }
  for k, v in pairs(options.settings or {}) do settings[k] = v end
  options.settings = settings
  local w = world.new(options)
  w.n2.options.settings = options.n2
  w:bootstrap()
  w:elect "n1"
  w:advance(150)
  return w, says
end

-- A node that joins by itself, and has caught up.
local function join(w, id)
  newcomer(w, id)
  w:connect_all()
  w:advance(100)
  w:connect_all()
  w:advance(1500)
end

-- The first view that comes from now on.
local function look(w, says)
  local before = #says.views
  for _ = 1, 100 do
    w:advance(50)
    if #says.views > before then return says.views[before + 1] end
  end
  error("no view", 2)
end

describe("a view", function()
  it("counts voters for its quorum, and nobody else", function()
    local w <close>, says = cluster()
    join(w, "n4")
    local view = look(w, says)
    assert.same({ 4, 2, 1 }, { #view.servers, view.quorum, view.tolerance })
    assert.same({ "learner", true }, { view.servers[4].role, view.servers[4].promotable })
    assert.same({ true, false }, { view.servers[4].healthy, view.servers[1].promotable })
  end)

  it("has the entries that each lacks: none the leader, exactly so many one whose disk does nothing", function()
    local w <close>, says = cluster()
    w.n3.held = true
    for i = 1, 7 do w.n1:submit("x" .. i) end
    local view = look(w, says)
    local last = w.n1.host:status().last_index
    local match
    for _, member in ipairs(w.n1.host:members()) do if member.id == "n3" then match = member.match end end
    assert.is_true(match < last)
    assert.same({ 0, 0, last - match }, { view.servers[1].lag, view.servers[2].lag, view.servers[3].lag })
  end)

  it("shows one who wants to be let in as who has nothing yet, is not well and not silent", function()
    local w <close>, says = cluster()
    w:advance(3000)
    newcomer(w, "n4")
    w:connect_all()
    w:advance(100)
    w:connect_all()
    w:settle()
    local server = says.case.server
    assert.same({ "n4", "learner", false, false, false, 0.0, 0.0 }, { server.id, server.role, server.leader,
      server.healthy, server.promotable, server.silent_for, server.stable_for })
    assert.equal(says.case.servers[1].lag + w.n1.host:status().last_index - 1, server.lag) -- asked before its own entry
    assert.equal(3, #says.case.servers)
  end)

  it("calls a learner promotable that waits for the policy, and not one that an operator wants as it is", function()
    local w <close>, says = cluster()
    join(w, "n4")
    newcomer(w, "n5")
    w:connect_all()
    local t = w.n1:admin("add", { id = "n5", address = "127.0.0.1:5005", learner = true })
    w:connect_all()
    assert.equal("ok", (done(w, w.n1, t)))
    local view = look(w, says)
    assert.same({ true, false }, { view.servers[4].promotable, view.servers[5].promotable })
  end)

  it("calls nobody well who is silent for an election timeout: to the moment", function()
    -- heartbeats do not fall on the second: nothing else looks at the clock then
    local w <close>, says = cluster { settings = { policy_interval_ms = 30, heartbeat_ms = 70 } }
    w:advance(2000)
    w:isolate "n3"
    says.views = {}
    w:advance(1500)
    local well, silent = 0, 0
    for _, view in ipairs(says.views) do
      local server = view.servers[3]
      assert.equal(server.silent_for < 1, server.healthy, server.silent_for)
      assert.equal(server.silent_for < 1 and 1 or 0, view.tolerance)
      if server.healthy then well = well + 1 else silent = silent + 1 end
    end
    assert.is_true(well > 20 and silent > 10)
  end)

  it("counts one who was silent for exactly an election timeout as not heard", function()
    local w <close>, says = cluster()
    w:advance(1000)
    w:isolate "n3"
    says.views = {}
    w:advance(2000)
    local exactly = 0
    for _, view in ipairs(says.views) do
      if view.servers[3].silent_for == 1.0 then
        exactly = exactly + 1
        assert.same({ 0, false }, { view.tolerance, view.servers[3].healthy })
      end
    end
    assert.equal(1, exactly)
  end)

  it("calls nobody well who answers, and does not get on", function()
    local w <close>, says = cluster()
    w:advance(1000)
    assert.is_true(look(w, says).servers[3].healthy)
    w.n3.held = true
    w.n1:submit "x"
    w:advance(1500)
    local server = look(w, says).servers[3]
    assert.is_false(server.healthy)
    assert.is_true(server.silent_for < 0.2)
    assert.equal(1, look(w, says).tolerance) -- but it is heard
  end)

  it("counts health from this reign on, whatever the node knew in its last one", function()
    local w <close>, says = cluster()
    w:advance(5000)
    assert.is_true(look(w, says).servers[2].stable_for > 4)
    w:elect "n2"
    w:advance(2000)
    w:elect "n1"
    w:advance(1000)
    local view = look(w, says)
    assert.equal("n1", view.leader)
    for _, server in ipairs(view.servers) do
      assert.is_true(server.healthy)
      assert.is_true(server.stable_for < 1.5, server.stable_for)
    end
  end)

  it("counts the silence of one that has not answered yet from this reign on, however long it is a member", function()
    local w <close>, says = cluster()
    w:advance(20000)
    w:isolate "n3"
    w.n1:admin("transfer", { id = "n2" })
    w:advance(400)
    local view = look(w, says)
    assert.equal("n2", view.leader)
    assert.is_true(view.servers[3].silent_for < 0.7, view.servers[3].silent_for)
    assert.is_true(view.servers[3].silent_for > 0)
  end)

  it("does not count as heard who has not answered in this reign, also where the clock has just begun", function()
    local w <close>, says = cluster { n2 = { election_timeout_ms = 30000 } }
    w:isolate "n3"
    w.n1:admin("transfer", { id = "n2" })
    w:advance(500)
    assert.is_true(w.n2.host:is_leader())
    assert.is_true(w.now < 30000000)
    local view = look(w, says)
    assert.same({ "n2", 0, false }, { view.leader, view.tolerance, view.servers[3].healthy })
  end)

  it("does not count as heard who has lost what it had acknowledged", function()
    local w <close>, says = cluster()
    for i = 1, 5 do w.n1:submit("x" .. i) end
    w:advance(500)
    assert.equal(1, look(w, says).tolerance)
    w.n3:crash()
    for _ = 1, 3 do table.remove(w.n3.disk.entries) end
    w.n3:start()
    w:connect_all()
    w:advance(800)
    local view = look(w, says)
    assert.same({ "n1", 0, false }, { view.leader, view.tolerance, view.servers[3].healthy })
  end)
end)

describe("an answer that would take more than a minority of the votes", function()
  it("loses only what takes votes: leadership moves all the same", function()
    local w <close>, says = cluster()
    w:advance(4500)
    says.review = { { "evict", "n2" }, { "demote", "n3" }, { "leader", "n2" } }
    look(w, says)
    assert.is_true(w.n2.host:is_leader())
    assert.equal("n1 voter, n2 voter, n3 voter", roles(w.n2))
    assert.equal("leader n2", status(w.n1).done_last)
  end)

  it("loses only what takes votes: a learner goes all the same", function()
    local w <close>, says = cluster()
    join(w, "n4")
    says.review = { { "evict", "n2" }, { "evict", "n3" }, { "evict", "n4" } }
    look(w, says)
    says.review = {}
    w:settle()
    assert.equal("n1 voter, n2 voter, n3 voter", roles(w.n1))
    assert.same({ 2, "evict n4" }, { status(w.n1).refused, status(w.n1).done_last })
  end)

  it("is told of each word its own reason, where it has one", function()
    local w <close>, says = cluster()
    says.review = { { "evict", "n1" }, { "evict", "n2" }, { "admit", "learner" } }
    look(w, says)
    assert.equal(1, w.n1:logged "evict n1: it leads: leadership is to go elsewhere first")
    assert.equal(1, w.n1:logged "evict n2: it would take more than a minority of the votes at once")
    assert.equal(1, w.n1:logged "admit learner: it was not asked to let anybody in")
    assert.equal("n1 voter, n2 voter, n3 voter", roles(w.n1))
  end)

  it("is not one that names a voter twice, or learners, or nobody: of five a minority is two", function()
    local w <close>, says = cluster { nodes = 5 }
    join(w, "n6")
    says.review = { { "evict", "n4" }, { "demote", "n4" }, { "evict", "n5" }, { "evict", "n5" }, { "evict", "n6" },
      { "promote", "n2" }, { "leader", "n3" }, { "evict", "n9" } }
    look(w, says)
    says.review = {}
    w:settle()
    assert.equal("n1 voter, n2 voter, n3 voter, n5 voter, n6 learner", roles(w.n1))
    assert.equal("evict n4", status(w.n1).done_last)
  end)
end)

describe("a word", function()
  it("names a server with all of its text: what goes on behind a zero is another, who is nobody", function()
    local w <close>, says = cluster()
    for _, text in ipairs { "n3\0", "n3\0n2", "n3 ", "n", "", ("i"):rep(64), ("i"):rep(65), ("i"):rep(9000) } do
      for _, verb in ipairs { "evict", "demote", "leader" } do
        says.review = { { verb, text } }
        local before = status(w.n1).refused
        look(w, says)
        says.review = {}
        w:settle()
        assert.equal(before + 1, status(w.n1).refused)
        assert.matches("there is no such server", status(w.n1).refusal)
      end
    end
    assert.equal("n1 voter, n2 voter, n3 voter", roles(w.n1))
    assert.is_true(w.n1.host:is_leader())
  end)

  it("for a server with the longest id there is does what it says", function()
    local w <close>, says = cluster()
    local id = ("i"):rep(64)
    local t = w.n1:admin("add", { id = id, address = "127.0.0.1:6001", incarnation = 7, learner = true })
    assert.equal("ok", (done(w, w.n1, t)))
    says.review = { { "evict", id } }
    look(w, says)
    says.review = {}
    w:settle()
    assert.equal("n1 voter, n2 voter, n3 voter", roles(w.n1))
  end)

  it("for what is so already, or is being done, is refused to nobody", function()
    local w <close>, says = cluster()
    newcomer(w, "n4").held = true -- it does not catch up
    w:connect_all()
    local t = w.n1:admin("add", { id = "n4", address = "127.0.0.1:5004", force = true }) -- to vote as soon as it has
    w:connect_all()
    assert.equal("ok", (done(w, w.n1, t)))
    says.review = { { "promote", "n4" }, { "leader", "n1" } }
    w:advance(5000)
    assert.same({ 0, 0 }, { status(w.n1).refused, status(w.n1).done })
    assert.equal("n1 voter, n2 voter, n3 voter, n4 learner", roles(w.n1))
  end)

  it("that the core does not take is not said to be done; it is done, and said, by a later view", function()
    local w <close>, says = cluster()
    join(w, "n4")
    local before = status(w.n1).done -- it was let in
    says.review = false
    look(w, says)
    local ticket = status(w.n1).asked
    w:isolate "n4"
    w:advance(930)
    w.now = w.now + 80000 -- by now n4 is silent for too long: the core looks at the clock anew
    w.n1.host:policy_decided(ticket, base.pack { { "promote", "n4" } })
    assert.same({ 0, before, "" }, { status(w.n1).refused, status(w.n1).done, status(w.n1).done_last })
    w:heal "n4"
    w:advance(4500)
    says.review = { { "promote", "n4" } }
    look(w, says)
    w:settle()
    assert.same({ 0, before + 1, "promote n4" }, { status(w.n1).refused, status(w.n1).done, status(w.n1).done_last })
    assert.equal("n1 voter, n2 voter, n3 voter, n4 voter", roles(w.n1))
  end)

  it("for a vote is safe where a majority is heard with it, and no voter more", function()
    local w <close>, says = cluster()
    join(w, "n4")
    w:isolate "n3"
    w:advance(1500)
    assert.equal(0, look(w, says).tolerance)
    says.review = { { "promote", "n4" } }
    look(w, says)
    w:settle()
    assert.equal("n1 voter, n2 voter, n3 voter, n4 voter", roles(w.n1))
  end)

  -- Its process slept: what the leader knows is old, and it does not know yet that it should lead no more.
  for word, reason in pairs {
    ["promote n4"] = "of the 4 voters that there would be 2 are heard: no majority",
    ["evict n3"] = "of the 2 voters that would be left 1 are heard: no majority",
    ["demote n3"] = "of the 2 voters that would be left 1 are heard: no majority",
    ["leader n2"] = "it does not keep up, or is not heard",
  } do
    it("is not safe at a leader that has slept and hears nobody: " .. word, function()
      local w <close>, says = cluster()
      join(w, "n4")
      says.review = false
      look(w, says)
      local ticket = status(w.n1).asked
      w.now = w.now + 3000000
      w.n1.host:policy_decided(ticket, base.pack { { word:match "%a+", word:match "%w+$" } })
      assert.same({ 1, word .. ": " .. reason }, { status(w.n1).refused, status(w.n1).refusal })
      assert.equal("n1 voter, n2 voter, n3 voter, n4 learner", roles(w.n1))
    end)
  end

  it("is safe there where it takes no vote: a learner goes, once those who vote agree", function()
    local w <close>, says = cluster()
    join(w, "n4")
    says.review = false
    look(w, says)
    local ticket = status(w.n1).asked
    w.now = w.now + 3000000
    w.n1.host:policy_decided(ticket, base.pack { { "evict", "n4" } })
    assert.same({ 0, "evict n4" }, { status(w.n1).refused, status(w.n1).done_last })
    w:settle()
    assert.equal("n1 voter, n2 voter, n3 voter", roles(w.n1))
    assert.equal("n1 voter, n2 voter, n3 voter", roles(w.n2))
  end)
end)

describe("leadership", function()
  it("goes where the policy wants it four election timeouts after its leader has begun: to the moment", function()
    local w <close>, says = cluster()
    w:elect "n2"
    w:advance(200)
    w.now = w.now + 1500000
    elect_at_once(w, "n1")
    says.review = { { "leader", "n2" } }
    w:advance(3999)
    assert.is_true(w.n1.host:is_leader())
    w:advance(1)
    assert.is_true(w.n2.host:is_leader())
    assert.same({ 0, "leader n2" }, { status(w.n1).refused, status(w.n1).done_last })
  end)

  it("does not go to one that answers, and lacks what the leader has", function()
    local w <close>, says = cluster()
    w:advance(5000)
    w.n3.held = true
    w.n1:submit "x"
    w:advance(1500)
    says.review = { { "leader", "n3" } }
    w:advance(500)
    assert.is_true(w.n1.host:is_leader())
    assert.equal("leader n3: it does not keep up, or is not heard", status(w.n1).refusal)
    assert.equal(0, status(w.n1).done)
  end)
end)
