-- Edges of a backup: what asks for one, and whom it waits for. Most were a guard that nothing else missed
-- (scripts/mutants).
local base = require "moonclave.base"
local support = require "host.snapshot_support"
local world = require "host.world"
local NEVER, lone, write = support.NEVER, support.lone, support.write

local ASKED = base.pack { "backup", base.object {} }

local function cluster()
  local w = world.new { nodes = 3, settings = NEVER }
  w:bootstrap()
  w:elect "n1"
  write(w, 2)
  w:advance(150)
  return w
end

local function ask(node, options)
  local o = { kind = "admin", timeout_ms = 5000 }
  for k, v in pairs(options or {}) do o[k] = v end
  return node:submit(o.body or ASKED, o)
end

describe("a backup", function()
  it("is asked for by exactly such a request", function()
    local w <close> = lone()
    write(w, 1)
    local command, query = w.n1:submit(ASKED), w.n1:query(ASKED)
    local stale = w.n1:query(ASKED, { stale = true })
    w:settle()
    assert.equal("ok done 2 " .. ASKED, w.n1:answer(command))
    assert.matches("^ok answer %d ", w.n1:answer(query))
    assert.matches("^ok answer %d ", w.n1:answer(stale))
    for body, code in pairs {
      [base.pack { "backup" }] = "bad_request", [base.pack { "backups", base.object {} }] = "no_such_command",
      [base.pack { 7, base.object {} }] = "bad_request", [base.pack "backup"] = "bad_request",
      [base.pack(base.object { backup = 1 })] = "bad_request",
      [base.pack { "backup", base.object {}, 1 }] = "bad_request", [""] = "bad_request", ["\xc1"] = "bad_request",
    } do
      local ticket = ask(w.n1, { body = body })
      w:settle()
      assert.equal(code, w.n1:answer(ticket))
    end
    assert.is_nil(w.n1.disk.snapshot)
    local ticket = ask(w.n1)
    w:settle()
    local _, body = w.n1:told(ticket)
    assert.equal(w.n1.disk.snapshot.size, body.size)
  end)

  it("of another node is not asked for through a leader", function()
    local w <close> = cluster()
    w.n1.host:forwarded(w.n2:identity(), 4711, { kind = "admin", body = ASKED })
    w.n1:turn()
    local reply = w:take(function(p) return p.kind == "forward_reply" and p.ticket == 4711 end)[1]
    assert.equal("no_such_command", reply.code)
    w:settle()
    assert.is_nil(w.n1.disk.snapshot)
  end)

  it("waits for a leader, and asks nobody until there is one; a stale one and a snapshot do not wait", function()
    local w <close> = cluster()
    for _, id in ipairs { "n1", "n3" } do
      w[id]:crash()
      w:lose("n2", id)
    end
    w:advance(4000) -- it has looked for a leader, and there is none
    assert.equal("", w.n2.host:status().leader or "")
    local asked = ask(w.n2)
    w.n2:turn()
    local reads = w.n2:counters().reads
    w:advance(900)
    assert.is_nil(w.n2:told(asked))
    assert.equal(reads, w.n2:counters().reads)
    assert.is_nil(w.n2.disk.snapshot)
    local stale = ask(w.n2, { stale = true })
    w:settle()
    local code, body = w.n2:told(stale)
    assert.equal("ok", code)
    local snapshot = ask(w.n2, { body = base.pack { "snapshot", base.object {} } })
    w:settle()
    assert.same({ "ok", { index = body.index, size = body.size } }, { w.n2:told(snapshot) })
    w:advance(4200)
    code, body = w.n2:told(asked)
    assert.equal("unavailable", code)
    assert.matches("no leader with the app was found in time", body.message, 1, true)
    asked = ask(w.n2)
    w.n1:start()
    w:connect("n1", "n2")
    w:advance(4000)
    assert.equal("ok", (w.n2:told(asked)))
  end)

  it("of a node that is blank is refused at its deadline, like whatever waits for a leader", function()
    local w <close> = world.new { nodes = 3, settings = NEVER }
    w.n1:start()
    local asked = ask(w.n1)
    w:settle()
    assert.is_nil(w.n1:told(asked))
    w:advance(5001)
    local code, body = w.n1:told(asked)
    assert.equal("unavailable", code)
    assert.matches("no leader with the app was found in time", body.message, 1, true)
  end)
end)
