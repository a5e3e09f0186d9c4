-- GET /metrics, read as strictly as Prometheus' text format (0.0.4) is written: HELP and TYPE before the samples of a
-- family, names and labels of their alphabets, no series twice, counters that end in _total, histograms whose buckets
-- never fall and end in +Inf.
local cluster = require "support.cluster"

local TYPES = { counter = true, gauge = true, histogram = true }

local function labels_of(text, line)
  local labels, at = {}, 1
  while at <= #text do
    local name, value, next = text:match('^([%a_][%w_]*)="([^"\\\n]*)"()', at)
    assert(name, "labels: " .. line)
    assert(labels[name] == nil, "a label twice: " .. line)
    labels[name] = value
    at = next
    if at <= #text then
      assert(text:sub(at, at) == ",", "labels: " .. line)
      at = at + 1
    end
  end
  return labels
end

-- The family that a sample belongs to: its name, without what a histogram's samples have behind it.
local function family_of(families, name)
  local base = name:match "^(.*)_bucket$" or name:match "^(.*)_sum$" or name:match "^(.*)_count$"
  local of_histogram = base and families[base] and families[base].type == "histogram"
  return families[of_histogram and base or name]
end

local function parse(text)
  assert.equal("\n", text:sub(-1))
  local families, order, seen, last = {}, {}, {}, nil
  for line in text:gmatch "([^\n]*)\n" do
    local help = line:match "^# HELP ([%a_:][%w_:]*) .+$"
    local name, kind = line:match "^# TYPE ([%a_:][%w_:]*) (%a+)$"
    if help then
      assert(not families[help], "twice: " .. help)
      last = { name = help, samples = {} }
      families[help], order[#order + 1] = last, last
    elseif name then
      assert(last and last.name == name and not last.type and #last.samples == 0, "TYPE out of place: " .. line)
      assert(TYPES[kind], line)
      last.type = kind
    else
      local sample, inner, value = line:match "^([%a_:][%w_:]*){([^}]*)} (%S+)$"
      if not sample then sample, value = line:match "^([%a_:][%w_:]*) (%S+)$" end
      assert(sample, "no line of the format: " .. line)
      local number = tonumber(value)
      assert(number and number >= 0, line)
      local family = family_of(families, sample)
      assert(family and family == last and family.type, "a sample outside its family: " .. line)
      local series = sample .. "{" .. (inner or "") .. "}"
      assert(not seen[series], "twice: " .. series)
      seen[series] = true
      family.samples[#family.samples + 1] = { name = sample, labels = labels_of(inner or "", line), value = number }
    end
  end
  return families, order
end

local function check_names(order)
  for _, family in ipairs(order) do
    assert.matches("^moonclave_", family.name)
    assert.equal(family.type == "counter", family.name:match "_total$" ~= nil, family.name)
    assert.is_nil(family.name:match "_ms$" or family.name:match "_us$" or family.name:match "milli", family.name)
    assert(#family.samples > 0 or family.name:match "^moonclave_peer_", family.name .. " has no samples")
  end
end

-- By the labels beside `le`, in the order told.
local function check_histogram(family)
  local groups = {}
  for _, sample in ipairs(family.samples) do
    local key = sample.labels.route or ""
    local group = groups[key] or { buckets = {} }
    groups[key] = group
    if sample.name:match "_bucket$" then
      group.buckets[#group.buckets + 1] = sample
    else
      group[sample.name:match "_(%a+)$"] = sample.value
    end
  end
  for key, group in pairs(groups) do
    local bound, count = -1, 0
    for _, bucket in ipairs(group.buckets) do
      local le = bucket.labels.le == "+Inf" and math.huge or tonumber(bucket.labels.le)
      assert(le > bound and bucket.value >= count, family.name .. " " .. key .. " " .. bucket.labels.le)
      bound, count = le, bucket.value
    end
    assert.equal(math.huge, bound)
    assert.equal(count, group.count)
    assert(group.sum >= 0 and (group.sum > 0 or group.count == 0), family.name .. " " .. key)
  end
end

local function value(families, name, labels)
  for _, sample in ipairs(families[name].samples) do
    local same = true
    for key, wanted in pairs(labels or {}) do same = same and sample.labels[key] == wanted end
    if same then return sample.value end
  end
  error(name .. " has no such sample")
end

local function metrics(c, name)
  local answer = assert(c:http(name, "GET", "/metrics"))
  assert.same({ 200, "text/plain; version=0.0.4; charset=utf-8" }, { answer.status, answer.headers["content-type"] })
  return parse(answer.body)
end

describe("the parser", function()
  it("objects to what is not of the format", function()
    for _, row in ipairs {
      { "moonclave_a 1\n", "outside" }, { "# HELP a x\n# TYPE a gauge\na 1\na 2\n", "twice" },
      { "# HELP a x\n# TYPE a gauge\na{b=\"c\",b=\"d\"} 1\n", "twice" }, { "# HELP a x\na 1\n", "outside" },
      { "# HELP a x\n# TYPE a gauge\na x\n", "a x" }, { "# HELP a x\n# TYPE a gauge\na{b=c} 1\n", "labels" },
      { "# HELP a x\n# TYPE a gauge\n# HELP b x\n# TYPE b gauge\na 1\n", "outside" },
    } do
      assert.error_matches(function() parse(row[1]) end, row[2])
    end
    local broken = { type = "histogram", name = "h", samples = {
      { name = "h_bucket", labels = { le = "1" }, value = 2 },
      { name = "h_bucket", labels = { le = "+Inf" }, value = 1 },
      { name = "h_sum", labels = {}, value = 1 }, { name = "h_count", labels = {}, value = 1 } } }
    assert.has_error(function() check_histogram(broken) end)
  end)
end)

describe("the metrics", function()
  it("are all in the README of src/node, and all that are there exist", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }
      c:start()
      local families, order = metrics(c, "n1")
      local section = cluster.read_file("src/node/README.md"):match "\n## Metrics\n(.-)\n## "
      local told = {}
      for row in section:gmatch "\n(|[^\n]*)" do
        for name in row:gmatch "`([%l_]+)[^`]*`" do told[name] = true end
      end
      for _, family in ipairs(order) do
        local name = family.name:gsub("^moonclave_", "")
        if family.type == "histogram" then name = name:gsub("_seconds$", "") end
        assert(told[name], family.name .. " is not in the README")
        told[name] = nil
      end
      for name in pairs(told) do
        local known = name == "moonclave_" or name == "peer" or name:match "^app" or families["moonclave_" .. name]
        assert(known, name .. " is in the README only")
      end
    end)
  end)

  it("of leaders and followers are sound, count what was done, and grow only", function()
    cluster.run(function()
      local c <close> = cluster.new()
      c:start()
      local leader = c:leader()
      local follower = leader == "n1" and "n2" or "n1"
      local before = metrics(c, leader)
      for i = 1, 20 do
        assert.equal(200, c:http(leader, "PUT", "/kv/a", tostring(i)).status)
        assert.equal(200, c:http(leader, "POST", "/v1/command/put", '{"key":"b","value":"1"}').status)
        assert.equal(200, c:http(leader, "GET", "/v1/query/get?key=b").status)
        assert.equal(200, c:http(follower, "GET", "/kv/a").status)
      end
      assert.equal(404, c:http(leader, "GET", "/nothing").status)
      for _, name in ipairs { leader, follower } do
        local families, order = metrics(c, name)
        check_names(order)
        for _, family in ipairs(order) do if family.type == "histogram" then check_histogram(family) end end
        assert.equal(1, value(families, "moonclave_role", { role = name == leader and "leader" or "follower" }))
        assert.equal(0, value(families, "moonclave_role", { role = "candidate" }))
        assert.equal(3, value(families, "moonclave_voters"))
        assert.is_true(value(families, "moonclave_process_open_fds") > 5)
        assert.is_true(value(families, "moonclave_process_resident_memory_bytes") > 1048576)
        assert.equal(1, value(families, "moonclave_events_total", { type = "started" }))
        assert.is_true(value(families, "moonclave_disk_persist_duration_seconds",
          { le = "+Inf" }) >= value(families, "moonclave_disk_commits_total") // 2)
      end
      local after = metrics(c, leader)
      local function grew(name, labels) return value(after, name, labels) - value(before, name, labels) end
      assert.equal(40, grew "moonclave_proposals_total")
      assert.equal(20, grew("moonclave_http_request_duration_seconds", { route = "command", le = "+Inf" }))
      assert.equal(20, grew("moonclave_http_request_duration_seconds", { route = "query", le = "+Inf" }))
      assert.equal(21, grew("moonclave_http_request_duration_seconds", { route = "app", le = "+Inf" })) -- the 404 too
      assert.equal(40, grew("moonclave_proposal_duration_seconds", { le = "+Inf" }))
      assert.is_true(grew("moonclave_commit_duration_seconds", { le = "+Inf" }) >= 1)
      assert.equal(40, grew("moonclave_apply_duration_seconds", { le = "+Inf" }))
      assert.is_true(grew("moonclave_read_round_duration_seconds", { le = "+Inf" }) >= 20)
      assert.equal(1, grew("moonclave_http_responses_total", { code = "4xx" }))
      local peers = {}
      for _, sample in ipairs(after.moonclave_peer_lag_entries.samples) do peers[#peers + 1] = sample.labels.peer end
      assert.equal(2, #peers)
      for name, family in pairs(before) do
        if family.type == "counter" then
          for i, sample in ipairs(family.samples) do assert(after[name].samples[i].value >= sample.value, name) end
        end
      end
    end)
  end)

  it("are there for a blank node that waits for the others, too", function()
    cluster.run(function()
      local c <close> = cluster.new()
      c:launch "n1"
      local families, order
      cluster.eventually("it answers", function()
        local answer = c:http("n1", "GET", "/metrics")
        if answer then families, order = parse(answer.body) end
        return answer
      end)
      check_names(order)
      assert.equal(0, value(families, "moonclave_role", { role = "follower" }))
      assert.equal(0, value(families, "moonclave_ready"))
    end)
  end)
end)
