-- The tables of base: errors and settings. Each row is a promise to clients or operators.
local base = require "moonclave.base"

describe("errors", function()
  local rows = base.errors()

  it("numbers and codes are frozen, in this order", function()
    local seen = {}
    for i, row in ipairs(rows) do
      seen[i] = string.format("%d %s %d %s", row.number, row.code, row.http, row.definite and "definite" or "unknown")
    end
    assert.same({
      "0 ok 200 definite",
      "1 rejected 409 definite",
      "2 not_leader 503 definite",
      "3 timeout 504 unknown",
      "4 unavailable 503 definite",
      "5 overloaded 429 definite",
      "6 too_large 413 definite",
      "7 bad_request 400 definite",
      "8 command_failed 500 definite",
      "9 no_such_command 404 definite",
      "10 session_expired 409 definite",
      "11 unauthorized 401 definite",
      "12 shutting_down 503 definite",
      "13 not_found 404 definite",
      "14 disk_full 503 definite",
      "15 io_error 500 unknown",
      "16 corrupt 500 unknown",
      "17 foreign 409 definite",
      "18 version 409 definite",
      "19 wiped 409 definite",
      "20 script_error 500 definite",
      "21 usage 400 definite",
      "22 internal 500 unknown",
      "23 conflict 409 definite",
      "24 forgotten 409 definite",
      "25 reused 409 definite",
      "26 removed 409 definite",
    }, { table.unpack(seen, 1, 27) })
  end)

  it("no number and no code stands twice, and each has a sentence for people", function()
    local numbers, codes = {}, {}
    for _, row in ipairs(rows) do
      assert.is_nil(numbers[row.number], row.code)
      assert.is_nil(codes[row.code], row.code)
      numbers[row.number], codes[row.code] = true, true
      assert.is_true(#row.help > 3)
      assert.is_true(row.http >= 200 and row.http < 600)
      assert.equal(row.code, base.error_named(row.number))
      assert.equal(row.code, base.error_named(row.code))
    end
  end)

  it("what is no row is not found, and is treated as the worst: internal, outcome unknown", function()
    assert.is_nil(base.error_named(9999))
    assert.is_nil(base.error_named "nonsense")
    assert.is_nil(base.error_named "not_leade")
    assert.is_nil(base.error_named "")
    assert.same({ "internal", 500, false }, { base.error_of(9999) })
  end)

  it("a text that is too long is cut, not spilled", function()
    assert.equal(511, #base.error_text(("x"):rep(5000)))
  end)

  it("the body of an error reply has a code and a message", function()
    assert.same({ code = "overloaded", message = "busy" }, (base.unpack(base.reply_error(5, "busy"))))
    assert.same({ code = "not_leader", message = rows[3].help }, (base.unpack(base.reply_error(2))))
  end)
end)

describe("settings", function()
  local rows = base.settings_table()
  local defaults = base.settings {}

  it("each has a sound default, limits, a unit at the end of its name or help, and one name", function()
    local names = {}
    for _, row in ipairs(rows) do
      assert.is_nil(names[row.name])
      names[row.name] = true
      assert.is_true(row.least <= row.initial and row.initial <= row.most, row.name)
      assert.equal(row.initial, defaults[row.name])
      assert.is_true(#row.help > 10 and #row.unit > 0)
      if row.unit == "ms" then assert.matches("_ms$", row.name) end
    end
    assert.is_true(#rows >= 22)
  end)

  it("the defaults together are safe, and so are the limits of each alone where nothing depends on it", function()
    assert.is_not_nil(defaults)
    assert.is_not_nil(base.settings { clients_max = 1, http_idle_ms = 100 })
  end)

  it("both limits of each are accepted and one past them is refused, with the limits in the text", function()
    local dependent = { heartbeat_ms = true, election_timeout_ms = true, append_bytes_max = true,
      entry_bytes_max = true, frame_bytes_max = true, peer_queue_bytes_max = true, uncommitted_bytes_max = true,
      waiting_bytes_max = true, command_memory_max = true, block_bytes_max = true, session_timeout_ms = true,
      idempotency_timeout_ms = true }
    for _, row in ipairs(rows) do
      for _, value in ipairs { row.least, row.most } do
        local made, code, text = base.settings { [row.name] = value }
        if not dependent[row.name] then
          assert.equal(value, made and made[row.name], text)
        elseif not made then
          assert.equal("usage", code)
          assert.is_nil(text:find("must be from", 1, true), "refused by its limits, not by a combination")
        end
      end
      for _, value in ipairs { row.least - 1, row.most + 1 } do
        local made, code, text = base.settings { [row.name] = value }
        assert.is_nil(made, row.name)
        assert.equal("usage", code)
        if value >= 0 then
          assert.equal(string.format("%s is %d %s: it must be from %d to %d", row.name, value, row.unit, row.least,
            row.most), text)
        end
      end
    end
  end)

  it("a dash is as good as an underscore, and a wrong name is named", function()
    assert.equal(2000, base.settings { ["election-timeout-ms"] = 2000 }.election_timeout_ms)
    for name, meant in pairs { election_timeout = "election_timeout_ms", election_timeout_ms_ = "election_timeout_ms",
      [""] = false, Election_timeout_ms = "election_timeout_ms", comand_steps_max = "command_steps_max",
      ["session-windw"] = "session_window", colour = false, heart = "heartbeat_ms", [("x"):rep(300)] = false } do
      local made, code, text = base.settings { [name] = 1 }
      assert.is_nil(made)
      assert.equal("usage", code)
      local hint = meant and ": did you mean " .. meant .. "?" or ""
      assert.equal("there is no setting " .. name:sub(1, 64) .. hint, text)
    end
  end)

  it("texts are whole decimal numbers, with a unit of theirs or without, and nothing else", function()
    assert.equal(1234, base.settings { election_timeout_ms = "1234" }.election_timeout_ms)
    for text, number in pairs { ["1500ms"] = 1500, ["5s"] = 5000, ["2min"] = 120000, ["007s"] = 7000,
      default = 5000 } do
      assert.equal(number, base.settings { request_timeout_ms = text }.request_timeout_ms, text)
    end
    assert.equal(3600000 * 24 * 30, base.settings { session_timeout_ms = "30d" }.session_timeout_ms)
    assert.equal(3600000 * 2, base.settings { session_timeout_ms = "2h" }.session_timeout_ms)
    for text, number in pairs { ["64MiB"] = 64 << 20, ["70000KiB"] = 70000 << 10, ["100000000B"] = 100000000,
      ["3GiB"] = 3 << 30 } do
      assert.equal(number, base.settings { waiting_bytes_max = text }.waiting_bytes_max, text)
    end
    assert.equal(1 << 40, base.settings { snapshot_log_bytes = "1TiB" }.snapshot_log_bytes)
    for text, number in pairs { ["true"] = 1, on = 1, ["1"] = 1, ["false"] = 0, off = 0, default = 0 } do
      assert.equal(number, base.settings { follower_reads = text }.follower_reads, text)
    end
    -- what could be two things, or a unit of something else, is refused and says which there are
    for name, texts in pairs {
      waiting_bytes_max = { "64MB", "64M", "64mib", "64 MiB", "64k", "1s", "on", "MiB", "0.5GiB" },
      request_timeout_ms = { "5m", "5 s", "5S", "5sec", "1KiB", "true", "s", "1s1", "18446744073709551616",
        "18446744073709551615s", "Default" },
      waiting_max = { "5k", "5s", "5B", "true" }, follower_reads = { "yes", "True", "1s" } } do
      for _, text in ipairs(texts) do
        local made, code, why = base.settings { [name] = text }
        assert.is_nil(made, text)
        assert.equal("usage", code)
        assert.matches(('%s is "%s": it must be a whole number'):format(name, text), why, 1, true)
      end
    end
    assert.matches("or with a unit: ms, s, min, h, d$", select(3, base.settings { request_timeout_ms = "5m" }))
    assert.matches("or with a unit: B, KiB, MiB, GiB, TiB$", select(3, base.settings { waiting_bytes_max = "5M" }))
    for _, text in ipairs { "", " 1", "1 ", "-1", "+1", "0x10", "1e3", "1.5", "ten", "99999999999999999999999" } do
      local made, code, why = base.settings { election_timeout_ms = text }
      assert.is_nil(made, text)
      assert.equal("usage", code)
      assert.matches('election_timeout_ms is "' .. text .. '"', why, 1, true)
      assert.matches("from 20 to 600000 (ms)", why, 1, true)
    end
  end)

  -- settings, what the refusal names, and the nearest safe choice
  local unsafe = {
    { { heartbeat_ms = 334 }, "heartbeat_ms is 334 and election_timeout_ms 1000", { heartbeat_ms = 333 } },
    { { election_timeout_ms = 299 }, "election_timeout_ms 299", { election_timeout_ms = 300 } },
    { { frame_bytes_max = 65536 }, "frame_bytes_max is 65536", { frame_bytes_max = 2097152 + 4096 } },
    { { append_bytes_max = 16777216 }, "one append of append_bytes_max", { append_bytes_max = 16777216 - 4096 } },
    { { entry_bytes_max = 15728640, frame_bytes_max = 15728640 }, "one entry of entry_bytes_max",
      { entry_bytes_max = 15728640, frame_bytes_max = 15728640 + 4096 } },
    { { snapshot_chunk_bytes = 8388608, frame_bytes_max = 8388608 }, "one piece of a snapshot of snapshot_chunk_bytes",
      { snapshot_chunk_bytes = 8388608, frame_bytes_max = 8388608 + 32768 } },
    { { snapshot_chunk_bytes = 8388608, peer_queue_bytes_max = 8388608 }, "peer_queue_bytes_max is 8388608",
      { snapshot_chunk_bytes = 8388608, peer_queue_bytes_max = 8388608 + 32768 } },
    { { peer_queue_bytes_max = 2097152 }, "peer_queue_bytes_max is 2097152",
      { peer_queue_bytes_max = 2097152 + 4096 } },
    { { uncommitted_bytes_max = 4096 }, "uncommitted_bytes_max is 4096", { uncommitted_bytes_max = 2097152 + 4096 } },
    { { waiting_bytes_max = 65536 }, "waiting_bytes_max is 65536", { waiting_bytes_max = 2097152 + 4096 } },
    { { command_memory_max = 1048576 }, "command_memory_max is 1048576", { command_memory_max = 16777216 } },
    { { session_timeout_ms = 4999 }, "session_timeout_ms is 4999: it must be at least 5000",
      { session_timeout_ms = 5000 } },
    { { idempotency_timeout_ms = 9999 }, "idempotency_timeout_ms is 9999: it must be at least 10000",
      { idempotency_timeout_ms = 10000 } },
  }
  for _, row in ipairs(unsafe) do
    it("unsafe together: " .. row[2], function()
      local made, code, text = base.settings(row[1])
      assert.is_nil(made)
      assert.equal("usage", code)
      assert.matches(row[2], text, 1, true)
      local safe, _, why = base.settings(row[3])
      assert.is_not_nil(safe, why)
    end)
  end

  it("what people read of a value is what they may write, exactly", function()
    assert.equal("64MiB", base.setting_text("waiting_bytes_max", 64 << 20))
    assert.equal("1025KiB", base.setting_text("waiting_bytes_max", 1025 << 10))
    assert.equal("1000001", base.setting_text("waiting_bytes_max", 1000001))
    assert.equal("1500ms", base.setting_text("request_timeout_ms", 1500))
    assert.equal("90s", base.setting_text("request_timeout_ms", 90000))
    assert.equal("1d", base.setting_text("session_timeout_ms", 86400000))
    assert.equal("0", base.setting_text("trailing_bytes", 0))
    assert.equal("50000000", base.setting_text("command_steps_max", 50000000))
    local free = { snapshot_log_bytes = true, trailing_bytes = true, http_idle_ms = true, stop_timeout_ms = true,
      command_steps_max = true, waiting_max = true, session_bytes_max = true }
    for _, row in ipairs(rows) do
      if free[row.name] then
        local value = row.least
        while value <= row.most do
          local text = base.setting_text(row.name, value)
          assert.equal(value, base.settings { [row.name] = text }[row.name], text)
          value = value * 3 + 7
        end
      end
    end
  end)

  it("what cannot change while running says why, and all of the cluster's can", function()
    for _, row in ipairs(rows) do
      assert.equal(not row.live, row.fixed ~= nil, row.name)
      if row.scope == "replicated" then assert.is_true(row.live, row.name) end
    end
  end)

  it("a change is refused for what it makes unsafe, not for what was so before", function()
    local function change(before, after, replicated)
      local ok, code, text = base.settings_change(before, after, replicated)
      return ok and "ok" or code .. ": " .. text
    end
    assert.equal("ok", change({}, { request_timeout_ms = 7000 }))
    assert.matches("session_timeout_ms is 6000", change({ session_timeout_ms = 6000 },
      { session_timeout_ms = 6000, request_timeout_ms = 6001 }), 1, true)
    -- unsafe before: what does not touch it goes on, what touches it has to mend it
    local bad = { session_timeout_ms = 1000 }
    assert.equal("ok", change(bad, { session_timeout_ms = 1000, snapshot_window = 3 }))
    assert.matches("session_timeout_ms is 1001", change(bad, { session_timeout_ms = 1001 }), 1, true)
    assert.equal("ok", change(bad, { session_timeout_ms = 5000 }))
    -- what all nodes decide alike knows nothing of a node's own settings
    assert.equal("ok", change({}, { session_timeout_ms = 1000 }, true))
    assert.matches("command_memory_max is 1048576", change({}, { command_memory_max = 1048576 }, true), 1, true)
    assert.matches("block_bytes_max", change({}, { block_bytes_max = 268435457 }, true), 1, true)
    -- what may only grow
    for _, replicated in ipairs { false, true } do
      assert.equal("ok", change({}, { idempotency_timeout_ms = 86400001 }, replicated))
      assert.matches("idempotency_timeout_ms is 86400000 and can only grow",
        change({}, { idempotency_timeout_ms = 86399999 }, replicated), 1, true)
    end
  end)
end)
