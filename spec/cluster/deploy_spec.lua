-- Another version of the app in a cluster of real processes, under a load that never stops: what was acknowledged is
-- there, each thing once, on every node, whoever was away or dead meanwhile, and whoever comes later.
local cluster = require "support.cluster"

local V1 = {
  ["fsm.lua"] = [[
local fsm = { version = 1, commands = {}, queries = {} }
function fsm.init() return { items = {} } end
function fsm.commands.add(state, command)
  state.items[command.key] = (state.items[command.key] or 0) + 1
  return state.items[command.key]
end
function fsm.queries.get(state, query) return state.items[query.key] end
return fsm
]],
  ["api.lua"] = [[
local cluster = require "moonclave.cluster"
local api = { routes = {} }
api.routes["POST /add/:key"] = function(request)
  local result, err = cluster.propose("add", { key = request.params.key })
  if err then return cluster.http_status(err), { error = err } end
  return 200, result
end
api.routes["GET /old"] = function() return 200, "old" end
return api
]],
}

-- The counts become records of their own; so does what `add` writes.
local V2 = {
  ["fsm.lua"] = [[
local fsm = { version = 2, commands = {}, queries = {} }
function fsm.init() return { counts = {} } end
function fsm.commands.add(state, command, ctx)
  local count = state.counts[command.key]
  state.counts[command.key] = { count = (count and count.count or 0) + 1, at = ctx.index }
  return state.counts[command.key].count
end
function fsm.queries.get(state, query) return state.counts[query.key] and state.counts[query.key].count end
function fsm.queries.tell(state) return { migrated = state.migrated, from = state.from } end
function fsm.migrate(state, from)
  state.counts, state.migrated, state.from = {}, count(state.items), from
  for key, items in pairs(state.items) do state.counts[key] = { count = items, at = 0 } end
  state.items = nil
  return state
end
return fsm
]],
  ["api.lua"] = V1["api.lua"]:gsub('"GET /old"%] = function%(%) return 200, "old"',
    '"GET /new"] = function() return 200, "new"'),
}

local function app(folder, name, files)
  local path = folder .. "/" .. name
  assert(os.execute("mkdir " .. path))
  for file, text in pairs(files) do cluster.write_file(path .. "/" .. file, text) end
  return path
end

-- A client that adds to keys of its own until it is told to stop: done[key] is what it was told was done, unknown[key]
-- what may have been.
local function load_on(c, number, names, work)
  local client, at, sequence = nil, number, 0
  while not work.over do
    client = client or c:client(names[at % #names + 1])
    local key = ("w%d-%d"):format(number, sequence)
    local answer, why = client:request("POST", "/add/" .. key, "", { limit_ms = 20000 })
    if answer and answer.status == 200 then
      work.done[key] = tonumber(answer.body)
      work.count = work.count + 1
    elseif why ~= "refused" and (not answer or answer.status == 504) then
      work.unknown[key] = true
    elseif answer and answer.status ~= 503 and answer.status ~= 429 then
      work.wrong = work.wrong or answer.status .. " " .. answer.body
    end
    if not answer then
      client:close()
      client, at = nil, at + 1
    end
    sequence = sequence + 1
  end
  if client then client:close() end
end

local function field(text, name) return text and text:match('"' .. name .. '":"?([^",}]*)') end

-- The same index, the same chain of results and the same state on all of them.
local function agree(c, names)
  cluster.eventually("all nodes agree", function()
    local first, told
    for _, name in ipairs(names) do
      local status = c:status(name)
      if not status then return false, name .. " does not answer" end
      local all = { field(status, "applied_index"), field(status, "chain"), field(status, "state_hash"),
        status:match '"app":{[^}]*"hash":"(%x+)"' }
      told = table.concat(all, " ")
      first = first or told
      if told ~= first then return false, name .. " has " .. told .. ", and " .. names[1] .. " " .. first end
    end
    return true
  end)
end

describe("another version of the app, in a cluster of three", function()
  it("takes the place of the one that runs: nothing is lost, nothing is done twice, whoever is there", function()
    cluster.run(function()
      local apps = cluster.folder()
      local c <close> = cluster.new { app = app(apps, "v1", V1), flags = { "--trailing-entries=50" } }
      local v2 = app(apps, "v2", V2)
      local raises = app(apps, "raises", { ["fsm.lua"] = V2["fsm.lua"]:gsub("version = 2", "version = 3"):gsub(
        "state.items = nil", "error 'half way'"), ["api.lua"] = V2["api.lua"] })
      c:start()
      local leader = c:leader()
      local others = {}
      for _, name in ipairs(c.names) do others[#others + 1] = name ~= leader and name or nil end
      local dead = others[1]
      local alive = { leader, others[2] }
      local work = { done = {}, unknown = {}, count = 0 }
      local function more(count)
        local wanted = work.count + count
        cluster.eventually("the load goes on", function() return work.count >= wanted, work.wrong end)
      end
      local function deploy(path, ...)
        return cluster.execute(cluster.program,
          { "deploy", path, "--addr", "127.0.0.1:" .. c.nodes[alive[2]].port, ... })
      end

      local bodies = {}
      for number = 1, 4 do bodies[number] = function() load_on(c, number, alive, work) end end
      bodies[5] = function()
        local ok, problem = xpcall(function()
          more(100)
          c:kill(dead)
          assert.equal("old", c:http(leader, "GET", "/old").body)

          local code, text = deploy(raises, "--no-dry-run", "-y") -- so that it comes to the nodes
          assert.equal(1, code)
          assert.matches("nothing has changed: migrate from version 1: fsm.lua:%d+: half way", text)
          more(50)
          for _, name in ipairs(alive) do assert.equal("old", c:http(name, "GET", "/old").body) end

          code, text = deploy(v2, "-y")
          assert.equal(0, code, text)
          assert.matches("version   1 %-> 2\n", text)
          assert.matches("deployed at index %d+: version 1 %-> 2 %(app %x+%)\n$", text)
          for _, name in ipairs(alive) do
            cluster.eventually(name .. " has the new routes", function()
              return c:http(name, "GET", "/new").body == "new" and c:http(name, "GET", "/old").status == 404
            end)
          end
          more(100)
          code, text = deploy(v2, "-y")
          assert.equal(0, code)
          assert.matches("the cluster runs this app already", text)

          c:start(dead) -- with the files of the old one
          cluster.eventually("it has caught up", function() -- it is ready a moment before that
            return c:http(dead, "GET", "/new").body == "new" and c:http(dead, "GET", "/old").status == 404
          end)
          c:join("n4", leader)
          cluster.eventually("n4 is ready", function() return c:ready "n4" end)
          cluster.eventually("n4 has the code", function() return c:http("n4", "GET", "/new").body == "new" end)
          more(50)
        end, debug.traceback)
        work.over = true
        if not ok then error(problem, 0) end
      end
      cluster.all(bodies)
      assert.is_nil(work.wrong)
      assert.is_true(work.count >= 300, work.count)

      local tell = c:http(leader, "GET", "/v1/query/tell").body
      assert.matches('"from":1', tell)
      assert.is_true(tonumber(field(tell, "migrated")) >= 150, tell)
      local connection = c:client "n4"
      for key, count in pairs(work.done) do
        assert.equal(1, count)
        assert.equal("1", connection:request("GET", "/v1/query/get?key=" .. key).body, key)
      end
      for key in pairs(work.unknown) do
        local found = connection:request("GET", "/v1/query/get?key=" .. key).body
        assert.is_true(found == "1" or found == "null", key .. " is there as " .. found)
      end
      connection:close()
      agree(c, c.names)

      for _, name in ipairs(c.names) do -- a snapshot has it too
        assert.equal(200, c:http(name, "POST", "/v1/snapshot").status)
      end
      c:kill(table.unpack(c.names))
      c:start(table.unpack(c.names))
      agree(c, c.names)
      for _, name in ipairs(c.names) do
        assert.equal("new", c:http(name, "GET", "/new").body) -- from its snapshot, before anything else
        assert.equal(tell, c:http(name, "GET", "/v1/query/tell").body)
      end
      cluster.remove(apps)
    end)
  end)

  it("may be asked for again where nobody knows what has become of it", function()
    cluster.run(function()
      local apps = cluster.folder()
      local c <close> = cluster.new { app = app(apps, "v1", V1) }
      local v2 = app(apps, "v2", V2)
      c:start()
      local leader = c:leader()
      local address = "127.0.0.1:" .. c.nodes[leader].port
      for _, name in ipairs(c.names) do
        if name ~= leader then c:signal(name, "sigstop") end
      end
      local code, text = cluster.execute(cluster.program,
        { "deploy", v2, "--addr", address, "--no-dry-run", "-y", "--timeout", "1" })
      assert.equal(1, code)
      assert.matches("whether it is deployed is not known: the same command again is safe, nothing is done twice", text)
      for _, name in ipairs(c.names) do c:signal(name, "sigcont") end
      c:leader()
      code, text = cluster.execute(cluster.program, { "deploy", v2, "--addr", address, "-y" })
      assert.equal(0, code, text)
      assert.is_truthy(text:find "deployed at index %d+: version 1 %-> 2" or text:find "runs this app already", text)
      agree(c, c.names)
      assert.matches('"from":1', c:http(leader, "GET", "/v1/query/tell").body)
      cluster.remove(apps)
    end)
  end)

  it("is told of where the leader dies meanwhile, whichever node was asked", function()
    cluster.run(function()
      local apps = cluster.folder()
      local c <close> = cluster.new { app = app(apps, "v1", V1) }
      local slow = app(apps, "slow", { ["api.lua"] = V2["api.lua"],
        ["fsm.lua"] = V2["fsm.lua"]:gsub("state.items = nil", "for _ = 1, 3e8 do end state.items = nil") })
      c:start()
      local leader = c:leader()
      local alive = {}
      for _, name in ipairs(c.names) do alive[#alive + 1] = name ~= leader and name or nil end
      local code, text
      cluster.all {
        function()
          code, text = cluster.execute(cluster.program, { "deploy", slow, "-y", "--no-dry-run", "--timeout", "60",
            "--addr", "127.0.0.1:" .. c.nodes[alive[1]].port })
        end,
        function()
          -- What is under way is said by whoever is asked.
          local at = { "--addr", "127.0.0.1:" .. c.nodes[alive[1]].port }
          for command, words in pairs {
            status = "%w+ goes over to another version of the app, entry %d+: commands and queries wait\n",
            health = "goes over to another version of the app: commands and queries wait",
          } do
            cluster.eventually(command .. " tells of it", function()
              local _, told = cluster.execute(cluster.program, { command, table.unpack(at) })
              return told:find(words), told
            end)
          end
          assert.is_true(tonumber(field(c:status(alive[1]), "deploying_at")) > 0)
          c:kill(leader)
        end,
      }
      assert.equal(0, code, text)
      assert.matches("deployed at index %d+: .+ %(app %x+%)\n$", text)
      agree(c, alive)
      assert.matches('"from":1', c:http(alive[1], "GET", "/v1/query/tell").body)
      cluster.remove(apps)
    end)
  end)

  it("lets requests that wait in the old api.lua end in it", function()
    cluster.run(function()
      local apps = cluster.folder()
      -- A handler that goes on with the command that the version has.
      local function version(number)
        return { ["fsm.lua"] = ([[
local fsm = { version = %d, commands = {}, queries = {} }
function fsm.init() return { n = 0 } end
function fsm.commands.bump(state) state.n = state.n + 1 return state.n end
return fsm]]):format(number), ["api.lua"] = ([[
local cluster = require "moonclave.cluster"
local api = { routes = {} }
api.routes["POST /many"] = function(request)
  local last
  for _ = 1, 400 do
    local result, err = cluster.propose("bump", {})
    if err then return cluster.http_status(err), { error = err } end
    last = result
  end
  return 200, "begun in %d"
end
return api]]):format(number) }
      end
      local c <close> = cluster.new { nodes = 1, app = app(apps, "v1", version(1)) }
      local v2 = app(apps, "v2", version(2))
      c:start()
      local answers, code, text = {}, nil, nil
      local bodies = {}
      for i = 1, 8 do
        bodies[i] = function() answers[i] = c:http("n1", "POST", "/many", "", { limit_ms = 50000 }) end
      end
      bodies[9] = function()
        cluster.eventually("they are under way", function()
          return tonumber(field(c:status "n1", "applied_index")) > 50
        end)
        code, text = cluster.execute(cluster.program, { "deploy", v2, "-y", "--addr", "127.0.0.1:" .. c.nodes.n1.port })
      end
      cluster.all(bodies)
      assert.equal(0, code, text)
      for i = 1, 8 do assert.same({ 200, "begun in 1" }, { answers[i].status, answers[i].body }) end
      assert.equal("begun in 2", c:http("n1", "POST", "/many", "").body)
      cluster.remove(apps)
    end)
  end)
end)
