-- `moonclave repl` without a terminal: what is typed and how it is taken apart, what is shown, what Tab offers; and
-- against a real cluster -e, pipes, --json, exit codes, and Lua on a node over its unix socket.
local cluster = require "support.cluster"
local completer = require "moonclave.repl.completer"
local functions = require "moonclave.repl.cluster"
local help = require "moonclave.repl.help"
local printer = require "moonclave.repl.printer"
local reader = require "moonclave.repl.reader"
local uv = require "luv"

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

-- Runs the program; exit code, standard output, standard error. `input`: what comes by a pipe.
local function run(arguments, input)
  local complaints, given = os.tmpname(), os.tmpname()
  cluster.write_file(given, input or "")
  local words = {}
  for i, word in ipairs(arguments) do words[i] = quoted(word) end
  local pipe = assert(io.popen(("env -u LD_PRELOAD %s repl %s <%s 2>%s; echo \"exit $?\""):format(
    quoted(cluster.program), table.concat(words, " "), given, complaints)))
  local text = pipe:read "a"
  pipe:close()
  local complaint = cluster.read_file(complaints)
  os.remove(complaints)
  os.remove(given)
  local printed, code = text:match "^(.*)exit (%d+)\n$"
  return math.tointeger(tonumber(code)), printed, complaint
end

describe("an input", function()
  -- text, is Enter its end?
  for _, row in ipairs {
    { "1 + 1", true }, { "members()", true }, { "", true }, { "-- a remark", true }, { "x = 1", true },
    { "put{", false }, { "put{ key = 'a',", false }, { "1 +", false }, { "for i = 1, 2 do", false },
    { "for i = 1, 2 do\n  print(i)", false }, { "for i = 1, 2 do\n  print(i)\nend", true }, { "x =", false },
    { "function f()", false }, { "[[ a long", false }, { "--[[ a long", false }, { "return", true },
    { "f(", false }, { "if x then y() else", false }, { "'not closed", true }, { "foo bar", true }, { "x y z(", true },
    { "\\watch 1 members()", true }, { "\\use", true }, { "put{\n", true },
  } do
    it(("%q is %s"):format(row[1], row[2] and "whole" or "not whole yet"), function()
      assert.equal(row[2], reader.finished(row[1]))
    end)
  end

  it("of a file is not ended by an empty line", function()
    assert.is_true(reader.finished "function f()\n")
    assert.is_false(reader.finished("function f()\n", true))
    assert.is_true(reader.finished("function f()\n\nend", true))
  end)

  it("is an expression where it can be one", function()
    assert.equal(3, reader.compile("1 + 2", {})())
    assert.equal(4, reader.compile("local x = 4 return x", {})())
    local made, problem = reader.compile("a b", {}, 7)
    assert.is_nil(made)
    assert.same({ "syntax error near 'b'", 7, 1 }, { reader.place(problem) })
    assert.same({ "a plain text" }, { reader.place "a plain text" })
    for text, said in pairs { ["1 +"] = "unexpected symbol near <eof>", [")"] = "unexpected symbol near ')'",
      ["not x y"] = "<eof> expected near 'y'", ["x = ="] = "unexpected symbol near '='" } do
      assert.equal(said, (reader.place(select(2, reader.compile(text, {}, 1)))))
    end
    assert.equal("b", reader.line("a\nb\nc", 2))
    assert.is_true(reader.is_empty "  -- nothing\n")
    assert.is_false(reader.is_empty "x = 1 -- something")
    assert.same({ "watch", "1 members()" }, { reader.command "\\watch 1 members() " })
    assert.is_nil(reader.command "members()")
  end)
end)

describe("what is shown", function()
  it("is Lua, in one order, and can be read back", function()
    local value = { 3, 2, b = "x\n\"\0001", a = { c = true }, [-1] = 0.5, ["no name"] = 1e100, ["end"] = 2.0 }
    local text = printer.lua(value)
    assert.equal('{ 3, 2, [-1] = 0.5, a = { c = true }, b = "x\\n\\"\\0001", ["end"] = 2.0, ["no name"] = 1e+100 }',
      text)
    assert.same(value, load("return " .. text)())
    assert.equal('"gr\u{fc}n"', printer.lua "gr\u{fc}n")
    assert.equal('"\\xff"', printer.lua "\xff")
    assert.equal("{}", printer.lua {})
    assert.equal("nil", printer.lua(nil))
    assert.equal("function", printer.lua(print))
    assert.equal("1.0", printer.lua(1.0))
    assert.equal("0.1", printer.lua(0.1))
  end)

  it("goes over lines where it is wide, is cut where it is deep or long, and survives a cycle", function()
    assert.equal('{\n  a = "1234567890",\n  b = { "1234567890" },\n}',
      printer.lua({ a = "1234567890", b = { "1234567890" } }, { width = 30 }))
    assert.equal("{ { { ... } } }", printer.lua({ { { { 1 } } } }, { depth = 2 }))
    local t = {}
    t.t = t
    assert.equal("{ t = { a cycle } }", printer.lua(t))
    local long = {}
    for i = 1, 300 do long[i] = i end
    assert.matches("  200,\n  %-%- 100 more\n}$", printer.lua(long))
  end)

  it("is a table with aligned columns where it is a list of records", function()
    local list = { { id = "n1", lag = 5, address = "h:1" }, { id = "n22", lag = 12 } }
    assert.equal("id   address  lag\nn1   h:1        5\nn22  -         12", printer.columns(list))
    assert.equal("lag  id\n  5  n1\n 12  n22", printer.columns(list, { columns = { "lag", "id" } }))
    assert.is_nil(printer.columns { 1, 2 })
    assert.is_nil(printer.columns { { 1 }, { 2 } })
    assert.is_nil(printer.columns {})
    assert.equal("id  address  lag", printer.columns({ { id = "n1", address = ("x"):rep(40), lag = 1 } },
      { width = 20 }):match "^[^\n]+":gsub("%s%s+", "  "))
    for line in printer.columns({ { a = ("x"):rep(50), b = ("y"):rep(50) } }, { width = 40 }):gmatch "[^\n]+" do
      assert.is_true(#line <= 40, line)
    end
  end)

  it("is JSON where that is asked for", function()
    assert.equal('{"a":[1,2.5,true],"b":null}', (printer.json({ a = { 1, 2.5, true } }):gsub("}$", ',"b":null}')))
    assert.equal('"\\u0001\\n\\"\\\\"', printer.json "\1\n\"\\")
    assert.equal('"\\u00ff"', printer.json "\xff")
    assert.equal("[]", printer.json {})
    assert.equal("{}", printer.json({}, { is_object = function() return true end }))
    assert.equal('{"1":"a","3":"c"}', printer.json { "a", [3] = "c" })
    assert.equal("null", printer.json(nil))
    local t = {}
    t.t = t
    assert.error_matches(function() printer.json(t) end, "contains itself")
  end)
end)

describe("Tab", function()
  local called = false
  local object = setmetatable({ field = 1 }, { __index = { method = function() end } })
  local trap = setmetatable({ seen = 1 }, { __index = function() called = true end })
  local context = {
    environment = { members = print, put = print, print = print, string = string, object = object, trap = trap,
      printer = {}, text = "x", command = { put = print } },
    arguments = { put = { "key", "value" }, cas = { "key", "expected", "value" } }, takes_table = { add = true },
    commands = { "format", "use", "quit" }, ids = function() return { "n1", "n2", "n10" } end,
    topics = function() return { "put", "transfer" } end, width = 40,
  }
  local function tab(text, cursor) return { completer.complete(context, text, cursor or #text) } end

  -- what stands before the cursor, what it becomes (nil: as it was), what is listed
  for _, row in ipairs {
    { "mem", "members(" }, { "x = mem", "x = members(" }, { "pu", "put{" }, { "pri", "print" },
    { "print", nil, "print    printer\n" }, { "string.for", "string.format(" }, { "text:for", "text:format(" },
    { "object.fi", "object.field" }, { "object:me", "object:method(" }, { "object:fi", nil },
    { "trap.se", "trap.seen" },
    { "trap.x.y", nil }, { "put{ ke", "put{ key = " }, { "put{ key = 1, va", "put{ key = 1, value = " },
    { "put{ key = 1, ", "put{ key = 1, value = " }, { "put({ ", nil, "key    value\n" },
    { "put{ ", nil, "key    value\n" },
    { "put{ key = mem", "put{ key = members(" }, { "command.pu", "command.put{" },
    { "remove\"n2", 'remove"n2"' }, { 'remove "', 'remove "n' }, { 'transfer("n1', nil, "n1   n10\n" },
    { 'help "tr', 'help "transfer"' }, { "\\us", "\\use " }, { "\\use n2", "\\use n2" },
    { "\\format j", "\\format json" },
    { "\\watch 1 mem", "\\watch 1 members(" }, { "fun", "function" }, { "'mem", nil }, { "-- mem", nil },
    { "[[ mem", nil }, { "nothing_like_it", nil }, { '("x"):rev', '("x"):reverse(' }, { "put{}.", nil },
    { "members()[1].m", nil }, { '"x" .. mem', '"x" .. members(' }, { "f() .. pu", "f() .. put{" },
  } do
    it(("makes %q %s"):format(row[1], row[2] and ("%q"):format(row[2]) or row[3] and "a list" or "nothing"), function()
      local gone, instead, below = table.unpack(tab(row[1]), 1, 3)
      assert.equal(row[2] or row[1], row[1]:sub(1, #row[1] - gone) .. instead)
      assert.equal(row[3], below)
      assert.is_false(called)
    end)
  end

  it("works in the middle of a line, and does not double what stands there", function()
    assert.same({ 3, "members(" }, tab("x + mem + y", 7))
    assert.same({ 3, "members" }, tab("mem() + y", 3))
  end)

  it("asks for the keys of a node's state where a control socket is attached", function()
    local asked
    local inside = setmetatable({ keys_of = function(path, prefix)
      asked = { path, prefix }
      return { "alpha", "alps", "beta" }
    end }, { __index = context })
    assert.same({ 1, "alp" }, { completer.complete(inside, "count(state.items.a", 19) })
    assert.same({ "state.items", "a" }, asked)
  end)
end)

describe("before a change of voters", function()
  -- What a leader, n1, says of its members: their ids, the silent ones with a mark.
  local function members(ids, leader)
    local list = {}
    for i, id in ipairs(ids) do
      list[i] = { id = id:match "^%w+", role = "voter", state = i == 1 and "leader" or "follower", match = leader and 5,
        contact_ms = leader and i > 1 and not id:find "!" and 10 or nil }
    end
    return list
  end

  for _, row in ipairs {
    { { "n1", "n2", "n3" }, "n2", "2 voters: no failure can then be survived" },
    { { "n1", "n2", "n3", "n4" }, "n2", "3 voters: one failure can then be survived" },
    { { "n1", "n2", "n3", "n4!" }, "n4", "3 voters: one failure can then be survived" },
    { { "n1", "n2", "n3", "n4!" }, "n2", "3 voters: n4 does not answer, so that no failure can then be survived" },
    { { "n1", "n2", "n3", "n4!" }, "n1", "3 voters: n4 does not answer, so that no failure can then be survived; " ..
      "it leads, and hands over first" },
    { { "n1", "n2", "n3!" }, "n2", "2 voters: n3 does not answer, and 2 of them are needed: the cluster could then " ..
      "decide nothing at all" },
    { { "n1", "n2", "n3", "n4!", "n5", "n6" }, "n6", "5 voters: n4 does not answer, so that one failure can then be " ..
      "survived" },
    { { "n1" }, "n1", "no voter: the cluster will refuse" },
  } do
    it(("of %s it is said what removing %s means"):format(table.concat(row[1], " "), row[2]), function()
      assert.equal(("removing %s leaves %s"):format(row[2], row[3]),
        functions.consequence("removing", row[2], members(row[1], true)))
    end)
  end

  it("nobody is called silent by a follower's list, and an unknown server is named", function()
    assert.equal("removing n2 leaves 2 voters: no failure can then be survived",
      functions.consequence("removing", "n2", members { "n1", "n2", "n3" }))
    local fine, err = pcall(functions.consequence, "removing", "n9", members({ "n1", "n2" }, true))
    assert.is_false(fine)
    assert.equal("not_found: there is no server n9: the members are n1, n2", tostring(err))
  end)
end)

describe("the help", function()
  it("has an entry, with an example that can be read, for each function and command", function()
    for _, row in ipairs(help.functions) do
      local text = help.topic(row[1])
      assert.is_truthy(text:find(row[3], 1, true))
      for _, example in ipairs(row[5] or {}) do
        assert.is_truthy(reader.command(example) or reader.compile(example, {}), example)
        assert.is_truthy(text:find(example, 1, true))
      end
    end
    for _, row in ipairs(help.commands) do assert.is_truthy(help.topic("\\" .. row[1])) end
    assert.is_nil(help.topic "nothing")
    for _, width in ipairs { 60, 80, 100 } do
      for line in help.overview({ commands = { "put", "remove_all" }, queries = { "get" } }, width):gmatch "[^\n]+" do
        assert.is_true(#line <= width, line)
      end
    end
  end)

  it("shows the app's own, with the comment above it", function()
    local app = { commands = { "cas" }, queries = {}, arguments = { command = { cas = { "key", "value" } } },
      about = { command = { cas = "Only where it is expected." } } }
    assert.equal("cas{ key = ..., value = ... }    a command of the app\nOnly where it is expected.",
      help.topic("cas", app))
  end)
end)

describe("moonclave repl", function()
  it("says what is wrong with a command line, and where nobody answers", function()
    local code, _, complaint = run { "--jsn" }
    assert.equal(2, code)
    assert.is_truthy(complaint:find("did you mean --json?", 1, true), complaint)
    code, _, complaint = run { "-e" }
    assert.equal(2, code)
    assert.is_truthy(complaint:find("-e needs an expression", 1, true), complaint)
    code, _, complaint = run { "127.0.0.1:1", "-e", "1" }
    assert.equal(1, code)
    assert.is_truthy(complaint:find("moonclave: repl: ", 1, true), complaint)
    code, _, complaint = run { "/nowhere/data", "-e", "1" }
    assert.equal(1, code)
    assert.is_truthy(complaint:find("is this its data folder?", 1, true), complaint)
    code, _, complaint = run { "127.0.0.1:1", "--json", "-e", "1" }
    assert.equal(1, code)
    assert.matches('^{"error":{"code":"unavailable","message":".+"}}\n$', complaint)
  end)

  describe("against a cluster", function()
    local c, address, data
    lazy_setup(function()
      cluster.run(function()
        c = cluster.new():start()
        address = "127.0.0.1:" .. c.nodes.n1.port
        data = c.nodes.n2.data
      end)
    end)
    lazy_teardown(function()
      cluster.run(function() c:close() end)
    end)

    it("runs expressions, prints what they give, and ends at the first that fails", function()
      local code, text, complaint = run { address, "-e", 'put{ key = "a", value = "1" }', "-e",
        'get{ key = "a" }.value', "-e", "x = 4", "-e", "x, _2, nil", "-e", 'get{ key = "none" }', "-e", "return" }
      assert.equal("", complaint)
      assert.equal(0, code)
      local revision = text:match "^{ revision = (%d+) }\n"
      assert.equal(("{ revision = %s }\n1\n4\n1\nnil\nnil\n"):format(revision), text)
      code, text, complaint = run { address, "-e", "1", "-e", "foo()", "-e", "2" }
      assert.equal(1, code)
      assert.equal("1\n", text)
      assert.equal("moonclave: repl: attempt to call a nil value (global 'foo')\n  1 | foo()\n", complaint)
    end)

    it("says what went wrong, and the line that matters", function()
      -- expressions, what is said of the last
      for _, row in ipairs {
        { { "memberss()" }, "did you mean members?" },
        { { "local a = 1\na = a + nil" }, "attempt to perform arithmetic on a nil value\n  2 | a = a + nil\n" },
        { { "function f()\n  return nil + 1\nend", "1 + f()" },
          "attempt to perform arithmetic on a nil value\n  2 |   return nil + 1\n" },
        { { "a b" }, "syntax error near 'b'\n  1 | a b\n" },
        { { 'delete{ key = "none" }' }, "not_found: there is no such key" },
        { { "put{ key = 1 }" }, "bad_request: a key is a string that is not empty" },
        { { 'error{ code = "mine", message = "said" }' }, "code = \"mine\"" },
        { { 'remove "n3"' }, "unconfirmed: removing n3 leaves 2 voters: no failure can then be survived" },
        { { 'remove "n9"' }, "there is no server n9: the members are n1, n2, n3" },
        { { 'voters{ "n1", "n9" }' }, "there is no server n9 among the members" },
        { { "config{ command_steps_max = 1000000 }" },
          "unconfirmed: command_steps_max becomes 1000000 in the whole cluster" },
        { { "\\use n2", "config{ trailing_entries = 7 }" },
          "unconfirmed: trailing_entries becomes 7 on n2 alone, until it is restarted" },
        { { 'on("n9", status)' }, "there is no node n9: the members are n1, n2, n3" },
        { { 'help "nothing"' }, 'there is no help about "nothing"' },
        { { 'call "no/such"' }, "this node does not know `no/such`" },
        { { "inside '1'" }, "no control socket is attached" },
        { { "\\watch 1 members()" }, "\\watch needs a terminal" },
        { { "\\nothing" }, "there is no command \\nothing: there are \\all, " },
        { { "\\use n9" }, "there is no server n9; the members are n1, n2, n3" },
      } do
        local words = { address }
        for _, expression in ipairs(row[1]) do words[#words + 1], words[#words + 2] = "-e", expression end
        local code, _, complaint = run(words)
        assert.equal(1, code)
        assert.is_truthy(complaint:find(row[2], 1, true), complaint)
        assert.matches("^moonclave: repl: ", complaint)
      end
    end)

    it("takes a pipe, each input as soon as it is whole", function()
      local code, text, complaint = run({ address }, [[
-- a script
function double(x)

  return 2 * x
end
double(4)
\format json
{ double(1), "x" }
\use n2
status().id
\use
#members()
print("a", { 1 })
\quit
error "not reached"
]])
      assert.equal("", complaint)
      assert.equal(0, code)
      assert.equal('8\n[2,"x"]\neverything goes to n2\n"n2"\neverything goes to the leader\n3\na\t[1]\n', text)
      code, text, complaint = run({ address }, "1\nput{\n")
      assert.equal(1, code)
      assert.equal("1\n", text)
      assert.is_truthy(complaint:find("near <eof>", 1, true), complaint)
    end)

    it("speaks JSON, one line for each result, errors too", function()
      local code, text, complaint = run { address, "--json", "-e", "members()", "-e", "1, nil, 'x'", "-e", "list{}[0]",
        "-e", "{}", "-e", "foo()" }
      assert.equal(1, code)
      local lines = {}
      for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
      assert.equal(4, #lines)
      assert.matches('^%[{"address":"127.0.0.1:%d+",.*"id":"n1",', lines[1])
      assert.same({ '[1,null,"x"]', "null", "[]" }, { lines[2], lines[3], lines[4] })
      assert.equal('{"error":{"code":"lua_error","line":1,"message":"attempt to call a nil value (global \'foo\')"}}\n',
        complaint)
      complaint = select(3, run { address, "--json", "-e", 'delete{ key = "none" }' })
      assert.equal('{"error":{"code":"not_found","message":"there is no such key"}}\n',
        (complaint:gsub(',"rejected":%a+', "")))
    end)

    it("never paints what is no terminal's", function()
      local _, text = run { address, "-e", "members()", "-e", "status()", "-e", "help()" }
      assert.is_nil(text:find "\27")
      assert.matches("^id  address +role   state     match  lag  contact\nn1  ", text)
      assert.is_truthy(text:find("  commands: append, cas, delete, put\n  queries:  get, list\n", 1, true), text)
    end)

    it("asks one node, or all", function()
      local code, text = run { address, "-e", 'on("n3", status).id', "-e", 'on("n3", "status().id")', "-e",
        "all 'status().id'", "-e", 'on("n2", function() return put{ key = "b", value = "2" } end) ~= nil', "-e",
        'on("n2", function() return get({ key = "b" }).value end)', "-e", "#health(), health()[1].ready" }
      assert.equal(0, code)
      assert.equal('n3\nn3\n{ n1 = "n1", n2 = "n2", n3 = "n3" }\ntrue\n2\n3\ntrue\n', text)
    end)

    it("does what cannot be taken back only with -y", function()
      local code, _, complaint = run { address, "-e", 'demote "n3"' }
      assert.equal(1, code)
      assert.is_truthy(complaint:find("say -y to have it done", 1, true), complaint)
      code, _, complaint = run { address, "-y", "-e", 'demote "n3"', "-e", 'promote "n3"' }
      assert.equal("", complaint)
      assert.equal(0, code)
    end)

    it("shows settings and health as the nodes have them, and changes the setting of a node on that node", function()
      local code, text, complaint = run { address, "-y", "-e", "config()", "-e", "health()", "-e",
        "config{ session_timeout_ms = 7200000 }.index > 0", "-e", 'config{ session_timeout_ms = "1h" }.index > 0', "-e",
        'on("n3", function() return config{ trailing_entries = 7777 } end).id', "-e",
        "all 'config().settings.trailing_entries.value'" }
      assert.equal("", complaint)
      assert.equal(0, code)
      assert.matches("^name +value +default +scope +source\nblock_bytes_max +16777216 +16777216 +cluster +cluster\n",
        text)
      assert.matches("\nhealthy: 3 of 3 voters, survives the loss of 1\nid  address +role +state +ready ", text)
      assert.matches("\ntrue\ntrue\nn3\n{ n1 = 10000, n2 = 10000, n3 = 7777 }\n$", text)
    end)

    it("shows the labels that servers have, as the command does that gives them", function()
      cluster.run(function()
        local function moonclave(...)
          local words = { ... }
          words[#words + 1] = "--addr=" .. address
          return cluster.execute(cluster.program, words)
        end
        local heads, of_n1 = {}, "\nn1  [^\n]*  (%S+)\n"
        local rows = { { { "zone=b", "rack=7" }, "rack=7,zone=b" }, { { "zone=", "row=2" }, "rack=7,row=2" } }
        for i, row in ipairs(rows) do
          assert.same({ 0, "n1 is labelled\n" }, { moonclave("label", "n1", table.unpack(row[1])) })
          local code, text = moonclave "members"
          assert.equal(0, code)
          heads[i] = text:match "^[^\n]+"
          assert.equal(row[2], text:match(of_n1), text)
          local _, shown = run { address, "-e", "members()" }
          assert.equal(row[2], shown:match(of_n1), shown)
          local answer = c:http("n2", "GET", "/v1/members")
          assert.is_truthy(answer.body:find('"id":"n1","labels":{"rack":"7",', 1, true), answer.body)
        end
        assert.matches("contact  labels$", heads[1])
        assert.same({ 0, "n1 is labelled\n" }, { moonclave("label", "n1", "rack=", "row=") })
        local _, text = moonclave "members"
        assert.matches("contact\n", text)
        assert.is_nil(c:http("n2", "GET", "/v1/members").body:find "labels")
        for _, row in ipairs { { { "n1" }, "NAME=TEXT is missing" }, { { "n1", "zone" }, '"zone" is no NAME=TEXT' },
          { { "n1", "=b" }, '"=b" is no NAME=TEXT' } } do
          local code, problem = moonclave("label", table.unpack(row[1]))
          assert.equal(2, code)
          assert.matches(row[2], problem, 1, true)
        end
        local code, problem = moonclave("label", "n9", "zone=a")
        assert.is_true(code ~= 0 and problem:find "n9" ~= nil, problem)
        code, problem = moonclave("label", "n1", "moonclave.wants=voter")
        assert.is_true(code ~= 0 and problem:find "not yours" ~= nil, problem)
      end)
    end)

    it("knows what the app's source says of its commands", function()
      local _, text = run { address, "--json", "-e", 'call "app"' }
      assert.is_truthy(text:find('"arguments":{"command":{"append":["key","value"],"cas":["key","expected","value"],' ..
        '"delete":["key"],"put":["key","value"]},"query":{"get":["key"],"list":["prefix","after","limit"]}}', 1, true),
        text)
      assert.is_truthy(text:find('"cas":"Writes only where the value is `expected`; where that is nil,', 1, true), text)
      assert.is_truthy(text:find('"commands":["append","cas","delete","put"],"queries":["get","list"]', 1, true), text)
    end)

    it("runs Lua on a node, over a socket that only its owner may use", function()
      local socket = assert(uv.fs_stat(data .. "/control.sock"))
      assert.equal("socket", socket.type)
      assert.equal(384, socket.mode & 511) -- 0600
      run { address, "-e", 'for i = 1, 9 do put{ key = "k" .. i, value = ("v"):rep(i) } end' }
      local code, text, complaint = run { data, "-e", "status().id", "-e",
        "while status().applied_index < status().commit_index do end", "-e", "state.items.k3.value", "-e",
        "count(scan and state.items) >= 9, type(state), #state.items", "-e",
        'for k, v in scan(state.items, { prefix = "k", from = "k2", limit = 2 }) do print(k, v.value) end', "-e",
        'for k in scan(state.items, { to = "k9", reverse = true, limit = 1 }) do print(k) end', "-e",
        "n = 0; for key in pairs(state.items) do n = n + 1 end", "-e", "n == count(state.items)", "-e", "#members()",
        "-e", "tostring(state.items.k1)", "-e", "state.items.none, io, os.execute", "-e", "next(state) ~= nil" }
      assert.equal("", complaint)
      assert.equal(0, code)
      assert.equal("n2\nvvv\ntrue\ntable\n0\nk2\tvv\nk3\tvvv\nk9\ntrue\n3\nstate.items.k1 (2 keys)\n" ..
        "nil\nnil\nnil\ntrue\n", text)
    end)

    it("lets nothing be written there, and nothing run on for ever", function()
      -- what is run, what is said
      for _, row in ipairs {
        { "state.x = 1", "state cannot be written here" },
        { "local a = 1\na()", "attempt to call a number value (local 'a')\n  2 | a()\n" },
        { "local t = {} while true do t[#t + 1] = ('x'):rep(100000) end", "not enough memory" },
        { "local function f() return 1 + f() end return f()", "given up" },
        { "local function f() while true do pcall(f) end end f()", "given up" },
        { "table.sort({ 3, 2, 1 }, function() while true do pcall(error) end end)", "where it cannot be interrupted" },
        { "coroutine.wrap(function() while true do end end)()", "where it cannot be interrupted" },
        { "coroutine.yield()", "outside a coroutine" },
        { "load(string.dump(function() end))()", "attempt to call a nil value" },
        { "a b", "syntax error near 'b'" },
      } do
        local code, _, complaint = run { data, "-e", row[1] }
        assert.equal(1, code)
        assert.is_truthy(complaint:find(row[2], 1, true), complaint)
      end
      local code, text = run { data, "-e", "status().id" }
      assert.same({ 0, "n2\n" }, { code, text })
    end)

    it("runs none that comes over the network", function()
      local _, _, complaint = run { address, "-e", 'call("console/eval", { "1" })' }
      assert.is_truthy(complaint:find("unauthorized", 1, true), complaint)
    end)

    it("answers a client of the socket that only sends no more", function()
      cluster.run(function()
        local long = "(function() local n = 0 for _ = 1, 500000 do n = n + 1 end return n - 499958 end)()"
        for _, text in ipairs { "6 * 7", long } do
          local pipe, answer = uv.new_pipe(), ""
          cluster.await(function(resume) pipe:connect(data .. "/control.sock", resume) end)
          local params = "\x91\xd9" .. string.char(#text) .. text
          pipe:write("\x94\x00\x01\xacconsole/eval" .. params)
          pipe:shutdown()
          cluster.await(function(resume)
            pipe:read_start(function(problem, chunk)
              answer = answer .. (chunk or "")
              if problem or not chunk then resume() end
            end)
          end)
          pipe:close()
          assert.equal("\x94\x01\x01\xc0", answer:sub(1, 4)) -- a response to request 1, no error
          assert.matches("\xa6values\x91*", answer, 1, true) -- [42]
        end
      end)
    end)

    it("has a node's Lua end when the client goes", function()
      cluster.run(function()
        local function ticks() -- of the node's processor time
          local file = assert(io.open("/proc/" .. c.nodes.n2.process.pid .. "/stat"))
          local fields = file:read "a":match "%) (.*)"
          file:close()
          local user, system = fields:match("^%S+" .. (" %S+"):rep(10) .. " (%d+) (%d+)")
          return user + system
        end
        local before = ticks()
        local client = cluster.process(cluster.program, { "repl", data, "-e", "while true do end" })
        cluster.eventually("it runs", function() return ticks() > before + 10 end)
        cluster.signal(client, "sigkill")
        cluster.wait(client)
        os.remove(client.log)
        cluster.eventually("it has ended", function()
          local now = ticks()
          cluster.sleep(200)
          return ticks() - now <= 2
        end, 3000) -- less than its budget
        assert.is_truthy(c:ready "n2")
      end)
    end)
  end)
end)
