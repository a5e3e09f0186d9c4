-- The policy VM and the default policy: views in, actions out; what is no policy is refused with file and line.
local base = require "moonclave.base"
local policyvm = require "moonclave.policyvm"

local function bundle(files)
  files["fsm.lua"] = files["fsm.lua"] or "return { commands = {} }"
  return base.pack { version = 1, hash = 0, files = base.object(files) }
end

local function vm_of(source, log)
  local vm = policyvm.new(log)
  if source then assert(vm:load(bundle { ["policy.lua"] = source })) end
  return vm
end

-- A server that is well; `more` changes it.
local function server(id, role, more)
  local s = {
    id = id, role = role, address = "127.0.0.1:5001", healthy = true, labels = {}, lag = 0, leader = false,
    priority = 0, promotable = role == "learner", silent_for = 0.0, stable_for = 1000.0,
  }
  for k, v in pairs(more or {}) do s[k] = v end
  s.labels = base.object(s.labels)
  return s
end

-- "a1 b1 c1* a2?": voters and (?) learners in the zone of their letter (0: none); * leads, ! dead, ~ not stable, + has
-- a higher priority.
local function view_of(text, settings)
  local servers, voters, heard, leader = {}, 0, 0, ""
  for id, marks in text:gmatch "(%w+)(%S*)" do
    local dead, shaky = marks:find("!", 1, true), marks:find("~", 1, true)
    local one = server(id, marks:find("?", 1, true) and "learner" or "voter", {
      labels = id:match "^0" and {} or { zone = id:sub(1, 1) },
      leader = marks:find("*", 1, true) ~= nil, priority = marks:find("+", 1, true) and 5 or 0,
      healthy = not dead, silent_for = dead and 100000.0 or 0.0, stable_for = (dead or shaky) and 0.0 or 1000.0,
    })
    if one.role == "voter" then voters, heard = voters + 1, heard + (dead and 0 or 1) end
    if one.leader then leader = id end
    servers[#servers + 1] = one
  end
  local set = { dead_after = 86400.0, lag_max = 1000, stable_for = 10.0, voters_min = 3 }
  for k, v in pairs(settings or {}) do set[k] = v end
  return {
    leader = leader, quorum = voters // 2 + 1, servers = servers, settings = set, term = 3, time = 1700000000.5,
    tolerance = heard - voters // 2 - 1,
  }
end

-- "promote n4, evict n2"
local function decided(vm, view)
  local bytes, code, text = vm:decide(base.pack(view))
  if not bytes then return nil, code, text end
  local words = {}
  for _, action in ipairs((base.unpack(bytes))) do words[#words + 1] = table.concat(action, " ") end
  return table.concat(words, ", ")
end

describe("the default policy", function()
  local vm = vm_of()
  -- what is told, servers, what it does, settings
  local rows = {
    { "leaves a cluster that is well alone", "01* 02 03", "" },
    { "promotes a learner that is stable", "01* 02 03 04?", "promote 04" },
    { "waits for one that is not", "01* 02 03 04?~", "" },
    { "promotes one at a time, by id", "01* 02 03 04? 05?", "promote 04" },
    { "grows a cluster of one", "01* 02?", "promote 02" },
    { "keeps a dead voter where its replacement is not there", "01* 02 03!", "" },
    { "keeps it while the replacement is not stable", "01* 02 03! 04~", "" },
    { "removes it once it is", "01* 02 03! 04", "evict 03" },
    { "removes a dead one of five", "01* 02 03 04 05!", "evict 05" },
    { "removes both dead ones of seven, which is a minority", "01* 02 03 04 05 06! 07!", "evict 06, evict 07" },
    { "removes nobody where a majority seems dead", "01* 02! 03!", "" },
    { "removes nobody where as many are dead as are not", "01* 02 03! 04!", "" },
    { "removes fewer where fewer are to stay", "01* 02 03!", "evict 03", { voters_min = 2 } },
    { "removes a dead learner", "01* 02 03 04?!", "evict 04" },
    { "promotes a replacement beside the dead one", "01* 02 03! 04?", "promote 04" },
    { "does not move leadership among equals", "01 02* 03", "" },
    { "moves it to the highest priority", "01+ 02* 03", "leader 01" },
    { "not to one that is not stable", "01+~ 02* 03", "" },
    { "not away from it", "01 02*+ 03+", "" },
    -- zones
    { "promotes where the zone has the fewest voters", "a1* b1 a2? c1?", "promote c1" },
    { "keeps a learner where its zone would hold the quorum", "a1* b1 c1 a2?", "" },
    { "unless another zone's follows", "a1* b1 c1 a2? b2?", "promote a2" },
    { "and goes on with that one", "a1* a2 b1 c1 b2?", "promote b2, demote a2" },
    { "promotes where all servers are in one zone", "a1* a2 a3?", "promote a3" },
    { "promotes the replacement of a dead one in its zone", "a1* b1 c1! c2?", "promote c2" },
    { "and then lets the dead one go", "a1* b1 c1! c2", "evict c1" },
    { "takes the vote of one too many of a zone", "a1* a2 b1 c1", "demote a2" },
    { "not the leader's", "a1 a2* b1 c1", "demote a1" },
    { "not while others are not well", "a1* a2 b1 c1~", "" },
    { "not where that does not cure it", "a1* a2 b1", "" },
    { "not below the least number of voters", "a1* a2 b1 c1", "", { voters_min = 4 } },
    { "leaves five over three zones alone", "a1* a2 b1 b2 c1", "" },
    { "leaves those without a zone alone", "01* 02 03 04 a1", "" },
  }
  for _, row in ipairs(rows) do
    it(row[1], function() assert.are.equal(row[3], (decided(vm, view_of(row[2], row[4])))) end)
  end

  it("waits for one that lacks more than lag_max, and does not promote whom operators keep as learners", function()
    local view = view_of "01* 02 03 04?"
    view.servers[4].lag = 1001
    assert.are.equal("", (decided(vm, view)))
    view.servers[4].lag = 1000
    assert.are.equal("promote 04", (decided(vm, view)))
    view.servers[4].promotable = false
    assert.are.equal("", (decided(vm, view)))
  end)

  it("admits whoever asks, as a learner", function()
    local view = view_of "01* 02 03"
    view.server = server("04", "learner")
    assert.are.equal("admit learner", (decided(vm, view)))
  end)

  it("gives one answer to equal views", function()
    local view = view_of "a1* b1 c1 a2? b2? c2? b3?"
    local first = decided(vm, view)
    for _ = 1, 20 do assert.are.equal(first, (decided(vm_of(), view))) end
  end)
end)

describe("an app's policy", function()
  it("is asked for every server, with all it may see", function()
    local lines = {}
    local vm = vm_of([[
      local policy = {}
      function policy.promote(server, view)
        log("promote", server.id, server.zone, server.labels.rack, #view.voters, #view.learners, view.voters[1].id)
        return server.lag < 1000 and server.stable_for > 10
      end
      function policy.evict(server, view)
        log("evict", server.id)
        return server.silent_for > 300 and #view.voters > 3
      end
      function policy.prefer_leader(view) return view.voters[2].id end
      return policy]], function(text) lines[#lines + 1] = text end)
    local view = view_of "a1* b1 c1 d1 a2? b2!?"
    view.servers[5].labels.rack = "7"
    view.servers[4].silent_for = 301.0
    assert.are.equal("promote a2, evict d1, evict b2, leader b1", (decided(vm, view)))
    assert.are.same({
      "promote a2 a 7 4 2 a1", "promote b2 b nil 4 2 a1", "evict b1", "evict c1", "evict d1", "evict a2", "evict b2",
    }, lines)
  end)

  it("has the default's functions where it defines none, and can call them", function()
    local vm = vm_of [[
      local default = require "moonclave.policy"
      return { evict = function(server, view) return server.id ~= "03" and default.evict(server, view) end }]]
    assert.are.equal("promote 05", (decided(vm, view_of "01* 02 03! 04 05?")))
    assert.are.equal("evict 02", (decided(vm, view_of "01* 02! 03 04")))
  end)

  it("may be spread over modules of the app", function()
    local vm = policyvm.new()
    assert(vm:load(bundle { ["policy.lua"] = [[return { promote = require "rules.promotion" }]],
      ["rules/promotion.lua"] = "return function() return true end" }))
    assert.are.equal("promote 04", (decided(vm, view_of "01* 02 03 04?~")))
  end)

  it("says who is let in, as what, and why not", function()
    local vm = vm_of [[
      return { admit = function(server, view)
        if server.address:match "^10%." then return "voter" end
        if not server.zone then return nil, server.id .. " has no zone, and " .. view.leader .. " leads" end
        return "learner"
      end }]]
    local view = view_of "01* 02 03"
    view.server = server("04", "learner", { address = "10.0.0.4:5001" })
    assert.are.equal("admit voter", (decided(vm, view)))
    view.server = server("04", "learner", { labels = { zone = "a" } })
    assert.are.equal("admit learner", (decided(vm, view)))
    view.server = server("04", "learner")
    assert.are.equal("refuse 04 has no zone, and 01 leads", (decided(vm, view)))
  end)

  it("is replaced by the next bundle's, and by the default where that has none", function()
    local vm = vm_of "return { promote = function() return false end }"
    local view = view_of "01* 02 03 04?"
    assert.are.equal("", (decided(vm, view)))
    assert(vm:load(bundle { ["policy.lua"] = "return { evict = function() return true end }" }))
    assert.are.equal("promote 04, evict 02, evict 03, evict 04", (decided(vm, view)))
    assert(vm:load(bundle {}))
    assert.are.equal("promote 04", (decided(vm, view)))
  end)
end)

describe("what is no policy is refused", function()
  -- what is wrong, policy.lua, the text
  local rows = {
    { "a syntax error", "local policy = {}\nlocal x = = 1\nreturn policy",
      "policy.lua:2: unexpected symbol near '='" },
    { "an error while it loads", "local p = {}\np.x.y = 1\nreturn p", "policy.lua:2: attempt to index a nil value" },
    { "one that returns no table", "return 5", "policy.lua must return a table with admit, promote, demote" },
    { "one that returns nothing", "local x = 1", "policy.lua must return a table" },
    { "a misspelled function", "local p = {}\n\nfunction p.promot() return true end\nreturn p",
      "policy.lua:3: a policy has no `promot`: it has admit, promote, demote, evict and prefer_leader" },
    { "an unknown field", "return {\n  admit = function() return 'voter' end,\n  voters = 3,\n}",
      "policy.lua:3: a policy has no `voters`" },
    { "a list", "return { 1 }", "policy.lua:1: a policy has no `1`" },
    { "a field that is no function", "return {\n  evict = true }",
      "policy.lua:2: `evict` must be a function, it is a boolean" },
    { "a module that is not there", "local x = require 'helpers'", "policy.lua:1: the app has no module 'helpers'" },
    { "a loop without end", "while true do end", "policy.lua:1: more than 500000 steps: is there an endless loop?" },
    { "too much memory", "local t = {} for i = 1, 1000 do t[i] = ('x'):rep(500000) end",
      "policy.lua:1: more than 500000 steps" },
    { "compiled code", string.dump(load "return {}"), "policy.lua is compiled code" },
  }
  for _, row in ipairs(rows) do
    it(row[1], function()
      local bytes = bundle { ["policy.lua"] = row[2] }
      local ok, code, text = policyvm.check(bytes)
      assert.are.same({ nil, "script_error" }, { ok, code })
      assert.is_truthy(text:find(row[3], 1, true), text)
      local vm = policyvm.new()
      assert.are.same({ nil, code, text }, { vm:load(bytes) })
      assert.are.same({ nil, code, text }, { decided(vm, view_of "01* 02 03") }) -- and it decides nothing
      assert(vm:load(bundle {}))
      assert.are.equal("", (decided(vm, view_of "01* 02 03")))
    end)
  end

  it("but for those, and for an app that has none", function()
    assert(policyvm.check(bundle {}))
    assert(policyvm.check(bundle { ["policy.lua"] = "return {}" }))
  end)
end)

describe("a policy that fails", function()
  local view = view_of "01* 02 03 04?"
  local rows = {
    { "raises", "promote = function(s)\n return s.x.y end", "policy.lua:2: attempt to index a nil value (field 'x')" },
    { "raises what is no text", "promote = function() error {} end", "it raised what is no text" },
    { "loops for ever", "promote = function() while true do end end", "policy.lua:1: more than 500000 steps" },
    { "loops for ever behind pcall",
      "promote = function() while true do pcall(function() while true do end end) end end",
      "more than 500000 steps" },
    { "loops for ever in a pattern",
      "promote = function() return ('a'):rep(40):find(('a?'):rep(40) .. ('a'):rep(40) .. 'b') end",
      "more than 500000 steps" },
    { "moves without end", "promote = function() table.move({}, 1, math.maxinteger - 1, 2) end",
      "more than 500000 steps" },
    { "removes from what says it is endless",
      "promote = function() table.remove(setmetatable({}, { __len = function() return 1 << 60 end }), 1) end",
      "more than 500000 steps" },
    { "counts characters over and over",
      "promote = function() local s = ('x'):rep(3000000) for _ = 1, 1e5 do utf8.len(s) end end",
      "more than 500000 steps" },
    { "looks at bytes over and over",
      "promote = function() local s = ('x'):rep(900000) for _ = 1, 1e5 do select('#', s:byte(1, -1)) end end",
      "more than 500000 steps" },
    { "loops for ever as it is collected",
      "promote = function() setmetatable({}, { __gc = function() while true do end end }) end",
      "__gc" },
    { "returns a number", "promote = function() return 1 end",
      "policy.lua:1: promote must return true or false; it returned a number" },
    { "returns an id to evict", "evict = function() return '04' end",
      "evict must return true or false; it returned \"04\"" },
    { "prefers a table", "prefer_leader = function() return {} end", "prefer_leader must return a server's id or nil" },
    { "touches files", "promote = function() return io.open 'x' end", "attempt to index a nil value (global 'io')" },
    { "asks for the time", "promote = function() return os.time() > 0 end", "global 'os'" },
    { "draws lots", "promote = function() return math.random() > 0.5 end", "field 'random'" },
  }
  for _, row in ipairs(rows) do
    it("because it " .. row[1] .. " says so", function()
      local vm = vm_of("return { " .. row[2] .. " }")
      local actions, code, text = decided(vm, view)
      assert.are.same({ nil, "script_error" }, { actions, code })
      assert.is_truthy(text:find(row[3], 1, true), text)
    end)
  end

  it("to admit or refuse, too", function()
    local asking = view_of "01* 02 03"
    asking.server = server("04", "learner")
    for source, text in pairs {
      ["return 'leader'"] = 'admit must return "learner", "voter", or nil and a reason; it returned "leader"',
      ["return true"] = "it returned a boolean",
      ["return nil"] = "it returned nil",
      ["return false, 5"] = "it returned a number",
    } do
      local actions, code, why = decided(vm_of("return { admit = function() " .. source .. " end }"), asking)
      assert.are.same({ nil, "script_error" }, { actions, code })
      assert.is_truthy(why:find(text, 1, true), why)
    end
  end)

  it("once is asked again, with all of its budget", function()
    local vm = vm_of [[
      local calls = 0
      return { promote = function()
        calls = calls + 1
        for _ = 1, calls == 1 and 1e9 or 300000 do end
        return calls > 1
      end }]]
    assert.is_nil(decided(vm, view))
    assert.are.equal("promote 04", (decided(vm, view)))
  end)

  it("is not the view's fault: what is none is refused", function()
    local vm = vm_of()
    for _, bytes in ipairs { "", "\xC1", base.pack(1), base.pack {}, base.pack { servers = 5 } } do
      local actions, code = vm:decide(bytes)
      assert.are.same({ nil, "script_error" }, { actions, code })
    end
  end)
end)
