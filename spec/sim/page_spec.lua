-- The record of a run says what happened and changes nothing; the page made of it stands alone, and no text gets out of
-- its place there.
local base = require "moonclave.base"
local core = require "moonclave.simcore"
local http = require "moonclave.http"
local page = require "moonclave.sim.page"
local search = require "sim.search"
local sim = require "moonclave.sim"

-- ---- reading ----

local function decode(json) return (base.unpack((assert(http.json_to_value(json))))) end

-- What stands between the first `before` and the `after` that follows.
local function between(text, before, after)
  local from = select(2, text:find(before, 1, true))
  local to = assert(from and text:find(after, from + 1, true), before)
  return text:sub(from + 1, to - 1)
end

-- Rows as tables: { kind =, at =, step =, node =, peer =, number =, fields ... }, by the letters the record gives.
local function read(record)
  local list, at, step = {}, record.time, record.step
  for i, row in ipairs(record.rows) do
    at, step = at + row[1], step + row[2]
    local kind = record.kinds[row[3] + 1]
    local event = { kind = kind[1], at = at, step = step }
    local j = 4
    for letter in kind[2]:gmatch "." do
      if letter == "M" then
        event.type = row[j] > 0 and record.types[row[j] + 1] or record.strings[row[j + 1] + 1]
        event.forwarded = row[j] == 0
        event.entries = event.type == "append" and row[j + 4] or 0
      elseif letter == "R" then
        event.client, event.query, event.outcome, event.invoked = row[j], row[j + 1] == 1, row[j + 3], row[j + 4]
        j = j + 4
      elseif letter == "t" or letter == "y" then
        event[letter == "t" and "text" or "body"] = record.strings[row[j] + 1] or ""
      elseif letter == "S" then
        event.changes = { table.unpack(row, j) }
      else
        local names = { n = "node", p = "peer", ["#"] = "number", u = "until_us" }
        event[names[letter] or letter] = row[j]
      end
      j = j + 1
    end
    list[i] = event
  end
  return list
end

local function recorded(options)
  options.record = true
  local result = sim.run(options)
  local record = decode(result.record)
  return result, read(record), record
end

local function count(events, kind, wanted)
  local n = 0
  for _, event in ipairs(events) do
    if event.kind == kind and (not wanted or wanted(event)) then n = n + 1 end
  end
  return n
end

-- Short runs, each read once: between them they meet stops, pauses, doubled messages and full disks.
local seeds, runs = { 5, 7, 18, 28, 30, 41, 55 }, {}
local function run_of(seed)
  runs[seed] = runs[seed] or { recorded { seed = seed } }
  return table.unpack(runs[seed])
end

describe("a record", function()
  it("does not change the run", function()
    for _, seed in ipairs(seeds) do
      local plain = sim.run { seed = seed }
      local result = sim.run { seed = seed, record = true }
      assert.are.equal(plain.trace_hash, result.trace_hash)
      assert.are.same(plain.coverage, result.coverage)
      assert.is_nil(plain.record)
    end
  end)

  it("is the same for the same seed", function()
    assert.are.equal(sim.run({ seed = 5, record = true }).record, sim.run({ seed = 5, record = true }).record)
  end)

  it("pairs every message that arrives or is lost with one that was sent: two of them where it was doubled", function()
    local arrived = 0
    for _, seed in ipairs(seeds) do
      local _, events = run_of(seed)
      local sent = {}
      for _, event in ipairs(events) do
        local kind = event.kind
        if kind == "send" then
          assert(not sent[event.number])
          sent[event.number] = { from = event.node, to = event.peer, at = event.at, left = 1 }
        elseif kind == "double" then
          sent[event.number].left = 2
        elseif kind == "receive" or kind == "lost" then
          local message = assert(sent[event.number], "it was never sent")
          assert(message.from == event.node and message.to == event.peer, "it was sent otherwise")
          assert(message.at <= event.at and message.left > 0, "it arrives too early or too often")
          message.left = message.left - 1
          arrived = arrived + 1
        end
      end
    end
    assert.is_true(arrived > 8000)
  end)

  it("counts what the coverage counts", function()
    local seen = { stops = 0, pauses = 0, duplicated = 0, refusals = 0, elections = 0, forwards = 0 }
    for _, seed in ipairs(seeds) do
      local result, events = run_of(seed)
      local met = result.coverage
      local entries, leaders = 0, {}
      for _, event in ipairs(events) do
        if event.kind == "send" then entries = entries + event.entries end
        if event.kind == "role" and event.a == 3 then leaders[event.number] = true end
      end
      local terms = 0
      for _ in pairs(leaders) do terms = terms + 1 end
      local types = {}
      for _, event in ipairs(events) do
        if event.kind == "send" then types[event.number] = event end
      end
      local function forwarded(event) return types[event.number].forwarded end
      local function never_sent(event) return forwarded(event) and event.text == "no connection" end

      assert.are.equal(met.messages, count(events, "send", function(event) return not event.forwarded end))
      assert.are.equal(met.forwards + met.forward_replies, count(events, "send", forwarded))
      assert.are.equal(met.message_entries, entries)
      assert.are.equal(met.dropped, count(events, "lost", function(event) return not never_sent(event) end))
      assert.are.equal(met.duplicated, count(events, "double"))
      assert.are.equal(met.elections, terms)
      assert.are.equal(met.persists, count(events, "persist"))
      assert.are.equal(met.starts, count(events, "start"))
      assert.are.equal(met.stops, count(events, "stop"))
      assert.are.equal(met.hellos, count(events, "hello"))
      assert.are.equal(met.pauses, count(events, "ail", function(event) return event.text == "paused" end))
      assert.are.equal(met.refusals, count(events, "written", function(event) return event.text == "disk_full" end))
      local answered = function(event) return event.outcome == 1 end
      assert.are.equal(met.commands_ok + met.queries_ok + met.session_requests_ok, count(events, "settle", answered))
      for name, so_far in pairs(seen) do seen[name] = so_far + met[name] end
    end
    for name, times in pairs(seen) do assert.is_true(times > 0, "no seed meets " .. name) end
  end)

  it("knows the state of every node at the end", function()
    local result, events = run_of(6)
    local fields = { "up", "role", "term", "vote", "leader", "commit", "applied", "last", "durable" }
    local states = {}
    for _, event in ipairs(events) do
      if event.kind == "state" then
        local state = states[event.node] or {}
        states[event.node] = state
        for i = 1, #event.changes, 2 do
          state[fields[event.changes[i] + 1] or "disk"] = event.changes[i + 1]
        end
      end
    end
    local leaders = 0
    for node = 0, result.nodes - 1 do
      local state = states[node]
      assert.are.equal(1, state.up)
      assert.are.equal(state.last, state.commit)
      assert.are.equal(states[0].commit, state.commit)
      assert.are.equal(states[0].leader, state.leader)
      if state.role == 3 then leaders = leaders + 1 end
    end
    assert.are.equal(1, leaders)
    assert.are.equal(result.coverage.commits, states[0].commit)
  end)

  it("keeps the last moments of a run that is too long for it, and begins with how things stood", function()
    local all, events = run_of(5)
    local some, last, record = recorded { seed = 5, record_rows = 2000 }
    assert.are.equal(all.trace_hash, some.trace_hash)
    assert.is_true(#last >= 1000 and #last <= 2100)
    local told = 0 -- what is told again at the beginning, beyond the moments themselves
    local standing = { state = true, phase = true, cut = true, ail = true }
    while standing[last[told + 1].kind] do told = told + 1 end
    assert.is_true(told >= 4)
    for back = 0, 999, 37 do assert.are.same(events[#events - back], last[#last - back]) end
    assert.is_true(record.dropped > 0 and record.dropped < #events)
    assert.is_truthy(page.html(some):find('"dropped":' .. record.dropped, 1, true))
    assert.error_matches(function() sim.run { seed = 1, record = true, record_rows = 1 } end, "record_rows: 2 to")
  end)
end)

describe("a request in words", function()
  local function words(value) return core.body_text((base.pack(value))) end

  it("reads as a call", function()
    assert.are.equal("put key=a value=1", words { "put", { key = "a", value = 1 } })
    assert.are.equal("clear", core.body_text(base.pack "clear"))
    assert.are.equal("clear []", words { "clear", {} })
    assert.are.equal("open", words { "open" }) -- as a session is asked for
    assert.are.equal("renew 128", words { "renew", 128 })
    assert.are.equal("clear", core.body_text "\x92\xa5clear\x80")
    assert.are.equal("count=2 index=9", words { count = 2, index = 9 })
    assert.are.equal([[put key="a b" value={x=[1 2]}]], words { "put", { key = "a b", value = { x = { 1, 2 } } } })
  end)

  it("shows bytes as bytes, and is cut where it gets long", function()
    assert.are.equal([[put key="\xff\x00z"]], words { "put", { key = "\xff\0z" } })
    assert.are.equal([[put key="\x0a"]], words { "put", { key = "\n" } })
    local long = words { "put", { key = ("\u{20ac}"):rep(500), other = ("x"):rep(1000), third = ("y"):rep(99999) } }
    assert.is_true(#long < 700 and utf8.len(long) ~= nil, long)
    local deep = {}
    for _ = 1, 15 do deep = { deep } end
    assert.is_true(#words { "put", deep } < 60)
    assert.are.equal("?", core.body_text "\xc1")
    assert.are.equal("", core.body_text "")
  end)
end)

-- An app that keeps to the simulator's contract, and says terrible things in its replies.
local hostile = "</script><script>alert(1)</script><!-- \" ' & \\ ]]> \xff\0 \u{2028} {{RECORD}} %1"
local function hostile_app()
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir -p '" .. folder .. "'"))
  local from = assert(io.open "spec/sim/app/fsm.lua"):read "a"
  local text, changes = from:gsub("index = ctx%.index", ("index = ctx.index, note = %q"):format(hostile), 1)
  assert(changes == 1, "spec/sim/app/fsm.lua answers otherwise now")
  local file = assert(io.open(folder .. "/fsm.lua", "wb"))
  file:write(text)
  file:close()
  return folder
end

describe("a page", function()
  local result = sim.run { seed = 6, record = true }

  it("is there for a result with a record only", function()
    assert.error_matches(function() page.html(sim.run { seed = 6, steps = 100 }) end, "record = true")
  end)

  it("needs nothing else", function()
    local text = page.html(result, { title = "a run", replay = "moonclave sim" })
    assert.is_nil(text:find "https?:")
    assert.is_nil(text:find "//[%w.]+%.%w+/")
    for _, word in ipairs { "src=", "@import", "url(", "fetch(", "XMLHttpRequest", "import(", "eval(", "innerHTML" } do
      assert.is_nil(text:find(word, 1, true), word)
    end
    assert.is_truthy(text:find("default-src 'none'", 1, true))
    assert.are.equal(result.record, between(text, '<script type="application/json" id="record">', "</script>"))
    assert.is_nil(text:find "{{%u+}}")
  end)

  it("shows the violation, the command, and what a shrinker has left", function()
    local bad = {}
    for name, value in pairs(result) do bad[name] = value end
    bad.ok = false
    bad.violation = { invariant = "one_vote", detail = "n2: writes vote 'n3' over 'n2'", time_us = 1234567,
      step = 4321 }
    local text = page.html(bad, {
      title = "kv", replay = "moonclave sim examples/kv --seed 6",
      schedule = { "n2 crashes", { text = "n1 is cut off", step = 77 }, { text = "later", time_us = 5 } },
    })
    assert.is_truthy(text:find("one_vote</span>", 1, true))
    assert.is_truthy(text:find("n2: writes vote &#39;n3&#39; over &#39;n2&#39;", 1, true))
    assert.is_truthy(text:find('href="#step=4321"', 1, true))
    assert.is_truthy(text:find("moonclave sim examples/kv --seed 6</code>", 1, true))
    local about = decode(between(text, 'id="about">', "</script>"))
    assert.are.same({ { text = "n2 crashes" }, { text = "n1 is cut off", step = 77 }, { text = "later", time_us = 5 } },
      about.schedule)
    assert.are.equal(4321, about.violation.step)
  end)

  it("lets no text out of its place", function()
    local bad = {}
    for name, value in pairs(result) do bad[name] = value end
    bad.violation = { invariant = hostile, detail = hostile, time_us = 1, step = 1 }
    local text = page.html(bad, { title = hostile, replay = hostile, schedule = { hostile } })
    assert.are.equal(3, select(2, text:gsub("</script", "")))
    assert.are.equal(3, select(2, text:gsub("<script", "")))
    assert.is_nil(text:find("<!--", 1, true))
    assert.is_not_nil(utf8.len(text))
    local about = decode(between(text, 'id="about">', "</script>"))
    assert.are.equal(hostile:gsub("\xff", "\\xff"), about.schedule[1].text)
  end)

  it("lets no text of an app out of its place", function()
    local folder = hostile_app()
    local run = sim.run { seed = 6, machine = "lua", app = folder, record = true }
    os.execute("rm -r '" .. folder .. "'")
    assert.is_true(run.ok, sim.report(run))
    assert.is_nil(run.record:find "[<>&\127%z]")
    assert.is_not_nil(utf8.len(run.record))
    local said
    for _, event in ipairs(read(decode(run.record))) do
      if event.kind == "reply" and event.body and event.body:find("</script>", 1, true) then said = event.body end
    end
    assert.is_truthy(said and said:find([[\xff\x00]], 1, true), said)
    local text = page.html(run)
    assert.are.equal(3, select(2, text:gsub("</script", "")))
  end)

  it("is written where a trace ends in .html, and says where it cannot be", function()
    local path = os.tmpname()
    local traced = sim.run { seed = 6, trace = path .. ".html" }
    local file = assert(io.open(path .. ".html", "rb"))
    local text = file:read "a"
    file:close()
    os.remove(path)
    os.remove(path .. ".html")
    assert.are.equal(result.trace_hash, traced.trace_hash)
    assert.are.equal("<!doctype html>", text:sub(1, 15))
    assert.are.equal("</html>\n", text:sub(-8))
    local function nowhere() sim.run { seed = 6, steps = 50, trace = "/nowhere/x.html" } end
    assert.error_matches(nowhere, "cannot write the page")
  end)
end)

describe("the page's script", function()
  local function of(seed)
    local text = page.html(sim.run { seed = seed, steps = 2000, record = true })
    return text:match '<script>\n"use strict";(.*)</script>'
  end

  it("knows every kind of moment and every field of them", function()
    local script = of(6)
    local record = decode(sim.run({ seed = 6, steps = 50, record = true }).record)
    local words = between(script, "const WORDS = {", "\n};")
    local groups = between(script, "const GROUP_OF_KIND = {", "\n};")
    for _, kind in ipairs(record.kinds) do
      assert.is_truthy(words:find("\n  " .. kind[1] .. ": ", 1, true), "no words for " .. kind[1])
      local message = kind[2]:find "^np#"
      assert.is_truthy(message or groups:find("%f[%a]" .. kind[1] .. ": "), "no group for " .. kind[1])
    end
  end)

  it("is a script, where there is something that can tell", function()
    if not os.execute "node --version >/dev/null 2>&1" then return pending "there is no node here" end
    local path = os.tmpname()
    local file = assert(io.open(path .. ".js", "wb"))
    file:write('"use strict";', of(6))
    file:close()
    local fine = os.execute("node --check '" .. path .. ".js'")
    os.remove(path)
    os.remove(path .. ".js")
    assert.is_true(fine)
  end)
end)

describe("the record of a mutant", function()
  it("holds its violation", function()
    local cpath = search.mutants_cpath()
    if not cpath then return pending "there is no build with mutants (MOONCLAVE_MUTANTS_BUILD)" end
    local path = os.tmpname()
    local code = ([[local sim = require "moonclave.sim"
      for seed = 1, 50 do
        local r = sim.run { seed = seed, mutant = "double_vote", trace = "%s.html" }
        if not r.ok then print(r.violation.invariant, r.violation.step) break end
      end]]):format(path)
    local pipe = assert(io.popen(("LUA_CPATH='%s' lua5.4 -e '%s' 2>&1"):format(cpath, code)))
    local invariant, step = pipe:read("a"):match "^(%S+)%s+(%d+)"
    pipe:close()
    local file = assert(io.open(path .. ".html", "rb"))
    local text = file:read "a"
    file:close()
    os.remove(path)
    os.remove(path .. ".html")
    local events = read(decode(between(text, 'id="record">', "</script>")))
    local found
    for _, event in ipairs(events) do
      if event.kind == "violation" then found = event end
    end
    assert.is_truthy(invariant and found and found.text:find(invariant, 1, true) == 1)
    assert.are.equal(math.tointeger(step), found.step)
    assert.is_truthy(text:find('href="#step=' .. step .. '"', 1, true))
  end)
end)
