-- Edges of taking snapshots: when exactly one is due, how much is under way, what is told to whom. Most were a guard
-- that nothing else missed (scripts/mutants).
local base = require "moonclave.base"
local sessions = require "moonclave.sessions"
local support = require "host.snapshot_support"
local world = require "host.world"
local NEVER, lone, write = support.NEVER, support.lone, support.write

local PIECE, AHEAD, SLICE = 65536, 4, 32768

local function jobs(node, kind)
  local list = {}
  for _, one in ipairs(node.jobs) do if one.kind == kind then list[#list + 1] = one end end
  return list
end

local function done(node, job, fields)
  local report = { kind = job.kind, token = job.token }
  for k, v in pairs(fields or {}) do report[k] = v end
  node.host:snapshot_done(report)
end

-- A snapshot of about half a megabyte has begun, and the disk has not done anything yet.
local function large()
  local w = lone()
  write(w, 60, 8000)
  local ticket = w.n1:admin "snapshot"
  w.n1:turn()
  return w, ticket
end

describe("a snapshot being taken", function()
  it("is never more than four writes ahead of the disk", function()
    local w <close> = large()
    assert.equal(AHEAD, #jobs(w.n1, "write"))
    w.n1:turn()
    assert.equal(AHEAD, #jobs(w.n1, "write"))
    w.n1:work(2) -- it has begun, and the first is written
    assert.equal(AHEAD - 1, #jobs(w.n1, "write"))
    w.n1:turn()
    assert.equal(AHEAD, #jobs(w.n1, "write"))
    assert.equal(0, #jobs(w.n1, "finish"))
    w:settle()
    assert.is_true(w.n1.disk.snapshot.size > 480000)
    w.n1:crash()
    w.n1:start()
    w:settle()
    assert.equal(60, #w.n1.machine.commands)
  end)

  it("is written in pieces that are worth it", function()
    local w <close> = large()
    for _, job in ipairs(jobs(w.n1, "write")) do
      assert.is_true(#job.bytes >= PIECE and #job.bytes < PIECE + 2 * SLICE, #job.bytes)
    end
  end)

  it("is due at exactly so many bytes of the log", function()
    local before
    do
      local w <close> = lone()
      write(w, 10)
      before = w.n1.host:status().snapshot.log_bytes
    end
    for add = 0, 1 do
      local w <close> = lone { snapshot_log_bytes = before + add }
      write(w, 10)
      assert.equal(add == 0, w.n1.disk.snapshot ~= nil)
    end
  end)

  it("waits for the app: before that there is nothing to keep", function()
    local w <close> = world.new { nodes = 1, settings = { snapshot_log_bytes = 1 } }
    w.n1:start()
    for _ = 1, 20 do
      w.now = math.max(w.now, w.n1.timer)
      w.n1.host:timer()
      w.n1:turn()
      w.n1:flush()
      w.n1:turn()
    end
    assert.equal(1, #jobs(w.n1, "begin"))
    assert.is_true(jobs(w.n1, "begin")[1].meta.index >= 2)
  end)

  it("that was refused is tried again at the end of disk_retry_ms, to the microsecond", function()
    local w <close> = lone { snapshot_log_bytes = 500, disk_retry_ms = 300 }
    w.n1.held = true
    for i = 1, 10 do
      w.n1:submit("put " .. i .. ("x"):rep(60))
      w.n1:turn()
      w.n1:flush()
      w.n1:turn()
      if #jobs(w.n1, "begin") > 0 then break end
    end
    local refused = jobs(w.n1, "begin")[1]
    local from = w.now
    done(w.n1, refused, { code = "disk_full" })
    w.n1.jobs = {}
    w.now = from + 299999
    w.n1:turn()
    assert.equal(0, #w.n1.jobs)
    w.now = from + 300000
    w.n1:turn()
    assert.equal(1, #jobs(w.n1, "begin"))
    assert.equal(1, w.n1:logged "no room for a snapshot")
  end)

  it("makes nothing of reports about one that was given up", function()
    local w <close> = large()
    local old = jobs(w.n1, "write")
    done(w.n1, jobs(w.n1, "begin")[1], { code = "unavailable" })
    w.n1.jobs = {}
    w.n1:admin "snapshot"
    w.n1:turn()
    assert.equal(AHEAD, #jobs(w.n1, "write"))
    for _, job in ipairs(old) do done(w.n1, job) end
    done(w.n1, { kind = "finish", token = old[1].token }, { offset = 5 })
    w.n1:turn()
    assert.equal(AHEAD, #jobs(w.n1, "write"))
    assert.equal(0, w.n1.host:status().snapshot.taken)
    w:settle()
    assert.equal(1, w.n1.host:status().snapshot.taken)
    done(w.n1, old[1]) -- nor when none is being taken
    done(w.n1, { kind = "finish", token = 0 }, { offset = 5 })
    assert.equal(1, w.n1.host:status().snapshot.taken)
  end)

  it("says why it is not", function()
    local w, ticket = large()
    done(w.n1, jobs(w.n1, "begin")[1], { code = "unavailable" })
    local code, body = w.n1:told(ticket)
    assert.equal("unavailable", code)
    assert.matches("too many snapshots", body.message)
    local again = w.n1:admin "snapshot"
    w.n1.jobs = {}
    w.n1:turn()
    done(w.n1, jobs(w.n1, "begin")[1], { code = "disk_full" })
    code, body = w.n1:told(again)
    assert.equal("disk_full", code)
    assert.is_nil((body.message:find "too many"))
    w.n1:crash()
  end)

  it("ends the node with the disk, whatever was being done there", function()
    for _, kind in ipairs { "begin", "write", "finish", "read", "receive", "install" } do
      local w = large()
      done(w.n1, { kind = kind, token = 77 }, { code = "io_error", text = "it broke" })
      assert.same({ code = "io_error", text = "it broke" }, w.n1.fatal)
      w.n1:crash()
    end
  end)

  it("may be given up among the sessions, or in the machine's state, and taken again", function()
    local w <close> = lone()
    local session, sequence = sessions.key "a key"
    w.n1:submit("put keyed", { kind = "keyed", session = session, sequence = sequence })
    w:settle()
    for i = 1, 40 do
      session, sequence = sessions.key("key " .. i)
      w.n1.on_apply = function() return ("r"):rep(8000) end
      w.n1:submit("put", { kind = "keyed", session = session, sequence = sequence })
      w:settle()
    end
    w.n1.on_apply = nil
    write(w, 60, 8000)
    for stage = 0, 8 do
      w.n1:admin "snapshot"
      w.n1:turn()
      for _ = 1, stage do
        done(w.n1, table.remove(w.n1.jobs, 2))
        w.n1:turn()
      end
      done(w.n1, jobs(w.n1, "write")[1], { code = "disk_full" })
      assert.is_true(#jobs(w.n1, "abort") == 1 or #jobs(w.n1, "finish") == 1)
      w.n1.jobs = {}
    end
    w.n1:admin "snapshot"
    w:settle()
    local open = w.n1.host:status().sessions
    w.n1:crash()
    w.n1:start()
    w:elect "n1"
    assert.same(open, w.n1.host:status().sessions)
    assert.equal(41, open.keys)
    session, sequence = sessions.key "key 7"
    local ticket = w.n1:submit("put", { kind = "keyed", session = session, sequence = sequence })
    w:settle()
    assert.equal(("r"):rep(8000), w.n1.replies[ticket].body)
  end)

  it("is not one's own to ask of others, and no command of the app's is taken for it", function()
    local w <close> = world.new { nodes = 3, settings = NEVER }
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    local asked = base.pack { "snapshot", base.object {} }
    local command = w.n2:submit(asked)
    w:settle()
    assert.equal("ok", w.n2.replies[command].code)
    for body, code in pairs {
      [base.pack { "snapshot" }] = "bad_request", [base.pack { "snapshots", base.object {} }] = "no_such_command",
      [base.pack { 7, base.object {} }] = "bad_request", [base.pack "snapshot"] = "bad_request",
      [base.pack { "snapshot", base.object {}, 1 }] = "bad_request",
    } do
      local ticket = w.n2:submit(body, { kind = "admin" })
      w:settle()
      assert.equal(code, w.n2.replies[ticket].code)
    end
    w.n1.host:forwarded(w.n2:identity(), 4711, { kind = "admin", body = asked })
    w.n1:turn()
    local reply = w:take(function(p) return p.kind == "forward_reply" and p.ticket == 4711 end)[1]
    assert.equal("no_such_command", reply.code)
    for _, node in ipairs(w.nodes) do assert.is_nil(node.disk.snapshot) end
  end)

  it("waits until this node is restored, and is refused before there is anything", function()
    local w <close> = lone()
    write(w, 10)
    w.n1:admin "snapshot"
    w:settle()
    write(w, 3)
    w.n1:crash()
    w.n1:start()
    w.n1.held = true
    local ticket = w.n1:admin "snapshot"
    w.n1:turn()
    assert.is_nil(w.n1:told(ticket))
    assert.equal(0, #jobs(w.n1, "begin"))
    w.n1.held = false
    w:settle()
    assert.equal("ok", (w.n1:told(ticket)))
    local v <close> = world.new { nodes = 3 }
    v:bootstrap()
    local early = v.n1:admin "snapshot"
    v.n1:turn()
    assert.equal("unavailable", (v.n1:told(early)))
  end)

  it("leaves the core alone once the node has stopped taking part", function()
    local w <close> = lone()
    write(w, 3)
    w.n1.held = true
    w.n1:submit "under way"
    w.n1:turn()
    w.n1.host:stop()
    w.n1:turn()
    w.now = w.now + 6000000
    w.n1.host:timer()
    w.n1:turn()
    assert.equal(0, w.n1.stopped) -- the disk is still at work
    local steps = w.n1:counters().steps
    done(w.n1, { kind = "read", token = 5 }, { bytes = "x" })
    done(w.n1, { kind = "receive", token = 5 }, { offset = 1 })
    assert.equal(steps, w.n1:counters().steps)
    assert.is_nil(w.n1.fatal)
  end)
end)
