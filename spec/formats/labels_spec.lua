-- Labels and addresses of one server, as an order changes them.
local formats = require "moonclave.formats"

local function server(id, labels)
  return { id = id, incarnation = 1, role = 0, priority = 0, labels = labels or {},
    addresses = { { kind = "node", host = "h", port = 5001 } } }
end

local function configuration(labels)
  return { previous = 0, servers = { server("n1", labels), server "n2" }, outgoing = {} }
end

local function labelled(labels, name, value, id)
  local changed, code, text = formats.configuration_change(configuration(labels), "label", id or "n1", value, name)
  if not changed then return nil, code, text end
  assert.same({}, changed.servers[2].labels)
  assert.same(changed, formats.configuration_decode(formats.configuration_encode(changed)))
  return changed.servers[1].labels
end

describe("a label", function()
  local two = { { "rack", "7" }, { "zone", "north" } }

  it("finds its place among the others, by its name", function()
    assert.same({ { "rack", "7" } }, labelled({}, "rack", "7"))
    assert.same({ { "disk", "ssd" }, two[1], two[2] }, labelled(two, "disk", "ssd"))
    assert.same({ two[1], { "site", "x" }, two[2] }, labelled(two, "site", "x"))
    assert.same({ two[1], two[2], { "zones", "all" } }, labelled(two, "zones", "all"))
  end)

  it("that is there has its new value, and its place", function()
    assert.same({ { "rack", "8" }, two[2] }, labelled(two, "rack", "8"))
    assert.same({ two[1], { "zone", "" } }, labelled(two, "zone", ""))
  end)

  it("without a value goes, and none goes with it", function()
    assert.same({ two[2] }, labelled(two, "rack"))
    assert.same({ two[1] }, labelled(two, "zone"))
    for _, name in ipairs { "disk", "site", "zones" } do assert.same(two, labelled(two, name)) end
    assert.same({}, labelled({}, "rack"))
  end)

  it("has a name, and a server", function()
    local none, code, text = labelled(two, "", "7")
    assert.same({ nil, "bad_request", "a label has a name" }, { none, code, text })
    none, code, text = labelled(two, "rack", "8", "n9")
    assert.same({ nil, "not_found", "no server n9 is in the configuration" }, { none, code, text })
  end)
end)

describe("an address", function()
  it("is one that can be called: a host, and a port that is not 0", function()
    for _, address in ipairs { "h:0", "h", ":5001", "[::1]", "h:99999", "h h:80" } do
      local none, code, text = formats.configuration_change(configuration(), "address", "n1", address, "node")
      assert.same({ nil, "bad_request" }, { none, code })
      assert.truthy(text:find(('"%s" is no address'):format(address), 1, true), text)
    end
  end)
end)
