-- An ack leaves a node only behind its fdatasync. The system calls of three real nodes are recorded; each acknowledged
-- value is then followed through them: written into the WAL, synced, and only then vouched for.
local cluster = require "support.cluster"
local strace = require "support.strace"
local wire = require "moonclave.wire"

local WRITES = { write = true, writev = true, sendto = true, sendmsg = true, pwrite64 = true, pwritev = true }

-- Every frame a node sent, with the time at which its last byte was handed to the kernel.
local function frames_of(calls)
  local frames, streams = {}, {}
  for _, call in ipairs(calls) do
    if WRITES[call.name] and call.path and call.path:find("socket:", 1, true) then
      local key = call.path
      local stream = streams[key]
      if not stream then
        if call.data:sub(1, 4) == "MCN1" then
          streams[key] = call.data:sub(5)
        else
          streams[key] = false -- a client's connection
        end
      elseif stream then
        streams[key] = stream .. call.data
      end
      stream = streams[key]
      while stream and #stream >= 16 do
        local size = assert(wire.frame_size(stream, 1 << 24))
        if size == 0 or #stream < size then break end
        local frame = assert(wire.decode(stream:sub(1, size)))
        frame.time = call.began
        frames[#frames + 1] = frame
        stream = stream:sub(size + 1)
        streams[key] = stream
      end
    end
  end
  return frames
end

-- When was `text` certainly on the disk? The end of the first fdatasync of its file that began after it was written.
local function synced_at(calls, text)
  local written
  for _, call in ipairs(calls) do
    if not written then
      if WRITES[call.name] and call.path and call.path:find("-wal", 1, true) and call.data:find(text, 1, true) then
        written = call
      end
    elseif (call.name == "fdatasync" or call.name == "fsync") and call.path == written.path
      and call.began >= written.ended and call.result == 0 then
      return call.ended
    end
  end
  return nil
end

describe("a node's ack", function()
  it("leaves after the fdatasync that makes the entry durable, on every node", function()
    cluster.run(function()
      local c <close> = cluster.new {
        wrap = function(self, name, program, arguments)
          local traced = { "-D", "-f", "-ttt", "-xx", "-s", "1000000", "-y", "-e", "signal=none", "-e",
            "trace=write,writev,sendto,sendmsg,pwrite64,pwritev,fdatasync,fsync",
            "-o", self.folder .. "/" .. name .. ".strace", program }
          for _, argument in ipairs(arguments) do traced[#traced + 1] = argument end
          return "/usr/bin/strace", traced
        end,
      }
      c:start()
      local leader = c:leader()
      local acknowledged = {}
      for i = 1, 15 do
        local text = ("durable-value-%04d-%s"):format(i, ("x"):rep(i))
        local answer = assert(c:http(leader, "PUT", "/kv/d" .. i, text))
        assert.are.equal(200, answer.status, answer.body)
        acknowledged[#acknowledged + 1] = { text = text, index = tonumber(answer.body:match '"revision":(%d+)') }
      end
      for _, name in ipairs(c.names) do c:signal(name, "sigterm") end
      for _, name in ipairs(c.names) do cluster.wait(c.nodes[name].process) end

      local acks, durable = 0, {}
      for _, name in ipairs(c.names) do
        local path = c.folder .. "/" .. name .. ".strace"
        cluster.eventually("the record is complete", function()
          return cluster.read_file(path):find("+++ exited with", 1, true)
        end)
        local calls = strace.read(path)
        local frames = frames_of(calls)
        for _, value in ipairs(acknowledged) do
          local synced = synced_at(calls, value.text)
          durable[value] = durable[value] or 0
          if synced then durable[value] = durable[value] + 1 end
          for _, frame in ipairs(frames) do
            if frame.type == "append_result" and frame.success and frame.match >= value.index then
              acks = acks + 1
              assert.is_truthy(synced, name .. " vouched for " .. value.index .. " without syncing it")
              assert.is_true(synced <= frame.time, ("%s vouched for %d %.6f s before it was durable")
                :format(name, value.index, synced - frame.time))
              break
            end
          end
        end
      end
      assert.is_true(acks >= 15, "only " .. acks .. " acks were seen")
      for _, value in ipairs(acknowledged) do
        assert.is_true(durable[value] >= 2, value.index .. " was acknowledged with too few copies synced")
      end
    end)
  end)
end)
