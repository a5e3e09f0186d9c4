-- What `moonclave sim .` asks of the app, and what it holds the answers against. Not part of the app: no node sees it.

local function some(random) return { name = random:key(), count = random(5) } end

return {
  -- Draws arguments, from `random` and from nothing else: then a seed is the same run, always.
  commands = { add = some, take = some },
  queries = {
    get = function(random) return { name = random:key() } end,
    list = function(random) return { limit = random(10) } end,
  },
  weights = { add = 3, take = 3, get = 4, list = 1 },

  -- One item at a time, since items do not know of each other. The model's state is how many there are; `step` says
  -- whether an answer follows from it, and what there are after it. An operation that is `unknown` has no answer: it
  -- may have been done, where it could be.
  model = {
    init = function() return 0 end,
    partition = function(operation) return operation.name ~= "list" and operation.arguments.name end,
    step = function(count, operation)
      local result, err = operation.result, operation.error
      if operation.name == "get" then return operation.unknown or result.count == count, count end
      local by = operation.arguments.count
      local after = operation.name == "add" and count + by or count - by
      if operation.unknown then return after >= 0, after end
      if after < 0 then return err ~= nil and err.code == "not_enough", count end
      return err == nil and result.count == after, after
    end,
  },

  -- What must always hold of the state, on every node.
  invariants = {
    counts_are_positive = function(state)
      for name, count in pairs(state.items) do
        if count < 1 then return false, ("there are %d of %s"):format(count, name) end
      end
      return true
    end,
  },
}
