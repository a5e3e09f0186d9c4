-- The stories of the bugs, told to a build in which their guard is off: there each must fail, or proves nothing. Each
-- of the 39 must have a mutant that is named after it (its row in base/mutant.h begins with the number) and is killed.
-- Needs a build with MUTANTS=1: scripts/test makes one and names it in MOONCLAVE_MUTANTS_BUILD.
local bugs = require "raft.bugs.all"

local NUMBERS = 39
local build = os.getenv "MOONCLAVE_MUTANTS_BUILD"

-- Those of exactly-once, of settings and of disks that do not answer: mutant, file, how its story's title begins.
local once = {
  { "stalled_disk_leads", "host/watch", "hands leadership over after" },
  { "stalled_disk_campaigns", "host/watch", "does not follow an order to campaign" },
  { "retry_run_again", "host/sessions", "runs a sequence once" },
  { "floor_not_kept", "host/sessions", "lets go of the replies" },
  { "renewal_forgets", "host/sessions", "lets go of the replies" },
  { "body_not_compared", "host/sessions", "refuses a sequence that was used" },
  { "session_outlives", "host/sessions", "expires at the first entry" },
  { "keys_by_clock", "host/sessions", "survives a leader's clock" },
  { "refusal_for_all", "host/retry", "is unknown where its session is gone" },
  { "settings_not_told", "host/settings", "change by an entry of these bytes" },
  { "settings_not_kept", "host/settings", "survive a restart" },
  { "settings_checked_once", "host/settings", "that were sound one by one" },
}

-- How many passed and failed; nothing when the process died before it could count. The filter has a dot for each blank:
-- not every busted keeps its arguments' blanks together.
local function tell(file, title, mutant)
  local filter = title and "--filter=" .. title:gsub("%W", ".") or ""
  local counts = os.tmpname()
  os.remove(counts)
  local command = ("LUA_CPATH='%s/lua/?.so;;' MOONCLAVE_COUNTS='%s' MOONCLAVE_GUARD_OFF='%s' " ..
    "busted --lua=lua5.4 -o spec/support/report.lua %s spec/%s_spec.lua 2>&1"):format(build, counts, mutant or "",
    filter, file)
  local pipe = assert(io.popen(command))
  local said = pipe:read "a"
  pipe:close()
  local written = io.open(counts)
  if not written then return nil, nil, said end
  local passed, failed = written:read("n", "n")
  written:close()
  os.remove(counts)
  return passed, failed, said
end

-- It fails, or ends the process by an assertion of the core: by nothing else.
local function assert_noticed(file, title, mutant)
  local passed, failed, said = tell(file, title, mutant)
  assert(passed == nil or (passed == 0 and failed == 1), said)
  assert(passed or said:find "Assertion", said)
end

-- By name: the numbers that its row names, as a set; empty for a guard of ours.
local function known_mutants()
  local code = [[for _, m in ipairs(require("moonclave.sim").mutants()) do print(m.name, m.bug) end]]
  local pipe = assert(io.popen(("LUA_CPATH='%s/lua/?.so;;' lua5.4 -e '%s'"):format(build, code)))
  local known = {}
  for line in pipe:lines() do
    local name, bug = line:match "^(%S+)\t(.*)$"
    known[name] = {}
    for number in (bug:match "^([%d, ]+):" or ""):gmatch "%d+" do known[name][math.tointeger(number)] = true end
  end
  pipe:close()
  return known
end

describe("a guard that is off", function()
  if not build then
    pending "is noticed by its story (no build with mutants: MOONCLAVE_MUTANTS_BUILD)"
    return
  end
  local known, killed, noticed = known_mutants(), {}, {}

  it("is what makes the stories fail: with all of them on they pass in the same build", function()
    for _, file in ipairs { "raft/bugs", "host/sessions", "host/retry", "host/settings", "host/watch" } do
      local passed, failed, said = tell(file)
      assert(passed and passed > (file == "raft/bugs" and #bugs.stories or 5) and failed == 0, said)
    end
  end)

  for _, story in ipairs(bugs.stories) do
    for _, mutant in ipairs(story.mutants) do
      it(mutant .. " is noticed: " .. bugs.name(story), function()
        assert_noticed("raft/bugs", bugs.name(story), mutant)
        noticed[mutant] = true
        if known[mutant][story.number] then killed[story.number] = true end
      end)
    end
  end

  it("unsynced_snapshot is noticed at every call of the store's file system", function()
    assert_noticed("store/snapshot", "29: survives a power cut", "unsynced_snapshot")
  end)

  for _, story in ipairs(once) do
    local mutant, file, title = table.unpack(story)
    it(mutant .. " is noticed: " .. file .. ": " .. title, function() assert_noticed(file, title, mutant) end)
  end

  it("is that of a numbered bug, each of which has a mutant of its own that its story kills", function()
    local alive, count = {}, 0
    for number = 1, NUMBERS do
      if killed[number] then count = count + 1 else alive[#alive + 1] = number end
    end
    print(("    mutants: %d/%d killed"):format(count, NUMBERS))
    assert.same({}, alive)
    for mutant, numbers in pairs(known) do
      assert(next(numbers) == nil or noticed[mutant], mutant .. " names a bug, and no story of it is told")
    end
  end)

  it("is one that the build knows", function()
    local _, failed, said = tell("raft/bugs", "2. nothing is read", "no_such_guard")
    assert.is_true(failed == nil or failed > 0)
    assert.truthy(said:find("no_such_guard", 1, true))
  end)
end)
