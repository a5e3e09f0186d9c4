-- Reads what strace wrote of one process (-f -ttt -xx -s 1000000 -y): a list of calls in the order they began, each
-- { name, fd, path, data, began, ended, result } with times in seconds; data is what a write was given, as bytes.
local M = {}

local function bytes_of(hex)
  return (hex:gsub("\\x(%x%x)", function(h) return string.char(tonumber(h, 16)) end))
end

local function parse_call(text, began)
  local name, arguments = text:match "^([%w_]+)%((.*)$"
  if not name then return nil end
  local fd, path = arguments:match "^(%d+)<(.-)>"
  local data = {}
  for quoted in arguments:gmatch '"([^"]*)"' do data[#data + 1] = bytes_of(quoted) end
  return { name = name, fd = tonumber(fd), path = path and bytes_of(path), data = table.concat(data), began = began }
end

function M.read(path)
  local calls, unfinished = {}, {}
  for line in io.lines(path) do
    local thread, time, text = line:match "^(%d+) +(%d+%.%d+) (.*)$"
    if not thread then
      thread, time, text = "0", line:match "^(%d+%.%d+) (.*)$"
    end
    if text then
      time = tonumber(time)
      local resumed = text:match "^<%.%.%. [%w_]+ resumed>(.*)$"
      if resumed then
        local call = unfinished[thread]
        if call then
          call.ended, call.result = time, tonumber(resumed:match "= (%-?%d+)[^=]*$")
          unfinished[thread] = nil
        end
      else
        local call = parse_call(text, time)
        if call then
          calls[#calls + 1] = call
          if text:find("<unfinished ...>", 1, true) then
            unfinished[thread] = call
          else
            call.ended, call.result = time, tonumber(text:match "= (%-?%d+)[^=]*$")
          end
        end
      end
    end
  end
  return calls
end

return M
