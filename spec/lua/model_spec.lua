-- The judge of any service by the user's model, judged itself: known histories, small random ones against trying every
-- order, long ones of a service that is right and of one that lies once.
local checker = require "moonclave.linearizable.model"

-- A register: commands set, queries get.
local register = {
  step = function(value, op)
    if op.name == "set" then return true, op.arguments end
    return op.result == value
  end,
}

local function op(name, argument, from, to, fields)
  local one = { name = name, invoked = from, returned = to, client = "x" }
  one.kind = name == "get" and "query" or "command"
  if name == "get" then one.result = argument else one.arguments = argument end
  for key, value in pairs(fields or {}) do one[key] = value end
  return one
end

local function good(list, model) assert.is_true(select(1, checker.check(list, model or register))) end

local function bad(list, model)
  local answer, text = checker.check(list, model or register)
  assert.is_false(answer)
  return text
end

describe("a history judged by a model", function()
  it("keeps real time", function()
    good { op("set", 1, 0, 1), op("get", 1, 2, 3) }
    bad { op("set", 1, 0, 1), op("set", 2, 2, 3), op("get", 1, 4, 5) }
    good { op("set", 1, 0, 9), op("set", 2, 0, 9), op("get", 1, 10, 11) }
    bad { op("set", 1, 0, 9), op("set", 2, 0, 9), op("get", 1, 10, 11), op("get", 2, 12, 13) }
    good {}
  end)

  it("may have what is unknown, or not; never what surely was not done", function()
    good { op("set", 1, 0, 1), op("set", 2, 2), op("get", 1, 3, 4), op("get", 2, 5, 6) }
    bad { op("set", 1, 0, 1), op("set", 2, 2), op("get", 2, 3, 4), op("get", 1, 5, 6) }
    bad { op("set", 1, 0, 1), op("set", 2, 2, 3, { outcome = "failed" }), op("get", 2, 4, 5) }
    good { op("get", 7, 0) }
  end)

  it("takes the order that indexes name, and does not believe it where real time forbids it", function()
    local list = { op("set", 1, 0, 9, { index = 5 }), op("set", 2, 0, 9, { index = 3 }),
      op("get", 1, 10, 11, { index = 5 }) }
    good(list)
    list[3].result = 2 -- not in this order, but in another
    good(list)
    bad { op("set", 1, 0, 1, { index = 2 }), op("set", 2, 2, 3, { index = 1 }), op("get", 1, 4, 5, { index = 2 }) }
  end)

  it("judges stale queries by their index only", function()
    local stale = { consistency = "stale", index = 1 }
    local list = { op("set", 1, 0, 1, { index = 1 }), op("set", 2, 2, 3, { index = 2 }), op("get", 1, 4, 5, stale) }
    good(list)
    stale.index = nil
    good { list[1], list[2], op("get", 9, 4, 5, stale) }
  end)

  it("an error of the service changed nothing, whatever step says", function()
    local refused = op("set", 2, 2, 3, { error = { code = "no" } })
    good { op("set", 1, 0, 1), refused, op("get", 1, 4, 5) }
    bad { op("set", 1, 0, 1), refused, op("get", 2, 4, 5) }
  end)

  it("gives step a state of its own to change in place, and takes one result as the state given", function()
    local list_model = {
      init = function() return {} end,
      step = function(state, one)
        if one.kind == "query" then return #state == one.result end
        state[#state + 1] = one.arguments
        return true
      end,
    }
    good({ op("add", 1, 0, 9), op("add", 2, 0, 9), op("get", 2, 10, 11) }, list_model)
    bad({ op("add", 1, 0, 9), op("add", 2, 0, 9), op("get", 3, 10, 11) }, list_model)
  end)

  it("is divided by the model's keys; false is not judged, and no key is an error", function()
    local keyed = {
      partition = function(one) return one.key end,
      step = register.step,
    }
    local list = { op("set", 1, 0, 1, { key = "a" }), op("get", 1, 2, 3, { key = "a" }),
      op("set", 2, 0, 1, { key = "b" }), op("get", 2, 2, 3, { key = "b" }) }
    good(list, keyed)
    list[4].result = 1
    assert.matches('key "b":', bad(list, keyed), 1, true)
    list[4].key = false
    good(list, keyed)
    list[4].key = nil
    assert.error_matches(function() checker.check(list, keyed) end, "partition gives no key")
  end)

  it("uses the model's equal and hash", function()
    local calls = { hash = 0, equal = 0 }
    local model = {
      step = register.step,
      hash = function(state)
        calls.hash = calls.hash + 1
        return tostring(state)
      end,
      equal = function(a, b)
        calls.equal = calls.equal + 1
        return a == b
      end,
    }
    bad({ op("set", 1, 0, 9), op("set", 1, 0, 9), op("set", 2, 0, 9), op("get", 3, 10, 11) }, model)
    assert.is_true(calls.hash > 0 and calls.equal > 0)
  end)

  it("that cannot be explained is explained", function()
    assert.equal([[
no order of its operations explains what the clients saw
after these:
  set 1 -> nil  (client x, 0 to 1)
  set 2 -> nil  (client x, 2 to 3)
the model's state is 2, and one of these would have to come next:
  get {} -> 1  (client x, 4 to 5)]], bad { op("set", 1, 0, 1), op("set", 2, 2, 3), op("get", 1, 4, 5) })
    assert.equal([[
the model gives another answer in the order in which the service did these:
  set 1 -> nil  (client x, 0 to 1, index 1)
the model's state is 1, and from it does not follow:
  get {} -> 2  (client x, 4 to 5, index 1)]],
      bad { op("set", 1, 0, 1, { index = 1 }), op("get", 2, 4, 5, { index = 1 }) })
  end)

  it("too hard for the effort allowed is undecided", function()
    local list = { op("get", 99, 100, 101) }
    for i = 1, 8 do list[#list + 1] = op("set", i, 0, 9) end
    local answer, text = checker.check(list, register, { steps_max = 20 })
    assert.is_nil(answer)
    assert.matches("undecided after 20 steps", text)
  end)

  it("by a model that is none, or raises, is an error and no verdict", function()
    assert.error_matches(function() checker.check({}, {}) end, "no step")
    assert.error_matches(function() checker.check({}, { step = 1 }) end, "step is a function, not a number")
    assert.error_matches(function() checker.check({}, { step = print, steps = print }) end, 'no field "steps"')
    local raising = { step = function() error "what is this" end }
    local fine, text = pcall(checker.check, { op("set", 1, 0, 1) }, raising)
    assert.is_false(fine)
    assert.matches("model_spec.lua:%d+: what is this", text)
    assert.matches("step for set 1", text, 1, true)
    assert.error_matches(function() checker.check({ { name = "set" } }, register) end, "a time at which it was invoked")
    assert.error_matches(function() checker.check({ op("set", 1, 3, 2) }, register) end, "returned after")
  end)
end)

local function numbers(seed)
  return function(n)
    seed = seed * 6364136223846793005 + 1442695040888963407
    return (seed >> 33) % n + 1
  end
end

-- A counter with a limit: add answers the new sum or refuses, get shows it.
local counter = {
  init = function() return 0 end,
  step = function(sum, one)
    if one.name == "get" then return one.result == sum end
    local fits = sum + one.arguments <= 3
    if one.unknown then return fits, sum + one.arguments end
    if not fits then return one.error ~= nil end
    return one.error == nil and one.result == sum + one.arguments, sum + one.arguments
  end,
}

-- Every order, and every choice of the unknown ones.
local function brute_force(list)
  local used = {}
  local function extend(state)
    local complete, first_end = true, math.huge
    for i, one in ipairs(list) do
      if not used[i] and one.returned then
        complete = false
        first_end = math.min(first_end, one.returned)
      end
    end
    if complete then return true end
    for i, one in ipairs(list) do
      if not used[i] and one.invoked <= first_end then
        local copy = { name = one.name, arguments = one.arguments, result = one.result, error = one.error,
          unknown = not one.returned or nil }
        local ok, after = counter.step(state, copy)
        if ok then
          used[i] = true
          if after == nil or one.kind == "query" or one.error then after = state end
          local found = extend(after)
          used[i] = nil
          if found then return true end
        end
      end
    end
    return false
  end
  return extend(0)
end

describe("the search", function()
  it("agrees with trying every order, on thousands of small histories", function()
    local counts = { [true] = 0, [false] = 0 }
    for seed = 1, 10000 do
      local random, list = numbers(seed), {}
      for i = 1, 2 + random(4) do
        local from = random(12)
        local query = random(3) == 1
        local one = { kind = "command", name = "add", invoked = from, client = i }
        if query then one.kind, one.name = "query", "get" end
        if not query then one.arguments = random(2) end
        if query or random(5) > 1 then
          one.returned = from + random(12)
          if not query and random(5) == 1 then one.error = "full" else one.result = random(4) - 1 end
        end
        list[i] = one
      end
      local expected = brute_force(list)
      counts[expected] = counts[expected] + 1
      assert.equal(expected, (checker.check(list, counter)), "seed " .. seed)
    end
    assert.is_true(counts[true] > 300 and counts[false] > 1000)
  end)

  -- Clients of a map that is right: each operation takes effect at one moment between its ends.
  local map = {
    partition = function(one) return one.arguments.key end,
    step = function(value, one)
      if one.name == "get" then return one.result == value end
      if one.name == "put" then return true, one.arguments.value end
      return true, (value or "") .. one.arguments.value
    end,
  }

  local function run_of_a_map(seed, clients, count, with_index)
    local random, list, state, busy, index = numbers(seed), {}, {}, {}, 0
    local time = 0
    while #list < count do
      time = time + 1
      local client = random(clients)
      local one = busy[client]
      if not one then
        local name = ({ "put", "get", "append", "get" })[random(4)]
        one = { kind = name == "get" and "query" or "command", name = name, client = client, invoked = time,
          arguments = { key = "k" .. random(6), value = name ~= "get" and time .. ";" or nil } }
        busy[client], list[#list + 1] = one, one
      elseif not one.done then
        one.done = true
        local key = one.arguments.key
        if one.name ~= "get" then index = index + 1 end
        if one.name == "get" then one.result = state[key] end
        if one.name == "put" then state[key] = one.arguments.value end
        if one.name == "append" then state[key] = (state[key] or "") .. one.arguments.value end
        if with_index then one.index = index end
      else
        if random(100) > 3 or one.name == "get" then one.returned = time end
        busy[client] = nil
      end
    end
    return list
  end

  it("accepts what a correct service does, and finds one wrong answer in it", function()
    for seed = 1, 8 do
      for _, with_index in ipairs { true, false } do
        local list = run_of_a_map(seed, 6, 1500, with_index)
        local answer, text = checker.check(list, map)
        assert.is_true(answer, text)
        for i = 700, #list do
          local one = list[i]
          if one.name == "get" and one.returned and one.result then
            one.result = one.result .. "never;"
            break
          end
        end
        assert.is_false((checker.check(list, map, { steps_max = 3000000 })), "seed " .. seed)
      end
    end
  end)

  it("is fast where the service names the order: 20,000 operations", function()
    local list = run_of_a_map(99, 10, 20000, true)
    local began = os.clock()
    assert.is_true((checker.check(list, map)))
    assert.is_true(os.clock() - began < 3, "it took " .. os.clock() - began .. " s")
  end)
end)
