-- Runs a range of seeds in a process of its own, so that an assert that ends it costs one process and names its seed.
--   lua5.4 spec/sim/runner.lua FIRST LAST STRIDE [name=value ...]
-- Names are options of sim.run; stop=1 ends at the first violation.
-- Prints, for spec/sim/search.lua: "seed N" before each, "violation N ..." after a bad one, and sums at the end.
local sim = require "moonclave.sim"

local first, last, stride = math.tointeger(arg[1]), math.tointeger(arg[2]), math.tointeger(arg[3])
local options, stop = {}, false
for i = 4, #arg do
  local name, value = arg[i]:match "^([%w_]+)=(.*)$"
  if name == "stop" then
    stop = true
  else
    options[name] = value == "true" or value ~= "false" and (math.tointeger(value) or value)
  end
end

local sums = { seeds = 0, steps = 0, virtual_us = 0 }
for seed = first, last, stride do
  io.write("seed ", seed, "\n")
  io.flush()
  options.seed = seed
  local result = sim.run(options)
  sums.seeds = sums.seeds + 1
  sums.steps = sums.steps + result.steps
  sums.virtual_us = sums.virtual_us + result.virtual_us
  for name, count in pairs(result.coverage) do sums["coverage." .. name] = (sums["coverage." .. name] or 0) + count end
  for name, count in pairs(result.states) do sums["state." .. name] = (sums["state." .. name] or 0) + count end
  if not result.ok then
    io.write("violation ", seed, " ", result.violation.invariant, " ", (sim.report(result):gsub("\n", " ")), "\n")
    if stop then break end
  end
end
for name, count in pairs(sums) do io.write("sum ", count, " ", name, "\n") end
io.write("cpu ", os.clock(), "\n")
