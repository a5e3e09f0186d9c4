-- Long lives on bad disks: everything that can go wrong, in any order, many times over on the same files.
local support = require "store.support"

local SEEDS = tonumber(os.getenv("MOONCLAVE_STORE_LIVES") or "100")
local ROUNDS = 80

local function random_write(random, state)
  local write, term = {}, math.max(state.term, 1)
  if random(4) == 1 then
    term = state.term + 1
    write.hard_state = {term = term, vote = "n" .. random(3)}
  end
  local base = state
  if #state.log > 0 and random(6) == 1 then
    write.truncate_from = math.max(1, #state.log - random(6) + 1)
    base = support.after(state, {{truncate_from = write.truncate_from}})
  end
  local sizes = {}
  for i = 1, random(4) - 1 do sizes[i] = random(12) == 1 and random(4000) or random(150) end
  if #sizes > 0 then write.entries = support.entries(base, term, sizes) end
  return write
end

local function live(seed)
  math.randomseed(seed)
  local random = math.random
  local disk = support.disk(seed)
  local s
  local sure, maybe = support.blank(), nil -- what is there; or, if not, what else may be
  local seen = {crash = 0, error = 0, full = 0, read_error = 0, power_cut = 0, kill = 0}

  local function die(power_may_go)
    if power_may_go and random(2) == 1 then
      disk:power_cut(random(2) == 1 and "all" or "some")
      seen.power_cut = seen.power_cut + 1
    else
      disk:kill()
      seen.kill = seen.kill + 1
    end
    if s then s:close() end
    s = nil
  end

  local function reopen(context)
    while not s do
      if random(5) == 1 then disk:fail(random(2) == 1 and "crash" or "error", random(12)) end
      local code, text
      s, code, text = support.open(disk)
      disk:fail("full", 0)
      if s then
        sure, maybe = support.assert_one_of(s, context, sure, maybe or sure), nil
        sure.cluster = 0
      else
        assert(code == "io_error", context .. ": " .. tostring(code) .. " " .. tostring(text))
        die(true)
      end
    end
  end

  for round = 1, ROUNDS do
    local context = string.format("seed %d, round %d", seed, round)
    reopen(context)
    local fault = ({"crash", "error", "full", "full", "read_error"})[random(10)]
    if fault then
      disk:fail(fault, random(15))
      seen[fault] = seen[fault] + 1
    end
    for _ = 1, random(5) do
      local writes, after = {}, sure
      for i = 1, random(3) do
        writes[i] = random_write(random, after)
        after = support.after(after, {writes[i]})
      end
      local ok, code, text = s:persist(writes)
      if ok then
        sure = after
      elseif code ~= "disk_full" then
        assert(code == "io_error", context .. ": " .. code .. " " .. text)
        maybe = after
        break
      end
      if random(2) == 1 and not s:tidy() then break end
    end
    disk:fail("full", 0)
    local again = random(4)
    if maybe or again == 1 or not s:tidy() then
      die(true)
    elseif again == 2 then
      s:close()
      s = nil
      if random(2) == 1 then disk:power_cut("some") end
    end
  end
  disk:fail("full", 0)
  reopen("seed " .. seed .. ", the end")
  s:close()
  return seen
end

describe("a store that lives long on a bad disk", function()
  it("always has what it acknowledged, and never takes a torn write for damage", function()
    local total = {}
    for seed = 1, SEEDS do
      for name, count in pairs(live(seed)) do total[name] = (total[name] or 0) + count end
    end
    for _, name in ipairs{"crash", "error", "full", "read_error", "power_cut", "kill"} do
      assert.is_true(total[name] > SEEDS, name .. " happened " .. total[name] .. " times")
    end
  end)
end)
