-- Disks that fill or stall, and clocks that jump, for nodes of support.cluster: a small library preloaded into each
-- (shim.c, compiled once), told by a file what is to be.
--
--   local c <close> = cluster.new { wrap = shim.wrap }
--   shim.set(c, "n1", { full = true })          -- writes to its database are refused: no space left
--   shim.set(c, "n1", { sync_ms = 60000 })      -- a sync takes so long, or until it is told otherwise
--   shim.set(c, "n1", { clock_ms = -3600000 })  -- its wall clock is an hour behind
--   shim.set(c, "n1", {})                       -- all is well
local cluster = require "support.cluster"

local M = {}
local library

-- The path of the library, or nil and why there is none: no compiler, or a system without LD_PRELOAD.
function M.library()
  if library then return library end
  local path = cluster.folder() .. "/shim.so"
  local command = ("cc -shared -fPIC -O1 -o '%s' spec/support/shim.c -ldl 2>&1"):format(path)
  local pipe = assert(io.popen(command))
  local said = pipe:read "a"
  if not pipe:close() then return nil, said end
  library = path
  return path
end

-- For the option of cluster.new.
function M.wrap(c, name, program, arguments)
  local orders = c.folder .. "/" .. name .. ".shim"
  if cluster.read_file(orders) == "" then cluster.write_file(orders, "0 0 0\n") end
  local wrapped = { "LD_PRELOAD=" .. assert(M.library()), "MOONCLAVE_SHIM=" .. orders,
    "ASAN_OPTIONS=verify_asan_link_order=0:" .. (os.getenv "ASAN_OPTIONS" or ""), program }
  for _, argument in ipairs(arguments) do wrapped[#wrapped + 1] = argument end
  return "/usr/bin/env", wrapped
end

-- Takes effect with the node's next call. The file is replaced as a whole, so that none is read half written.
function M.set(c, name, orders)
  local path = c.folder .. "/" .. name .. ".shim"
  cluster.write_file(path .. ".new", ("%d %d %d\n"):format(orders.full and 1 or 0, orders.sync_ms or 0,
    orders.clock_ms or 0))
  assert(os.rename(path .. ".new", path))
end

return M
