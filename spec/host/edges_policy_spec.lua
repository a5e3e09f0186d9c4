-- The membership policy's limits, to the unit: what is asked how often, what is kept for how long, what is cut.
local base = require "moonclave.base"
local world = require "host.world"

local function cluster(policy, options)
  options = options or {}
  options.nodes, options.policy = options.nodes or 3, policy
  options.settings = options.settings or { policy_interval_ms = 500, policy_voters_min = 1 }
  return world.cluster(options)
end

local function add(w, id, more)
  local arguments = { id = id, address = "127.0.0.1:6001", incarnation = 7 }
  for k, v in pairs(more or {}) do arguments[k] = v end
  return w.n1:admin("add", arguments)
end

local function status(node) return node.host:status().policy end

describe("views", function()
  it("are asked for at each interval, and at none before", function()
    local reviews = 0
    local w <close> = cluster(function()
      reviews = reviews + 1
      return {}
    end)
    w:advance(500)
    local before = reviews
    w:advance(5000)
    assert.are.equal(before + 10, reviews)
  end)

  it("are asked for again four election timeouts after one that is not answered", function()
    local times = {}
    local w <close> = cluster(function(_, node)
      times[#times + 1] = node.world.now
      return false
    end)
    w:advance(9000)
    assert.are.equal(4000000, times[2] - times[1]) -- reviews come every half second, and four is one of them
  end)

  it("are not asked for while a change is under way", function()
    local reviews = 0
    local w <close> = cluster(function(view)
      if view.server then return { { "admit", "learner" } } end
      reviews = reviews + 1
      return {}
    end)
    w.n2.held, w.n3.held = true, true
    add(w, "n4", { force = true })
    w:settle()
    local before = reviews
    w:advance(700)
    assert.are.equal(before, reviews)
    w.n2.held, w.n3.held = false, false
    w:advance(1000)
    assert.is_true(reviews > before)
  end)

  it("come from the leader alone, and from no node that stops", function()
    local by = {}
    local w <close> = cluster(function(_, node)
      by[node.id] = (by[node.id] or 0) + 1
      return {}
    end)
    w:advance(3000)
    assert.is_nil(by.n2 or by.n3)
    w:elect "n2"
    local before = by.n1
    w:advance(3000)
    assert.are.equal(before, by.n1)
    assert.is_true(by.n2 >= 5)
    assert.are.same({ false, true }, { status(w.n1).active, status(w.n2).active })
    w.n2.host:stop()
    before = by.n2
    w:advance(2000)
    assert.are.equal(before, by.n2)
  end)
end)

describe("who wants to be let in", function()
  it("is asked about once, however often the request is looked at; and anew when anything of it differs", function()
    local asked = {}
    local w <close> = cluster(function(view)
      if not view.server then return {} end
      asked[#asked + 1] = view.server
      return false
    end)
    add(w, "n4")
    w:advance(1000)
    assert.are.equal(1, #asked)
    add(w, "n4")
    w:advance(1000)
    assert.are.equal(1, #asked)
    add(w, "n4", { incarnation = 8 })
    add(w, "n4", { address = "127.0.0.1:6002" })
    add(w, "n4", { labels = { zone = "a" } })
    add(w, "n4", { labels = { zone = "b" } })
    add(w, "n5")
    w:advance(100)
    assert.are.equal(6, #asked)
  end)

  it("is one of sixteen at most that are asked about at a time: the next one waits for a place", function()
    local asked = {}
    local w <close> = cluster(function(view)
      if view.server then asked[view.server.id] = (asked[view.server.id] or 0) + 1 end
      return not view.server and {}
    end)
    local function sum()
      local count = 0
      for _, times in pairs(asked) do count = count + times end
      return count
    end
    for i = 1, 17 do add(w, "s" .. i) end
    w:advance(3800)
    assert.are.same({ 16, 1 }, { sum(), asked.s16 })
    w:advance(400)
    assert.are.equal(32, sum())
    assert.are.equal(w.n1.host:status().waiting, 17)
  end)

  it("hears no verdict that was given to another question, or long ago", function()
    local answer, views = nil, {}
    local w <close> = cluster(function(view)
      if view.server then views[#views + 1] = view end
      return not view.server and {} or answer or false
    end)
    local first = w.n1:admin("add", { id = "n4", address = "127.0.0.1:6001", incarnation = 7 }, { timeout_ms = 500 })
    w:settle()
    local before = #views
    w:advance(600)
    assert.are.equal("unavailable", (w.n1:told(first)))
    w.n1.host:policy_decided(status(w.n1).asked + 100, base.pack { { "admit", "voter" } })
    w:advance(4000)
    answer = { { "refuse", "it is late" } }
    local second = add(w, "n4")
    w:advance(500)
    assert.is_true(#views > before)
    assert.are.equal("refused", (w.n1:told(second)))
  end)

  it("is told a long reason as far as it goes", function()
    local w <close> = cluster(function(view) return view.server and { { "refuse", ("r"):rep(2000) } } or {} end)
    local ticket = add(w, "n4")
    w:advance(500)
    local code, body = w.n1:told(ticket)
    assert.are.equal("refused", code)
    assert.are.equal("the membership policy refuses n4: " .. ("r"):rep(400), body.message)
  end)

  it("is let in by one answer of one word only", function()
    for _, answer in ipairs {
      {}, { { "admit", "learner" }, { "admit", "learner" } }, { { "admit", "leader" } }, { { "promote", "n2" } },
    } do
      local w <close> = cluster(function(view) return view.server and answer or {} end)
      local ticket = add(w, "n4")
      w:advance(500)
      local code, body = w.n1:told(ticket)
      assert.are.equal("unavailable", code)
      local text = "the membership policy has failed, so nobody is let in: it is to admit or to refuse"
      assert.is_truthy(body.message:find(text, 1, true), body.message)
      assert.are.equal(3, #w.n1.host:members())
    end
  end)
end)

describe("leadership", function()
  it("is moved by a policy after four election timeouts of a reign, and sixteen after the last time", function()
    local wants, asked = "n2", false
    local w <close> = cluster(function(view) return not view.server and asked and { { "leader", wants } } or {} end,
      { settings = { policy_interval_ms = 100, policy_voters_min = 1 } })
    w:elect "n3"
    w:elect "n1"
    local began = w.now
    asked = true
    w:advance(3800)
    assert.is_true(w.n1.host:is_leader())
    w:isolate "n2"
    wants = "n3"
    w:advance(1200)
    assert.is_true(w.n3.host:is_leader(), (w.now - began) // 1000)
  end)

  it("is not moved again and again where whoever is preferred does not take it", function()
    local w <close> = cluster(function(view) return not view.server and { { "leader", "n2" } } or {} end)
    local tries = 0
    for _ = 1, 300 do
      w:advance(50)
      local refused = w:take(function(p) return p.to == "n2" and p.name == "timeout_now" end)
      if #refused > 0 then tries = tries + 1 end
      if not w.n1.host:is_leader() then break end
    end
    assert.is_true(w.n1.host:is_leader() or tries <= 2)
  end)
end)

describe("what is said of a policy", function()
  it("is said once, as long as there are no more than eight of it", function()
    local round = 0
    local w <close> = cluster(function(view)
      if view.server then return false end
      round = round + 1
      return { { "evict", "s" .. round % 8 } }
    end)
    w:advance(12000)
    assert.are.equal(8, w.n1:logged "refuses what the membership policy wants")
    assert.is_true(status(w.n1).refused > 20)
  end)

  it("names what it wanted as far as that goes", function()
    local long = ("x"):rep(300)
    local w <close> = cluster(function(view) return not view.server and { { "evict", long } } or {} end)
    w:advance(1000)
    assert.are.equal("evict " .. ("x"):rep(80) .. ": there is no such server", status(w.n1).refusal)
  end)
end)
