-- Every command of the program has a help that is whole and true; manual pages and completion come from the same table.
-- A command that is new is walked by itself: nothing here names it.
local BUILD = os.getenv "MOONCLAVE_BUILD" or "build"
local program = BUILD .. "/moonclave"

-- Exit code, all that was printed.
local function sh(command)
  local pipe = assert(io.popen(command .. ' 2>&1; echo "exit $?"'))
  local text = pipe:read "a"
  pipe:close()
  local printed, code = text:match "^(.*)exit (%d+)\n$"
  return math.tointeger(code), printed
end

local function run(arguments) return sh(("'%s' %s"):format(program, arguments)) end

local function has(tool) return (sh("command -v " .. tool)) == 0 end

local commands = {}
for name in select(2, run "help --commands"):gmatch "[^\n]+" do commands[#commands + 1] = name end

-- A help's parts: usage, text (all above the flags), flags: name -> { value, help }.
local known = {}
local function help_of(name)
  if known[name] then return known[name] end
  local code, text = run("help " .. name)
  assert.equal(0, code, text)
  local help = { whole = text, usage = text:match "^usage: moonclave ([^\n]*)\n\n", flags = {} }
  help.text = text:match "^[^\n]*\n\n(.-)\nFlags:\n" or text:match "^[^\n]*\n\n(.-)\nSettings, " or
    text:match "^[^\n]*\n\n(.*)$"
  local last
  for line in text:sub(#help.usage + #help.text):gmatch "[^\n]+" do
    local flag, rest = line:match "^  %-%-([%w-]+)(.*)$"
    if flag then
      local value, about = rest:match "^ (%S+)%s*(.*)$"
      if rest:match "^  " then value, about = nil, rest:match "^%s*(.*)$" end
      last = { value = value, help = about or "" }
      help.flags[flag] = last
    elseif last and line:match "^%s%s%s%s" and last.help == "" then
      last.help = line:match "^%s*(.*)$"
    end
  end
  known[name] = help
  return help
end

describe("the commands", function()
  it("are some, and the list of them says something about each", function()
    assert.is_true(#commands >= 15, table.concat(commands, " "))
    local code, text = run "help"
    assert.equal(0, code)
    for _, name in ipairs(commands) do
      assert.matches("\n  " .. name:gsub("%-", "%%-") .. " +[^\n]+", text)
    end
    local exits = { [0] = "done", [1] = "failed", [2] = "wrong usage", [70] = "damaged", [74] = "disk" }
    for status, meaning in pairs(exits) do
      assert.matches(("\n  %d +[^\n]*%s"):format(status, meaning), text)
    end
  end)

  for _, name in ipairs(commands) do
    describe(name, function()
      local help = help_of(name)

      it("has usage, text and an example of itself", function()
        assert.matches("^" .. name:gsub("%-", "%%-") .. "%f[%s\0]", help.usage)
        assert.is_true(#help.text > 20, help.text)
        local example = ("\n" .. help.text):find(("\n  [^\n]*moonclave %s%%f[%%W]"):format(name:gsub("%-", "%%-")))
        assert.is_truthy(example, "no line like:\n  moonclave " .. name .. " ...\nin:\n" .. help.text)
      end)

      it("documents each flag, and its usage and examples name none that it has not", function()
        for flag, row in pairs(help.flags) do assert.is_true(#row.help > 3, "--" .. flag .. " has no help") end
        local own = { help.usage }
        for line in help.text:gmatch "[^\n]+" do
          if line:find("  moonclave " .. name .. "%f[%W]") then own[#own + 1] = line end
        end
        for _, line in ipairs(own) do
          for flag in line:gmatch "%f[%S%(%[]%-%-([%w-]+)" do
            assert.is_truthy(help.flags[flag] or flag == "help", ("--%s in: %s"):format(flag, line))
          end
        end
      end)

      it("says the same to --help", function()
        assert.same({ 0, help.whole }, { run(name .. " --help") })
      end)

      it("refuses a flag that it has not in one line with 2, and suggests the one that was meant", function()
        local code, text = run(name .. " --zzzzzzzzzzzz")
        assert.equal(2, code, text)
        assert.matches("^moonclave: [^\n]+\n$", text)
        assert.matches("there is no flag --zzzzzzzzzzzz", text, 1, true)
        for flag, row in pairs(help.flags) do
          if #flag >= 5 and row.help:find "%S" then
            code, text = run(("%s --%sq"):format(name, flag))
            assert.equal(2, code, text)
            assert.matches(("there is no flag --%sq: did you mean --%s?"):format(flag, flag), text, 1, true)
            break
          end
        end
      end)

      it("complains of a flag's missing value", function()
        for flag, row in pairs(help.flags) do
          if row.value then
            local code, text = run(("%s --%s"):format(name, flag))
            assert.equal(2, code, text)
            assert.matches(("--%s needs a value: --%s "):format(flag, flag), text, 1, true)
            break
          end
        end
      end)
    end)
  end

  it("is suggested where a name is mistyped", function()
    for _, name in ipairs(commands) do
      if #name > 3 then
        local code, text = run(name .. "q")
        assert.equal(2, code)
        assert.matches(("there is no command \"%sq\": did you mean %s?"):format(name, name), text, 1, true)
      end
    end
    -- What is typed, what is meant.
    for _, row in ipairs { { "tpo", "top" }, { "membrs", "members" }, { "strat", "start" }, { "ransfer", "transfer" },
      { "cnofig", "config" }, { "foo", nil }, { "settings", nil }, { "list", nil } } do
      local _, text = run(row[1])
      assert.equal(row[2], text:match "did you mean (%w+)%?", text)
    end
  end)
end)

describe("manual pages", function()
  local mandoc = has "mandoc"

  it("are made for the program and each command, with every flag, and are well-formed", function()
    local folder = os.tmpname()
    os.remove(folder)
    assert.equal(0, (sh(("mkdir '%s'"):format(folder))))
    for _, name in ipairs { "", table.unpack(commands) } do
      local file = ("%s/moonclave%s.1"):format(folder, name ~= "" and "-" .. name or "")
      assert.equal(0, (sh(("'%s' help --man %s >'%s'"):format(program, name, file))))
      local text = assert(io.open(file)):read "a"
      for _, section in ipairs { "NAME", "SYNOPSIS", "DESCRIPTION", '"EXIT STATUS"' } do
        assert.matches("\n.SH " .. section .. "\n", text, 1, true)
      end
      if name == "" then
        for _, command in ipairs(commands) do
          assert.matches("moonclave\\-" .. command:gsub("-", "\\-") .. " (1)\n", text, 1, true)
        end
      else
        for flag in pairs(help_of(name).flags) do
          assert.matches("\n.B \\-\\-" .. flag:gsub("-", "\\-"), text, 1, true)
        end
      end
    end
    if mandoc then -- a page has no date: it is that of a version
      local _, text = sh(("mandoc -T lint -W warning '%s'/*.1 | grep -v 'missing date'"):format(folder))
      assert.equal("", text)
    end
    sh(("rm -rf '%s'"):format(folder))
  end)

  it("keep an example as it is typed, and what man(7) would obey", function()
    if not has "man" then return pending "man is not installed" end
    local _, text = sh(("'%s' help --man start | MANWIDTH=120 man -l - | col -b"):format(program))
    assert.matches("moonclave start --join 127.0.0.1:5001 --id n4 --addr 127.0.0.1:5004", text, 1, true)
    local file = 'return { id = "n1", addr = "127.0.0.1:5001", http_port = 9091, app = "examples/kv" }'
    assert.matches(file, text, 1, true)
    assert.matches("`peers` may be a list", text, 1, true)
  end)
end)

describe("completion of bash", function()
  local folder = os.tmpname()
  os.remove(folder)
  setup(function()
    sh(([[mkdir -p '%s/an app' '%s/data' && cd '%s' && touch one.lua two.txt 'an app/fsm.lua']]):format(folder, folder,
      folder))
    sh(("'%s' help --completion bash >'%s/completion'"):format(program, folder))
  end)
  teardown(function() sh(("rm -rf '%s'"):format(folder)) end)

  -- What is offered behind the words, as readline gives them: `:` and `=` are words of their own.
  local function offered(...)
    local words = {}
    for i, word in ipairs { ... } do words[i] = "'" .. word .. "'" end
    local file = assert(io.open(folder .. "/ask", "w"))
    file:write(([[
source ./completion
COMP_WORDS=(moonclave %s)
COMP_CWORD=%d
_moonclave
[ ${#COMPREPLY[@]} -eq 0 ] || printf '%%s\n' "${COMPREPLY[@]}"
]]):format(table.concat(words, " "), #words))
    file:close()
    local code, text = sh(("cd '%s' && bash ask"):format(folder))
    assert.equal(0, code, text)
    local list = {}
    for line in text:gmatch "[^\n]+" do list[#list + 1] = line end
    table.sort(list)
    return list
  end

  if not has "bash" then return end

  it("is a script without an error, and knows every command and flag", function()
    assert.equal(0, (sh(("bash -n '%s/completion'"):format(folder))))
    local all = { "--help", "--version" }
    for _, name in ipairs(commands) do all[#all + 1] = name end
    table.sort(all)
    assert.same(all, offered "")
    for _, name in ipairs(commands) do
      local flags = { "--help" }
      for flag in pairs(help_of(name).flags) do flags[#flags + 1] = "--" .. flag end
      table.sort(flags)
      assert.same(flags, offered(name, "--"))
    end
  end)

  it("completes commands, flags and what flags take", function()
    assert.same({ "snapshot" }, offered "sn")
    assert.same({ "start", "status" }, offered "sta")
    assert.same({ "--join" }, offered("start", "--jo"))
    assert.same({ "--election-timeout-ms" }, offered("start", "--ele"))
    assert.same({ "debug", "error", "info", "warn" }, offered("start", "--log-level", ""))
    assert.same({ "warn" }, offered("start", "--log-level", "=", "w"))
    assert.same({ "model", "sqlite" }, offered("sim", "--disk", "="))
    assert.same({ "zsh" }, offered("help", "--completion", "z"))
    assert.same({ "false", "true" }, offered("status", "--json", "=", ""))
  end)

  it("completes files and folders, and apps where there are arguments", function()
    assert.same({ "an app", "data" }, offered("start", "--data", ""))
    assert.same({ "data" }, offered("start", "--data", "=", "d"))
    assert.same({ "one.lua" }, offered("start", "--config", "on"))
    assert.same({ "an app", "data", "one.lua" }, offered("sim", ""))
    assert.same({ "an app", "data", "one.lua" }, offered("sim", "--json", "--seeds", "5", ""))
    assert.same({ "an app" }, offered("start", "--addr", "127.0.0.1", ":", "5001", "--id", "=", "n1", "an"))
    assert.same({}, offered("sim", "one.lua", ""))
    assert.same({ "set" }, offered("members", ""))
    assert.same({ "start", "status" }, offered("help", "sta"))
    assert.same({ "one.lua" }, offered("sim", "--", "on"))
  end)

  it("has nothing to say behind a command that there is not, nor for values it cannot know", function()
    assert.same({}, offered("zzz", ""))
    assert.same({}, offered("start", "--id", ""))
    assert.same({}, offered("bench", "--addr", "127.0.0.1", ":", "50"))
  end)
end)

describe("completion of zsh", function()
  it("is a script without an error", function()
    local code, text = run "help --completion zsh"
    assert.equal(0, code)
    assert.matches("^#compdef moonclave\n", text)
    for _, name in ipairs(commands) do assert.matches("\n        " .. name .. ") _arguments", text, 1, true) end
    if not has "zsh" then return end
    code, text = sh(("'%s' help --completion zsh | zsh -n"):format(program))
    assert.same({ 0, "" }, { code, text })
  end)

  it("is for no other shell", function()
    local code, text = run "help --completion fish"
    assert.same({ 2, "moonclave: help: --completion fish: it is bash or zsh\n" }, { code, text })
  end)
end)

describe("colours", function()
  it("are not in what is no terminal", function()
    for _, name in ipairs(commands) do
      assert.is_nil(help_of(name).whole:find "\27")
    end
  end)
end)

describe("env", function()
  it("lets lua5.4 find the library, where it would not", function()
    local code, text = sh(("cd / && eval \"$(LUA_PATH= LUA_CPATH= '%s' env)\" && lua5.4 -e '%s'"):format(
      program:match "^/" and program or os.getenv "PWD" .. "/" .. program,
      'print(type(require("moonclave.sim").cluster), package.path:find("/usr", 1, true) ~= nil)'))
    assert.same({ 0, "function\ttrue\n" }, { code, text })
  end)
end)
