-- When a membership policy is asked, and what of its answers is heard: not before there is an app, not while something
-- is under way, from nobody but who leads, once for each question.
local base = require "moonclave.base"
local support = require "host.policy_support"
local world = require "host.world"
local elect_at_once, status = support.elect_at_once, support.status

local function cluster(policy, options)
  options = options or {}
  options.nodes, options.policy = options.nodes or 3, policy
  local settings = { policy_interval_ms = 500, policy_voters_min = 1 }
  for k, v in pairs(options.settings or {}) do settings[k] = v end
  options.settings = settings
  return world.cluster(options)
end

local function add(w, id, options)
  return w.n1:admin("add", { id = id, address = "127.0.0.1:6001", incarnation = 7 }, options)
end

local function ids(node)
  local list = {}
  for _, member in ipairs(node.host:members()) do list[#list + 1] = member.id end
  return table.concat(list, " ")
end

local EVICT = base.pack { { "evict", "n3" } }

-- A policy that answers nothing by itself: the spec answers the last question, as asked.review or asked.case.
local function silent()
  local asked = { reviews = 0, cases = 0 }
  return asked, function(view, node)
    local kind = view.server and "case" or "review"
    asked[kind] = status(node).asked -- tickets count from 1 on, as the questions do
    asked[kind .. "s"] = asked[kind .. "s"] + 1
    return false
  end
end

-- The review that the leader asks for next.
local function next_review(w, asked)
  local before = asked.reviews
  while asked.reviews == before do w:advance(100) end
  return asked.review
end

describe("a policy", function()
  it("is not asked before the app it comes with is there: about all, and about one who wants to be let in", function()
    local asked, policy = silent()
    local w <close> = cluster(policy)
    for _, id in ipairs { "n1", "n2", "n3" } do w[id]:crash() end
    for _, id in ipairs { "n1", "n2", "n3" } do w[id]:start() end
    w:connect_all()
    asked.reviews, asked.cases = 0, 0
    elect_at_once(w, "n1")
    w.n2.held, w.n3.held = true, true -- nothing is committed, and so nothing applied
    local t = add(w, "n4")
    w:advance(900)
    assert.is_true(w.n1.host:is_leader())
    assert.is_false(w.n1.host:status().app.loaded)
    assert.same({ 0, 0 }, { asked.reviews, asked.cases })
    w.n2.held, w.n3.held = false, false
    w:advance(1000)
    assert.is_true(w.n1.host:status().app.loaded)
    assert.is_true(asked.reviews >= 1)
    assert.equal(1, asked.cases)
    assert.is_nil((w.n1:told(t)))
  end)

  it("is asked where the app does not load: the default one decides", function()
    local asked, policy = silent()
    local w <close> = world.new { nodes = 3, policy = policy, settings = { policy_interval_ms = 500 } }
    for _, id in ipairs { "n1", "n2", "n3" } do w[id]:start { bundle = "BROKEN" } end
    w:bootstrap()
    w:elect "n1"
    add(w, "n4")
    w:advance(2000)
    assert.is_false(w.n1.host:status().app.loaded)
    assert.same({ 1, 1 }, { asked.reviews, asked.cases })
  end)

  it("is not asked about all while leadership is handed over", function()
    local reviews = 0
    local w <close> = cluster(function()
      reviews = reviews + 1
      return {}
    end, { settings = { policy_interval_ms = 100 } })
    w.n2.held = true -- it lacks what comes now, and is waited for
    w.n1:submit "x"
    w:settle()
    w.n1:admin("transfer", { id = "n2" })
    w:settle()
    local before = reviews
    w:advance(600)
    assert.is_true(w.n1.host:is_leader())
    assert.equal(before, reviews)
    w.n2.held = false
    w:advance(1000)
    assert.is_true(w.n2.host:is_leader())
    assert.is_true(reviews > before)
  end)

  it("is neither asked nor active at a leader that stops, however long that takes", function()
    local asked, policy = silent()
    local w <close> = cluster(policy, { nodes = 1 })
    local ticket = next_review(w, asked)
    assert.is_true(status(w.n1).active)
    w.n1.held = true
    w.n1:submit "x"
    w.n1:turn()
    w.n1.host:stop()
    w.n1.host:policy_decided(ticket, base.pack { { "evict", "n9" } })
    assert.equal(0, status(w.n1).refused)
    w.n1:turn()
    assert.is_false(status(w.n1).active)
    w:advance(9000)
    assert.equal(0, w.n1.stopped)
    assert.same({ 1, 0, false }, { asked.reviews, status(w.n1).refused, status(w.n1).active })
  end)

  it("is not asked about the same one twice by a leader that is new", function()
    local asked, policy = silent()
    local w <close> = cluster(policy)
    w:elect "n3"
    w:advance(200)
    w:isolate "n3"
    w.now = w.now + 1500000
    local t
    elect_at_once(w, "n1", function()
      if not t and w.n1.leader ~= "n3" then t = add(w, "n4") end -- nobody leads: it waits here
    end)
    assert.is_truthy(t)
    w:advance(900)
    assert.is_true(w.n1.host:is_leader())
    assert.equal(1, asked.cases)
  end)
end)

describe("an answer about all servers", function()
  it("is heard once, and from whoever was asked last", function()
    local asked, policy = silent()
    local w <close> = cluster(policy)
    local ticket = next_review(w, asked)
    local answer = base.pack { { "evict", "n9" } }
    w.n1.host:policy_decided(ticket, answer)
    assert.equal(1, status(w.n1).refused)
    w.n1.host:policy_decided(ticket, answer)
    w.n1.host:policy_decided(0, answer) -- none is awaited: not that of no question either
    assert.equal(1, status(w.n1).refused)
  end)

  it("says each word once", function()
    local asked, policy = silent()
    local w <close> = cluster(policy)
    w.n1.host:policy_decided(next_review(w, asked), base.pack { { "evict", "n8" }, { "evict", "n9" } })
    assert.equal(2, status(w.n1).refused)
    assert.equal("evict n9: there is no such server", status(w.n1).refusal)
  end)

  it("counts for nothing where another leads since, also before the node has come to think of it", function()
    local asked, policy = silent()
    local w <close> = cluster(policy)
    local ticket = next_review(w, asked)
    w.now = w.now + 1500000 -- nobody has heard n1 for so long
    elect_at_once(w, "n2")
    w.n2:turn()
    w:deliver_all(function(p) return p.to == "n1" end)
    assert.is_false(w.n1.host:is_leader())
    w.n1.host:policy_decided(ticket, base.pack { { "evict", "n9" } })
    w.n1.host:policy_decided(ticket, "no list")
    assert.same({ 0, 0 }, { status(w.n1).refused, status(w.n1).failed })
  end)

  it("counts for nothing where it is about a former reign of the same leader", function()
    local asked, policy = silent()
    local w <close> = cluster(policy)
    local ticket = next_review(w, asked)
    w:elect "n2"
    w:advance(200)
    w.now = w.now + 1500000
    elect_at_once(w, "n1")
    w.n1.host:policy_decided(ticket, base.pack { { "evict", "n9" } })
    assert.equal(0, status(w.n1).refused)
    w:settle()
    w.n1.host:policy_decided(ticket, base.pack { { "evict", "n9" } })
    assert.equal(0, status(w.n1).refused)
  end)

  it("counts for nothing while a change or a handover is under way that it does not know of", function()
    local asked, policy = silent()
    local w <close> = cluster(policy)
    local nobody = base.pack { { "evict", "n9" } }
    local ticket = next_review(w, asked)
    w.n2.held, w.n3.held = true, true
    add(w, "n4", { timeout_ms = 500 })
    w.n1:admin("priority", { id = "n1", priority = 3 })
    w.n1:turn()
    w.n1.host:policy_decided(ticket, nobody)
    assert.equal(0, status(w.n1).refused)
    w.n2.held, w.n3.held = false, false
    w:advance(1000)
    ticket = next_review(w, asked)
    w.n2.held = true
    w.n1:submit "x"
    w:settle()
    w.n1:admin("transfer", { id = "n2" })
    w.n1:turn()
    w.n1.host:policy_decided(ticket, nobody)
    assert.is_true(w.n1.host:is_leader())
    assert.equal(0, status(w.n1).refused)
  end)

  it("is no answer where the policy has failed, whatever it has said by then", function()
    for _, case in ipairs { { "admit", "voter" }, { "refuse", "never" } } do
      local w <close> = cluster(function(view)
        return view.server and { case } or { { "evict", "n3" } }, "policy.lua:9: it broke then"
      end)
      local t = add(w, "n4")
      w:advance(1500)
      assert.equal("n1 n2 n3", ids(w.n1))
      local code, body = w.n1:told(t)
      assert.equal("unavailable", code)
      assert.is_truthy(body.message:find("policy.lua:9: it broke then", 1, true), body.message)
      assert.same({ 0, "policy.lua:9: it broke then" }, { status(w.n1).done, status(w.n1).problem })
    end
  end)

  for name, bytes in pairs {
    ["bytes behind it"] = EVICT .. "\xC0",
    ["a word that is none behind one that is"] = base.pack { { "evict", "n3" }, { 5, "n2" } },
    ["a text in place of a word"] = base.pack { "evict", "n3" },
    ["a list that is cut off"] = EVICT:sub(1, -2),
    ["more than a thousand words"] = base.pack((function()
      local words = { { "evict", "n3" } }
      for i = 2, 1025 do words[i] = { "evict", "n3" } end
      return words
    end)()),
  } do
    it("with " .. name .. " is none, and nothing of it is done", function()
      local asked, policy = silent()
      local w <close> = cluster(policy)
      w.n1.host:policy_decided(next_review(w, asked), bytes)
      w:settle()
      assert.equal("n1 n2 n3", ids(w.n1))
      assert.same({ 1, "its answer is no list of actions" }, { status(w.n1).failed, status(w.n1).problem })
    end)
  end

  it("may have a thousand words and more, and the one that is safe is done", function()
    local asked, policy = silent()
    local w <close> = cluster(policy)
    local words = {}
    for i = 1, 1023 do words[i] = { "evict", "n9" } end
    words[1024] = { "evict", "n3" }
    w.n1.host:policy_decided(next_review(w, asked), base.pack(words))
    w:settle()
    assert.equal("n1 n2", ids(w.n1))
    assert.same({ 0, 1, 1023 }, { status(w.n1).failed, status(w.n1).done, status(w.n1).refused })
  end)
end)

describe("an answer about who wants to be let in", function()
  it("is one of the question it was given to: the first one, and no other's", function()
    local asked, policy = silent()
    local w <close> = cluster(policy)
    local t = add(w, "n4")
    w:settle()
    w.n1.host:policy_decided(asked.case + 7, base.pack { { "refuse", "another's" } })
    w:advance(300)
    assert.is_nil((w.n1:told(t)))
    w.n1.host:policy_decided(asked.case, base.pack { { "admit", "learner" } })
    w.n1.host:policy_decided(asked.case, base.pack { { "refuse", "on second thoughts" } })
    assert.equal(1, status(w.n1).done)
    w:advance(300)
    assert.equal("ok", (w.n1:told(t)))
    assert.equal("n1 n2 n3 n4", ids(w.n1))
  end)

  it("holds for one request: the next one is asked about anew", function()
    local cases = 0
    local w <close> = cluster(function(view)
      if not view.server then return {} end
      cases = cases + 1
      return { { "refuse", "no " .. cases } }
    end)
    for i = 1, 3 do
      local t = add(w, "n4")
      w:advance(300)
      local code, body = w.n1:told(t)
      assert.same({ "refused", "the membership policy refuses n4: no " .. i }, { code, body.message })
    end
  end)

  it("comes too late after four election timeouts: to the moment", function()
    local times = {}
    local w <close> = cluster(function(view, node)
      if view.server then times[#times + 1] = node.world.now end
      return not view.server and {}
    end)
    add(w, "n4", { timeout_ms = 300 })
    w:settle()
    w:advance(3999)
    add(w, "n4", { timeout_ms = 1 })
    w:settle()
    assert.equal(1, #times)
    w:advance(1)
    add(w, "n4")
    w:settle()
    assert.equal(4000000, times[2] - times[1])
  end)

  it("that comes too late is nobody's", function()
    local tickets = {}
    local w <close> = cluster(function(view, node)
      if view.server then tickets[view.server.id] = status(node).asked end
      return not view.server and {}
    end)
    add(w, "n4", { timeout_ms = 300 })
    w:settle()
    add(w, "n5", { timeout_ms = 300 })
    w:settle()
    local late = { tickets.n4, tickets.n5 }
    w:advance(4500)
    add(w, "n6")
    w:settle()
    for _, ticket in ipairs(late) do w.n1.host:policy_decided(ticket, base.pack { { "admit", "voter" } }) end
    assert.equal(0, status(w.n1).done)
    w:advance(500)
    assert.equal("n1 n2 n3", ids(w.n1))
  end)

  -- What a policy says of who asks to be let in, and does not count.
  local function lets_nobody_in(words)
    local w <close> = cluster(function(view) return view.server and words or {} end)
    local t = add(w, "n4")
    w:advance(500)
    local code, body = w.n1:told(t)
    assert.equal("unavailable", code)
    assert.is_truthy(body.message:find("it is to admit or to refuse one server, and does neither", 1, true))
    assert.equal("n1 n2 n3", ids(w.n1))
  end

  it("lets nobody in by a word that is about members", function()
    for _, verb in ipairs { "promote", "evict", "leader" } do lets_nobody_in { { verb, "voter" } } end
  end)

  it("is none where it is no sound list, though it begins like one", function()
    for _, bytes in ipairs {
      base.pack { { "admit", "learner" } } .. "\xC0", base.pack { { "refuse", "no" } } .. "\xC0",
      base.pack { { "refuse", 5 } }, base.pack { { "admit", "learner", "x" } }, base.pack { { "refuse" } },
    } do
      lets_nobody_in(bytes)
    end
  end)
end)
