local fsm = require "moonclave.fsm"

local function folder(files)
  local root = os.tmpname()
  os.remove(root)
  assert(os.execute(("mkdir -p '%s'"):format(root)))
  for path, contents in pairs(files) do
    local parent = path:match "^(.*)/"
    if parent then assert(os.execute(("mkdir -p '%s/%s'"):format(root, parent))) end
    local file = assert(io.open(root .. "/" .. path, "wb"))
    file:write(contents)
    file:close()
  end
  return root, function() os.execute(("rm -rf '%s'"):format(root)) end
end

describe("a bundle", function()
  it("holds an app's Lua files, sorted, with their hash", function()
    local root, remove = folder {
      ["fsm.lua"] = "return {}", ["api.lua"] = "x", ["lib/util.lua"] = "y", ["lib/deep/er.lua"] = "\0\255",
      ["README.md"] = "no", [".hidden.lua"] = "no", [".git/a.lua"] = "no", ["spec/fsm_spec.lua"] = "no",
      ["sim.lua"] = "no", ["lib/spec/a.lua"] = "yes",
    }
    finally(remove)
    local bytes = assert(fsm.bundle(root))
    local files, hash = fsm.files(bytes)
    assert.same({ ["fsm.lua"] = "return {}", ["api.lua"] = "x", ["lib/util.lua"] = "y", ["lib/deep/er.lua"] =
      "\0\255", ["lib/spec/a.lua"] = "yes" }, files)
    assert.is_true(hash ~= 0)
    assert.equal("ok", (fsm.verify(bytes)))
    assert.equal(bytes, (fsm.bundle(files)))
    assert.equal("\x83\xa5files\x85\xa7api.lua\xa1x\xa7fsm.lua\xa9return {}", bytes:sub(1, 36))
  end)

  it("makes a single file the app's fsm.lua", function()
    local root, remove = folder { ["counter.lua"] = "return { commands = {} }" }
    finally(remove)
    assert.same({ ["fsm.lua"] = "return { commands = {} }" }, (fsm.files(fsm.bundle(root .. "/counter.lua"))))
    assert.same({ ["fsm.lua"] = "return { commands = {} }" }, (fsm.files(fsm.bundle(root .. "/counter"))))
  end)

  it("says what is missing", function()
    local root, remove = folder { ["api.lua"] = "x" }
    finally(remove)
    assert.same({ nil, "script_error", root .. " has no fsm.lua: an app is a folder with one" }, { fsm.bundle(root) })
    assert.same({ nil, "not_found", "there is no app at " .. root .. "/nowhere: No such file or directory" },
      { fsm.bundle(root .. "/nowhere") })
  end)

  it("has its limit", function()
    local root, remove = folder { ["fsm.lua"] = "return {}", ["big.lua"] = ("x"):rep(4 * 1024 * 1024) }
    finally(remove)
    local bundle, code = fsm.bundle(root)
    assert.is_nil(bundle)
    assert.equal("too_large", code)
  end)

  it("is refused when a byte of it has changed", function()
    local bytes = fsm.bundle { ["fsm.lua"] = "return {}", ["a.lua"] = "local x = 1" }
    for i = 1, #bytes do
      local changed = bytes:sub(1, i - 1) .. string.char(bytes:byte(i) ~ 1) .. bytes:sub(i + 1)
      assert.is_true(fsm.verify(changed) ~= "ok", "byte " .. i)
    end
    for i = 0, #bytes - 1 do assert.is_true(fsm.verify(bytes:sub(1, i)) ~= "ok") end
  end)
end)
