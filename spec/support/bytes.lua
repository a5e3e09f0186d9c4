-- Bytes for people: hex there and back, and the two ways in which every format is tried: cut short, and with one bit
-- turned.
local bytes = {}

function bytes.hex(binary)
  return (binary:gsub(".", function(c) return string.format("%02x", c:byte()) end))
end

-- Blanks are for the eye.
function bytes.unhex(text)
  return (text:gsub("%s", ""):gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

-- for size, prefix in bytes.prefixes(binary): every proper prefix, from none to all but one.
function bytes.prefixes(binary)
  local size = -1
  return function()
    size = size + 1
    if size < #binary then return size, binary:sub(1, size) end
  end
end

-- for bit, changed in bytes.flips(binary): every copy that differs in one bit.
function bytes.flips(binary)
  local bit = -1
  return function()
    bit = bit + 1
    local at = bit // 8 + 1
    if at > #binary then return end
    local changed = string.char(binary:byte(at) ~ (1 << bit % 8))
    return bit, binary:sub(1, at - 1) .. changed .. binary:sub(at + 1)
  end
end

return bytes
