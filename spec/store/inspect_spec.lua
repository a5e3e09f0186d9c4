-- Whoever looks sees what a start would: a folder is sound where the store opens it, and nowhere else.
local support = require "store.support"
local store = require "moonclave.store"
local cluster = require "support.cluster"

local FILES = { "moonclave.db", "moonclave.db-wal", "acknowledged", "snapshot-0" }

-- The files of a lossy disk's folder after a story, killed or stopped.
local function image_of(killed)
  local disk = support.disk(11)
  local done, s = support.play(disk, support.story())
  local state = support.story()[done].state
  for _, size in ipairs { 400, 10, 30, 1200, 50 } do
    local writes = { { entries = support.entries(state, 5, { size, 7 }) } }
    assert(s:persist(writes))
    state = support.after(state, writes)
  end
  if killed then disk:kill() end
  s:close()
  local files, image = {}, disk:image()
  for _, name in ipairs(FILES) do files[name] = image[support.FOLDER .. "/" .. name] end
  if not killed then files["moonclave.db-wal"] = nil end
  return files
end

local function flip(bytes, at, mask)
  return bytes:sub(1, at) .. string.char(bytes:byte(at + 1) ~ mask) .. bytes:sub(at + 2)
end

-- Puts the files there, looks, and opens: both must say the same. The mark alone is a second witness.
local function compare(folder, files, context)
  local function put()
    os.remove(folder .. "/lock")
    for _, name in ipairs(FILES) do
      os.remove(folder .. "/" .. name)
      if files[name] then cluster.write_file(folder .. "/" .. name, files[name]) end
    end
  end
  put()
  local found, code, text = store.inspect(folder)
  local sound = found ~= nil
  for _, finding in ipairs(found or {}) do sound = sound and finding.part == "mark" end
  for _, name in ipairs(FILES) do
    local now = cluster.read_file(folder .. "/" .. name)
    assert.are.equal(files[name] or "", now, context .. ": " .. name .. " was changed")
  end
  local s, why, what = store.open { folder = folder, id = "n1", incarnation = 77 }
  if s then s:close() end
  assert.are.equal(s ~= nil, sound, ("%s: looked: %s; opened: %s %s"):format(context,
    found and found[1] and found[1].text or tostring(text or code or "sound"), tostring(why or "well"), tostring(what)))
  return sound
end

describe("a folder that is looked at", function()
  for _, killed in ipairs { false, true } do
    it("is judged as a start would, after a " .. (killed and "kill" or "clean stop"), function()
      local top = cluster.folder()
      local folder = top .. "/n1"
      assert(os.execute("mkdir " .. folder))
      local image = image_of(killed)
      assert.is_true(compare(folder, image, "untouched"))
      local random, damaged = 1, 0
      local function draw(limit)
        random = (random * 1103515245 + 12345) & 0x7fffffff
        return (random >> 8) % limit
      end
      for i = 1, 60 do
        local name = killed and i % 3 > 0 and "moonclave.db-wal" or "moonclave.db"
        local files = {}
        for file, bytes in pairs(image) do files[file] = bytes end
        local at, mask = draw(#image[name]), 1 << draw(8)
        files[name] = flip(image[name], at, mask)
        if not compare(folder, files, ("%s, byte %d, mask %02x"):format(name, at, mask)) then damaged = damaged + 1 end
      end
      assert.is_true(damaged > 10, damaged .. " of 60")
      cluster.remove(top)
    end)
  end
end)
