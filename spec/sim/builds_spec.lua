-- A seed is the same run whatever built it: by gcc and by clang, optimised more and less, with sanitizers and without.
-- scripts/test makes the builds and names their folders in MOONCLAVE_VARIANTS.
local sim = require "moonclave.sim"

local SEEDS = 12
local variants = os.getenv "MOONCLAVE_VARIANTS"
if not variants then return end -- a part of the specs was asked for, or all of them under sanitizers

local function hashes_here(options)
  local lines = {}
  for seed = 1, SEEDS do
    options.seed = seed
    local result = sim.run(options)
    lines[seed] = ("%s %s %d"):format(result.ok, result.trace_hash, result.steps)
  end
  return lines
end

-- What the modules of another build say. A sanitized one needs its libraries before those of the interpreter.
local function hashes_of(build, options)
  local code = ([[
    local sim = require "moonclave.sim"
    for seed = 1, %d do
      local r = sim.run { seed = seed, machine = %q, app = %s, disk = %q }
      print(r.ok, r.trace_hash, r.steps)
    end]]):format(SEEDS, options.machine or "c", options.app and ("%q"):format(options.app) or "nil",
    options.disk or "model")
  local preload = ""
  if build:find "sanitized" then
    preload = "ASAN_OPTIONS=detect_leaks=0 " ..
      'LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"'
  end
  local pipe = assert(io.popen(("%s LUA_CPATH='%s/lua/?.so;;' lua5.4 -e '%s' 2>&1"):format(preload, build, code)))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line:gsub("\t", " ") end
  pipe:close()
  return lines
end

describe("a seed", function()
  for build in variants:gmatch "%S+" do
    local name = build:match "[^/]+$"
    it("gives the same run in the build " .. name, function()
      assert.are.same(hashes_here {}, hashes_of(build, {}))
    end)

    it("gives the same run in the build " .. name .. ", with a state machine in Lua", function()
      local options = { machine = "lua", app = "spec/sim/app" }
      assert.are.same(hashes_here(options), hashes_of(build, options))
    end)

    it("gives the same run in the build " .. name .. ", on the real store", function()
      local options = { disk = "sqlite" }
      assert.are.same(hashes_here(options), hashes_of(build, options))
    end)
  end
end)
