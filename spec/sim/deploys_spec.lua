-- Other versions of the app, deployed while everything goes wrong: one runs at each index, the same everywhere; and an
-- app's own next version is tried before a cluster gets it.
local search = require "sim.search"
local sim = require "moonclave.sim"
local support = require "support.cluster"

local program = (os.getenv "MOONCLAVE_BUILD" or "build") .. "/moonclave"
local SEEDS = math.max(8, search.budget() // 70)

local function all(options)
  options.deploys = true
  local found = search.seeds(options)
  local first = found.violations[1]
  assert.are.equal(0, #found.violations, first and ("seed %s: %s"):format(first.seed, first.text))
  return found.sums
end

describe("operators who deploy", function()
  it("never break an invariant: sound versions, stale ones, the same again, and some that fail", function()
    local sums = all { first = 1, last = SEEDS, jobs = 2 }
    print(("    %d seeds: %d asked for, %d done, %d ran already, %d stale, %d failed, %d in snapshots"):format(SEEDS,
      sums["coverage.deploys_asked"], sums["coverage.deploys_done"], sums["coverage.deploys_same"],
      sums["coverage.deploys_stale"], sums["coverage.deploys_failed"], sums["coverage.deploys_restored"]))
    for _, what in ipairs { "again", "done", "same", "stale", "failed", "restored" } do
      assert.is_true(sums["coverage.deploys_" .. what] > 0, what .. " was never met")
    end
  end)

  it("nor while backups are restored, nor where a deploy is the death of whoever tries it", function()
    local few = math.max(8, SEEDS // 3)
    assert.is_true(all({ first = 1, last = few, restores = true })["coverage.restores_versions"] > 0)
    assert.is_true(all({ first = 1, last = few, poison = true })["coverage.poison_deploys"] > 0)
  end)

  it("nor on the real store, nor with a Lua state machine", function()
    local few = math.max(4, SEEDS // 8)
    assert.is_true(all({ first = 1, last = few, disk = "sqlite" })["coverage.deploys_done"] > 0)
    local sums = all { first = 1, last = few, machine = "lua", app = "spec/sim/app" }
    assert.is_true(sums["coverage.deploys_done"] > 0 and sums["coverage.deploys_failed"] > 0)
  end)

  it("are in some seeds only, and can be left out or asked for", function()
    local with, without = sim.run { seed = 3, deploys = true }, sim.run { seed = 3, deploys = false }
    assert.are.equal(0, without.coverage.deploys_asked)
    assert.is_true(with.coverage.deploys_asked > 0)
    assert.are.equal(with.trace_hash, sim.run({ seed = 3, deploys = true }).trace_hash)
  end)
end)

-- A counter by name; its next version keeps a table for each.
local function counters(version, body)
  return ([[
local fsm = { version = %d, commands = {}, queries = {} }
function fsm.init() return { counts = {}, total = 0 } end
%s
return fsm]]):format(version, body)
end

local FIRST = counters(1, [[
function fsm.commands.add(state, command)
  state.total = state.total + 1
  state.counts[command.name] = (state.counts[command.name] or 0) + 1
  return state.counts[command.name]
end
function fsm.queries.count(state, query) return state.counts[query.name] or 0 end]])

local function second(migrate)
  return counters(2, ([[
function fsm.migrate(state, from)
  for name, count in pairs(state.counts) do %s end
  return state
end
function fsm.commands.add(state, command)
  local counter = state.counts[command.name]
  local n = (counter and counter.n or 0) + 1
  state.total = state.total + 1
  state.counts[command.name] = { n = n }
  return n
end
function fsm.queries.count(state, query)
  local counter = state.counts[query.name]
  return counter and counter.n or 0
end]]):format(migrate))
end

local SOUND = second "state.counts[name] = { n = count }"

local SCENARIO = [[
local function name(random) return { name = random:choice { "a", "b", "c" } } end
return {
  commands = { add = name },
  queries = { count = name },
  settings = { nodes = 3, clients = 2, duration = 4 },
  invariants = {
    total = function(state)
      local sum = 0
      for _, count in pairs(state.counts) do sum = sum + (type(count) == "table" and count.n or count) end
      return sum == state.total, ("%d in all, %d of them counted"):format(state.total, sum)
    end,
  },
  model = {
    partition = function(operation) return operation.arguments.name end,
    init = function() return 0 end,
    step = function(state, operation)
      if operation.kind == "command" then state = state + 1 end
      return operation.outcome ~= "ok" or operation.result == state, state
    end,
  },
}]]

describe("an app's next version", function()
  local folder
  before_each(function()
    folder = support.folder()
    os.execute(("mkdir '%s/v1' '%s/v2'"):format(folder, folder))
    support.write_file(folder .. "/v1/fsm.lua", FIRST)
    support.write_file(folder .. "/v1/sim.lua", SCENARIO)
  end)
  after_each(function() support.remove(folder) end)

  local function try(next_version, flags)
    support.write_file(folder .. "/v2/fsm.lua", next_version)
    local pipe = assert(io.popen(("'%s' sim '%s/v1' --deploy '%s/v2' %s 2>&1; echo \"exit $?\""):format(program, folder,
      folder, flags)))
    local text = pipe:read "a"
    pipe:close()
    local printed, code = text:match "^(.*)exit (%d+)\n$"
    return math.tointeger(code), printed
  end

  local function steps(text)
    local count = 0
    for _ in text:gmatch "\n%s*%d+%. " do count = count + 1 end
    return count
  end

  it("runs in each seed, and nobody notices where its migrate is right", function()
    local code, text = try(SOUND, "--seeds 12")
    assert.are.equal(0, code, text)
    for seed = 1, 3 do
      local result = sim.run { app = folder .. "/v1", deploy = folder .. "/v2", seed = seed }
      assert.is_true(result.ok, sim.report(result))
      assert.are.equal(1, #result.deployed)
    end
  end)

  it("whose migrate raises on some states is found, shrunk to a few steps and replayed", function()
    local code, text = try(second "if count > 2 then error('too many') end state.counts[name] = { n = count }",
      "--seeds 40 --shrink-seconds 300")
    assert.are.equal(1, code, text)
    assert.is_truthy(text:find("deploy_accepted does not hold", 1, true), text)
    assert.is_truthy(text:find("too many", 1, true), text)
    assert.is_true(steps(text) <= 8, text)
    local arguments = assert(text:match "replay: %S*moonclave sim ([^\n]+)")
    local pipe = assert(io.popen(("'%s' sim %s 2>&1"):format(program, arguments)))
    assert.is_truthy(pipe:read "a":find("deploy_accepted does not hold", 1, true))
    pipe:close()
  end)

  it("that loses something on the way is found by what must always hold of the state", function()
    local code, text = try(second "state.counts[name] = { n = count > 2 and count - 1 or count }",
      "--seeds 40 --shrink-seconds 300")
    assert.are.equal(1, code, text)
    assert.is_truthy(text:find("app_invariant total does not hold", 1, true), text)
    assert.is_truthy(text:find("the next version runs, at index", 1, true), text)
    assert.is_true(steps(text) <= 10, text)
  end)

  it("must load, and be another", function()
    local code, text = try("nonsense(", "--seeds 1")
    assert.are.equal(1, code, text)
    assert.is_truthy(text:find("v2: ", 1, true), text)
    code, text = try(FIRST, "--seeds 1")
    assert.are.equal(1, code, text)
    assert.is_truthy(text:find("there is nothing to deploy", 1, true), text)
  end)

  it("is deployed by hand in a spec's cluster", function()
    local cluster <close> = sim.cluster { app = folder .. "/v1", nodes = 3, seed = 7 }
    for i = 1, 3 do assert.are.equal(i, cluster:propose("add", { name = "a" })) end
    local none, err = cluster:deploy { ["fsm.lua"] = second "error 'no luck'" }
    assert.is_nil(none)
    assert.are.same({ "script_error", "failed" }, { err.code, err.outcome })
    assert.is_truthy(err.message:find("no luck", 1, true))
    assert.are.equal(3, cluster:query("count", { name = "a" }))
    cluster:crash "n1"
    cluster:settle()
    local deployed = assert(cluster:deploy { ["fsm.lua"] = SOUND })
    assert.are.same({ 1, 2 }, { deployed.from, deployed.to })
    local again = assert(cluster:deploy { ["fsm.lua"] = SOUND })
    assert.are.same({ deployed.index, deployed.hash }, { again.index, again.hash })
    assert.is_nil(again.to)
    cluster:restart "n1"
    cluster:settle()
    for i = 1, 3 do assert.are.same({ counts = { a = { n = 3 } }, total = 3 }, cluster:state("n" .. i)) end
    assert.are.equal(4, cluster:propose("add", { name = "a" }))
    assert.error_matches(function() cluster:deploy(7) end, "deploy takes an app")
    assert.error_matches(function() cluster:deploy "/nowhere" end, "there is no app at /nowhere")
  end)
end)
