-- The rock: what its rockspec says is true of the source, and it puts down what `make install` does. A whole build by
-- luarocks takes minutes: scripts/release --check goes that round.
local cluster = require "support.cluster"
local shell = require "support.shell"

local path = "moonclave-scm-1.rockspec"
local rockspec = {}
assert(loadfile(path, "t", rockspec))()

-- The libraries' headers and folders of headers: the keys of the tables of doors in the layers' spec.
local function doors()
  local text = shell.read("spec/layers_spec.lua"):match "local DOORS = (%b{}.-local DOOR_FOLDERS = %b{})"
  local list = {}
  for name in text:gmatch '%["([^"]+)"%] = {' do
    if not name:match "^lua" and not name:match "^lauxlib" then list[#list + 1] = name end
  end
  assert.is_true(#list >= 8)
  return list
end

-- Libraries' headers that the source includes -> a file that does.
local function libraries_included()
  local list = {}
  for _, file in ipairs(shell.lines(shell.must "find src -name '*.[ch]' | sort")) do
    for header in shell.read(file):gmatch "\n%s*#%s*include%s*<([^>]+)>" do
      for _, door in ipairs(doors()) do
        if header:sub(1, #door) == door then list[header] = file end
      end
    end
  end
  return list
end

describe("the rockspec", function()
  it("is of format 3.0, builds with make and needs no other rock", function()
    assert.equal("3.0", rockspec.rockspec_format)
    assert.equal("make", rockspec.build.type)
    assert.same({ "lua >= 5.4, < 5.5" }, rockspec.dependencies)
    assert.equal("command", rockspec.test.type)
    assert.equal(path, ("%s-%s.rockspec"):format(rockspec.package, rockspec.version))
  end)

  it("has nothing for `luarocks lint` to say", function()
    if not shell.has "luarocks" then return pending "luarocks is not installed" end
    assert.same({ 0, "" }, { shell.run("luarocks --lua-version 5.4 lint %s", path) })
  end)

  it("names the header of every C library that the source includes, and none that it does not", function()
    local files, named = libraries_included(), {}
    for name, one in pairs(rockspec.external_dependencies) do
      assert.is_truthy(files[one.header], ("%s: %s is not included in src"):format(name, one.header))
      named[one.header:match "^[^/]+/" or one.header] = true
    end
    for header, file in pairs(files) do
      -- http-parser's successor has the same callbacks: one or the other is there; msgpack.h brings its folder along
      if header ~= "llhttp.h" and not header:match "^msgpack/" then
        assert.is_true(named[header:match "^[^/]+/" or header] == true,
          ("%s, which %s includes, is in no external dependency of %s"):format(header, file, path))
      end
    end
  end)

  it("names every library that the program is linked with", function()
    local known = {}
    for _, one in pairs(rockspec.external_dependencies) do
      if one.library then known[one.library] = true end
    end
    local text = shell.must("readelf -d '%s'", shell.program)
    local count = 0
    for name in text:gmatch "%(NEEDED%)[^\n]*%[lib([^%]]+)%.so" do
      local of_system = name:match "^lua" or ({ c = true, m = true, dl = true, pthread = true, rt = true, gcc_s = true,
        asan = true, ubsan = true })[name]
      assert.is_true(of_system ~= nil or known[name] == true, "lib" .. name)
      if known[name] then count = count + 1 end
    end
    assert.is_true(count >= 4, text)
  end)

  it("hands make no variable that the Makefile does not know", function()
    local makefile = shell.read "Makefile"
    for _, list in ipairs { rockspec.build.build_variables, rockspec.build.install_variables } do
      for name in pairs(list) do
        assert.is_truthy(("\n" .. makefile):find("\n" .. name .. " *%?="), name)
      end
    end
    assert.matches("\n" .. rockspec.build.build_target .. ":", makefile, 1, true)
  end)
end)

describe("the rock", function()
  local folder, stage, tree
  -- luarocks installs into a folder of the rock, and then moves bin, lua and lib to where they are found.
  setup(function()
    folder = shell.folder()
    tree = folder.path .. "/a tree"
    stage = tree .. "/lib/luarocks/rocks-5.4/moonclave/scm-1"
    local variables = { PREFIX = stage, BINDIR = stage .. "/bin", LUADIR = stage .. "/lua", LIBDIR = stage .. "/lib" }
    local words = {}
    for name, value in pairs(rockspec.build.install_variables) do
      words[#words + 1] = ("'%s=%s'"):format(name, (value:gsub("%$%(([%w_]+)%)", variables)))
    end
    shell.must("mkdir -p '%s' && make -s BUILD='%s' install %s", stage, shell.build, table.concat(words, " "))
    shell.must("make -s BUILD='%s' install PREFIX='%s/usr'", shell.build, folder.path)
    folder.staged = shell.tree(stage)
    shell.must([[cd '%s' && mkdir -p share/lua lib/lua bin && cp '%s/bin/moonclave' bin/ &&
      mv '%s/lua' share/lua/5.4 && mv '%s/lib' lib/lua/5.4]], tree, stage, stage, stage)
  end)
  teardown(function() folder.remove() end)

  it("puts down the program, library, modules and examples that `make install` does, and no more", function()
    local places = { bin = "bin", lua = "share/lua/5.4", lib = "lib/lua/5.4", examples = "share/moonclave/examples" }
    local wanted = {}
    for staged, installed in pairs(places) do
      wanted[#wanted + 1] = staged .. "/"
      for _, one in ipairs(shell.tree(folder.path .. "/usr/" .. installed)) do
        wanted[#wanted + 1] = staged .. "/" .. one
      end
    end
    table.sort(wanted)
    assert.is_true(#wanted > 50)
    assert.same(wanted, folder.staged)
  end)

  it("gives the same files, to the byte, and none knows where it was staged", function()
    shell.must("diff -r '%s/share/lua/5.4' '%s/usr/share/lua/5.4'", tree, folder.path)
    shell.must("cmp '%s/bin/moonclave' '%s/usr/bin/moonclave'", tree, folder.path)
    local code, text = shell.run("grep -rlF '%s' '%s'", stage, tree)
    assert.same({ 1, "" }, { code, text })
  end)

  it("works in its tree: another Lua program requires moonclave.sim, and a new app passes its simulation", function()
    local clean = ("cd '%s' && LUA_PATH= LUA_CPATH= && eval \"$('%s/bin/moonclave' env)\" && "):format(
      folder.path, tree)
    shell.write(folder.path .. "/elsewhere.lua", [[
      local sim = require "moonclave.sim"
      local cluster <close> = sim.cluster { app = "shop", nodes = 3, seed = 7 }
      io.write(cluster:propose("add", { name = "apple", count = 3 }).count)]])
    assert.equal("3", shell.must(clean .. "moonclave new shop >/dev/null && lua5.4 elsewhere.lua"))
    assert.matches("sim: 3 seeds, 0 violations", shell.must(clean .. "moonclave sim shop --seeds 3"), 1, true)
  end)

  it("finds the key-value example where no app is named", function()
    cluster.run(function()
      local one <close> = cluster.new { nodes = 1, app = false }
      local spec_program = cluster.program
      cluster.program = tree .. "/bin/moonclave"
      local fine, problem = pcall(one.start, one)
      cluster.program = spec_program
      assert(fine, problem)
      assert.equal(200, one:http("n1", "PUT", "/kv/a", "1").status)
    end)
  end)
end)

describe("scripts/release", function()
  it("refuses words that it does not know", function()
    local code, text = shell.run "./scripts/release --upload"
    assert.same({ 1, "scripts/release: usage: scripts/release [--check] [--url URL]\n" }, { code, text })
  end)

  it("leaves a tree that is not clean, and one whose version is taken, alone", function()
    local folder <close> = shell.folder()
    local git = "git -c user.name=a -c user.email=a@localhost -c init.defaultBranch=main"
    shell.must("cd '%s' && mkdir scripts", folder.path)
    shell.must("cp scripts/release '%s/scripts' && cp Makefile %s '%s'", folder.path, path, folder.path)
    shell.must("cd '%s' && %s init -q && git add . && %s commit -qm one && echo >more", folder.path, git, git)
    local code, text = shell.run("cd '%s' && ./scripts/release --check", folder.path)
    assert.equal(1, code)
    assert.matches("scripts/release: the tree is not clean: commit first", text, 1, true)
    shell.must("cd '%s' && %s tag v0.1.0 && git add . && %s commit -qm two", folder.path, git, git)
    code, text = shell.run("cd '%s' && ./scripts/release --check", folder.path)
    assert.equal(1, code)
    assert.matches("v0.1.0 is tagged already, at another commit: raise VERSION in the Makefile", text, 1, true)
  end)
end)
