-- The stories of the bugs, told to a build in which their guard is off: there each must fail, or it proves nothing.
-- Needs a build with MUTANTS=1: scripts/test makes one and names it in MOONCLAVE_MUTANTS_BUILD.
local build = os.getenv "MOONCLAVE_MUTANTS_BUILD"

-- mutant, file, how its story's title begins
local stories = {
  { "configuration_kept", "bugs_membership", "12:" },
  { "configuration_forgotten", "bugs_membership", "13:" },
  { "inherited_ignored", "bugs_membership", "14:" },
  { "changed_too_early", "bugs_membership", "15:" },
  { "unapplied_ignored", "bugs_membership", "16:" },
  { "learner_refuses", "bugs_membership", "17:" },
  { "no_stickiness", "bugs_membership", "20: a demoted" },
  { "stranger_heeded", "bugs_membership", "20: a removed" },
  { "vote_forgotten", "bugs_membership", "21:" },
  { "log_not_compared", "bugs_membership", "27:" },
  { "non_voters_counted", "bugs_membership", "37:" },
  { "rejoined_trusted", "bugs_membership", "38:" },
  { "two_changes", "bugs_membership", "two changes:" },
  { "removed_leads_on", "bugs_membership", "removed leader:" },
  { "lease_after_transfer", "bugs_transfer", "5: the order" },
  { "old_timeout_now", "bugs_transfer", "5: an order" },
  { "lease_in_transfer", "bugs_transfer", "6:" },
  { "proposed_too_late", "bugs_transfer", "7:" },
  { "transfer_outlives", "bugs_transfer", "8:" },
  { "transfer_under_load", "bugs_transfer", "32:" },
  { "transfer_to_learner", "bugs_transfer", "learner:" },
  { "read_before_commit", "bugs_reads", "2:" },
  { "unwritten_counted", "bugs_reads", "3:" },
  { "stale_read", "bugs_reads", "4: an answer" },
  { "old_read_index", "bugs_reads", "4: a follower" },
  { "word_forgotten", "bugs_reads", "restarted voter:" },
  { "word_dies_with_term", "bugs_reads", "higher term:" },
  { "conflict_kept", "snapshot", "9: keeps nothing" },
  { "configuration_outlives_install", "snapshot", "10:" },
  { "configuration_outlives_install", "snapshot", "11:" },
  { "compacted_configuration", "snapshot", "12:" },
  { "compacted_appended", "snapshot", "24:" },
  { "rejected_below_snapshot", "snapshot", "25:" },
  { "older_snapshot_installed", "snapshot", "28:" },
  { "unsynced_snapshot", "store/snapshot", "29: survives a power cut" },
  { "transfer_outlives_term", "snapshot", "31:" },
  { "retry_run_again", "host/sessions", "runs a sequence once" },
  { "floor_not_kept", "host/sessions", "lets go of the replies" },
  { "renewal_forgets", "host/sessions", "lets go of the replies" },
  { "body_not_compared", "host/sessions", "refuses a sequence that was used" },
  { "session_outlives", "host/sessions", "expires at the first entry" },
  { "keys_by_clock", "host/sessions", "survives a leader's clock" },
  { "refusal_for_all", "host/retry", "is unknown where its session is gone" },
}

-- How many passed and failed; nothing when the process died before it could count. The filter has a dot for each blank:
-- not every busted keeps its arguments' blanks together.
local function tell(file, title, mutant)
  local filter = title and "--filter=" .. title:gsub("%W", ".") or ""
  local counts = os.tmpname()
  os.remove(counts)
  local command = ("LUA_CPATH='%s/lua/?.so;;' MOONCLAVE_COUNTS='%s' MOONCLAVE_GUARD_OFF='%s' " ..
    "busted --lua=lua5.4 -o spec/support/report.lua %s spec/%s_spec.lua 2>&1"):format(
    build, counts, mutant or "", filter, file:find "/" and file or "raft/" .. file)
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

describe("a guard that is off", function()
  if not build then
    pending "is noticed by its story (no build with mutants: MOONCLAVE_MUTANTS_BUILD)"
    return
  end

  it("is what makes the stories fail: with all of them on they pass in the same build", function()
    local files = { "bugs_membership", "bugs_transfer", "bugs_reads", "snapshot", "host/sessions", "host/retry" }
    for _, file in ipairs(files) do
      local passed, failed, said = tell(file)
      assert(passed and passed > 5 and failed == 0, said)
    end
  end)

  for _, story in ipairs(stories) do
    local mutant, file, title = table.unpack(story)
    it(mutant .. " is noticed: " .. title, function()
      local passed, failed, said = tell(file, title, mutant)
      assert(passed == nil or (passed == 0 and failed == 1), said)
      assert(passed or said:find "Assertion", said) -- died of an assertion of the core, not of anything else
    end)
  end

  it("is one that the build knows", function()
    local _, failed, said = tell("bugs_reads", "2:", "no_such_guard")
    assert.is_true(failed == nil or failed > 0)
    assert.truthy(said:find("no_such_guard", 1, true))
  end)
end)
