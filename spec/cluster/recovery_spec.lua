-- When things go wrong, as rehearsed: what the tools say is typed, and nothing else.
local cluster = require "support.cluster"

local function run(...)
  return cluster.execute(cluster.program, { ... })
end

-- The commands of a numbered list, without what stands in brackets behind them.
local function steps_of(text)
  local steps = {}
  for line in text:gmatch "\n  %d+%. ([^\n]+)" do steps[#steps + 1] = (line:gsub("   %(.*%)$", "")) end
  return steps
end

-- Types a command that ends by itself.
local function type_in(line)
  local words = {}
  for word in line:gmatch "%S+" do words[#words + 1] = word end
  if words[1] == "mv" then
    assert(os.rename(words[2], words[3]))
    return
  end
  assert.are.equal(cluster.program, words[1]) -- as the command that told the steps was called
  local code, text = run(table.unpack(words, 2))
  assert.are.equal(0, code, line .. "\n" .. text)
end

local function put(c, name, from, to)
  for i = from, to do
    assert.are.equal(200, assert(c:http(name, "PUT", "/kv/k" .. i, "v" .. i)).status)
  end
end

local function has(c, name, from, to)
  for i = from, to do
    assert.are.equal("v" .. i, assert(c:http(name, "GET", "/kv/k" .. i)).body)
  end
end

local function voters(c, name)
  local _, text = run("members", "--addr", "127.0.0.1:" .. c.nodes[name].port)
  return select(2, text:gsub(" voter ", ""))
end

describe("a follower whose data was damaged while it was down", function()
  it("does not start and says why; the doctor's steps bring it back", function()
    cluster.run(function()
      local c <close> = cluster.new()
      c:start()
      put(c, "n1", 1, 20)
      local leader = c:leader()
      local name = leader == "n2" and "n3" or "n2"
      local node = c.nodes[name]
      c:kill(name)
      local wal = node.data .. "/moonclave.db-wal"
      local bytes = cluster.read_file(wal)
      cluster.write_file(wal, bytes:sub(1, 5000) .. "\255\254\253" .. bytes:sub(5004))
      put(c, leader, 21, 25)

      c:launch(name)
      assert.are.equal(70, (cluster.wait(node.process)))
      assert.is_truthy(c:log(name):find("`moonclave doctor " .. node.data .. "`", 1, true), c:log(name))
      local code, text = run("doctor", node.data)
      assert.are.equal(70, code, text)
      assert.is_truthy(text:find("moonclave.db-wal: offset 4152: it is damaged there", 1, true), text)
      assert.is_truthy(text:find("nothing of it is lost", 1, true), text)

      local steps = steps_of(text)
      assert.are.equal(4, #steps, text)
      type_in(steps[1])
      type_in(steps[2])
      local join = steps[3]:match "moonclave start %-%-join 127%.0%.0%.1:(%d+) %-%-id "
      assert.is_truthy(join and steps[3]:find("--id " .. name .. " ", 1, true) and
        steps[3]:find("--data " .. node.data, 1, true), steps[3])
      for other, its in pairs(c.nodes) do if its.port == tonumber(join) then c:join(name, other) end end
      cluster.eventually("it votes again", function() return voters(c, leader) == 3, c:log(name) end)
      type_in(steps[4])
      cluster.eventually(name .. " is ready", function() return c:ready(name) end)
      has(c, name, 1, 25)
    end)
  end)
end)

describe("a majority that is lost for good", function()
  it("is replaced around the survivor; everything that it had is there; the lost ones cannot come back", function()
    cluster.run(function()
      local c <close> = cluster.new { flags = { "--trailing-entries=0" } }
      c:start()
      put(c, "n1", 1, 30)
      cluster.eventually("n1 has all of it", function()
        local status = c:status("n1")
        return tonumber(status:match '"applied_index":(%d+)') >= 32
      end)
      -- Its log is empty behind the snapshot: all that it has is there.
      assert.are.equal(0, (run("snapshot", "--addr", "127.0.0.1:" .. c.nodes.n1.port)))
      c:kill("n1", "n2", "n3")
      cluster.remove(c.nodes.n2.data)
      assert(os.rename(c.nodes.n3.data, c.nodes.n3.data .. ".lost"))

      local data = c.nodes.n1.data
      local code, text = run("doctor", data)
      assert.are.equal(0, code, text) -- with its snapshot, down to the trees' hashes
      code, text = run("recover", data, "--yes", "--id", "n1")
      assert.are.equal(0, code, text)
      local steps = steps_of(text)
      assert.are.equal(4, #steps, text)
      assert.is_truthy(steps[1]:find("moonclave start --id n1 --addr 127.0.0.1:" .. c.nodes.n1.port, 1, true), text)
      c:start("n1")
      has(c, "n1", 1, 30)
      put(c, "n1", 31, 35)
      type_in(steps[2])
      for i, name in ipairs { "n2", "n3" } do
        local typed = ("moonclave start --join 127.0.0.1:%d --id %s "):format(c.nodes.n1.port, name)
        assert.is_truthy(steps[2 + i]:find(typed, 1, true), text)
        c:join(name, "n1")
      end
      cluster.eventually("both vote", function() return voters(c, "n1") == 3 end)
      for _, name in ipairs { "n2", "n3" } do
        cluster.eventually(name .. " is ready", function() return c:ready(name) end)
        has(c, name, 1, 35)
      end

      -- One of those that were lost comes back with its old folder, beside the new n3.
      c:kill("n3")
      local lost = c.nodes.n3
      local new_data = lost.data
      lost.data, lost.join = lost.data .. ".lost", nil
      c:launch("n3")
      for _, name in ipairs { "n1", "n3" } do
        cluster.eventually(name .. " says what happened", function()
          return c:log(name):find("the cluster was recovered without n3", 1, true), c:log(name)
        end)
      end
      put(c, "n1", 36, 40)
      assert.are_not.equal(200, assert(c:http("n3", "GET", "/readyz", nil, { limit_ms = 5000 })).status)
      c:kill("n3")
      lost.data = new_data
      c:start("n3")
      has(c, "n3", 1, 40)
    end)
  end)
end)

describe("an entry that every life dies of", function()
  local APP = [[
    return {
      init = function() return { done = 0 } end,
      commands = {
        count = function(state) state.done = state.done + 1 return state.done end,
        burn = function() while true do end end,
      },
      queries = { done = function(state) return state.done end },
    }]]

  it("is halted before, and skipped by an order", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1, app = false, flags = { "--command-steps-max=100000000000" } }
      c.app = c.folder .. "/burn.lua"
      cluster.write_file(c.app, APP)
      c:start()
      local function count() return assert(c:http("n1", "POST", "/v1/command/count", "{}")).body end
      assert.are.equal("1", count())
      cluster.spawn(function() c:http("n1", "POST", "/v1/command/burn", "{}") end)
      -- It answers nobody while it burns; the page says which entry it is at.
      local page = c.nodes.n1.data .. "/applying"
      local function burning()
        local bytes = cluster.read_file(page)
        return #bytes == 4096 and string.unpack("<I8", bytes, 9) == 4
      end
      for life = 1, 2 do
        cluster.eventually("it applies the entry", function()
          local _, lives = c:log("n1"):gsub("leads in term", "") -- the page may still be the former life's
          return lives == life and burning()
        end)
        c:kill "n1"
        c:launch "n1"
      end
      cluster.eventually("it has halted", function()
        local status = c:status "n1"
        return status and status:find('"halted_at":4', 1, true), c:log "n1"
      end)
      assert.is_truthy(c:log("n1"):find("entry 4, a command, was the death of this node", 1, true))
      assert.are.equal(503, assert(c:http("n1", "GET", "/readyz")).status)
      assert.are.equal(503, assert(c:http("n1", "POST", "/v1/command/count", "{}")).status)
      local address = "127.0.0.1:" .. c.nodes.n1.port
      local _, text = run("status", "--addr", address)
      assert.is_truthy(text:find("n1 applies nothing: it died twice of entry 4", 1, true), text)

      local code
      code, text = run("skip", "3", "--addr", address)
      assert.are.equal(1, code)
      assert.is_truthy(text:find("n1 has applied entry 3", 1, true), text)
      code, text = run("skip", "9", "--addr", address)
      assert.are.equal(1, code)
      assert.is_truthy(text:find("only a leader that has halted before that entry", 1, true), text)
      assert.are.equal(2, (run("skip", "many", "--addr", address)))
      code, text = run("skip", "4", "--addr", address)
      assert.are.same({ 0, "entry 4 is skipped\n" }, { code, text })
      cluster.eventually("it is ready", function() return c:ready "n1" end)
      assert.are.equal("2", count())
      c:kill "n1"
      c:start "n1"
      assert.are.equal("3", count())
    end)
  end)
end)
