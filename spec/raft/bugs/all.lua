-- The stories of the bugs: gathered from the files of this folder, told by bugs_spec.lua, and by mutants_spec.lua to
-- builds in which a guard is off. A story is { number =, title =, mutants =, tell = }: the number that the bug has in
-- the design (none: a guard of ours), and the mutants of base/mutant.h that must make it fail.
--
-- A file of stories returns function(bug), which calls bug(number, title, mutants, tell) for each. Those whose guard
-- stands above or below the core are told there: over the host's world, over the store on a disk that forgets.
local FILES = { "replication", "reads", "elections", "membership", "transfer", "snapshots", "disks", "host", "store" }

local M = { stories = {} }

-- The numbered ones of one number, in their order; 0: those without.
function M.of(number)
  local found = {}
  for _, story in ipairs(M.stories) do
    if (story.number or 0) == number then found[#found + 1] = story end
  end
  return found
end

-- What the spec is called: "24. knows entries that it has compacted"
function M.name(story) return (story.number and story.number .. ". " or "") .. story.title end

for _, file in ipairs(FILES) do
  require("raft.bugs." .. file)(function(number, title, mutants, tell)
    M.stories[#M.stories + 1] = { number = number, title = title, mutants = mutants, tell = tell }
  end)
end

return M
