-- Mutation testing of src/raft and src/host: `make mutants`. README.md here says what the numbers mean.
--   lua5.4 scripts/mutants/run.lua [OPTION ...]
--     --named, --generated   only these (default: both)
--     --only TEXT            generated ones of files whose name has it
--     --survivors            generated ones that the last run did not see killed, and new ones
--     --listed               generated ones that equivalent.lua lists: they must survive
--     --deep                 all profiled seeds for each that the first few do not kill, even where a spec would
--     --profile N            seeds to profile and choose from (120)
--     --jobs N               processes at a time (2)
--     --build DIR            where the copy is (build/generated)
-- Exit code 0: every named mutant is killed, and at least 95% of the generated ones that can make a difference.
local here = debug.getinfo(1, "S").source:match "^@(.*/)" or "./"

-- Processor time of the seeds tried, at most: a few, some before the specs, and some after them (all when --deep).
local CHEAP_S, SOME_S, DEAR_S = 0.05, 0.25, 0.5
local LONG = 40000000    -- a spec that meets more conditions is left to --deep
local SLOWER = 5         -- times as many conditions met as without a mutant: it goes round in circles
local WANTED = 0.95
local NAMED_SEEDS, HARM_SEEDS, STORE_SEEDS = 2000, 800, 100
local STORIES = "spec/raft/bugs_spec.lua spec/host/sessions_spec.lua spec/host/retry_spec.lua " ..
  "spec/store/snapshot_spec.lua"
local SPECS = { "spec/raft", "spec/host", "spec/formats" }

-- ---- words ----

local options = { profile = 120, jobs = 2, build = "build/generated" }
local flags = { named = true, generated = true, survivors = true, deep = true, listed = true }
do
  local i = 1
  while arg[i] do
    local name = arg[i]:match "^%-%-(.+)$"
    if not name then
      table.insert(options, arg[i])
    elseif flags[name] then
      options[name] = true
    elseif name == "only" or name == "build" or name == "worker" then
      i = i + 1
      options[name] = assert(arg[i], arg[i - 1] .. " needs a word")
    elseif name == "profile" or name == "jobs" then
      i = i + 1
      options[name] = assert(math.tointeger(arg[i]), arg[i - 1] .. " needs a number")
    else
      io.stderr:write("mutants: no option ", arg[i], "; see the top of scripts/mutants/run.lua\n")
      os.exit(2)
    end
    i = i + 1
  end
end
if not options.named and not options.generated then options.named, options.generated = true, true end

local function quote(text) return "'" .. tostring(text):gsub("'", "'\\''") .. "'" end

local function lines_of(command)
  local pipe, list = assert(io.popen(command)), {}
  for line in pipe:lines() do list[#list + 1] = line end
  local ok = pipe:close()
  return list, ok
end

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "a"
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function progress(format, ...) io.stderr:write("\r\27[K", format:format(...)) end

-- ---- the build, and how a process of it is started ----

local cpath = ("%s/build/lua/?.so;;"):format(options.build)
local asan = false
local specs_path = "lua/?.lua;lua/?/init.lua;spec/?.lua;;"

local function child(mutant, seconds, command, more)
  local words = { ("ulimit -t %d; ulimit -c 0; ulimit -v 1000000;"):format(math.ceil(seconds)), "MALLOC_PERTURB_=165",
    "LUA_PATH=" .. quote(specs_path), "LUA_CPATH=" .. quote(cpath), -- and for .busted, whose paths come first:
    "MOONCLAVE_BUILD=" .. quote(options.build .. (asan and "/build-asan" or "/build")), more or "", "exec", command,
    "2>&1" }
  if mutant then table.insert(words, 2, "MOONCLAVE_MUTANT=" .. mutant) end
  if asan then
    words[1] = ("ulimit -t %d; ulimit -c 0;"):format(math.ceil(4 * seconds))
    table.insert(words, 2, 'ASAN_OPTIONS=detect_leaks=1 LD_PRELOAD="$(gcc -print-file-name=libasan.so) ' ..
      '$(gcc -print-file-name=libubsan.so)"')
    return (table.concat(words, " "):gsub("/build/lua/", "/build-asan/lua/"))
  end
  return table.concat(words, " ")
end

local function build(sanitized)
  progress("generating and building ...")
  local folder = quote(options.build)
  local generate = ("lua5.4 %sgenerate.lua %s"):format(here, folder)
  local make = ("nice make -C %s -j2 MUTANTS=1 WARNINGS=-w %s modules >%s/make.log 2>&1"):format(folder,
    sanitized and "SANITIZE=1 BUILD=build-asan" or "BUILD=build", folder)
  if not (sanitized or os.execute(generate)) or not os.execute(make) then
    io.stderr:write("\n", read(options.build .. "/make.log") or "", "mutants: the copy cannot be built\n")
    os.exit(1)
  end
end

-- ---- one mutant ----

-- nil: it survives; else how it died.
local function by_seeds(mutant, seeds, ticks, words)
  if #seeds == 0 then return nil end
  local command = ("lua5.4 %sseeds.lua %s %s"):format(here, words or "", table.concat(seeds, " "))
  local seed, last, done
  local limit = ticks and ("MOONCLAVE_MUTANTS_TICKS=%d"):format(SLOWER * ticks)
  local output, ok = lines_of(child(mutant, 60, command, limit))
  for _, line in ipairs(output) do
    local word, rest = line:match "^(%a+) (.*)$"
    if word == "seed" then
      seed = rest
    elseif word == "violation" then
      return ("seed %s %s"):format(rest:match "^(%d+) (%S+)")
    elseif word == "done" then
      done = true
    else
      last = line
    end
  end
  if done and ok then return nil end
  return ("seed %s %s"):format(seed or "?", last and "assert: " .. last:match "([^:]*)$":gsub("^%s+", "") or "no end")
end

local function by_specs(mutant, specs)
  local files, ticks = {}, 0
  for _, spec in ipairs(specs) do
    if spec.ticks < LONG or options.deep then files[#files + 1], ticks = spec.name, ticks + spec.ticks end
  end
  if #files == 0 then return nil end
  local command = "busted --lua=lua5.4 --no-keep-going -o TAP " .. table.concat(files, " ")
  local output, ok = lines_of(child(mutant, 60, command, ("MOONCLAVE_MUTANTS_TICKS=%d"):format(SLOWER * ticks)))
  if ok then return nil end
  for _, line in ipairs(output) do
    local name = line:match "^not ok %d+ %- (.*)"
    if name then return "spec " .. name end
  end
  return "spec, which it ended: " .. (output[#output] or "no end")
end

-- A named one that the simulated hosts and their model of a disk cannot show: on the store itself, or by its story.
local function elsewhere(name)
  local seeds = {}
  for seed = 1, STORE_SEEDS do seeds[seed] = seed end
  local died = by_seeds(nil, seeds, nil, "disk=sqlite mutant=" .. name)
  if died then return "store, " .. died end
  local command = "busted --lua=lua5.4 --no-keep-going -o TAP " .. STORIES
  local output, ok = lines_of(child(nil, 120, command, "MOONCLAVE_GUARD_OFF=" .. name))
  if ok then return nil end
  for _, line in ipairs(output) do
    local title = line:match "^not ok %d+ %- (.*)"
    if title then return "story " .. title end
  end
  return "story, which it ended"
end

-- ---- the profile: what each seed costs and which mutants would differ in it; the same for each spec ----

local function profile_of(list, command_of)
  local name = os.tmpname()
  local result = {}
  for _, item in ipairs(list) do
    write(name, "")
    local output, ok = lines_of(child(nil, 300, command_of(item), "MOONCLAVE_MUTANTS_MET=" .. quote(name)))
    local met, ticks = {}, 0
    for word, number in read(name):gmatch "(%a*) ?(%d+)\n" do
      if word == "ticks" then ticks = ticks + number else met[#met + 1] = number end
    end
    result[#result + 1] = ("%s %s %d %s"):format(item, ok and (output[#output]:match "^done (.*)" or "0") or "failed",
      ticks, table.concat(met, ","))
  end
  os.remove(name)
  return result
end

local function spec_files() return lines_of("find " .. table.concat(SPECS, " ") .. " -name '*_spec.lua' | sort") end

-- ---- workers: every jobs-th task; a line for each result ----

local function load_profile()
  local profile = { by_seed = {}, by_spec = {} }
  for line in io.lines(options.build .. "/profile") do
    local name, cost, ticks, met = line:match "^(%S+) (%S+) (%d+) (%S*)$"
    local seed = math.tointeger(name)
    local met_in = seed and profile.by_seed or profile.by_spec
    local item = { name = name, seed = seed, cost = tonumber(cost), ticks = math.tointeger(ticks) }
    for number in met:gmatch "%d+" do
      number = math.tointeger(number)
      met_in[number] = met_in[number] or {}
      table.insert(met_in[number], item)
    end
  end
  for _, list in pairs(profile.by_seed) do
    table.sort(list, function(a, b) return a.ticks < b.ticks or (a.ticks == b.ticks and a.seed < b.seed) end)
  end
  for _, list in pairs(profile.by_spec) do
    table.sort(list, function(a, b) return a.ticks < b.ticks or (a.ticks == b.ticks and a.name < b.name) end)
  end
  return profile
end

-- The cheapest seeds first. Only those in which the mutant would answer something else than the product at least once:
-- the others are the same run.
local function portions(seeds)
  local list, most = {}, { CHEAP_S, SOME_S, options.deep and math.huge or DEAR_S }
  for i = 1, 3 do list[i] = { ticks = 0, cost = 0 } end
  local at = 1
  for _, seed in ipairs(seeds or {}) do
    while at <= 3 and list[at].cost >= most[at] do at = at + 1 end
    local portion = list[at]
    if not portion then break end
    portion[#portion + 1] = seed.seed
    portion.ticks, portion.cost = portion.ticks + seed.ticks, portion.cost + seed.cost
  end
  return list
end

local function kill_generated(profile, number)
  local portion = portions(profile.by_seed[number])
  local function seeds(i) return by_seeds(number, portion[i], portion[i].ticks) end
  local function specs() return by_specs(number, profile.by_spec[number] or {}) end
  if options.deep then return seeds(1) or seeds(2) or seeds(3) or specs() end
  if options.survivors then return specs() or seeds(1) or seeds(2) or seeds(3) end -- new specs are the news
  return seeds(1) or seeds(2) or specs() or seeds(3)
end

-- What reads where nothing is, or what has been given back, or gives nothing back, shows under AddressSanitizer.
local function kill_under_asan(profile, number)
  asan = true
  local seeds = portions(profile.by_seed[number])[1]
  local how = by_specs(number, profile.by_spec[number] or {}) or by_seeds(number, seeds, seeds.ticks)
  asan = false
  return how and how:gsub("^(%a+)", "%1 (asan)", 1)
end

-- What its seeds must have, as words for seeds.lua.
local function needed(name)
  local words = {}
  for option, value in pairs(dofile "spec/sim/mutants_need.lua"[name] or {}) do
    words[#words + 1] = (" %s=%s"):format(option, value)
  end
  return table.concat(words)
end

local function work(task, profile)
  local kind, name = task:match "^(%S+) (%S+)"
  if kind == "profile" then
    local seed = math.tointeger(name)
    local command = seed and ("lua5.4 %sseeds.lua %d"):format(here, seed) or "busted --lua=lua5.4 -o TAP " .. name
    return profile_of({ name }, function() return command end)[1]
  elseif kind == "named" then
    local results = {}
    for i, only in ipairs { "", " outcome_only=true" } do
      local died
      if i == 2 and not results[1]:match "^seed" then break end
      for first = 1, i == 1 and NAMED_SEEDS or HARM_SEEDS, 100 do
        local seeds = {}
        for seed = first, first + 99 do seeds[#seeds + 1] = seed end
        died = by_seeds(nil, seeds, nil, "mutant=" .. name .. only .. needed(name))
        if died then break end
      end
      results[i] = died or i == 1 and elsewhere(name) or "-"
    end
    return results[1] .. "|" .. (results[2] or "-")
  end
  if kind == "asan" then return kill_under_asan(profile, math.tointeger(name)) or "-" end
  return kill_generated(profile, math.tointeger(name)) or "-"
end

local function worker()
  local at, stride, path = options.worker:match "^(%d+)/(%d+):(.*)$"
  local profile, i = nil, 0
  for task in io.lines(path) do
    if i % stride == tonumber(at) then
      if not profile and (task:match "^generated" or task:match "^asan") then profile = load_profile() end
      io.write(task, "\t", (work(task, profile):gsub("%s+", " ")), "\n")
      io.flush()
    end
    i = i + 1
  end
end

local function run_tasks(tasks, each)
  local path = os.tmpname()
  write(path, table.concat(tasks, "\n") .. "\n")
  local pipes, open = {}, options.jobs
  for job = 1, options.jobs do
    local words = { "nice", "lua5.4", arg[0], "--build", options.build, "--worker",
      ("%d/%d:%s"):format(job - 1, options.jobs, path) }
    if options.deep then words[#words + 1] = "--deep" end
    if options.survivors then words[#words + 1] = "--survivors" end
    for i, word in ipairs(words) do words[i] = quote(word) end
    pipes[job] = assert(io.popen(table.concat(words, " ")))
  end
  while open > 0 do
    for job = 1, options.jobs do
      local line = pipes[job] and pipes[job]:read "l"
      if line then
        each(line:match "^(.-)\t(.*)$")
      elseif pipes[job] then
        pipes[job]:close()
        pipes[job], open = nil, open - 1
      end
    end
  end
  os.remove(path)
end

-- ---- the named ones ----

local function named()
  local code = [[for _, m in ipairs(require("moonclave.sim").mutants()) do print(m.name .. " " .. m.bug) end]]
  local list = lines_of(child(nil, 10, "lua5.4 -e " .. quote(code)))
  local tasks, bugs, died, done, killed = {}, {}, {}, 0, 0
  for i, line in ipairs(list) do
    local name, bug = line:match "^(%S+) (.*)$"
    bugs[name] = bug
    tasks[i] = "named " .. name
  end
  run_tasks(tasks, function(task, how)
    done = done + 1
    died[task] = how
    progress("named %d/%d", done, #tasks)
  end)
  progress ""
  print(("%-28s %-34s %-34s %s"):format("named mutant", "dies by any rule", "by harm only", "bug"))
  for _, task in ipairs(tasks) do
    local name = task:match "%S+$"
    local rule, harm = (died[task] or "-|-"):match "^(.-)|(.*)$"
    if rule ~= "-" then killed = killed + 1 end
    print(("%-28s %-34s %-34s %s"):format(name, rule:sub(1, 34), harm:sub(1, 34), bugs[name]))
  end
  return killed, #tasks
end

-- ---- the generated ones ----

-- Not by line numbers, which move: by file, function, kind and source text; the n-th of equal ones.
local function keys(mutants)
  local seen = {}
  for _, m in ipairs(mutants) do
    local key = ("%s %s %s: %s"):format(m.file, m.func, m.kind, m.text)
    seen[key] = (seen[key] or 0) + 1
    m.key = seen[key] == 1 and key or ("%s (%d)"):format(key, seen[key])
  end
end

local function take_profile()
  local tasks, lines, done = {}, {}, 0
  for seed = 1, options.profile do tasks[#tasks + 1] = "profile " .. seed end
  for _, file in ipairs(spec_files()) do tasks[#tasks + 1] = "profile " .. file end
  run_tasks(tasks, function(_, line)
    done = done + 1
    lines[#lines + 1] = line
    progress("profile %d/%d", done, #tasks)
    if line:match "^%S+ failed" then
      io.stderr:write("\nmutants: ", line:match "^%S+", " fails without any mutant\n")
      os.exit(1)
    end
  end)
  write(options.build .. "/profile", table.concat(lines, "\n") .. "\n")
end

local function chosen(mutants, before, equivalent)
  local tasks = {}
  for _, m in ipairs(mutants) do
    local listed = equivalent[m.key] ~= nil
    local wanted = (not options.only or m.file:find(options.only, 1, true)) and
      (options.listed and listed or not options.listed and (options.deep or not listed))
    if wanted and not (options.survivors and (before[m.key] or "-") ~= "-") then
      tasks[#tasks + 1] = m
    end
  end
  -- Those that are hardest to kill come first: so the news is early.
  local rank = { bound = 1, remove = 2, never = 3, invert = 4, negate = 5 }
  table.sort(tasks, function(x, y)
    return rank[x.kind] < rank[y.kind] or (x.kind == y.kind and x.number < y.number)
  end)
  for i, m in ipairs(tasks) do tasks[i] = "generated " .. m.number end
  return tasks
end

local function generated()
  local mutants = dofile(options.build .. "/mutants.lua")
  local equivalent = dofile(here .. "equivalent.lua")
  keys(mutants)
  local results_path, before = options.build .. "/results", {}
  for how, key in (read(results_path) or ""):gmatch "([^\t\n]*)\t([^\n]*)\n" do before[key] = how end
  take_profile()
  local tasks = chosen(mutants, before, equivalent)
  local results, alive, began = {}, 0, os.time()
  if options.survivors or options.only or options.listed then
    for key, how in pairs(before) do results[key] = how end
  end
  for key in pairs(equivalent) do results[key] = results[key] or "-" end
  local kept = assert(io.open(results_path, "a"))
  local function run(kind, list)
    local done, left = 0, {}
    alive = 0
    run_tasks(list, function(task, how)
      done = done + 1
      local number = math.tointeger(task:match "%d+")
      local key = mutants[number].key
      if how == "-" then
        alive = alive + 1
        if not equivalent[key] then left[#left + 1] = "asan " .. number end
      end
      results[key] = how
      kept:write(how, "\t", key, "\n")
      kept:flush()
      progress("%s %d/%d, %d alive, %d s", kind, done, #list, alive, os.time() - began)
    end)
    return left
  end
  local left = run("generated", tasks)
  if #left > 0 then
    build(true)
    run("under AddressSanitizer", left)
  end
  kept:close()
  progress ""

  local count, killed, seeds, excused, known = 0, 0, 0, 0, {}
  for _, m in ipairs(mutants) do
    local how = results[m.key]
    known[m.key] = true
    if how then
      local reason = equivalent[m.key]
      print(("%-24s %-6s %-60s %s"):format(m.file .. ":" .. m.line, m.kind, (m.text .. " -> " .. m.change):sub(1, 60),
        how ~= "-" and how or reason and "equivalent: " .. reason or "SURVIVES"))
      if how == "-" and reason then
        excused = excused + 1
      else
        count = count + 1
        if how ~= "-" then killed = killed + 1 end
        if how:match "^seed" then seeds = seeds + 1 end
        if reason then print("    is listed as equivalent, and was killed: take it off the list") end
      end
    end
  end
  for key in pairs(equivalent) do
    if not known[key] then print("equivalent.lua names what is not there any more: " .. key) end
  end
  return killed, count, seeds, excused
end

-- ---- all ----

if options.worker then
  worker()
  os.exit(0)
end
build()
local ok, last = true, {}
if options.named then
  local killed, count = named()
  ok = ok and killed == count
  last[#last + 1] = ("mutants: %d/%d killed"):format(killed, count)
end
if options.generated then
  local killed, count, seeds, excused = generated()
  ok = ok and killed >= WANTED * count
  print(("generated: by seeds %d/%d, by specs %d"):format(seeds, count, killed - seeds))
  print(("equivalent: %d (listed with reasons)"):format(excused))
  last[#last + 1] = ("generated: %d/%d killed"):format(killed, count)
end
print(table.concat(last, "\n"))
os.exit(ok and 0 or 1)
