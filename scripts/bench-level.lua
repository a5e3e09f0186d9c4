-- Do files, memory and descriptors level off? Three local nodes under mixed load for a long while, with a snapshot
-- every few thousand entries and keys that are overwritten all the time.
--   make bench-level BENCH="[MINUTES] [FLAGS]"
-- Ten minutes by default; prints a line every thirty seconds, a node's figures each: resident memory, bytes of its
-- folder, of these the log's database with its WAL, open descriptors, snapshots taken, entries applied.
local cluster = require "support.cluster"
local uv = require "luv"

local minutes = tonumber(arg[1]) or 10
local flags = { "--log-level=warn", "--snapshot-log-bytes=2097152", "--trailing-entries=1000",
  table.unpack(arg, arg[1] and 2 or 1) }

local function number(text, key) return tonumber(text:match('"' .. key .. '":(%d+)')) end

local function entries(path)
  local names, scan = {}, uv.fs_scandir(path)
  while scan do
    local name = uv.fs_scandir_next(scan)
    if not name then break end
    names[#names + 1] = name
  end
  return names
end

local function figures(c, name)
  local node, all, log = c.nodes[name], 0, 0
  for _, file in ipairs(entries(node.data)) do
    local stat = uv.fs_stat(node.data .. "/" .. file)
    local size = stat and stat.size or 0
    all = all + size
    if file:match "^moonclave%.db" then log = log + size end
  end
  local status = c:status(name)
  local memory = cluster.read_file("/proc/" .. node.process.pid .. "/status"):match "VmRSS:%s*(%d+) kB"
  return ("%s %5.1f MiB, %5.1f MiB on disk (log %5.1f), %d descriptors, %d snapshots, %d entries"):format(name,
    memory / 1024, all / 1048576, log / 1048576, #entries("/proc/" .. node.process.pid .. "/fd"),
    number(status, "snapshots_taken"), number(status, "applied_index"))
end

cluster.run(function()
  local c <close> = cluster.new { nodes = 3, flags = flags }
  c:start()
  local addresses = {}
  for i, name in ipairs(c.names) do addresses[i] = "127.0.0.1:" .. c.nodes[name].port end
  local over, text = false, nil
  cluster.all {
    function()
      local code
      code, text = cluster.execute(cluster.program, { "bench", "--addr", table.concat(addresses, ","), "--clients=32",
        "--pipeline=4", "--size=200", "--keys=20000", "--reads=30", "--seconds=" .. math.ceil(minutes * 60) },
        { limit_ms = 86400000 })
      over = true
      assert(code == 0, text)
    end,
    function()
      local from = uv.hrtime()
      while not over do
        for _, name in ipairs(c.names) do
          print(("%4.0f s  %s"):format((uv.hrtime() - from) / 1e9, figures(c, name)))
        end
        for _ = 1, 60 do if not over then cluster.sleep(500) end end
      end
    end,
  }
  print(text)
end)
