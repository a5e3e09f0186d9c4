-- Runs the seeds named, in their order, until one is violated. For run.lua, in a process of its own.
--   lua5.4 scripts/mutants/seeds.lua [name=value ...] SEED ...
-- Names are options of sim.run. Prints "seed N" before each, "violation N invariant" for a bad one, "done CPU" at the
-- end.
local sim = require "moonclave.sim"

local options = {}
for _, word in ipairs(arg) do
  local name, value = word:match "^([%w_]+)=(.*)$"
  if name then
    options[name] = value == "true" or math.tointeger(value) or value
  else
    options.seed = math.tointeger(word)
    io.write("seed ", word, "\n")
    io.flush()
    local result = sim.run(options)
    if not result.ok then
      io.write("violation ", word, " ", result.violation.invariant, "\n")
      break
    end
  end
end
io.write("done ", os.clock(), "\n")
