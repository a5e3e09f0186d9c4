-- Commands of a shell and folders for specs that install things and run what they have installed.
local M = {}

-- Exit code and all that was printed.
function M.run(format, ...)
  local command = select("#", ...) > 0 and format:format(...) or format
  local pipe = assert(io.popen("{ " .. command .. "\n} 2>&1; echo \"exit $?\""))
  local text = pipe:read "a"
  pipe:close()
  local printed, code = text:match "^(.*)exit (%d+)\n$"
  return math.tointeger(code), printed
end

-- What it printed; raises where it failed.
function M.must(format, ...)
  local code, text = M.run(format, ...)
  if code ~= 0 then error(("exit %d of: %s\n%s"):format(code, format, text), 2) end
  return text
end

function M.has(tool) return (M.run("command -v '%s'", tool)) == 0 end

function M.lines(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do list[#list + 1] = line end
  return list
end

function M.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

function M.write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

-- A new folder with a blank in its name, without links in its path; removed at the end of a block it is `<close>` in.
function M.folder()
  local path = M.must "cd \"${TMPDIR:-/tmp}\" && mktemp -d \"$(pwd -P)/moonclave spec XXXXXX\"":sub(1, -2)
  local function remove() M.run("rm -rf '%s'", path) end
  return setmetatable({ path = path, remove = remove }, { __close = remove, __tostring = function() return path end })
end

-- Everything below a folder, sorted; folders end with a slash.
function M.tree(path)
  local list = M.lines(M.must("cd '%s' && find . -mindepth 1 -type d -printf '%%P/\\n' -o -printf '%%P\\n'", path))
  table.sort(list)
  return list
end

-- Where the build is, absolute, and the program in it.
M.here = M.must "pwd -P":sub(1, -2)
M.build = os.getenv "MOONCLAVE_BUILD" or "build"
if not M.build:match "^/" then M.build = M.here .. "/" .. M.build end
M.program = M.build .. "/moonclave"

return M
