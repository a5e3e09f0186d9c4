-- The judge is judged: known histories, and small random ones against trying every order.
local linearizable = require "moonclave.linearizable"

-- "w1 a 0 2" is a write of "1" by client a from time 0 to 2; "r1", "r-" reads of "1" and of nothing; "c1>2", "c1>2!" a
-- cas that was done and one that did not apply ("-" for nothing); "p1" an append; "d", "d!" a delete; no end: unknown.
local function operation(text)
  local what, client, from, to = text:match "^(%S+) (%S+) (%S+) ?(%S*)$"
  local op = { client = client, invoked = tonumber(from), returned = tonumber(to) }
  local function value(v) return v ~= "-" and v or nil end
  local kind, rest = what:sub(1, 1), what:sub(2)
  if kind == "w" then op.kind, op.value = "write", rest end
  if kind == "p" then op.kind, op.value = "append", rest end
  if kind == "r" then op.kind, op.result = "read", value(rest) end
  if kind == "d" then op.kind, op.result = "delete", rest ~= "!" end
  if kind == "c" then
    local expected, new, bad = rest:match "^(.*)>(%w+)(!?)$"
    op.kind, op.expected, op.value, op.result = "cas", value(expected), new, bad == ""
  end
  return op
end

local function history(lines)
  local list = {}
  for i, line in ipairs(lines) do list[i] = operation(line) end
  return list
end

local function good(lines)
  local answer, text = linearizable.check(history(lines))
  assert.is_true(answer, text)
end

local function bad(lines)
  local answer, text = linearizable.check(history(lines))
  assert.is_false(answer)
  assert.truthy(text:find("no order of its operations explains", 1, true))
  return text
end

describe("a history", function()
  it("of nothing, or of one after the other, is linearizable", function()
    good {}
    good { "r- a 0 1" }
    good { "w1 a 0 1", "r1 a 2 3", "w2 a 4 5", "r2 b 6 7", "d a 8 9", "r- b 10 11", "d! a 12 13" }
    good { "c->1 a 0 1", "c1>2 a 2 3", "c1>3! a 4 5", "p3 a 6 7", "r23 a 8 9", "d a 10 11", "p4 a 12 13", "r4 a 14 15" }
  end)

  it("with a stale read is not", function()
    bad { "w1 a 0 1", "w2 a 2 3", "r1 b 4 5" }
    bad { "w1 a 0 1", "r- b 2 3" }
    bad { "w1 a 0 1", "d a 2 3", "r1 b 4 5" }
  end)

  it("may see a write that goes on early or late, but not both ways", function()
    good { "w1 a 0 10", "r- b 1 2", "r1 b 3 4" }
    good { "w1 a 0 10", "r1 b 1 2", "r1 c 3 4" }
    bad { "w1 a 0 10", "r1 b 1 2", "r- c 3 4" }
    good { "w1 a 0 10", "r1 b 1 5", "r- c 4 6" }
  end)

  it("whose two writes overlap may have them in either order, but in one", function()
    good { "w1 a 0 10", "w2 b 0 10", "r1 c 11 12", "r1 d 13 14" }
    good { "w1 a 0 10", "w2 b 0 10", "r2 c 11 12", "r2 d 13 14" }
    bad { "w1 a 0 10", "w2 b 0 10", "r1 c 11 12", "r2 d 13 14" }
    good { "w1 a 0 10", "w2 b 0 10", "r1 c 2 4", "r2 d 5 7" }
    bad { "w1 a 0 10", "w2 b 0 10", "r1 c 2 3", "r2 d 4 5", "r1 c 6 7" }
  end)

  it("with a lost write is not: it was acknowledged", function()
    bad { "w1 a 0 1", "w2 a 2 3", "r1 b 4 5", "r1 b 6 7" }
    bad { "pa a 0 1", "pb b 2 3", "pc a 4 5", "rac a 6 7" }
    good { "pa a 0 1", "pb b 2 5", "pc a 3 4", "racb a 6 7" }
  end)

  it("with a write done twice is not", function()
    bad { "pa a 0 1", "raa a 2 3" }
    bad { "c->1 a 0 1", "c->1 b 2 3" }
    bad { "c->1 a 0 9", "c->2 b 0 9" }
    good { "c->1 a 0 9", "c->2! b 0 9" }
    bad { "w1 a 0 1", "c1>2! a 2 3" }
    bad { "d a 0 1" }
    bad { "w1 a 0 1", "d! a 2 3" }
  end)

  it("with an unknown outcome may have it, or not, at any time since", function()
    good { "w1 a 0 1", "w2 b 2", "r1 a 3 4", "r2 a 5 6" }
    good { "w1 a 0 1", "w2 b 2", "r2 a 3 4", "r2 a 5 6" }
    good { "w1 a 0 1", "w2 b 2", "r1 a 30 40", "r1 a 50 60" }
    bad { "w1 a 0 1", "w2 b 2", "r2 a 3 4", "r1 a 5 6" }
    bad { "w1 a 0 1", "r2 a 2 3", "w2 b 4" }
    good { "w1 a 0 1", "r2 a 2 5", "w2 b 4" }
    good { "pa a 0", "pb b 0", "rba c 1 2" }
    bad { "pa a 0", "pb b 0", "rba c 1 2", "rab c 3 4" }
    good { "w1 a 0 1", "c1>2 b 2", "d c 3", "r- a 4 5" }
    good { "w1 a 0 1", "c1>2 b 2", "d c 3", "r2 a 4 5", "r- a 6 7" }
    bad { "w1 a 0 1", "c1>2 b 2", "d c 3", "r- a 4 5", "r2 a 6 7" }
    bad { "w1 a 0 1", "w2 b 2 ", "w3 a 3 4", "r2 c 5 6", "r3 c 7 8" }
    good { "w1 a 0 1", "w2 b 2 ", "w3 a 3 4", "r3 c 5 6", "r2 c 7 8" }
  end)

  it("leaves out what surely was not done, and reads without an answer", function()
    local list = history { "w1 a 0 1", "w2 b 2 3", "r1 c 4 5" }
    assert.is_false(linearizable.check(list))
    list[2].outcome = "failed"
    assert.is_true(linearizable.check(list))
    assert.is_true(linearizable.check { { kind = "read", result = "x", invoked = 0 } })
  end)

  it("is judged key by key, and may begin with values", function()
    local list = history { "w1 a 0 1", "r1 a 2 3", "w2 b 0 1", "r2 b 2 3" }
    assert.is_false(linearizable.check(list))
    for i, op in ipairs(list) do op.key = i <= 2 and "x" or "y" end
    assert.is_true(linearizable.check(list))
    list[4].result = "1"
    local answer, text = linearizable.check(list)
    assert.is_false(answer)
    assert.truthy(text:find('key "y"', 1, true))
    list = history { "r7 a 0 1", "c7>8 a 2 3" }
    assert.is_false(linearizable.check(list))
    assert.is_true(linearizable.check(list, { initial = { [""] = "7" } }))
  end)

  it("that cannot be explained is explained", function()
    local text = bad { "w1 alice 0 1", "w2 bob 2 3", "r1 carol 4 5" }
    assert.equal([[
key "": no order of its operations explains what the clients saw
after these:
  write "1"  (client alice, 0 to 1)
the value is "1", and one of these would have to come next:
  write "2"  (client bob, 2 to 3)
but this was still to see it, and nothing else could make it again:
  read -> "1"  (client carol, 4 to 5)]], text)
  end)

  it("that makes no sense raises", function()
    assert.has_error(function() linearizable.check { { kind = "swap", invoked = 0 } } end)
    assert.has_error(function() linearizable.check { { kind = "read", returned = 1 } } end)
    assert.has_error(function() linearizable.check { { kind = "read", invoked = 2, returned = 1 } } end)
    assert.has_error(function() linearizable.check { { kind = "read", invoked = 2, outcome = "ok" } } end)
  end)

  it("too hard for the effort allowed is undecided, which is not true", function()
    local list = history { "w1 a 0 10", "w2 b 0 10", "w3 c 0 10", "r9 d 11 12" }
    local answer, text = linearizable.check(list, { steps_max = 5 })
    assert.is_nil(answer)
    assert.truthy(text:find("undecided", 1, true))
  end)
end)

-- A small generator of its own: the same numbers everywhere.
local function numbers(seed)
  return function(n)
    seed = (seed * 6364136223846793005 + 1442695040888963407)
    return (seed >> 33) % n + 1
  end
end

-- Every order of the operations and every choice of the unknown ones: slow, and plainly right.
local function brute_force(list)
  local used = {}
  local function apply(op, value)
    local unknown = not op.returned
    if op.kind == "write" then return true, op.value end
    if op.kind == "append" then return true, (value or "") .. op.value end
    if op.kind == "read" then return unknown or op.result == value, value end
    if op.kind == "cas" then
      local applies = value == op.expected
      if not unknown and applies ~= op.result then return false end
      return true, applies and op.value or not applies and value or nil
    end
    local there = value ~= nil
    if not unknown and there ~= op.result then return false end
    return true, nil
  end
  local function extend(value)
    local complete, first_end = true, math.huge
    for i, op in ipairs(list) do
      if not used[i] and op.returned then
        complete = false
        first_end = math.min(first_end, op.returned)
      end
    end
    if complete then return true end
    for i, op in ipairs(list) do
      if not used[i] and op.invoked <= first_end then
        local fits, after = apply(op, value)
        if fits then
          used[i] = true
          local found = extend(after)
          used[i] = nil
          if found then return true end
        end
      end
    end
    return false
  end
  return extend(nil)
end

describe("the search", function()
  it("agrees with trying every order, on thousands of small histories", function()
    local counts = { [true] = 0, [false] = 0 }
    for seed = 1, 6000 do
      local random = numbers(seed)
      local list = {}
      for i = 1, 2 + random(4) do
        local from = random(12)
        local kind = ({ "write", "read", "cas", "append", "delete", "read" })[random(6)]
        local op = { kind = kind, invoked = from, client = i }
        if random(5) > 1 then op.returned = from + random(5) end
        op.value = op.kind ~= "read" and op.kind ~= "delete" and tostring(random(2)) or nil
        if op.kind == "read" then op.result = ({ "1", "2", "12", "11", false })[random(5)] or nil end
        if op.kind == "cas" then op.expected, op.result = ({ "1", "2", false })[random(3)] or nil, random(2) == 1 end
        if op.kind == "delete" then op.result = random(2) == 1 end
        list[i] = op
      end
      local expected = brute_force(list)
      counts[expected] = counts[expected] + 1
      assert.equal(expected, (linearizable.check(list)), "seed " .. seed)
    end
    assert.truthy(counts[true] > 1000 and counts[false] > 1000)
  end)

  -- Clients of a store that is right: each operation takes effect at one moment between its ends.
  local function run_of_a_store(seed, clients, operations, unknown_percent)
    local random, list, value, time = numbers(seed), {}, nil, 0
    local busy = {}
    while #list < operations do
      time = time + 1
      local client = random(clients)
      local op = busy[client]
      if not op then
        op = { client = client, invoked = time, kind = ({ "write", "read", "cas", "append", "read" })[random(5)] }
        op.value = op.kind ~= "read" and time .. ";" or nil
        if op.kind == "cas" then op.expected = random(2) == 1 and value or "none" end
        busy[client], list[#list + 1] = op, op
      elseif not op.done then
        op.done = true
        if op.kind == "read" then op.result = value end
        if op.kind == "cas" then
          op.result = value == op.expected
          if op.result then value = op.value end
        end
        if op.kind == "write" then value = op.value end
        if op.kind == "append" then value = (#(value or "") > 40 and "" or value or "") .. op.value end
        if op.kind == "append" and #value <= #op.value then op.kind = "write" end
      else
        if random(100) > unknown_percent then op.returned = time end
        busy[client] = nil
      end
    end
    return list
  end

  it("accepts what a correct store does: many clients, long histories, a tenth unknown", function()
    for seed = 1, 10 do
      local list = run_of_a_store(seed, 8, 1000, 10)
      local answer, text = linearizable.check(list, { steps_max = 2000000 })
      assert.is_true(answer, text)
    end
    for seed = 11, 15 do
      assert.is_true(linearizable.check(run_of_a_store(seed, 12, 1000, 5), { steps_max = 2000000 }))
    end
    assert.is_true(linearizable.check(run_of_a_store(16, 10, 20000, 0), { steps_max = 2000000 }))
  end)

  it("finds one stale read among a thousand operations", function()
    for seed = 1, 10 do
      local list = run_of_a_store(seed, 5, 1000, 3)
      local seen, changed = {}, false
      for i, op in ipairs(list) do
        if op.kind == "read" and op.returned and i > 500 and not changed then
          for _, old in ipairs(seen) do
            if old.returned and old.returned < list[i - 200].invoked and old.result ~= op.result then
              op.result, changed = old.result, true
              break
            end
          end
        end
        if op.kind == "read" and op.result then table.insert(seen, 1, op) end
      end
      assert.is_true(changed)
      assert.is_false((linearizable.check(list, { steps_max = 5000000 })), "seed " .. seed)
    end
  end)
end)
