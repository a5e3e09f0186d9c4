-- The REPL as a person sees it: keys are sent, screens are compared. The cluster is real; what differs from run to run
-- (ports, times, who leads) is put into what is expected.
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
  local screen = screens.open({ cluster.program, "repl", options.address or addresses(c) }, options)
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

-- The lines behind the last line that has `text`.
local function behind(whole, text)
  local from = 1
  while true do
    local at = whole:find(text, from, true)
    if not at then break end
    from = at + #text
  end
  return whole:sub(from):gsub("^[^\n]*\n", "")
end

describe("moonclave repl at a terminal", function()
  it("greets, has commands done, completes, shows tables, times and mistakes", function()
    cluster.run(function()
      local c <close> = cluster.new():start()
      local leader = c:leader()
      local screen <close> = open(c)
      assert.equal(("moonclave %s: 3 members, %s leads. help() tells more, Ctrl-D ends it.\n%s leader t1 #2>"):format(
        screen:text():match "^moonclave (%S+):", leader, leader), (screen:text():gsub("t%d+ #%d+>", "t1 #2>")))

      screen:type 'put{ key = "a", value = "1" }\n'
      screen:expect '\n{ revision = (%d+) } +%-%- %d+%.%d m?s\nn%d leader t%d+ #%1>$' -- the prompt shows it

      screen:type 'get{ k'
      screen:keys "Tab"
      screen:expect 'get{ key =$'
      screen:type '"a" }.va'
      screen:type "lue\n"
      screen:expect '\n"1" +%-%- '

      screen:type "he"
      screen:keys "Tab"
      screen:expect "> he\nhealth  help\nn%d leader t%d+ #%d+> he$"
      screen:type "l"
      screen:keys "Tab"
      screen:type '"put")\n'
      screen:expect "\nput{ key = %.%.%., value = %.%.%. }    a command of the app\n"

      screen:type "members()\n"
      screen:expect "contact\n.*\nn%d leader t%d+ #%d+>$"
      local rows = {}
      for i, name in ipairs(c.names) do
        rows[i] = ("%s  127.0.0.1:%d  voter  %-8s  %5s    0"):format(name, c.nodes[name].port,
          name == leader and "leader" or "follower", screen:text():match "#(%d+)>$")
      end
      local shown = behind(screen:text(), "> members()")
      assert.equal("id  address          role   state     match  lag  contact\n" .. table.concat(rows, "\n"),
        (shown:gsub(" +%d+ ms\n", "\n"):gsub(" +%-\n", "\n"):gsub("\n%-%- .*$", "")))

      screen:type "memers()\n"
      screen:expect "error: attempt to call a nil value %(global 'memers'%): did you mean members%?\n  1 | memers%(%)\n"
      screen:type 'delete{ key = "none" }\n'
      screen:expect "\nerror: not_found: there is no such key\n"
    end)
  end)

  it("edits over lines, pastes, searches, keeps its history, and cancels", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }:start()
      do
        local screen <close> = open(c)
        screen:type "for i = 1, 2 do\n  print(i * 11)\nend\n"
        screen:expect "> for i = 1, 2 do\n  print%(i %* 11%)\nend\n11\n22\nn1 leader"
        screen:keys "Up" -- the whole input comes back, and is changed in its middle
        screen:expect "end\n11\n22\nn1 leader t%d+ #%d+> for i = 1, 2 do\n  print%(i %* 11%)\nend$"
        screen:keys("Up", "End", "BSpace", "BSpace")
        screen:type "2)\n"
        screen:expect "print%(i %* 12%)\nend\n12\n24\nn1 leader t%d+ #%d+>$"

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
      local screen <close> = open(c)
      screen:type "\\history 2\n"
      screen:expect "\n +%d+  f%(14%)\n +%d+  \\history 2\n"
      screen:keys("Up", "Up")
      screen:expect "#%d+> f%(14%)$"
      screen:keys "C-c"
      screen:type "\\quit\n"
      assert.equal(0, screen:ended())
    end)
  end)

  it("follows the leader through its death, adds, hands over, and asks before it removes", function()
    cluster.run(function()
      local c <close> = cluster.new():start()
      local screen <close> = open(c)
      local first = c:leader()
      local port, http_port = cluster.free_port(c.claims), cluster.free_port(c.claims)
      screen:type 'add{ id = "n4", addr'
      screen:keys "Tab"
      screen:type(('"127.0.0.1:%d", learner = true }\n'):format(port))
      screen:expect "learner = true }$"
      c.names[4], c.nodes.n4 = "n4", { id = "n4", port = port, http_port = http_port, data = c.folder .. "/n4" }
      c:join("n4", "n1", "n2", "n3") -- the leader has been told, and waits for it
      screen:expect("{ index = %d+ } .*\n" .. PROMPT .. "$")
      screen:type 'promote "n4"\n' -- waits until n4 has caught up
      screen:expect("promote[^\n]+\n{ index = %d+ } .*\n" .. PROMPT .. "$")
      cluster.eventually("n4 votes", function()
        local answer = c:http("n1", "GET", "/v1/members")
        return answer and answer.body:find '"id":"n4"[^}]*"role":"voter"', c:log "n4"
      end)

      screen:type 'transfer "n4'
      screen:keys "Tab"
      screen:type "\n"
      screen:expect '{ leader = "n4" } .*\nn4 leader t%d+ #%d+>$'

      -- Half an input is typed while the leader dies; it stays, and the prompt before it changes.
      screen:type 'put{ key = "b", '
      screen:expect 'n4 leader t%d+ #%d+> put{ key = "b",$'
      c:kill "n4"
      screen:expect 'n%d no leader t%d+ #%d+> put{ key = "b",$'
      screen:expect 'n[123] leader t%d+ #%d+> put{ key = "b",$'
      screen:type 'value = "2" }\n'
      screen:expect("value = \"2\" }\n{ revision = %d+ } .*\n" .. PROMPT .. "$")

      screen:type 'remove "n4"\n'
      screen:expect "removing n4 leaves 3 voters: one failure can then be survived\nDo it%? %[y/N%]"
      screen:type "n\n"
      screen:expect "\nnot done\n"
      screen:type 'remove "n4"\n'
      screen:expect "not done\n.*\nDo it%? %[y/N%]"
      screen:type "y\n"
      screen:expect("\n{ index = %d+ } .*\n" .. PROMPT .. "$")
      local follower
      for _, name in ipairs { "n1", "n2", "n3" } do
        if name ~= c:leader() then follower = name end
      end
      screen:type(("\\use %s\n"):format(follower))
      screen:expect("\neverything goes to " .. follower .. "\n" .. follower .. " follower t%d+ #%d+>$")
      screen:type "\\use\n"
      screen:expect("\neverything goes to the leader\n" .. PROMPT .. "$")
      assert.is_truthy(first)
    end)
  end)

  it("watches, in a window that changes its size, and goes within a node", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }:start()
      local screen <close> = open(c)
      screen:type 'n = 0\n\\watch 0.1 (function() n = n + 1; return { { turn = n, wide = ("x"):rep(50) } } end)()\n'
      screen:expect "^every 0.1 s %(Enter or Ctrl%-C ends it%): %(function[^\n]+\n\nturn  wide\n%s+%d+  x+$"
      screen:resize(30, 10)
      screen:expect "\nturn  wide\n%s+%d+  x+%.%.$"
      screen:resize(80, 24)
      screen:keys "Enter"
      screen:expect("\n" .. PROMPT .. "$")

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

  it("paints only where that is wanted", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }:start()
      local plain <close> = open(c, { environment = { NO_COLOR = "1", MOONCLAVE_HISTORY = "" } })
      local painted <close> = open(c, { environment = { MOONCLAVE_HISTORY = "" } })
      for _, screen in ipairs { plain, painted } do
        screen:type '"text"\n'
        screen:expect '\n"text" +%-%- '
      end
      assert.is_nil(plain:text(true):find "\27%[")
      assert.matches('\27%[32m"text"\27', painted:text(true))
      assert.matches("\27%[1mn1\27", painted:text(true))
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
