-- The test kit as a spec of an app uses it: clusters driven by hand.
local sim = require "moonclave.sim"

local function kv(options)
  local given = { app = "examples/kv", nodes = 3, seed = 7 }
  for name, value in pairs(options or {}) do given[name] = value end
  return sim.cluster(given)
end

local function others(cluster, node)
  local list = {}
  for i = 1, 3 do
    local name = "n" .. i
    if name ~= node then list[#list + 1] = name end
  end
  assert(cluster)
  return list
end

describe("a cluster by hand", function()
  it("answers commands and queries as the real client does", function()
    local cluster <close> = kv()
    assert.is_truthy(cluster:leader())
    local result, err = cluster:propose("put", { key = "a", value = "1" })
    assert.is_nil(err)
    assert.equal("number", type(result.revision))
    assert.equal("1", cluster:query("get", { key = "a" }).value)
    result, err = cluster:query("get", { key = "nothing" })
    assert.is_nil(result)
    assert.is_nil(err)
    result, err = cluster:propose("delete", { key = "nothing" })
    assert.is_nil(result)
    assert.same({ "not_found", "not_found: there is no such key", "ok" }, { err.code, tostring(err), err.outcome })
    result, err = cluster:propose("putt", {})
    assert.is_nil(result)
    assert.equal("no_such_command", err.code)
    for i = 1, 3 do
      cluster:settle()
      assert.equal("1", cluster:state("n" .. i).items.a.value)
    end
  end)

  it("serves at any node, and a stale query from what a node has", function()
    local cluster <close> = kv()
    local follower = others(cluster, cluster:leader())[1]
    assert.is_truthy(cluster:propose("put", { key = "a", value = "1" }, { node = follower }))
    cluster:settle()
    cluster:isolate(follower)
    assert.is_truthy(cluster:propose("put", { key = "a", value = "2" }))
    assert.equal("1", cluster:query("get", { key = "a" }, { node = follower, consistency = "stale" }).value)
    local result, err = cluster:query("get", { key = "a" }, { node = follower, timeout = 1 })
    assert.is_nil(result)
    assert.is_truthy(err.code)
    assert.linearizable(cluster:history())
  end)

  it("fails over: an isolated leader acknowledges nothing, and gives up what it had", function()
    local cluster <close> = kv()
    local old = cluster:leader()
    cluster:propose("put", { key = "a", value = "1" })
    cluster:isolate(old)
    local lost = cluster:start_propose("put", { key = "a", value = "2" }, { node = old, timeout = 2 })
    cluster:run(10)
    assert.is_true(lost.done)
    assert.not_equal("ok", lost.outcome)
    assert.not_equal(old, cluster:leader())
    assert.is_truthy(cluster:propose("put", { key = "a", value = "3" }))
    cluster:heal()
    cluster:settle()
    assert.equal("3", cluster:state(old).items.a.value)
    assert.equal("follower", cluster:status(old).role)
    assert.linearizable(cluster:history())
  end)

  it("makes no progress without a majority, and goes on with one", function()
    local cluster <close> = kv()
    cluster:crash "n1"
    cluster:crash "n2"
    assert.is_false(cluster:up "n1")
    assert.is_nil(cluster:status "n1")
    assert.is_nil(cluster:state "n1")
    local _, err = cluster:propose("put", { key = "a", value = "1" }, { node = "n3", timeout = 1 })
    assert.is_truthy(err)
    _, err = cluster:propose("put", { key = "a", value = "1" }, { node = "n1" })
    assert.same({ "unavailable", "failed" }, { err.code, err.outcome })
    cluster:restart "n1"
    cluster:settle()
    assert.is_truthy(cluster:propose("put", { key = "b", value = "1" }))
  end)

  it("keeps what was acknowledged when all lose their power", function()
    local cluster <close> = kv { disk = "model" }
    for i = 1, 20 do cluster:propose("append", { key = "a", value = "x" .. i .. ";" }) end
    for i = 1, 3 do cluster:crash("n" .. i) end
    local _, err = cluster:propose("put", { key = "a", value = "1" })
    assert.equal("no node is up", err.message)
    for i = 1, 3 do cluster:restart("n" .. i) end
    cluster:settle()
    assert.matches("x20;$", cluster:query("get", { key = "a" }).value)
    assert.linearizable(cluster:history())
  end)

  it("takes a snapshot by hand, and a node starts from it", function()
    for _, disk in ipairs { "model", "sqlite" } do
      local cluster <close> = kv { disk = disk }
      for i = 1, 10 do cluster:propose("put", { key = "k" .. i, value = "v" .. i }) end
      cluster:settle()
      local node = others(cluster, cluster:leader())[1]
      local taken = assert(cluster:snapshot(node))
      assert.equal(cluster:status(node).applied_index, taken.index)
      assert.is_true(taken.size > 0)
      assert.same(taken, cluster:snapshot(node)) -- there is nothing newer
      cluster:crash(node)
      local none, err = cluster:snapshot(node)
      assert.same({ nil, "unavailable", node .. " is down" }, { none, err.code, err.message })
      assert(cluster:propose("put", { key = "k1", value = "later" }))
      cluster:restart(node)
      cluster:settle()
      assert.equal(taken.index, cluster:status(node).snapshot.index)
      assert.equal("v10", cluster:state(node).items.k10.value)
      assert.equal("later", cluster:state(node).items.k1.value)
    end
  end)

  it("parts and cuts: a partition's majority goes on; one way is one way", function()
    local cluster <close> = kv()
    local leader = cluster:leader()
    local rest = others(cluster, leader)
    cluster:partition({ leader, rest[1] }, { rest[2] })
    assert.is_truthy(cluster:propose("put", { key = "a", value = "1" }))
    cluster:run(3)
    assert.is_nil(cluster:state(rest[2]).items.a)
    cluster:heal()
    cluster:settle()
    assert.equal("1", cluster:state(rest[2]).items.a.value)
    leader = cluster:leader()
    rest = others(cluster, leader)
    cluster:cut(leader, rest[1])
    cluster:cut(leader, rest[2])
    cluster:run(10)
    assert.not_equal(leader, cluster:leader())
    cluster:mend(leader, rest[1])
    cluster:mend(leader, rest[2])
    cluster:settle()
  end)

  it("goes on when its leader's disk stands: leadership is handed over in an election timeout or two", function()
    local cluster <close> = kv()
    local old = cluster:leader()
    cluster:propose("put", { key = "a", value = "1" })
    cluster:settle()
    cluster:disk_stall(old, 20)
    local began = cluster:now()
    local op = cluster:start_propose("put", { key = "a", value = "2" }, { node = old, timeout = 60 })
    repeat cluster:run(0.05) until cluster:leader() and cluster:leader() ~= old or cluster:now() > began + 30
    assert.is_true(cluster:now() - began <= 2 * 0.5 + 0.1, cluster:now() - began) -- its election timeout is 500 ms
    for i = 1, 5 do
      assert.is_truthy(cluster:propose("put", { key = "b", value = tostring(i) }, { node = cluster:leader() }))
    end
    assert.equal("follower", cluster:status(old).role)
    assert.equal(1, cluster:status(old).counters.handovers)
    assert.is_nil(op.outcome)
    cluster:run(30)
    cluster:settle()
    assert.equal("ok", op.outcome) -- it was done by the others, and it can tell now
    assert.equal("2", cluster:state(old).items.a.value)
    assert.linearizable(cluster:history())
  end)

  it("has slow, full and failing disks, pauses, losses and clocks that jump", function()
    local cluster <close> = kv()
    for _, what in ipairs { "disk_full", "disk_slow", "pause" } do
      local leader = cluster:leader()
      cluster[what](cluster, leader, 3)
      cluster:start_propose("put", { key = "a", value = what }, { node = leader })
      cluster:run(20)
      cluster:settle()
      assert.is_truthy(cluster:propose("put", { key = "b", value = what }))
    end
    local leader = cluster:leader()
    cluster:disk_fail(leader)
    cluster:start_propose("put", { key = "a", value = "x" }, { node = leader })
    cluster:run(20)
    cluster:settle()
    cluster:clock_jump("n1", 3600)
    cluster:loss(0.2)
    for i = 1, 10 do cluster:propose("append", { key = "c", value = tostring(i) }) end
    cluster:heal()
    cluster:settle()
    assert.linearizable(cluster:history())
  end)

  it("stops and starts gracefully", function()
    local cluster <close> = kv()
    local leader = cluster:leader()
    cluster:stop(leader)
    assert.is_false(cluster:up(leader))
    cluster:settle()
    assert.not_equal(leader, cluster:leader())
    cluster:restart(leader)
    cluster:settle()
    assert.is_true(cluster:up(leader))
  end)

  it("runs operations at the same time: their history is judged", function()
    local cluster <close> = kv { nodes = 5 }
    local ops = {}
    for i = 1, 30 do
      local node = "n" .. i % 5 + 1
      ops[i] = i % 3 == 0 and cluster:start_query("get", { key = "a" }, { node = node, client = i })
        or cluster:start_propose("append", { key = "a", value = i .. ";" }, { node = node, client = i })
      cluster:run(0.001)
    end
    for _, op in ipairs(ops) do cluster:wait(op) end
    local history = cluster:history()
    assert.equal(30, #history)
    assert.linearizable(history)
    for _, op in ipairs(history) do
      if op.name == "get" and op.result then
        op.result.value = "no such"
        break
      end
    end
    assert.is_not.linearizable(history)
    local fine, text = pcall(assert.linearizable, history)
    assert.is_false(fine)
    assert.matches('key "a": the model gives another answer', tostring(text), 1, true)
  end)

  it("is the same with the same seed, and another with another", function()
    local function story(seed)
      local cluster <close> = kv { seed = seed }
      for i = 1, 5 do cluster:propose("put", { key = "a", value = tostring(i) }) end
      return cluster:now() .. cluster:leader()
    end
    assert.equal(story(3), story(3))
    assert.not_equal(story(3), story(4))
  end)

  it("gives back what it holds when closed, when collected, and when many are alive", function()
    local alive = setmetatable({}, { __mode = "k" })
    for seed = 1, 5 do alive[kv { seed = seed, settle = false }] = true end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(alive))
    local one, two = kv(), kv { seed = 8 }
    one:close()
    one:close()
    assert.is_truthy(two:propose("put", { key = "a", value = "1" }))
    assert.error_matches(function() one:propose("put", {}) end, "the cluster is closed")
    two:close()
    assert.is_true(sim.run({ seed = 1 }).ok)
  end)

  it("refuses misuse, and says what there is", function()
    assert.error_matches(function() sim.cluster { apps = "x" } end, "no option apps: did you mean app?", 1, true)
    assert.error_matches(function() sim.cluster {} end, "needs an app")
    assert.error_matches(function() sim.cluster { app = "/nowhere" } end, "there is no app at /nowhere")
    assert.error_matches(function() kv { nodes = 9 } end, "1 to 7")
    assert.error_matches(function() kv { seed = "7" } end, "seed is a number")
    local cluster <close> = kv()
    assert.error_matches(function() cluster:crash "n9" end, "there is no node n9: there are n1, n2, n3", 1, true)
    assert.error_matches(function() cluster:restart "n1" end, "n1 is up")
    assert.error_matches(function() cluster:run "long" end, "virtual seconds")
    assert.error_matches(function() cluster:partition { "n1" } end, "takes groups")
    assert.error_matches(function() cluster:loss(3) end, "a share")
    assert.error_matches(function() cluster:propose("put", { key = print }) end, "function")
    assert.error_matches(function() cluster:query("get", {}, { consistency = "strong" }) end, "strong")
  end)
end)

describe("assert.linearizable", function()
  it("is there because busted is; plain Lua gets no side effect", function()
    local pipe = assert(io.popen [[lua5.4 -e 'local before = {} for k in pairs(_G) do before[k] = true end
      require "moonclave.sim"
      for k in pairs(_G) do if not before[k] then print("a global " .. k) end end
      print(package.loaded.luassert)' 2>&1]])
    assert.equal("nil\n", pipe:read "a")
    pipe:close()
  end)

  it("needs a history and a model, and takes another than the history's", function()
    assert.error_matches(function() assert.linearizable {} end, "needs a model")
    assert.error_matches(function() assert.linearizable(7) end, "takes a history")
    local answer = { { kind = "query", name = "get", result = 1, invoked = 0, returned = 1 } }
    assert.linearizable(answer, { step = function() return true end })
    assert.is_not.linearizable(answer, { step = function() return false end })
  end)
end)

describe("sim.check", function()
  it("runs seeds of an app", function()
    local sums = sim.check("examples/kv", { seeds = 3, nodes = 3 })
    assert.equal(3, sums.seeds)
    assert.is_true(sums.steps > 0 and sums.requests > 0)
    assert.error_matches(function() sim.check("examples/kv", { sedes = 3 }) end, "did you mean seeds?", 1, true)
  end)
end)
