-- `moonclave new`: the app that it makes is one that works, as its own README says.
local cluster = require "support.cluster"
local shell = require "support.shell"

local environment = ("eval \"$('%s' env)\" && "):format(shell.program)

describe("moonclave new", function()
  local folder
  setup(function()
    folder = shell.folder()
    folder.said = shell.must("cd '%s' && '%s' new shop", folder.path, shell.program)
  end)
  teardown(function() folder.remove() end)

  local function in_shop(command) return shell.run("cd '%s/shop' && %s%s", folder.path, environment, command) end

  it("writes an app, tells what it wrote, and puts its name in", function()
    local tree = shell.tree(folder.path .. "/shop")
    assert.same({ ".busted", ".editorconfig", ".luacheckrc", "README.md", "api.lua", "fsm.lua", "sim.lua", "spec/",
      "spec/app_spec.lua" }, tree)
    for _, path in ipairs(tree) do
      if not path:match "/$" then
        assert.matches("\n  shop/" .. path .. "\n", folder.said, 1, true)
        local text = shell.read(folder.path .. "/shop/" .. path)
        assert.is_nil(text:find("@", 1, true), path)
        for line in text:gmatch "[^\n]+" do
          assert.is_true(#line <= 120 and not line:find "%s$", path .. ": " .. line)
        end
      end
    end
    assert.matches("^# shop\n", shell.read(folder.path .. "/shop/README.md"))
    assert.matches("describe(\"shop\"", shell.read(folder.path .. "/shop/spec/app_spec.lua"), 1, true)
  end)

  it("has a README that names every file, and commands that there are", function()
    local text = shell.read(folder.path .. "/shop/README.md")
    for _, name in ipairs { "fsm.lua", "api.lua", "sim.lua", "spec/" } do
      assert.matches("| `" .. name .. "` |", text, 1, true)
    end
    for command in text:gmatch "moonclave (%l+)" do
      assert.equal(0, (shell.run("'%s' help %s", shell.program, command)), command)
    end
  end)

  it("has a spec that passes by `busted`, whatever Lua that is", function()
    local code, text = in_shop "busted -o plainTerminal"
    assert.equal(0, code, text)
    assert.matches("\n4 successes / 0 failures / 0 errors / 0 pending", text, 1, true)
  end)

  it("has nothing for `moonclave check` to say", function()
    local code, text = in_shop "moonclave check . --entries 500"
    assert.same({ 0, "check: 2 files, 0 findings; 500 entries applied alike by three machines\n" }, { code, text })
  end)

  it("survives `moonclave sim .`, which sees when it is broken", function()
    local code, text = in_shop "moonclave sim . --seeds 6"
    assert.equal(0, code, text)
    assert.matches("sim: 6 seeds, 0 violations", text, 1, true)
    local broken = shell.folder()
    local close <close> = broken
    shell.must("cp -R '%s/shop/.' '%s'", folder.path, broken.path)
    local fsm = shell.read(broken.path .. "/fsm.lua")
    local from, to = fsm:find("if count < 0 then", 1, true)
    shell.write(broken.path .. "/fsm.lua", fsm:sub(1, from - 1) .. "if count < -2 then" .. fsm:sub(to + 1))
    code, text = shell.run("'%s' sim '%s' --seeds 3 --no-shrink", shell.program, close.path)
    assert.equal(1, code, text)
    assert.matches("take ", text, 1, true)
  end)

  it("has nothing for luacheck to say, which says what a state machine may not touch", function()
    if not shell.has "luacheck" then return pending "luacheck is not installed" end
    local code, text = in_shop "luacheck --no-color ."
    assert.equal(0, code, text)
    shell.write(folder.path .. "/shop/bad.lua", "return os.time()\n")
    shell.must("cd '%s/shop' && mv fsm.lua kept && mv bad.lua fsm.lua", folder.path)
    code, text = in_shop "luacheck --no-color ."
    shell.must("cd '%s/shop' && mv kept fsm.lua", folder.path)
    assert.equal(1, code, text)
    assert.matches("accessing undefined variable 'os'", text, 1, true)
  end)

  it("is served by nodes, and answers what its README says", function()
    cluster.run(function()
      local one <close> = cluster.new { nodes = 1, app = folder.path .. "/shop" }
      one:start()
      local function ask(method, path, body)
        local answer = one:http("n1", method, path, body)
        return { answer.status, answer.body }
      end
      assert.same({ 200, '{"count":3,"name":"apple"}' }, ask("POST", "/items/apple/add", '{"count":3}'))
      assert.same({ 200, '{"count":1,"name":"apple"}' }, ask("POST", "/items/apple/take", '{"count":2}'))
      assert.same({ 200, '[{"count":1,"name":"apple"}]' }, ask("GET", "/items"))
      assert.equal(409, ask("POST", "/items/apple/take", '{"count":2}')[1])
      assert.equal(400, ask("POST", "/items/apple/take", "[]")[1])
      assert.equal(400, ask("POST", "/items/apple/take", "{")[1])
      assert.equal(400, ask("GET", "/items?limit=0")[1])
      assert.same({ 200, '{"count":0,"name":"fig"}' }, ask("GET", "/items/fig"))
    end)
    local readme = shell.read(folder.path .. "/shop/README.md")
    assert.matches('/items/apple/take     # {"count":1,"name":"apple"}', readme, 1, true)
    assert.matches('# [{"count":1,"name":"apple"}]', readme, 1, true)
  end)

  it("writes nothing over", function()
    local before = shell.read(folder.path .. "/shop/fsm.lua")
    for _, name in ipairs { "shop", "./shop" } do
      local code, text = shell.run("cd '%s' && '%s' new %s", folder.path, shell.program, name)
      assert.equal(2, code)
      assert.equal(("moonclave: new: %s exists already: choose another name, or remove it\n"):format(name), text)
    end
    shell.write(folder.path .. "/file", "x")
    assert.equal(2, (shell.run("cd '%s' && '%s' new file", folder.path, shell.program)))
    assert.equal(before, shell.read(folder.path .. "/shop/fsm.lua"))
    assert.equal("x", shell.read(folder.path .. "/file"))
  end)

  local long = ("x"):rep(64)
  -- what is typed, the exit code, what is said
  for _, row in ipairs {
    { "new", 2, "new: NAME is missing: " },
    { "new ''", 2, 'new: "": a name is 1 to 64 letters' },
    { "new 9shop", 2, 'new: "9shop": a name is 1 to 64 letters, digits, - and _, and begins with a letter' },
    { "new .", 2, "begins with a letter" },
    { "new ..", 2, "begins with a letter" },
    { "new shop/", 2, "begins with a letter" },
    { "new 'my shop'", 2, "begins with a letter" },
    { "new -- -shop", 2, "begins with a letter" },
    { "new 'a;b'", 2, "begins with a letter" },
    { "new " .. long .. "x", 2, "1 to 64" },
    { "new a b", 2, 'new: unexpected argument "b"' },
    { "new nowhere/shop", 74, "new: nowhere/shop cannot be made: No such file or directory" },
    { "new /proc/shop", 74, "new: /proc/shop cannot be made: " },
  } do
    it("refuses `" .. row[1] .. "`", function()
      local before = shell.tree(folder.path)
      local code, text = shell.run("cd '%s' && '%s' %s", folder.path, shell.program, row[1])
      assert.equal(row[2], code, text)
      assert.matches(row[3], text, 1, true)
      assert.matches("^moonclave: [^\n]+\n$", text)
      assert.same(before, shell.tree(folder.path))
    end)
  end

  it("takes a path, and the longest name", function()
    shell.must("cd '%s' && mkdir -p apps && '%s' new apps/%s", folder.path, shell.program, long)
    local text = shell.read(("%s/apps/%s/fsm.lua"):format(folder.path, long))
    assert.matches("^%-%- " .. long .. ": ", text)
    for line in text:gmatch "[^\n]+" do assert.is_true(#line <= 120) end
  end)

  it("leaves nothing where the disk is full", function()
    if not shell.has "unshare" then return pending "there is no unshare" end
    local code, text = shell.run([[unshare -rm sh -c 'mkdir "%s/small" && mount -t tmpfs -o size=8k none "%s/small" &&
      cd "%s/small" && "%s" new shop; echo "code $?"; find "%s/small" -mindepth 1']], folder.path, folder.path,
      folder.path, shell.program, folder.path)
    if text:find("Operation not permitted", 1, true) then return pending "no namespaces here" end
    assert.equal(0, code, text)
    assert.matches("^moonclave: new: shop/[^\n]+ cannot be written: No space left on device\ncode 74\n$", text)
  end)
end)
