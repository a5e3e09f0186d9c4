-- `moonclave deploy` as a person types it, against one real node: what it shows before anything is sent, what it
-- refuses, JSON, and the prompt's deploy.
local cluster = require "support.cluster"

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

-- Exit code, standard output, standard error. Nobody is there to be asked.
local function run(...)
  local complaints, words = os.tmpname(), {}
  for i, word in ipairs { ... } do words[i] = quoted(word) end
  local pipe = assert(io.popen(("env -u LD_PRELOAD %s %s </dev/null 2>%s; echo \"exit $?\""):format(
    quoted(cluster.program), table.concat(words, " "), complaints)))
  local text = pipe:read "a"
  pipe:close()
  local complaint = cluster.read_file(complaints)
  os.remove(complaints)
  local printed, code = text:match "^(.*)exit (%d+)\n$"
  return math.tointeger(tonumber(code)), printed, complaint
end

local FSM = [[
local fsm = { version = %s, commands = {}, queries = {} }
function fsm.init() return { items = {}, flat = { one = 1, two = 2 }, list = { 1, 2, 3 }, gone = "text" } end
function fsm.commands.put(state, command) state.items[command.key] = { value = command.value } return true end
function fsm.queries.get(state, query) return state.items[query.key] end
%s
return fsm
]]
local API = 'local api = { routes = {} }\napi.routes["GET /old"] = function() return 200, "old" end\n%s\nreturn api\n'

local folder, count = nil, 0

-- A folder with these files besides an fsm.lua of that version.
local function app(version, body, files)
  count = count + 1
  local path = folder .. "/app" .. count
  assert(os.execute("mkdir " .. path))
  files = files or {}
  files["fsm.lua"] = FSM:format(version, body or "")
  files["api.lua"] = files["api.lua"] or API:format ""
  for name, text in pairs(files) do cluster.write_file(path .. "/" .. name, text) end
  return path
end

local MIGRATE = [[
function fsm.commands.touch(state, command) state.items[command.key].ttl = 1 return true end
fsm.commands.put = nil
function fsm.migrate(state, from)
  log("from", from)
  for _, item in pairs(state.items) do item.ttl = 0 end
  state.flat.two, state.flat.three, state.list[2] = 2.0, { "new" }, nil
  state.gone = nil
  return state
end]]

describe("deploy", function()
  local c, address

  -- A session of `moonclave`, with the node's address.
  local function deploy(path, ...) return run("deploy", path, "--addr", address, ...) end
  local function eval(text, ...) return run("repl", address, "-e", text, ...) end
  local function hash() return select(2, eval "status().app.hash"):match "%x+" end

  lazy_setup(function()
    cluster.run(function()
      folder = cluster.folder()
      c = cluster.new { nodes = 1, app = app(1) }
      c:start()
      address = "127.0.0.1:" .. c.nodes.n1.port
      for i = 1, 12 do c:http("n1", "POST", "/v1/command/put", ('{"key":"k%02d","value":"v%d"}'):format(i, i)) end
    end)
  end)

  lazy_teardown(function()
    cluster.run(function()
      c:close()
      cluster.remove(folder)
    end)
  end)

  it("says what is wrong with its words, and with what is no app", function()
    local nothing = folder .. "/nothing"
    for _, row in ipairs {
      { 2, "which app? `moonclave deploy APP`, a folder with an fsm.lua or a .lua file" },
      { 1, "there is no app at " .. nothing, nothing },
      { 2, "--dry-run and --no-dry-run: give one of them", c.app, "--dry-run", "--no-dry-run" },
      { 2, "--json asks nothing: it needs --yes, or --dry-run", c.app, "--json" },
      { 2, "there is no flag --dryrun: did you mean --dry-run?", c.app, "--dryrun" },
      { 1, "nobody answers", c.app, "--addr", "127.0.0.1:1" },
    } do
      local code, printed, complaint = run("deploy", table.unpack(row, 3))
      assert.equal(row[1], code, complaint)
      assert.equal("", printed)
      assert.is_truthy(complaint:find(row[2], 1, true), complaint)
      assert.matches("^moonclave: deploy: [^\n]+\n$", complaint)
    end
    assert(os.execute("mkdir " .. nothing))
    local code, _, complaint = deploy(nothing)
    assert.equal(1, code)
    assert.matches("fsm%.lua", complaint)
  end)

  it("has nothing to do where the same app runs", function()
    local code, printed, complaint = deploy(c.app)
    assert.same({ 0, "" }, { code, complaint })
    assert.matches("^the cluster runs this app already %(app %x+, since index %d+%): there is nothing to do\n$",
      printed)
    assert.matches('"deployed":false.*"same":true', select(2, deploy(c.app, "--json", "--yes")))
  end)

  it("shows what would change, and sends nothing", function()
    local before = hash()
    local next_version = app(2, MIGRATE, { ["more.lua"] = "return 1\nlocal x = os.time()\n",
      ["api.lua"] = API:format 'api.routes["GET /new"] = function() return 200, "new" end' })
    local code, printed, complaint = deploy(next_version, "--dry-run")
    assert.same({ 0, "" }, { code, complaint })
    assert.equal(before, hash())
    for _, line in ipairs {
      "version   1 -> 2\n", "files     ~ api.lua  +1 -1\n", "          ~ fsm.lua  +10 -2\n",
      "          + more.lua  +2\n",
      "commands  + touch\n          - put\n",
      "state     items: 1 added, 2 removed, 13 changed; ",
      "          ~ flat.two  2 -> 2.0\n", "          - gone  \"text\"\n", "          + flat.three  { \"new\" }\n",
      "          ~ items.k01  { value = \"v1\" } -> { ttl = 0, value = \"v1\" }\n", "            ... and more\n",
      "it logs   from 1\n", "warning   more.lua:2: ", "dry run: nothing was sent\n",
    } do
      assert.is_truthy(printed:find(line, 1, true), line .. "in:\n" .. printed)
    end
    assert.is_nil(printed:find "items%.k11")
    assert.is_nil(printed:find "queries ")

    code, printed = deploy(next_version, "--dry-run", "--json")
    assert.equal(0, code)
    for _, field in ipairs { '"deployed":false', '"version":{"from":1,"to":2}', '"path":"more.lua"',
      '"added":["touch"]',
      '"removed":["put"]', '"change":"changed","path":"items.k01"', '"logged":["from 1"]', '"problems":[]',
      '"replaces":"' .. before .. '"', '"takes_ms":' } do
      assert.is_truthy(printed:find(field, 1, true), field .. " in " .. printed)
    end
    assert.is_nil(printed:find('"refused"', 1, true))
  end)

  it("says how long commands will wait, where that is long", function()
    local slow = app(2, "function fsm.migrate(state) for _ = 1, 6e7 do end return state end")
    local code, printed = deploy(slow, "--dry-run")
    assert.equal(0, code)
    assert.matches("\ntakes     %d%d%d+%.%d ms here: commands and queries wait for about as long\n", printed)
  end)

  it("tells what the cluster would refuse, with the reason and where, and does not send it", function()
    local before = hash()
    for _, row in ipairs {
      { app(2, "function fsm.migrate(state)\n  state.items = nil\n  error 'half way'\nend"),
        "migrate from version 1: fsm.lua:7: half way", "fsm.lua:7: in function <fsm.lua:5>" },
      { app(0), "version 0 cannot follow version 1: an older version needs a migrate" },
      { app(2, "function fsm.migrate() end"), "it must return the state, or a table to take its place" },
      { app(2, "x = = 1"), "fsm.lua:5: unexpected symbol near '='" },
      { app(2, "function fsm.migrate(state) while true do end end"), "migrate_steps_max" },
      { app(2, nil, { ["api.lua"] = "error 'no api'" }),
        "nothing was sent: api.lua:1: no api: a node that cannot load that goes without it; " ..
        "--force sends it all the same" },
      { app(2, nil, { ["policy.lua"] = "return 7" }), "policy.lua" },
    } do
      if row[2] == "migrate_steps_max" then eval("config{ migrate_steps_max = 100000 }", "-y") end
      local code, printed, complaint = deploy(row[1], "-y")
      assert.equal(1, code, printed)
      assert.is_truthy(complaint:find(row[2], 1, true), complaint)
      assert.is_truthy(complaint:find("nothing was sent", 1, true), complaint)
      if row[3] then assert.is_truthy(complaint:find(row[3], 1, true), complaint) end
      code, printed = deploy(row[1], "--dry-run", "--json")
      assert.equal(1, code)
      assert.matches('"deployed":false', printed, 1, true)
    end
    eval("config{ migrate_steps_max = 2000000000 }", "-y")
    assert.equal(before, hash())
  end)

  it("asks, and where nobody can be asked it does nothing", function()
    local before = hash()
    local code, printed, complaint = deploy(app(2))
    assert.equal(2, code)
    assert.matches("version   1 %-> 2\n.*state     stays as it is", printed)
    assert.matches("not done: it changes the app of the whole cluster; %-%-yes says that it is meant", complaint)
    local nobody, _, unconfirmed = eval(("deploy %q"):format(c.app))
    assert.equal(1, nobody)
    assert.matches("unconfirmed: every node runs the app in .* nobody to ask: say %-y", unconfirmed)
    assert.equal(before, hash())
  end)

  it("deploys: the state is made over, the routes are the new ones, the names too", function()
    local path = app(2, MIGRATE, { ["api.lua"] = 'local api = { routes = {} }\n' ..
      'api.routes["GET /new"] = function() return 200, "new" end\nreturn api\n' })
    local code, printed = deploy(path, "-y")
    assert.equal(0, code)
    assert.matches("\ndeployed at index %d+: version 1 %-> 2 %(app %x+%)\n$", printed)
    assert.same({ 0, "{ ttl = 0, value = \"v1\" }\n" }, { (eval 'get{ key = "k01" }'),
      (select(2, eval 'get{ key = "k01" }')) })
    cluster.run(function()
      assert.equal("new", c:http("n1", "GET", "/new").body)
      assert.equal(404, c:http("n1", "GET", "/old").status)
    end)
    assert.equal(1, (eval 'command.put{ key = "a" }'))
    assert.matches("there is nothing to do", select(2, deploy(path, "-y")))
  end)

  it("goes without the state where it is told so, and back where migrate knows the way", function()
    local back = app(1, "function fsm.migrate(state, from) state.came_from = from return state end")
    local broken = app(3, "nonsense(")
    local code, _, complaint = deploy(broken, "--no-dry-run", "-y")
    assert.equal(1, code)
    assert.matches("the app does not load, nothing was sent: fsm%.lua:6: ", complaint)
    local raises = app(3, "function fsm.migrate() error 'not here' end")
    code, _, complaint = deploy(raises, "--no-dry-run", "-y") -- found by the cluster itself
    assert.equal(1, code)
    assert.matches("the app is refused, nothing has changed: migrate from version 2: fsm%.lua:5: not here", complaint)
    local done, printed = deploy(back, "--no-dry-run", "--yes", "--json")
    assert.equal(0, done)
    assert.matches('"deployed":true.*"index":%d+.*"version":{"from":2,"to":1}', printed)
  end)

  it("is refused where somebody else has deployed since the dry run", function()
    local bundle = require "moonclave.fsm".bundle(app(7))
    local before = hash()
    local client = require "moonclave".connect { addresses = { address } }
    local result, err = client:admin("deploy", { bundle = bundle, replaces = ("%016x"):format(12) })
    client:close()
    assert.is_nil(result)
    assert.equal("conflict", err.code)
    assert.matches("meant to follow the app 000000000000000c", err.message)
    assert.equal(before, hash())
  end)

  it("asks for api.lua's force, and is `deploy` at the prompt", function()
    local code, printed = deploy(app(8, nil, { ["api.lua"] = "error 'no api'" }), "--force", "-y")
    assert.equal(0, code, printed)
    local path = app(9, "function fsm.commands.fresh() return 'yes' end")
    code, printed = run("repl", address, "-y", "-e", ("deploy(%q, { dry_run = true })"):format(path), "-e",
      ("deploy %q"):format(path), "-e", "fresh{}")
    assert.equal(0, code)
    assert.matches("dry run: nothing was sent\n.*deployed at index %d+: version 8 %-> 9 %(app %x+%)\n.*yes\n", printed)
    code, printed = run("repl", address, "-y", "--json", "-e", ("deploy %q"):format(c.app))
    assert.equal(1, code) -- version 1 does not follow 9
    assert.matches('"deployed":false', printed, 1, true)
  end)
end)
