-- moonclave health and moonclave events: one line and an exit code; what happens, as it happens.
local base = require "moonclave.base"
local cluster = require "support.cluster"
local http = require "moonclave.http"

local function address(c, name) return "127.0.0.1:" .. c.nodes[name].port end

local function moonclave(...) return cluster.execute(cluster.program, { ... }) end

local function health(c, ...)
  local list = {}
  for i, name in ipairs { ... } do list[i] = address(c, name) end
  return moonclave("health", "--addr", table.concat(list, ","))
end

local function others(c, leader)
  local list = {}
  for _, name in ipairs(c.names) do if name ~= leader then list[#list + 1] = name end end
  return list[1], list[2]
end

describe("moonclave health", function()
  it("says whether the cluster can lose a server, and why not, whomever it asks", function()
    cluster.run(function()
      local c <close> = cluster.new()
      c:start()
      local leader = c:leader()
      local one, two = others(c, leader)
      for _, name in ipairs(c.names) do
        local code, text = health(c, name)
        assert.same({ 0, "healthy: 3 of 3 voters, survives the loss of 1\n" }, { code, text })
      end
      local answer = c:http(one, "GET", "/v1/health")
      assert.equal(200, answer.status)
      assert.matches('"text":"healthy: as far as ' .. one .. " can tell; " .. leader .. ' leads', answer.body)
      assert.matches('"survives":1', c:http(leader, "GET", "/v1/health").body)

      c:kill(one)
      cluster.eventually("degraded", function()
        local code, text = health(c, one, two) -- the first does not answer, the second does
        return code == 1 and text:match("^degraded: 2 of 3 voters, no further failure can be survived: " .. one ..
          " silent for %d+%.%d s\n$"), text
      end)
      local code, text = moonclave("health", "--json", "--addr", address(c, leader))
      assert.equal(1, code)
      local value = base.unpack(assert(http.json_to_value(text)))
      assert.same({ "degraded", 0, 3, 2, "silent" },
        { value.state, value.survives, value.voters, value.voters_good, value.why })
      assert.same({ one, "silent", true }, { value.problems[1].id, value.problems[1].code, value.problems[1].disables })
      for _, server in ipairs(value.servers) do assert.equal(server.id ~= one, server.good) end

      c:kill(two)
      cluster.eventually("unavailable", function()
        local status, said = health(c, leader)
        return status == 3 and said:match "^unavailable: no leader since %d+%.%d s", said
      end)
      assert.equal(503, c:http(leader, "GET", "/v1/health").status)
      assert.equal(200, c:http(leader, "GET", "/healthz").status)
      c:kill(leader)
      code, text = health(c, one, two)
      assert.equal(3, code)
      assert.matches("^unavailable: nobody answers: ", text)

      c:start()
      cluster.eventually("healthy again", function()
        local now, said = health(c, "n1", "n2", "n3")
        return now == 0, said
      end)
    end)
  end)

  it("notes a learner, and calls a lone voter what it is", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }
      c:start()
      local code, text = health(c, "n1")
      assert.same({ 1, "degraded: 1 of 1 voters, no failure can be survived: three voters survive the loss of one\n" },
        { code, text })
      c:join("n2", "n1")
      cluster.eventually("n2 votes", function() -- first it has to be let in
        local done, said = moonclave("promote", "n2", "--addr", address(c, "n1"))
        return done == 0, said
      end)
      assert.equal(0, (moonclave("demote", "n2", "--yes", "--addr", address(c, "n1"))))
      cluster.eventually("a note", function()
        local _, said = health(c, "n1")
        return said:match "n2 is a learner: it does not vote", said
      end)
    end)
  end)

  it("refuses what it does not understand with exit code 2", function()
    cluster.run(function()
      for _, row in ipairs { { "health", "--addr", "nowhere" }, { "health", "--what" }, { "events", "--type", "x" },
        { "events", "--once", "--new" }, { "events", "--addr", ":x" } } do
        local code, text = moonclave(table.unpack(row))
        assert.equal(2, code, text)
        assert.matches("^moonclave: ", text)
      end
      local code = moonclave("events", "--addr", "127.0.0.1:1")
      assert.equal(1, code)
    end)
  end)
end)

describe("moonclave events", function()
  it("has every type in its help and in the README of src/node", function()
    cluster.run(function()
      local _, help = moonclave("help", "events")
      local readme = cluster.read_file "src/node/README.md"
      for _, kind in ipairs(base.event_types "") do
        assert(help:find("%f[%l_]" .. kind .. "%f[^%l_]"), kind .. " is not in the help")
        assert(readme:find("`" .. kind .. "`", 1, true), kind .. " is not in the README")
      end
    end)
  end)

  it("prints what was and then what happens, and goes on when the node comes back", function()
    cluster.run(function()
      local c <close> = cluster.new()
      c:start()
      local leader = c:leader()
      local watched, other = others(c, leader)
      local code, text = moonclave("events", "--once", "--addr", address(c, watched))
      assert.equal(0, code)
      assert.matches("^%d%d%d%d%-%d%d%-%d%dT[%d:.]+Z " .. watched .. " started address=" .. address(c, watched), text)
      assert.matches(" leader leader=" .. leader .. " role=follower term=%d+\n", text)
      assert.matches(' configuration index=0 learners=%[%] voters=%["n1","n2","n3"%]\n', text)

      local follower = cluster.process(cluster.program, { "events", "--type", "leader,started", "--json", "--addr",
        address(c, watched) })
      local new = cluster.process(cluster.program, { "events", "--new", "--addr", address(c, watched) })
      cluster.eventually("what was", function() return cluster.read_file(follower.log):match '"leader":"n' end)
      c:kill(leader)
      cluster.eventually("what happens", function()
        local said = cluster.read_file(follower.log)
        return said:match('"leader":"' .. watched) or said:match('"leader":"' .. other), said
      end)
      cluster.eventually("what is new", function() return cluster.read_file(new.log):match " leader leader=n" end)
      assert.is_nil(cluster.read_file(new.log):find("started", 1, true))
      c:start(leader)
      c:kill(watched)
      cluster.eventually("that it is gone", function()
        return cluster.read_file(follower.log):find(": trying on", 1, true)
      end)
      c:start(watched)
      cluster.eventually("that it is back", function()
        local said = cluster.read_file(follower.log)
        local starts = select(2, said:gsub('"type":"started"', ""))
        return said:find("the node has started anew", 1, true) and starts == 2, said
      end)
      for _, process in ipairs { follower, new } do
        cluster.signal(process, "sigterm")
        cluster.wait(process)
        os.remove(process.log)
      end
    end)
  end)
end)
