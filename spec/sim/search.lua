-- Searches seeds in child processes: the library behind the specs here.
--
--   local found = search.seeds { first = 1, last = 2000, jobs = 2, mutant = "double_vote", stop = true }
--   found.violations   array of { seed, invariant, text }, ascending; an assert that ended a process counts as one
--   found.sums         seeds, steps, virtual_us, coverage.*, state.* (the cells of src/sim/coverage.c)
local M = {}

local runner = debug.getinfo(1, "S").source:match "^@(.*)search%.lua$" .. "runner.lua"

local function quote(text) return "'" .. tostring(text):gsub("'", "'\\''") .. "'" end

local function command(options, first, stride)
  local words = {}
  if options.cpath then words[#words + 1] = "LUA_CPATH=" .. quote(options.cpath) end
  for _, word in ipairs { "lua5.4", runner, first, options.last, stride } do words[#words + 1] = quote(word) end
  for _, name in ipairs {
    "nodes", "machine", "app", "mutant", "outcome_only", "poison", "restores", "deploys", "disk", "policy",
  } do
    if options[name] then words[#words + 1] = quote(name .. "=" .. tostring(options[name])) end
  end
  if options.stop then words[#words + 1] = "stop=1" end
  return table.concat(words, " ") .. " 2>&1"
end

local function read(pipe, found)
  local seed, complaint, ended = nil, nil, false
  for line in pipe:lines() do
    local word, rest = line:match "^(%a+) (.*)$"
    if word == "seed" then
      seed = math.tointeger(rest)
    elseif word == "violation" then
      local at, invariant, text = rest:match "^(%d+) (%S+) (.*)$"
      table.insert(found.violations, { seed = math.tointeger(at), invariant = invariant, text = text })
    elseif word == "sum" then
      local count, name = rest:match "^(%d+) (.+)$"
      found.sums[name] = (found.sums[name] or 0) + math.tointeger(count)
    elseif word == "cpu" then
      ended = true
      found.cpu = (found.cpu or 0) + tonumber(rest)
    else
      complaint = complaint and complaint .. " " .. line or line
    end
  end
  pipe:close()
  if not ended then
    table.insert(found.violations, { seed = seed, invariant = "process_ended", text = complaint or "no reason given" })
  end
end

function M.seeds(options)
  local jobs = options.jobs or 1
  local pipes, found = {}, { violations = {}, sums = {} }
  for job = 1, jobs do pipes[job] = assert(io.popen(command(options, options.first + job - 1, jobs))) end
  for _, pipe in ipairs(pipes) do read(pipe, found) end
  table.sort(found.violations, function(a, b) return a.seed < b.seed end)
  return found
end

-- Where the modules of a build with mutants are; nil: there is none.
function M.mutants_cpath()
  local cpath, build = os.getenv "MOONCLAVE_MUTANTS_CPATH", os.getenv "MOONCLAVE_MUTANTS_BUILD"
  if not cpath and build then cpath = build .. "/lua/?.so" end
  if not cpath then return nil end
  local file = io.open((cpath:match "^[^;]*":gsub("%?", "moonclave/simcore")))
  if file then file:close() end
  return file and cpath .. ";;" or nil
end

-- How many seeds the specs run: MOONCLAVE_SEEDS, else 2,000; a tenth of that under sanitizers, which are much slower.
function M.budget()
  local given = os.getenv "MOONCLAVE_SEEDS"
  if given then return assert(math.tointeger(given), "MOONCLAVE_SEEDS is a number") end
  return (os.getenv "SANITIZE" or "") == "" and 2000 or 200
end

return M
