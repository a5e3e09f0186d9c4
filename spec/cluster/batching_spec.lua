-- One turn of the loop takes everything that waits: shown by counting, not by timing.
local cluster = require "support.cluster"

-- The integer at a key of the status, found anywhere in its JSON text.
local function number(status, key)
  local value = status:match('"' .. key .. '":(%d+)')
  assert(value, "the status has no " .. key .. ": " .. status)
  return tonumber(value)
end

describe("64 clients that write at once", function()
  it("share commits, appends and write calls", function()
    cluster.run(function()
      local c <close> = cluster.new()
      c:start()
      local leader = c:leader()
      local addresses = "127.0.0.1:" .. c.nodes[leader].port
      local before = assert(c:status(leader))
      local code, text = cluster.execute(cluster.program, { "bench", "--addr", addresses, "--clients", "64",
        "--size", "256", "--seconds", "3" })
      assert.are.equal(0, code, text)
      local after = assert(c:status(leader))
      assert.is_truthy(after:find('"role":"leader"', 1, true), "the leader changed: run it on a quieter machine")
      local function grown(key) return number(after, key) - number(before, key) end

      local entries, commits = grown "disk_entries", grown "disk_commits"
      assert.is_true(entries > 640, text)
      assert.is_true(entries / commits >= 8, ("%d entries in %d commits"):format(entries, commits))
      local sent, messages = grown "append_entries", grown "append_messages"
      assert.is_true(sent / messages >= 8, ("%d entries in %d appends"):format(sent, messages))
      for _, name in ipairs(c.names) do
        assert.are.equal(1, number(assert(c:status(name)), "writes_per_turn_max"), name)
      end
    end)
  end)
end)
