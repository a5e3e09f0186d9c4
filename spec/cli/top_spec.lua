-- `moonclave top` on a terminal of 80 by 24, as tmux has it, over a cluster that lives and loses nodes.
local cluster = require "support.cluster"
local shell = require "support.shell"
local uv = require "luv"

local socket = ("moonclave-spec-%d"):format(uv.os_getpid())
local function tmux(format, ...) return shell.must("tmux -L " .. socket .. " -f /dev/null " .. format, ...) end

local function screen() return tmux "capture-pane -p -t top" end
local function keys(text) tmux("send-keys -t top %s", text) end

local function sees(what)
  return cluster.eventually("the screen shows " .. what, function()
    local text = screen()
    return text:find(what) and text, text
  end, 30000)
end

describe("moonclave top", function()
  if not shell.has "tmux" then return pending "tmux is not installed" end

  local c
  setup(function()
    cluster.run(function()
      c = cluster.new { nodes = 3 }
      c:start()
    end)
    tmux "new-session -d -s top -x 80 -y 24 sh"
    tmux "set-option -g status off"
  end)
  teardown(function()
    local path = tmux("display-message -p '#{socket_path}'"):match "^(/[^\n]+)"
    shell.run("tmux -L " .. socket .. " kill-server")
    if path then os.remove(path) end -- tmux itself leaves it
    cluster.run(function() c:close() end)
  end)

  local function start(flags)
    keys(("\"clear; '%s' top --addr 127.0.0.1:%d --interval 200 %s; echo ended \\$?\" Enter"):format(shell.program,
      c.nodes.n1.port, flags or ""))
  end

  it("shows who leads, each member with its log, and what the member chosen is like", function()
    cluster.run(function()
      start()
      local leader = c:leader()
      local text = sees("leader " .. leader)
      for i = 1, 3 do
        local state = "n" .. i == leader and "leader" or "follower"
        local row = "\n[> ] n%d +voter %s +%%d+ +%%d+ ############ +%%d+ +[%%d.]+ k?B +[%%d.]+ ms\n"
        text = sees(row:format(i, state))
      end
      local lines = shell.lines(text)
      assert.matches("^cluster %x+   leader n%d   term %d+   %d+ elections? seen$", lines[1])
      assert.matches("^commit %d+   [%d.]+ commits/s   latency ", lines[2])
      assert.matches("\n> n1 ", text)
      assert.matches(("\nn1   127.0.0.1:%d\n  commit %%d+   applied %%d+"):format(c.nodes.n1.port), text)
      assert.matches("\n  memory [%d.]+ MB   processor %d+%%   up ", text)
      assert.matches("x remove   q quit$", lines[#lines])
      for _, line in ipairs(lines) do assert.is_true(#line <= 80, line) end
    end)
  end)

  it("follows what happens: writes, a transfer by a key, a node that is killed and comes back", function()
    cluster.run(function()
      assert.equal(200, c:http("n1", "PUT", "/kv/a", "1").status)
      local text = sees "\ncommit [3-9]%d*   [%d.]+ commits/s   latency p50 [%d.]+ m?s, p99 [%d.]+ m?s\n"
      assert.is_true(tonumber(text:match "p99 ([%d.]+)") > 0)
      local chosen = tonumber(text:match "\n> n(%d)")
      local target = c:leader() == "n3" and 2 or 3
      for _ = chosen, target - 1 do keys "Down" end
      sees("\n> n" .. target .. " ")
      keys "t"
      sees(("\nhand leadership to n%d%%? %%[y/N%%]"):format(target))
      keys "n"
      sees "x remove   q quit"
      keys "t"
      sees "hand leadership to"
      keys "y"
      text = sees(("leader n%d "):format(target))
      assert.matches("1 election seen", text)
      sees(("hand leadership to n%d: done"):format(target))
      assert.equal("n" .. target, c:leader())
      keys "x"
      sees(("\nremove n%d%%? 2 voters stay, 2 answer, 2 must %%[y/N%%]"):format(target))
      keys "n"
      sees "x remove   q quit"
      c:kill "n1"
      text = sees "\n[> ] n1 +voter +does not answer   127"
      assert.matches("%d%d:%d%d:%d%d  n1 does not answer\n", text)
      c:start "n1"
      sees "  n1 answers again\n"
      sees "\n[> ] n1 +voter follower "
    end)
  end)

  it("says why an order is refused, and adds by name and address", function()
    cluster.run(function()
      keys "a"
      sees "add %(ID HOST:PORT of a node started with %-%-join%): _"
      keys "n4 Enter"
      sees "not done: it is ID HOST:PORT, as in n4 127.0.0.1:5004"
      keys "a"
      keys "n1 Space 127.0.0.1:1 Enter"
      sees "\nadd n1: [^\n]*n1[^\n]+\n"
      keys "a"
      keys "Escape"
      sees "x remove   q quit"
    end)
  end)

  it("fits whatever the window becomes", function()
    cluster.run(function()
      for _, size in ipairs { { 40, 8 }, { 20, 3 }, { 130, 40 }, { 80, 24 } } do
        tmux("resize-window -t top -x %d -y %d", size[1], size[2])
        cluster.eventually("it is drawn anew", function()
          local text = screen()
          local lines = shell.lines(text)
          local last = (size[1] < 80 and " q quit  t transfer" or " arrows choose   t transfer"):sub(1, size[1])
          local fits = #lines <= size[2] and text:match "^cluster %x+" and text:find(last, 1, true)
          local bar = text:match "(#+) "
          return fits and (size[1] < 100 or #(bar or "") == size[1] - 68), text
        end, 20000)
      end
    end)
  end)

  it("gives the terminal back as it was, also when it is told to stop", function()
    cluster.run(function()
      keys "q"
      local text = sees "ended 0"
      assert.is_nil(text:find("what happened", 1, true))
      keys "'stty -a' Enter"
      text = sees " icanon"
      assert.matches(" echo ", text)
      start()
      sees "leader n"
      local pane = shell.lines(tmux "list-panes -t top -F '#{pane_pid}'")[1]
      local pid = shell.lines(shell.must("pgrep -P %s", pane))[1]
      uv.kill(tonumber(pid), "sigterm")
      sees "ended 0"
      keys "'clear; stty -a' Enter"
      text = sees " icanon"
      assert.matches(" echo ", text)
    end)
  end)

  it("has a neighbour, bench, that shows where it is while it runs, and then its table alone", function()
    cluster.run(function()
      keys(("\"clear; '%s' bench --addr 127.0.0.1:%d --clients 2 --seconds 2 --warmup 0\" Enter"):format(shell.program,
        c.nodes.n1.port))
      sees "%[#+%.*%] %d of 2 s, %d+/s"
      local text = sees "\nput +2 "
      assert.is_nil(text:find("of 2 s", 1, true))
    end)
  end)

  it("has no colours with NO_COLOR, and some without", function()
    cluster.run(function()
      for _, row in ipairs { { "NO_COLOR=1", false }, { "NO_COLOR=", true } } do
        keys(("\"clear; %s '%s' top --addr 127.0.0.1:%d; echo ended\" Enter"):format(row[1], shell.program,
          c.nodes.n1.port))
        sees "leader n"
        assert.equal(row[2], tmux("capture-pane -e -p -t top"):find "\27%[3[1-7]m" ~= nil)
        keys "q"
        sees "ended\n"
      end
    end)
  end)

  it("needs a terminal, and a node that answers", function()
    cluster.run(function()
      local code, text = cluster.execute(shell.program, { "top", "--addr", "127.0.0.1:" .. c.nodes.n1.port })
      local said = ("moonclave: top: it needs a terminal: `%s status` says the same once\n"):format(shell.program)
      assert.same({ 2, said }, { code, text })
      code, text = cluster.execute(shell.program, { "top", "--addr", "127.0.0.1:1" })
      assert.equal(1, code)
      assert.matches("^moonclave: top: 127.0.0.1:1: nobody answers", text)
    end)
  end)
end)
