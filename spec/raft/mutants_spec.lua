-- Each snapshot story, with the guard it stands for switched off: it must fail. A story that passes without its guard
-- shows nothing.
local BUILD = os.getenv "MOONCLAVE_MUTANTS_BUILD" or "build/mutants"

-- mutant, spec file, the beginning of the story's title
local ROWS = {
  { "conflict_kept", "spec/raft/snapshot_spec.lua", "9: keeps nothing" },
  { "configuration_outlives_install", "spec/raft/snapshot_spec.lua", "10:" },
  { "configuration_outlives_install", "spec/raft/snapshot_spec.lua", "11:" },
  { "compacted_configuration", "spec/raft/snapshot_spec.lua", "12:" },
  { "compacted_appended", "spec/raft/snapshot_spec.lua", "24:" },
  { "rejected_below_snapshot", "spec/raft/snapshot_spec.lua", "25:" },
  { "older_snapshot_installed", "spec/raft/snapshot_spec.lua", "28:" },
  { "unsynced_snapshot", "spec/store/snapshot_spec.lua", "29: survives a power cut" },
  { "transfer_outlives_term", "spec/raft/snapshot_spec.lua", "31:" },
}

-- Runs one story in a process of its own; did it pass, and what was said.
local function run(mutant, file, title)
  local form = "MOONCLAVE_MUTANT=%s LUA_CPATH='%s/lua/?.so;;' MOONCLAVE_COUNTS= busted --lua=lua5.4 -o plainTerminal "
    .. "--filter='%s' %s 2>&1; echo status $?"
  local command = form:format(mutant, BUILD, title:gsub("%W", "."), file)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  pipe:close()
  return text:match "status (%d+)%s*$" == "0", text
end

describe("without its guard", function()
  for _, row in ipairs(ROWS) do
    it(("the story \"%s\" fails: %s"):format(row[3], row[1]), function()
      local passed, text = run("", row[2], row[3])
      assert(passed and text:find "1 success", "it does not pass in this build at all: " .. text)
      passed, text = run(row[1], row[2], row[3])
      assert.is_false(passed, "it passes")
      assert(text:find "1 failure" or text:find "1 error" or text:find "Assertion", text)
    end)
  end
end)
