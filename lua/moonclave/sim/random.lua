-- The generator that an app's sim.lua draws from: small, and the same numbers from the same seed everywhere.
local M = {}

local KEYS = { "a", "b", "c", "d", "e", "f", "g", "h" }
local LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"

---@class moonclave.sim.random
---@overload fun(): number                 0 <= x < 1
---@overload fun(n: integer): integer      1 ... n
---@overload fun(m: integer, n: integer): integer  m ... n
local random = {}
random.__index = random

-- splitmix64
local function next64(self)
  local z = self.state + 0x9e3779b97f4a7c15
  self.state = z
  z = (z ~ (z >> 30)) * 0xbf58476d1ce4e5b9
  z = (z ~ (z >> 27)) * 0x94d049bb133111eb
  return z ~ (z >> 31)
end

local function below(self, n) return (next64(self) >> 11) % n end

function random.__call(self, m, n)
  if m == nil then return (next64(self) >> 11) * 0x1p-53 end
  if n == nil then m, n = 1, m end
  m, n = math.tointeger(m), math.tointeger(n)
  if not m or not n or n < m then error("random(m, n) takes whole numbers, m <= n", 2) end
  return m + below(self, n - m + 1)
end

---One of a few short keys, so that clients meet on them.
---@return string
function random:key() return KEYS[1 + below(self, #KEYS)] end

---One of the list's values.
---@param list any[]
function random:choice(list)
  if type(list) ~= "table" or #list == 0 then error("random:choice takes a list that is not empty", 2) end
  return list[1 + below(self, #list)]
end

---Up to `most` letters and digits (default 12), sometimes none.
---@param most? integer
---@return string
function random:string(most)
  local out = {}
  for i = 1, below(self, (most or 12) + 1) do
    local at = 1 + below(self, #LETTERS)
    out[i] = LETTERS:sub(at, at)
  end
  return table.concat(out)
end

---@param share? number  how often true; default 0.5
---@return boolean
function random:boolean(share) return self() < (share or 0.5) end

---A text that no other call in this run gives: so that a value read tells which write it was.
---@return string
function random:unique()
  self.given = self.given + 1
  return "v" .. self.given
end

---Begins anew from another seed; what unique() gave is not given again.
---@param seed integer
function random:reseed(seed) self.state = seed end

---@param seed integer
---@return moonclave.sim.random
function M.new(seed) return setmetatable({ state = seed, given = 0 }, random) end

return M
