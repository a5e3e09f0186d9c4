-- `make install` and `make uninstall`, and that what is installed works wherever the tree is moved.
local cluster = require "support.cluster"
local shell = require "support.shell"

local function make(target, variables, ...)
  return shell.run("make -s BUILD='%s' %s %s", shell.build, target, variables:format(...))
end

local function installs(variables, ...)
  local code, text = make("install", variables, ...)
  assert.same({ 0, "" }, { code, text })
end

local function contains(list, wanted)
  for _, one in ipairs(list) do
    if one == wanted then return true end
  end
  return false
end

describe("make install", function()
  local folder, prefix, moved
  setup(function()
    folder = shell.folder()
    prefix = folder.path .. "/usr"
    -- what others have there
    shell.must("mkdir -p '%s/share/man/man1' '%s/share/lua/5.4/other'", prefix, prefix)
    shell.write(prefix .. "/share/lua/5.4/other/x.lua", "return 'theirs'\n")
    folder.before = shell.tree(folder.path)
    installs("PREFIX='%s'", prefix)
    moved = shell.folder()
    shell.must("cp -R '%s/.' '%s'", prefix, moved.path)
  end)
  teardown(function()
    folder.remove()
    moved.remove()
  end)

  it("puts the program, the library, its modules, examples, manual pages, completion and the unit", function()
    local tree = shell.tree(prefix)
    for _, path in ipairs { "bin/moonclave", "share/lua/5.4/moonclave/sim.lua", "share/lua/5.4/moonclave/new/fsm.lua",
      "lib/lua/5.4/moonclave/simcore.so", "lib/lua/5.4/moonclave/workers.so", "share/moonclave/examples/kv/fsm.lua",
      "share/moonclave/examples/counter.lua", "share/man/man1/moonclave.1", "share/man/man1/moonclave-start.1",
      "share/bash-completion/completions/moonclave", "share/zsh/site-functions/_moonclave",
      "lib/systemd/system/moonclave@.service" } do
      assert.is_true(contains(tree, path), path .. " is not in:\n" .. table.concat(tree, "\n"))
    end
    for _, name in ipairs(shell.lines(shell.must("'%s' help --commands", shell.program))) do
      assert.is_true(contains(tree, "share/man/man1/moonclave-" .. name .. ".1"), name)
    end
  end)

  it("puts all of the library, and of the modules in C those that it requires and no others", function()
    local tree = shell.tree(prefix)
    local wanted = {}
    for _, path in ipairs(shell.lines(shell.must "find lua -type f -name '*.lua'")) do
      local installed = "share/lua/5.4/" .. path:match "^lua/(.*)$"
      assert.is_true(contains(tree, installed), installed)
      for name in shell.read(path):gmatch "[\"']moonclave%.([%a_]+)[\"']" do
        if io.open("src/module/" .. name .. ".c") then wanted["lib/lua/5.4/moonclave/" .. name .. ".so"] = true end
      end
    end
    for _, path in ipairs(tree) do
      if path:match "%.so$" then
        assert.is_true(wanted[path], path .. " is for our own specs")
        wanted[path] = nil
      end
    end
    assert.is_nil(next(wanted))
    for _, path in ipairs(tree) do assert.is_nil(path:match "%.md$" and path:match "share/lua", path) end
  end)

  it("leaves programs that run and files that are read", function()
    for _, line in ipairs(shell.lines(shell.must("cd '%s' && find . -type f -printf '%%m %%P\\n'", prefix))) do
      local mode, path = line:match "^(%d+) (.*)$"
      if path ~= "share/lua/5.4/other/x.lua" and path ~= "share/moonclave/installed.list" then
        assert.equal((path:match "^bin/" or path:match "%.so$") and "755" or "644", mode, path)
      end
    end
  end)

  it("lets a stock lua5.4 require every module of the library", function()
    local script = { ("local tree = '%s'\n"):format(prefix), [[
      package.path = tree .. "/share/lua/5.4/?.lua;" .. tree .. "/share/lua/5.4/?/init.lua"
      package.cpath = tree .. "/lib/lua/5.4/?.so"
    ]] }
    for _, path in ipairs(shell.tree(prefix .. "/share/lua/5.4/moonclave")) do
      local name = path:match "^(.*)%.lua$"
      if name and not name:match "^meta/" and not name:match "^new/" then
        script[#script + 1] = ("require 'moonclave.%s'\n"):format((name:gsub("/init$", ""):gsub("/", ".")))
      end
    end
    assert.is_true(#script > 10)
    shell.write(folder.path .. "/all.lua", table.concat(script))
    shell.must("cd / && LUA_PATH= LUA_CPATH= lua5.4 '%s/all.lua'", folder.path)
    os.remove(folder.path .. "/all.lua")
  end)

  it("makes a unit that systemd takes, and that leaves the service little", function()
    local unit = prefix .. "/lib/systemd/system/moonclave@.service"
    assert.matches(('\nExecStart="%s/bin/moonclave" start --config'):format(prefix), shell.read(unit), 1, true)
    if not shell.has "systemd-analyze" then return pending "there is no systemd-analyze" end
    local code, text = shell.run("systemd-analyze verify --man=no '%s'", unit)
    assert.same({ 0, "" }, { code, text })
    text = shell.must("systemd-analyze security --offline=true --threshold=20 '%s'", unit)
    assert.is_true(tonumber(text:match "exposure level for [^:]+: ([%d.]+)") <= 2, text)
  end)

  it("takes away again what it put there and nothing else; what is not there cannot be", function()
    assert.same({ 0, "" }, { make("uninstall", "PREFIX='%s'", prefix) })
    assert.same(folder.before, shell.tree(folder.path))
    local code, text = make("uninstall", "PREFIX='%s'", prefix)
    assert.is_true(code ~= 0)
    assert.matches("installed.list is not there: nothing is installed with this PREFIX and DESTDIR", text, 1, true)
  end)

  it("leaves a tree that works where it is moved to: sim, env, and kv where no app is named", function()
    local tree = moved.path
    local program = tree .. "/bin/moonclave"
    local clean = "cd / && LUA_PATH= LUA_CPATH= "
    local text = shell.must(clean .. "'%s' sim '%s/share/moonclave/examples/kv' --seeds 1 --jobs 1", program, tree)
    assert.matches("1 seeds, 0 violations", text, 1, true)
    text = shell.must(clean .. "'%s' env", program)
    assert.matches(("'%s/share/lua/5.4/?.lua;"):format(tree), text, 1, true)
    cluster.run(function()
      local one <close> = cluster.new { nodes = 1, app = false }
      local spec_program = cluster.program
      cluster.program = program
      local launched, problem = pcall(one.start, one)
      cluster.program = spec_program
      assert(launched, problem)
      assert.equal(200, one:http("n1", "PUT", "/kv/a", "1").status)
      assert.equal("1", one:http("n1", "GET", "/kv/a").body)
    end)
  end)
end)

describe("make install with DESTDIR", function()
  it("stages a tree for a package, and forgets what a version before it has left", function()
    local folder <close> = shell.folder()
    local stage = folder.path .. "/stage"
    installs("PREFIX=/opt/moon DESTDIR='%s'", stage)
    local list = stage .. "/opt/moon/share/moonclave/installed.list"
    local text = shell.read(list)
    assert.is_nil(text:find(stage, 1, true))
    assert.matches("\n/opt/moon/bin/moonclave\n", text, 1, true)
    local unit = shell.read(stage .. "/opt/moon/lib/systemd/system/moonclave@.service")
    assert.matches('\nExecStart="/opt/moon/bin/moonclave" start', unit, 1, true)
    local before = shell.tree(stage)
    -- as an older version would have left it
    local old = "/opt/moon/share/lua/5.4/moonclave/old/"
    shell.must("mkdir '%s%s'", stage, old)
    shell.write(stage .. old .. "x.lua", "")
    shell.write(list, ("%s%s\n%sx.lua\n"):format(text, old, old))
    installs("PREFIX=/opt/moon DESTDIR='%s'", stage)
    assert.same(before, shell.tree(stage))
    assert.equal(text, shell.read(list))
    assert.same({ 0, "" }, { make("uninstall", "PREFIX=/opt/moon DESTDIR='%s'", stage) })
    assert.same({}, shell.tree(stage))
  end)
end)
