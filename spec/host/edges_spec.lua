-- Edges: limits to the unit, what is done once and not again, what is left alone. Each was a guard that nothing else
-- missed (scripts/mutants).
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local world = require "host.world"
local cluster, lone, restarted = world.cluster, world.lone, world.restarted

describe("a slice of applying", function()
  it("ends at the microsecond, and the turn that applies the last one is the last", function()
    local w <close> = lone { apply_slice_us = 10 }
    w.n1.on_apply = function() w.now = w.now + 10 end
    for i = 1, 3 do w.n1:submit("c" .. i) end
    w.n1.host:turn()
    w.n1:flush()
    assert.same({ true, 1 }, { w.n1.host:turn(), #w.n1.machine.commands })
    assert.same({ true, 2 }, { w.n1.host:turn(), #w.n1.machine.commands })
    assert.same({ false, 3 }, { w.n1.host:turn(), #w.n1.machine.commands })
  end)

  it("without a limit is all there is", function()
    local w <close> = lone()
    w.n1.on_apply = function() w.now = w.now + 1000000 end
    for i = 1, 50 do w.n1:submit("c" .. i) end
    w.n1.host:turn()
    w.n1:flush()
    assert.same({ false, 50 }, { w.n1.host:turn(), #w.n1.machine.commands })
  end)

  it("of queries ends the same way", function()
    local w <close> = lone { apply_slice_us = 10 }
    local asked = 0
    w.n1.on_query = function()
      asked = asked + 1
      w.now = w.now + 10
    end
    for i = 1, 3 do w.n1:query("q" .. i) end
    for turn = 1, 3 do assert.same({ turn < 3, turn }, { w.n1.host:turn(), asked }) end
  end)
end)

describe("INIT", function()
  it("of an app without a config says nil", function()
    local w <close> = lone { config = "" }
    assert.equal("\xC0", w.n1.loaded[1].config)
  end)

  it("that lacks a part, or has it otherwise than it is to be, ends the node", function()
    local parts = { bundle = "\xA1B", config = "\xC0", format_level = "\1", settings = "\x80" }
    local function fatal(change, tail)
      local w <close> = lone()
      w.n1:crash()
      local init, count, list = formats.entry_decode(w.n1.disk.entries[2]), 0, {}
      for _, name in ipairs { "bundle", "config", "format_level", "settings" } do
        local value = change[name] == nil and parts[name] or change[name]
        if value then
          count = count + 1
          list[count] = base.pack(name) .. value
        end
      end
      init.payload = string.char(0x80 + count) .. table.concat(list) .. (tail or "")
      init.chain = formats.entry_chain(init, formats.entry_decode(w.n1.disk.entries[1]).chain)
      w.n1.disk.entries[2] = formats.entry_encode(init)
      w.n1.disk.entries[3] = nil
      w.n1:start()
      w:settle()
      return w.n1.fatal and w.n1.fatal.code
    end
    assert.is_nil(fatal {})
    for name in pairs(parts) do assert.equal("corrupt", fatal { [name] = false }, name) end
    assert.equal("corrupt", fatal { bundle = "\5" })
    assert.equal("corrupt", fatal { format_level = base.pack "1" })
    assert.equal("corrupt", fatal { settings = "\5" })
    assert.equal("corrupt", fatal { settings = "\x81\5\5" })
    assert.equal("corrupt", fatal { settings = "\x81" .. base.pack "command_steps_max" .. base.pack "5" })
    assert.equal("version", fatal { settings = "\x81" .. base.pack "command_steps_max" .. "\0" })
    assert.equal("corrupt", fatal({}, "and more"))
  end)

  it("with a setting whose name is too long to be one is of another program", function()
    for _, size in ipairs { 63, 64, 65, 200 } do
      local w <close> = lone()
      w.n1:crash()
      local init = formats.entry_decode(w.n1.disk.entries[2])
      local name = size < 256 and "\xD9" .. string.char(size) .. ("n"):rep(size)
      init.payload = "\x84\xA6bundle\xA1B\xA6config\xC0\xACformat_level\x01\xA8settings\x81" .. name .. "\x01"
      init.chain = formats.entry_chain(init, formats.entry_decode(w.n1.disk.entries[1]).chain)
      w.n1.disk.entries[2] = formats.entry_encode(init)
      w.n1.disk.entries[3] = nil
      w.n1:start()
      w:settle()
      assert.equal("version", w.n1.fatal.code)
    end
  end)
end)

describe("members", function()
  it("whose word has come this very moment were heard of no time ago", function()
    local w <close> = cluster()
    w.n1:query "q"
    w:settle()
    local members = w.n1.host:members()
    assert.same({ 0, 0 }, { members[2].contact_ms, members[3].contact_ms })
  end)
end)

describe("an idle turn", function()
  it("gives the core nothing to do", function()
    local w <close> = lone()
    w.n1:submit "x"
    w:settle()
    local steps = w.n1:counters().steps
    for _ = 1, 5 do assert.is_false(w.n1.host:turn()) end
    assert.equal(steps, w.n1:counters().steps)
  end)

  it("sets no timer anew", function()
    local w <close> = cluster()
    w.n2.timer = "untouched"
    w.n2.host:turn()
    assert.equal("untouched", w.n2.timer)
  end)
end)

describe("entries on the disk only", function()
  it("are all applied where the leader has committed just those", function()
    local w <close> = cluster()
    for i = 1, 3 do w.n1:submit("c" .. i) end
    w:settle()
    w:advance(150)
    w.n2:crash()
    w:lose("n1", "n2")
    w:lose("n2", "n3")
    w.n2:start()
    local read_log = w.n2.read_log
    w.n2.read_log = function(self) return read_log(self, 1) end
    w:connect_all()
    w:advance(300)
    assert.same({ "n1", 3 }, { w.n2.leader, #w.n2.machine.commands })
  end)

  it("that the core is given otherwise than they were written end the node", function()
    local w <close> = cluster()
    w:isolate "n3"
    for i = 1, 5 do w.n1:submit("c" .. i) end
    w:settle()
    w.n2:crash()
    w.n1:crash()
    w.n1:start()
    w.n2:start()
    w:heal "n3"
    w:connect_all()
    w.n1.held_reads = true
    for _ = 1, 200 do
      if #w.n1.log_reads > 0 and w.n1.log_reads[1].token < 1 << 62 and w.n1.log_reads[1].token > 0 then break end
      w.now = math.max(w.now, w.n1.timer)
      w.n1.timer = 0
      w.n1.host:timer()
      for _, node in ipairs(w.nodes) do
        node:turn()
        node:flush()
        if node ~= w.n1 then node:read_log() end
      end
      for i = #w.n1.log_reads, 1, -1 do
        local read = w.n1.log_reads[i]
        if read.token < 0 then -- the host's own
          table.remove(w.n1.log_reads, i)
          w.n1.host:log_read(read.token, table.move(w.n1.disk.entries, read.first, read.last, 1, {}))
        end
      end
      w:deliver_all()
    end
    local read = assert(w.n1.log_reads[1], "the core reads nothing")
    w.n1.host:log_read(read.token, { w.n1.disk.entries[read.first], w.n1.disk.entries[read.first] })
    assert.equal("corrupt", w.n1.fatal.code)
  end)

  it("are read one by one where the disk gives one at a time, to the last", function()
    local w <close> = restarted(3)
    while w.n1:read_log(1) do w.n1:turn() end
    assert.equal(3, #w.n1.machine.commands)
  end)

  it("are read once, and what memory holds is not read", function()
    local w <close> = restarted(20)
    w.n1:flush()
    w.n1:turn() -- the entry of its own term is committed too
    local reads, last = 0, 0
    while #w.n1.log_reads > 0 do
      assert(w.n1.log_reads[1].first > last, "read again")
      reads, last = reads + #w.n1.log_reads, w.n1.log_reads[1].last
      w.n1:read_log()
      w.n1:turn()
    end
    assert.same({ 1, 20 }, { reads, #w.n1.machine.commands })
    w.n1:submit "new"
    w:settle()
    assert.same({ 0, 21 }, { #w.n1.log_reads, #w.n1.machine.commands })
  end)

  it("are read ahead, but not without measure", function()
    local w <close> = restarted(8, ("x"):rep(300000))
    w.n1.host:log_read(w.n1.log_reads[1].token, table.move(w.n1.disk.entries, 1, 6, 1, {}))
    w.n1.log_reads = {}
    local early
    w.n1.on_apply = function()
      if #w.n1.machine.commands < 3 and #w.n1.log_reads > 0 then early = #w.n1.machine.commands end
    end
    w.n1.host:turn()
    assert.is_nil(early, "the next piece is asked for too soon") -- while more than half of what may be held is
    assert.equal(1, #w.n1.log_reads)
  end)

  it("of another term than was committed stop the node", function()
    local w <close> = restarted(3)
    local read = w.n1.log_reads[1]
    local entry = formats.entry_decode(w.n1.disk.entries[read.first])
    entry.term = entry.term + 1
    w.n1.host:log_read(read.token, { formats.entry_encode(entry) })
    assert.equal("corrupt", w.n1.fatal.code)
  end)
end)

describe("the machine", function()
  it("sees no command on a node where the app does not load", function()
    local w <close> = world.new { nodes = 3 }
    w.n2.on_load = function() return "it does not load here" end
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    local t = w.n1:submit "x"
    w:settle()
    w:advance(150)
    assert.equal("ok done 1 x", w.n1:answer(t))
    assert.same({ 1, 0 }, { #w.n3.machine.commands, #w.n2.machine.commands })
    assert.equal(w.n1.host:status().applied_index, w.n2.host:status().applied_index)
    assert.equal("0000000000000000", w.n2.host:status().state_hash)
  end)

  it("has its state in the chain: another one shows, though it answers the same", function()
    local w <close> = cluster()
    w.n3.on_apply = function() w.n3.machine.hash_value = w.n3.machine.hash_value + 1 end
    w.n1:submit "x"
    w:settle()
    w:advance(150)
    local status, other = w.n1.host:status(), w.n3.host:status()
    assert.not_equal(status.chain, other.chain)
    assert.equal(("%016x"):format(w.n1.machine.hash_value), status.state_hash)
    assert.equal(("%016x"):format(w.n3.machine.hash_value), other.state_hash)
  end)

  it("is not asked for more once the node has given up", function()
    local w <close> = lone()
    w.n1:crash()
    local first = formats.entry_decode(w.n1.disk.entries[2])
    first.payload = "no INIT"
    first.chain = formats.entry_chain(first, formats.entry_decode(w.n1.disk.entries[1]).chain)
    w.n1.disk.entries[2] = formats.entry_encode(first)
    w.n1:start()
    for _ = 1, 10 do
      w.n1.host:turn()
      if #w.n1.log_reads > 0 then break end
      w.n1:flush()
    end
    w.n1:read_log()
    local steps = w.n1:counters().steps
    w.n1.timer = "untouched"
    w.n1.host:turn()
    assert.equal("corrupt", w.n1.fatal.code)
    assert.equal(1, w.n1.host:applied())
    assert.same({ steps, "untouched" }, { w.n1:counters().steps, w.n1.timer })
  end)

  it("has no app of one's own to differ from where there is none", function()
    local w <close> = world.new { nodes = 2 }
    w.n2.options.bundle = ""
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    assert.is_true(w.n2.host:status().app.loaded)
    assert.equal(0, w.n2:logged "differs")
  end)
end)

describe("members", function()
  it("that never answered in this term were never heard of", function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    w:isolate "n3"
    w:elect "n1"
    w:advance(150)
    local members = w.n1.host:members()
    assert.equal("userdata", type(members[3].contact_ms))
    assert.equal("userdata", type(members[1].contact_ms)) -- oneself
    assert.equal(0, w.n1.host:members()[1].lag)
  end)
end)

describe("a follower with the app", function()
  it("does not try to bring it where its leader has none", function()
    local w <close> = world.new { nodes = 3 }
    w.n1.options.bundle = ""
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    local steps = w.n2:counters().steps
    for _ = 1, 5 do w.n2.host:turn() end
    assert.equal(steps, w.n2:counters().steps)
  end)
end)

describe("a node that is ready", function()
  it("stays so while it has more to apply", function()
    local w <close> = lone { apply_slice_us = 10 }
    assert.is_true(w.n1.host:ready())
    w.n1.on_apply = function() w.now = w.now + 10 end
    for i = 1, 5 do w.n1:submit("c" .. i) end
    w.n1.host:turn()
    w.n1:flush()
    assert.is_true(w.n1.host:turn())
    assert.is_true(w.n1.host:ready())
  end)
end)

describe("an app's name", function()
  it("is the hash that its bundle says it has; of all its bytes where it says none", function()
    local function name_of(bundle)
      local w <close> = lone { bundle = bundle }
      return w.n1.host:status().app.hash
    end
    assert.equal("0000000000000005", name_of "\x82\xA5files\x80\xA4hash\x05")
    local plain = name_of "BUNDLE"
    assert.not_equal(plain, name_of "BUNDLE2")
    for _, odd in ipairs { "\x82\xA5files\x80\xA4hash\xA15", "\x82\xA5files\x80\xA4hash\xC0" } do -- no number
      assert.equal(("%016x"):format(base.hash(odd)), name_of(odd))
    end
    assert.not_equal("0000000000000005", name_of "\x83\xA5files\x80\xA4hash\x05") -- cut off
  end)
end)
