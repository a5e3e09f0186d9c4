-- The REPL as a person sees it: keys are sent, screens are compared. The cluster is real. The first test is a whole
-- session, with each screen as it is; what differs from run to run is in `alike`. The others are about one thing each.
local cluster = require "support.cluster"
local screens = require "support.screen"

local PROMPT = "n%d leader t%d+ #%d+>"

local function addresses(c)
  local list = {}
  for _, name in ipairs(c.names) do list[#list + 1] = "127.0.0.1:" .. c.nodes[name].port end
  return table.concat(list, ",")
end

local function open(c, options)
  options = options or {}
  options.environment = options.environment or { MOONCLAVE_HISTORY = c.folder .. "/history" }
  local command = { cluster.program, "repl", options.address or addresses(c) }
  if options.kept then -- called by its short name; the settings of the terminal before and after, into that folder
    options.environment.PATH = cluster.program:match "^(.*)/" .. ":" .. os.getenv "PATH"
    command = { "sh", "-c", 'stty -g >"$0/terminal before"; "$@"; code=$?; stty -g >"$0/terminal after"; exit $code',
      options.kept, "moonclave", table.unpack(command, 2) }
  end
  local screen = screens.open(command, options)
  screen:expect(PROMPT .. "$")
  return screen
end

-- What stands before the prompt of the next input; types it. Returns the lines since the input was typed.
local function ask(screen, text)
  local before = screen:text()
  screen:type(text .. "\n")
  return screen:expect("\n" .. PROMPT .. "$"), before
end

-- Ctrl-C to a loop without end; again where it came before the loop had begun.
local function cancel(screen, prompt)
  local pressed_at
  screen:type "while true do end\n"
  cluster.eventually("it is cancelled", function()
    local text = screen:text()
    if text:find("while true do end\n%^C\ncancelled\n" .. prompt) then return true end
    if not pressed_at or os.time() > pressed_at + 2 then
      screen:keys "C-c"
      pressed_at = os.time()
    end
    return false, text
  end)
end

-- A screen without what differs from run to run: the version, ports, who is asked while nobody leads, terms, indexes,
-- how long things took, and the numbers of a row about a server.
local function alike(text)
  return (text:gsub("moonclave %d+%.%d+%.%d+:", "moonclave VERSION:"):gsub("127%.0%.0%.1:%d+", "127.0.0.1:PORT")
    :gsub("n%d no leader t%d+ #%d+>", "ID no leader tTERM #INDEX>"):gsub("t%d+ #%d+>", "tTERM #INDEX>")
    :gsub("{ (%l+) = %d+ } +%-%-", "{ %1 = INDEX } --"):gsub("%-%- %d+%.%d+ m?s", "-- TIME")
    :gsub("(n%d  %S+ +%l+ +[%l.]+)([^\n]+)", function(head, numbers) return head .. numbers:gsub(" +%d+", " N") end))
end

-- Waits until the screen ends with these whole lines, but for what differs; returns the screen.
local function see(screen, lines)
  local expected, text = "\n" .. alike(lines):gsub("%s+$", "")
  local ok = pcall(cluster.eventually, "the screen", function()
    text = screen:text()
    return ("\n" .. alike(text)):sub(-#expected) == expected
  end, 20000)
  if not ok then error(("never on the screen:\n%s\nbut:\n%s"):format(lines, text), 2) end
  return text
end

-- Whoever leads, hands over to this one, who then leads.
local function lead(c, id, dead)
  local first = c:leader(dead)
  if first ~= id then
    assert.equal(200, c:http(first, "POST", "/v1/leader/transfer", '{"id":"' .. id .. '"}').status)
  end
  cluster.eventually(id .. " leads", function() return c:leader(dead) == id end)
end

describe("moonclave repl at a terminal", function()
  it("is a session: from the greeting to \\quit, through members that come, lead, die and go", function()
    cluster.run(function()
      local c <close> = cluster.new():start()
      lead(c, "n1")
      local screen <close> = open(c, { kept = c.folder })
      local function shows(text) return see(screen, text) end
      shows [[
moonclave 0.1.0: 3 members, n1 leads. help() tells more, Ctrl-D ends it.
n1 leader t1 #2>]]

      -- Commands and queries of the app; Tab knows their names, their arguments, and who is a member.
      screen:type 'put{ key = "a", value = "1" }\n'
      local text = shows [[
n1 leader t1 #2> put{ key = "a", value = "1" }
{ revision = 3 }                                                  -- 2.8 ms
n1 leader t1 #3>]]
      local revision, index = text:match "{ revision = (%d+) }.*#(%d+)>$"
      assert.equal(revision, index) -- the prompt shows it at once
      screen:type "get{ k"
      screen:keys "Tab"
      shows "n1 leader t1 #3> get{ key ="
      screen:type '"a" }.value\n'
      shows [[
n1 leader t1 #3> get{ key = "a" }.value
"1"                                                               -- 1.1 ms
n1 leader t1 #3>]]
      screen:type "he"
      screen:keys "Tab"
      shows [[
n1 leader t1 #3> he
health  help
n1 leader t1 #3> he]]
      screen:type "l"
      screen:keys "Tab"
      screen:type '"put")\n'
      shows [[
n1 leader t1 #3> help("put")
put{ key = ..., value = ... }    a command of the app
n1 leader t1 #3>]]
      screen:type 'help "watch"\n' -- the backslash may be forgotten
      shows [[
n1 leader t1 #3> help "watch"
\watch [SECONDS] EXPR    shows it again and again, until Enter or Ctrl-C

  \watch 1 members()
n1 leader t1 #3>]]
      screen:type "memers()\n"
      shows [[
n1 leader t1 #3> memers()
error: attempt to call a nil value (global 'memers'): did you mean members?
  1 | memers()
n1 leader t1 #3>]]
      screen:type 'delete{ key = "none" }\n'
      shows [[
n1 leader t1 #3> delete{ key = "none" }
error: not_found: there is no such key
n1 leader t1 #4>]]

      -- A fourth server: asked for before it runs, a learner, a voter.
      local port, http_port = cluster.free_port(c.claims), cluster.free_port(c.claims)
      screen:type 'add{ id = "n4", addr'
      screen:keys "Tab"
      screen:type(('"127.0.0.1:%d", learner = true }\n'):format(port))
      shows [[
n1 leader t1 #4> add{ id = "n4", address = "127.0.0.1:5004", learner = true }
n4 does not answer yet. It is waited for, and is started by
  moonclave start --join 127.0.0.1:5001 --id n4 \
    --addr 127.0.0.1:5004 --data DIR    (an empty one)]]
      c.names[4], c.nodes.n4 = "n4", { id = "n4", port = port, http_port = http_port, data = c.folder .. "/n4" }
      c:join("n4", "n1", "n2", "n3")
      shows [[
{ index = 5 }                                                     -- 1.92 s
n1 leader t1 #5>]]
      cluster.eventually("n4 has the log", function()
        local answer = c:http("n1", "GET", "/v1/members")
        return answer and answer.body:find '"id":"n4"[^}]*"lag":0,', answer and answer.body
      end)
      screen:type "members()\n"
      shows [[
n1 leader t1 #5> members()
id  address          role     state     match  lag  contact
n1  127.0.0.1:25001  voter    leader        5    0        -
n2  127.0.0.1:25002  voter    follower      5    0    86 ms
n3  127.0.0.1:25003  voter    follower      5    0    84 ms
n4  127.0.0.1:25004  learner  follower      5    0    40 ms
-- 5.4 ms
n1 leader t1 #5>]]
      screen:type 'promote "n4"\n' -- which waits until it has caught up
      shows [[
n1 leader t1 #5> promote "n4"
{ index = 6 }                                                     -- 23.5 ms
n1 leader t1 #7>]]
      screen:type "members()\n"
      shows [[
n1 leader t1 #7> members()
id  address          role   state     match  lag  contact
n1  127.0.0.1:25001  voter  leader        7    0        -
n2  127.0.0.1:25002  voter  follower      7    0    12 ms
n3  127.0.0.1:25003  voter  follower      7    0    12 ms
n4  127.0.0.1:25004  voter  follower      7    0    12 ms
-- 5.4 ms
n1 leader t1 #7>]]

      -- It takes over, and dies in the middle of a line: the line stays, the prompt before it changes.
      screen:type 'transfer "n'
      screen:keys "Tab"
      shows [[
n1 leader t1 #7> transfer "n
n1  n2  n3  n4
n1 leader t1 #7> transfer "n]]
      screen:type "4"
      screen:keys "Tab"
      screen:type "\n"
      shows [[
n1 leader t1 #7> transfer "n4"
{ leader = "n4" }                                                 -- 14.9 ms
n4 leader t2 #8>]]
      screen:type 'put{ key = "b", '
      shows 'n4 leader t2 #8> put{ key = "b",'
      c:kill "n4"
      shows 'n2 no leader t2 #8> put{ key = "b",'
      lead(c, "n2", "n4") -- if another one of the three has taken over
      shows 'n2 leader t3 #9> put{ key = "b",'
      screen:type 'value = "2" }\n'
      shows [[
n2 leader t3 #9> put{ key = "b", value = "2" }
{ revision = 10 }                                                 -- 11.4 ms
n2 leader t3 #10>]]
      screen:type "health()\n"
      shows [[
n2 leader t3 #10> health()
degraded: 3 of 4 voters, no further failure can be survived: n4 has not answered
in this term
id  address          role   state     ready  term  applied  behind
n1  127.0.0.1:25001  voter  follower  true      3       10       0
n2  127.0.0.1:25002  voter  leader    true      3       10       0
n3  127.0.0.1:25003  voter  follower  true      3       10       0
n4  127.0.0.1:25004  voter  gone      false     -        -       -
n4: Connection refused
-- 20.3 ms
n2 leader t3 #10>]]

      -- What is left is said before anything goes.
      screen:type 'remove "n1"\n'
      shows [[
n2 leader t3 #10> remove "n1"
removing n1 leaves 3 voters: n4 does not answer, so that no failure can then be
survived
Do it? [y/N] ]]
      screen:type "n\n"
      shows [[
Do it? [y/N] n
not done
n2 leader t3 #10>]]
      screen:type 'remove "n4"\n'
      shows [[
n2 leader t3 #10> remove "n4"
removing n4 leaves 3 voters: one failure can then be survived
Do it? [y/N] ]]
      screen:type "y\n"
      shows [[
Do it? [y/N] y
{ index = 11 }                                                    -- 353.8 ms
n2 leader t3 #11>]]
      screen:type "\\use n1\n"
      shows [[
n2 leader t3 #11> \use n1
everything goes to n1
n1 follower t3 #11>]]
      screen:type "\\use\n"
      shows [[
n1 follower t3 #11> \use
everything goes to the leader
n2 leader t3 #11>]]

      -- The same again and again, also where the window becomes another; and the end, which leaves nothing behind.
      screen:type "\\watch 0.2 members()\n"
      shows [[
every 0.2 s (Enter or Ctrl-C ends it): members()

id  address          role   state     match  lag  contact
n1  127.0.0.1:25001  voter  follower     11    0    17 ms
n2  127.0.0.1:25002  voter  leader       11    0        -
n3  127.0.0.1:25003  voter  follower     11    0    17 ms]]
      screen:resize(48, 24)
      shows [[
every 0.2 s (Enter or Ctrl-C ends it): members()

id  address  role   state    match  lag  contact
n1  127.0..  voter  follo..     11    0    17 ms
n2  127.0..  voter  leader      11    0        -
n3  127.0..  voter  follo..     11    0    17 ms]]
      screen:resize(80, 24)
      screen:keys "Enter"
      shows "\nn2 leader t3 #11>"
      screen:type "\\quit\n"
      assert.equal(0, screen:ended())
      screen:expect("\n" .. PROMPT .. " \\quit") -- nothing behind it, but for what tmux says
      assert.equal(cluster.read_file(c.folder .. "/terminal before"), cluster.read_file(c.folder .. "/terminal after"))
      assert.is_true(#cluster.read_file(c.folder .. "/terminal after") > 20)
    end)
  end)

  it("edits over lines, pastes, paints where that is wanted, searches, keeps its history, and cancels", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }:start()
      do
        local screen <close> = open(c)
        assert.matches("\27%[1mn1\27", screen:text(true))
        screen:type "for i = 1, 2 do\n  print(i * 11)\nend\n"
        screen:expect "> for i = 1, 2 do\n  print%(i %* 11%)\nend\n11\n22\nn1 leader"
        screen:keys "Up" -- the whole input comes back, and is changed in its middle
        screen:expect "end\n11\n22\nn1 leader t%d+ #%d+> for i = 1, 2 do\n  print%(i %* 11%)\nend$"
        screen:keys("Up", "End", "BSpace", "BSpace")
        screen:type "2)\n"
        screen:expect "print%(i %* 12%)\nend\n12\n24\nn1 leader t%d+ #%d+>$"

        screen:type '"painted"\n'
        screen:expect '\n"painted" +%-%- '
        assert.matches('\27%[32m"painted"\27', screen:text(true))

        screen:paste "function f(x)\n\tlocal y = x\n\n  return y * 3\nend\n"
        screen:expect "return y %* 3\nend$"
        screen:type "\nf(14)\n"
        screen:expect "> f%(14%)\n42 "

        screen:type "5 * 9"
        screen:resize(60, 24)
        screen:type "\n"
        screen:expect "> 5 %* 9\n45 +%-%- %d+%.%d m?s\nn1 leader t%d+ #%d+>$"
        screen:resize(80, 24)

        cancel(screen, "n1 leader t%d+ #%d+>")
        screen:type "half a line"
        screen:keys "C-c"
        screen:expect "> half a line\nn1 leader t%d+ #%d+>$"
        screen:keys "C-r"
        screen:type "f(1"
        screen:expect "bck:f%(1"
        screen:keys "Enter"
        screen:expect "half a line\n[^\n]+> f%(14%)\n42 +%-%- [^\n]+\nn1 leader t%d+ #%d+>$"
        screen:keys "C-d"
        assert.equal(0, screen:ended())
      end
      local stat = assert(require "luv".fs_stat(c.folder .. "/history"))
      assert.equal(384, stat.mode & 511) -- 0600
      local screen <close> = open(c, { environment = { NO_COLOR = "1", MOONCLAVE_HISTORY = c.folder .. "/history" } })
      screen:type '"text"\n'
      screen:expect '\n"text" +%-%- '
      assert.is_nil(screen:text(true):find "\27%[")
      screen:type "\\history 3\n"
      screen:expect "\n +%d+  f%(14%)\n +%d+  \"text\"\n +%d+  \\history 3\n"
      screen:keys("Up", "Up", "Up")
      screen:expect "#%d+> f%(14%)$"
      screen:keys "C-c"
      screen:type "\\quit\n"
      assert.equal(0, screen:ended())
    end)
  end)

  it("goes within a node, and says when none answers", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }:start()
      local screen <close> = open(c)
      ask(screen, 'put{ key = "deep", value = "1" }')
      screen:type(("\\attach %s\n"):format(c.nodes.n1.data))
      screen:expect "\nn1 inside leader t%d+ #%d+>$"
      screen:type "state.items.de"
      cluster.eventually("Tab completes", function() -- which asks the node, and waits half a second at most
        screen:keys "Tab"
        local text = screen:text()
        return text:find "> state.items.deep$" ~= nil, text
      end)
      screen:type ".value\n"
      screen:expect '> state.items.deep.value\n"1" '
      cancel(screen, "n1 inside leader t%d+ #%d+>")
      screen:type "\\detach\n"
      screen:expect "\nn1 leader t%d+ #%d+>$"
      screen:type 'get{ key = "deep" }.value\n'
      screen:expect '> get{ key = "deep" }.value\n"1" '
      c:kill "n1"
      screen:expect "\nno node answers>$"
      c:start "n1"
      screen:expect "\nn1 leader t%d+ #%d+>$"
    end)
  end)

  it("is where `moonclave cluster` ends, which goes with it", function()
    cluster.run(function()
      local folder = cluster.folder()
      local port, http = cluster.free_port(), cluster.free_port()
      local screen <close> = screens.open({ cluster.program, "cluster", "examples/counter.lua", "--nodes", "1",
        "--port", tostring(port), "--http-port", tostring(http), "--data", folder .. "/data" },
        { columns = 100, environment = { MOONCLAVE_HISTORY = "" } })
      local text = screen:expect "\nn1 leader t%d+ #%d+>$"
      assert.is_truthy(text:find("Or here. The nodes' logs go on in\n  " .. folder .. "/data/cluster.log\n", 1, true),
        text)
      screen:type 'add{ name = "x", by = 3 }\n' -- the app's, and the cluster's: the cluster's has the short name
      screen:expect "\nerror: usage: add takes a server, as in [^;]+; the app's own%s+is command.add{ %.%.%. }\n"
      screen:type 'command.add{ name = "x", by = 3 }\n'
      screen:expect "\n3 +%-%- "
      cancel(screen, "n1 leader t%d+ #%d+>") -- Ctrl-C is the REPL's alone
      screen:keys "C-d"
      assert.equal(0, screen:ended())
      assert.is_truthy(cluster.read_file(folder .. "/data/cluster.log"):find("n1 | .*stopped"))
      cluster.remove(folder)
    end)
  end)
end)
