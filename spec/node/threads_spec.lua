-- The node's two threads around one store: snapshots' files beside the log, and where the two meet.
local cluster = require "support.cluster"
local threads = require "moonclave.threads"

local LIMIT = 60 -- seconds that only a hang takes

local function in_folder(body)
  local folder = cluster.folder()
  local ok, problem = xpcall(body, debug.traceback, folder)
  collectgarbage()
  cluster.remove(folder)
  if not ok then error(problem, 0) end
end

local function open(folder, lossy)
  return assert(threads.open { folder = folder .. "/n1", id = "n1", incarnation = 7, lossy = lossy })
end

local made = {}
local function bytes_of(index, size)
  local name = index .. " " .. size
  if made[name] then return made[name] end
  local random, out = index * 7919 + 1, {}
  for i = 1, size // 4 + 1 do
    random = (random * 1103515245 + 12345) & 0x7fffffff
    out[i] = string.pack("<I4", random)
  end
  made[name] = table.concat(out):sub(1, size)
  return made[name]
end

local function meta_of(index, chain, size)
  return { index = index, term = 1, chain = chain or 0, format_level = 1, system_hash = index, state_hash = -index,
    size = size or 0, configuration_index = 0, configuration = ("configuration of %d"):format(index) }
end

-- Collects until `enough` reports are there.
local function collect(t, enough, list)
  list = list or {}
  local before = os.time()
  while #list < enough do
    for _, report in ipairs(t:collect(1)) do list[#list + 1] = report end
    assert(os.time() - before < LIMIT, "only " .. #list .. " of " .. enough .. " reports came")
  end
  return list
end

local token = 0
local function give(t, job)
  token = token + 1
  job.token = token
  t:snapshot(job)
  return token
end

-- One job, and what is reported of it.
local function ask(t, job)
  local number = give(t, job)
  local report = collect(t, 1)[1]
  if report.what == "snapshot" then assert.are.same({ number, job.kind }, { report.token, report.kind }) end
  return report
end

local function ok(report)
  assert.are.equal("ok", report.code, report.text)
  return report
end

local function append(t, count, size)
  local sequence, last, chain = t:append(count, size)
  local report = ok(collect(t, 1)[1])
  assert.are.same({ "persisted", sequence }, { report.what, report.sequence })
  return last, chain
end

-- Takes one step by step; the report of the last step, or of the first that is not ok.
local function take(t, index, chain, size, piece)
  local meta, bytes = meta_of(index, chain), bytes_of(index, size)
  local report = ask(t, { kind = "begin", meta = meta })
  for at = 1, size, piece or 5000 do
    if report.code ~= "ok" then return report end
    report = ask(t, { kind = "write", bytes = bytes:sub(at, at + (piece or 5000) - 1) })
  end
  if report.code ~= "ok" then return report end
  return ask(t, { kind = "finish", meta = meta })
end

local function read_all(t, index, max_bytes)
  local parts, offset = {}, 0
  while true do
    local report = ask(t, { kind = "read", meta = meta_of(index), offset = offset, max_bytes = max_bytes })
    if report.code ~= "ok" then return offset > 0 and table.concat(parts) or nil, report end
    assert.is_true(#report.bytes >= 1 and #report.bytes <= max_bytes)
    parts[#parts + 1] = report.bytes
    offset = offset + #report.bytes
  end
end

local function wait_for(t, what, condition)
  local before = os.time()
  while not condition(t:counters()) do
    t:collect(0.01)
    assert(os.time() - before < LIMIT, "never happened: " .. what)
  end
end

describe("a node's threads", function()
  it("take a snapshot, read it in pieces, let the log go, and find all of it again", function()
    in_folder(function(folder)
      local t <close> = open(folder)
      local last, chain = append(t, 3000, 100)
      local report = ok(take(t, last, chain, 200001))
      assert.are.equal(200001, report.offset)
      assert.are.equal(bytes_of(last, 200001), (read_all(t, last, 70000)))
      t:snapshot { kind = "compact", meta = meta_of(last), up_to = 2900 } -- no report
      wait_for(t, "the rows are removed while nothing is asked", function(c) return c.trimmed == 2900 end)
      wait_for(t, "all is done", function(c) return c.waiting == 0 end)
      assert.are.same({}, t:collect(0))
      assert(t:restart())
      local found = t:durable()
      assert.are.same({ last, 2900, last, 200001, chain },
        { found.snapshot.index, found.base, found.last_index, found.snapshot.size, found.snapshot.chain })
      assert.are.equal(bytes_of(last, 200001), (read_all(t, last, 1 << 20)))
      local second, second_chain = append(t, 10, 10)
      ok(take(t, second, second_chain, 10))
      t:snapshot { kind = "compact", meta = meta_of(second), up_to = second }
      wait_for(t, "the older one is forgotten", function(c) return c.waiting == 0 end)
      local none, why = read_all(t, last, 100)
      assert.is_nil(none)
      assert.are.equal("unavailable", why.code)
    end)
  end)

  it("do in the log's order what belongs there: behind every write given before", function()
    in_folder(function(folder)
      local t <close> = open(folder)
      for _ = 1, 20 do
        local sequence, last, chain = t:append(200, 2000) -- not waited for: adopting asserts that the entry is there
        local meta = meta_of(last, chain)
        give(t, { kind = "begin", meta = meta })
        give(t, { kind = "write", bytes = "x" })
        give(t, { kind = "finish", meta = meta })
        t:snapshot { kind = "compact", meta = meta, up_to = last - 1 }
        local list, persisted, finished = collect(t, 4), nil, nil
        for i, report in ipairs(list) do
          ok(report)
          if report.what == "persisted" and report.sequence == sequence then persisted = i end
          if report.kind == "finish" then finished = i end
        end
        assert.is_true(persisted < finished)
      end
      wait_for(t, "all is done", function(c) return c.waiting == 0 end)
      assert(t:restart())
      assert.are.equal(4000, t:durable().snapshot.index)
      assert.are.equal(3999, t:durable().base)
    end)
  end)

  it("receive one in pieces, go on with it after a restart, and install it", function()
    in_folder(function(folder)
      local t <close> = open(folder)
      append(t, 100, 100)
      local size = 300000
      local meta, bytes = meta_of(5000, 77, size), bytes_of(5000, size)
      local function receive(offset, part)
        return ask(t, { kind = "receive", meta = meta, offset = offset, bytes = part })
      end
      assert.are.equal(0, ok(receive(0)).offset)
      assert.are.equal(100000, ok(receive(0, bytes:sub(1, 100000))).offset)
      assert.are.equal(100000, ok(receive(150000, bytes:sub(150001, 160000))).offset) -- one is lost
      assert.are.equal(200000, ok(receive(100000, bytes:sub(100001, 200000))).offset)
      local early = ask(t, { kind = "install", meta = meta })
      assert.are.equal("unavailable", early.code)
      assert.matches("200000 of 300000 bytes", early.text, 1, true)
      assert(t:restart())
      local have = ok(receive(0)).offset
      assert.is_true(have > 0 and have <= 200000 and have % 65536 == 0, have)
      assert.are.equal(size, ok(receive(have, bytes:sub(have + 1))).offset)
      ok(ask(t, { kind = "install", meta = meta }))
      t:continue(5000, 77)
      append(t, 10, 10)
      assert.are.equal(bytes, (read_all(t, 5000, 1 << 20)))
      assert(t:restart())
      assert.are.same({ 5000, 5000, 5010 }, { t:durable().snapshot.index, t:durable().base, t:durable().last_index })
      wait_for(t, "the former log is removed", function(c) return c.trimmed == 0 or c.trimmed == 100 end)
    end)
  end)

  it("begin anew when another snapshot comes in", function()
    in_folder(function(folder)
      local t <close> = open(folder)
      local one, other = meta_of(10, 1, 1000), meta_of(12, 2, 500)
      assert.are.equal(600, ok(ask(t, { kind = "receive", meta = one, bytes = bytes_of(10, 600) })).offset)
      assert.are.equal(0, ok(ask(t, { kind = "receive", meta = other, offset = 100, bytes = "late" })).offset)
      assert.are.equal(500, ok(ask(t, { kind = "receive", meta = other, bytes = bytes_of(12, 500) })).offset)
      ok(ask(t, { kind = "install", meta = other }))
      assert(t:restart())
      assert.are.equal(12, t:durable().snapshot.index)
      assert.are.equal(bytes_of(12, 500), (read_all(t, 12, 1000)))
    end)
  end)

  it("say of each piece of one that was given up why, and go on", function()
    in_folder(function(folder)
      local t <close> = open(folder)
      local last, chain = append(t, 10, 10)
      t:snapshot { kind = "abort" } -- harmless
      assert.are.equal("unavailable", ask(t, { kind = "write", bytes = "x" }).code)
      ok(ask(t, { kind = "begin", meta = meta_of(last, chain) }))
      ok(ask(t, { kind = "write", bytes = "x" }))
      t:snapshot { kind = "abort" }
      assert.are.equal("unavailable", ask(t, { kind = "finish", meta = meta_of(last, chain) }).code)
      ok(take(t, last, chain, 100))
      assert.are.equal("unavailable", ask(t, { kind = "read", meta = meta_of(3), max_bytes = 5 }).code)
      local beyond = ask(t, { kind = "read", meta = meta_of(last), offset = 100, max_bytes = 5 })
      assert.are.equal("unavailable", beyond.code)
    end)
  end)

  it("finish what they were given when they are stopped", function()
    in_folder(function(folder)
      local t <close> = open(folder)
      for round = 1, 10 do
        local _, last, chain = t:append(50, 1000)
        local meta = meta_of(last, chain)
        give(t, { kind = "begin", meta = meta })
        for _ = 1, 20 do give(t, { kind = "write", bytes = bytes_of(round, 10000) }) end
        give(t, { kind = "finish", meta = meta })
        give(t, { kind = "read", meta = meta, max_bytes = 10 })
        t:stop()
        assert(t:restart())
        assert.are.same({ last, last }, { t:durable().snapshot.index, t:durable().last_index })
      end
    end)
  end)

  it("keep no payload once all is reported", function()
    in_folder(function(folder)
      local t <close> = open(folder)
      local last, chain = append(t, 10, 10)
      ok(take(t, last, chain, 50000))
      local before = t:counters().blobs
      local second, second_chain = append(t, 10, 10)
      ok(take(t, second, second_chain, 50000))
      read_all(t, second, 10000)
      t:snapshot { kind = "abort" }
      wait_for(t, "all is done", function(c) return c.waiting == 0 end)
      t:collect(0)
      assert.are.equal(before, t:counters().blobs)
    end)
  end)
end)

-- One job at a time: the lossy disk is for one thread.
describe("a node's threads on a disk that is full", function()
  it("do nothing of a snapshot, wherever that happens, and take the next one", function()
    local refusals, call, through = {}, 0, false
    repeat
      call = call + 1
      local t <close> = open("/data", call)
      local last, chain = append(t, 10, 100)
      for _ = 1, 10 do -- more often than there are places for snapshots
        local before = t:calls()
        t:fail("full", call)
        local report = take(t, last, chain, 150000, 30000)
        through = t:calls() - before < call
        t:fail("full", 0)
        if report.code == "ok" then -- that call was no write
          last, chain = append(t, 1, 1)
          break
        end
        assert.are.equal("disk_full", report.code, report.text)
        refusals[report.kind] = (refusals[report.kind] or 0) + 1
        local late = ask(t, { kind = "write", bytes = "x" })
        assert.are.equal(report.kind == "finish" and "unavailable" or "disk_full", late.code)
      end
      ok(take(t, last, chain, 150000, 30000))
      assert(t:restart())
      assert.are.equal(last, t:durable().snapshot.index)
      assert.are.equal(bytes_of(last, 150000), (read_all(t, last, 1 << 20)))
    until through
    assert.is_true(refusals.write >= 10 and refusals.finish >= 20, "finishing was refused in its file and in the log")
  end)

  it("keep what came in of one, and go on from there", function()
    local call, refused, through = 0, 0
    repeat
      call = call + 1
      local t <close> = open("/data", call)
      local size = 200000 -- nothing in the log: else the disk thread would remove it at the same time
      local meta, bytes = meta_of(500, 3, size), bytes_of(500, size)
      local function ask_or_again(job)
        local report = ask(t, job)
        if report.code == "disk_full" then
          refused = refused + 1
          local there = ok(ask(t, { kind = "receive", meta = meta })).offset
          return nil, there
        end
        return ok(report)
      end
      local before = t:calls()
      t:fail("full", call)
      local at, installed = 0, false
      while not installed do
        local report, there
        if at < size then
          local piece = bytes:sub(at + 1, at + 30000)
          report, there = ask_or_again { kind = "receive", meta = meta, offset = at, bytes = piece }
          at = report and report.offset or there
        else
          report, there = ask_or_again { kind = "install", meta = meta }
          installed = report ~= nil
          at = there or at
        end
      end
      through = t:calls() - before < call
      t:fail("full", 0)
      assert(t:restart())
      assert.are.same({ 500, 500 }, { t:durable().snapshot.index, t:durable().last_index })
      assert.are.equal(bytes, (read_all(t, 500, 1 << 20)))
    until through
    assert.is_true(refused > 6, refused)
  end)

  it("do what is asked of snapshots although a write of the log was refused", function()
    local t <close> = open("/data", 5)
    local last, chain = append(t, 10, 100)
    ok(ask(t, { kind = "begin", meta = meta_of(last, chain) }))
    t:fail("full", 1)
    local sequence = t:append(10, 100)
    local refusal = collect(t, 1)[1] -- collected: from here on writes count again
    assert.are.same({ "persisted", "disk_full", sequence }, { refusal.what, refusal.code, refusal.sequence })
    ok(ask(t, { kind = "finish", meta = meta_of(last, chain) }))
    assert(t:restart())
    assert.are.same({ last, last }, { t:durable().snapshot.index, t:durable().last_index })
  end)
end)

describe("a node's threads on a disk that fails", function()
  it("say so, at whichever call, and nothing after it is said to be done", function()
    local call, failures, through = 0, 0
    repeat
      call = call + 1
      local t <close> = open("/data", call)
      local last, chain = append(t, 10, 100)
      local before = t:calls()
      t:fail("error", call)
      local report = take(t, last, chain, 100000, 30000)
      through = t:calls() - before < call
      if not through then
        failures = failures + 1
        if report.code == "ok" then report = collect(t, 1)[1] end -- what failed behind the commit is told next
        assert.are.same({ "failed", "io_error" }, { report.what, report.code }, report.text)
      end
    until through
    assert.is_true(failures > 5, failures)
  end)
end)

describe("a node's threads under load", function()
  it("never mix up snapshots and log", function()
    in_folder(function(folder)
      local t <close> = open(folder)
      local random, adopted = 12345, 0
      local function draw(n)
        random = (random * 6364136223846793005 + 1442695040888963407)
        return ((random >> 33) % n) + 1
      end
      for round = 1, 40 do
        local expected, last, chain = 0, nil, nil
        for _ = 1, draw(5) do
          _, last, chain = t:append(draw(100), draw(500))
        end
        local size, meta = draw(100000), meta_of(last, chain)
        local bytes = bytes_of(last, size)
        give(t, { kind = "begin", meta = meta })
        expected = expected + 1
        local at = 1
        while at <= size do
          local piece = draw(20000)
          give(t, { kind = "write", bytes = bytes:sub(at, at + piece - 1) })
          expected, at = expected + 1, at + piece
          if draw(3) == 1 then t:append(1, 10) end
          if adopted > 0 and draw(3) == 1 then
            give(t, { kind = "read", meta = meta_of(adopted), offset = draw(100) - 1, max_bytes = draw(30000) })
            expected = expected + 1
          end
        end
        local final = give(t, { kind = "finish", meta = meta })
        local seen, finished = 0, false
        local before = os.time()
        while not finished do
          for _, report in ipairs(t:collect(0.05)) do
            assert.is_true(report.code == "ok" or report.kind == "read", report.text)
            if report.what == "snapshot" then seen = seen + 1 end
            if report.token == final and report.what == "snapshot" then finished = true end
          end
          assert(os.time() - before < LIMIT, "no end")
        end
        assert.are.equal(expected + 1, seen)
        adopted = last
        if round % 3 == 0 then
          t:snapshot { kind = "compact", meta = meta, up_to = math.max(1, last - draw(50)) }
        end
        if round % 10 == 0 then
          wait_for(t, "all is done", function(c) return c.waiting == 0 end)
          t:collect(0)
          assert(t:restart())
          assert.are.equal(last, t:durable().snapshot.index)
          assert.are.equal(bytes, (read_all(t, last, 1 << 20)))
        end
      end
    end)
  end)
end)
