-- The hard-won bugs, by number: each happened to a system in production. One story each at least, told so that it fails
-- without the guard: mutants_spec.lua tells each to a build in which that is off. The stories are in bugs/, by topic.
local bugs = require "raft.bugs.all"

local NAMES = {
  "entries of a prior term are committed by counting (Figure 8)",
  "reads before the first commit of the term",
  "a single server reads at a commit index that a crash forgets",
  "an old acknowledgement confirms a newer read",
  "the order to campaign comes after the transfer was given up, and breaks the lease",
  "lease reads during a transfer",
  "a term bump between reading the term and appending",
  "the transfer outlives the leader's step-down",
  "installing a snapshot keeps a conflicting entry at its index",
  "entries behind an installed snapshot supply a wrong configuration",
  "a configuration of a higher index outlives an install",
  "a configuration is rolled back after its entry was compacted",
  "a restart forgets a configuration that was appended and not committed",
  "a new leader ignores an uncommitted configuration that it inherits",
  "single-server changes by successive leaders",
  "a campaign with a configuration that is not applied",
  "a promoted learner that does not know it refuses to vote",
  "pre-vote deadlocks",
  "followers refuse their own leader's pre-vote; granting one resets the timer",
  "a demoted server with a higher term topples the leader",
  "the vote is cleared on learning who leads",
  "the commit index is set past what was verified",
  "a late, shorter append truncates a matching suffix",
  "an append from the beginning brings back what was compacted",
  "an append below the snapshot is rejected, and the rejection thought stray",
  "a failed disk write while a peer still holds the entry",
  "the log changes between reading its end and granting a vote",
  "a snapshot older than the log truncates it",
  "a crash between any two steps of an install",
  "a lost window of appends stalls replication",
  "a snapshot transfer of a former term is alive at re-election",
  "a transfer under load never ends",
  "term or vote are not durable",
  "vote requests are not gated",
  "a double vote after a restart",
  "heartbeats carry a commit index past the follower's match",
  "non-voters are counted in the quorum",
  "a wiped voter returns under its old id and votes again",
  "a follower forgets the end of a log that it acknowledged",
}

describe("bug", function()
  for number, name in ipairs(NAMES) do
    local stories = bugs.of(number)
    assert(#stories > 0, ("nothing tells bug %d, %s"):format(number, name))
    for _, story in ipairs(stories) do it(bugs.name(story), story.tell) end
  end

  it("stories are of bugs that have a name", function()
    for _, story in ipairs(bugs.stories) do assert(story.number == nil or NAMES[story.number], story.title) end
  end)
end)

describe("a guard without a number", function()
  for _, story in ipairs(bugs.of(0)) do it(bugs.name(story), story.tell) end
end)
