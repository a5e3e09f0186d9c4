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
      waiting_bytes_max = true, command_memory_max = true, block_bytes_max = true }
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
    for _, name in ipairs { "election_timeout", "election_timeout_ms_", "", "Election_timeout_ms" } do
      local made, code, text = base.settings { [name] = 1 }
      assert.is_nil(made)
      assert.equal("usage", code)
      assert.equal("there is no setting " .. name, text)
    end
  end)

  it("texts are whole decimal numbers and nothing else", function()
    assert.equal(1234, base.settings { election_timeout_ms = "1234" }.election_timeout_ms)
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
end)
