-- A busted output handler: one line per spec file, failures in full, and the counts for scripts/test in the file that
-- the environment names (MOONCLAVE_COUNTS: "passed failed skipped").
return function(options)
  local busted = require "busted"
  local handler = require "busted.outputHandlers.base"()
  local clock = require "system".monotime
  local file_began, file_tests, file_failures = 0, 0, 0

  local function out(...)
    io.write(...)
    io.flush()
  end

  function handler.fileStart()
    file_began, file_tests, file_failures = clock(), 0, 0
    return nil, true
  end

  function handler.testEnd(_, _, status)
    file_tests = file_tests + 1
    if status == "failure" or status == "error" then
      file_failures = file_failures + 1
    end
    return nil, true
  end

  function handler.fileEnd(element)
    out(string.format("%-48s %4d tests  %3d failed  %6.1f s\n", element.name, file_tests, file_failures,
      clock() - file_began))
    return nil, true
  end

  local function describe(kind, failure)
    local message = failure.message
    if type(message) == "table" then message = message.message or require "pl.pretty".write(message) end
    out("\n", kind, ": ", failure.name or "?", "\n  ", failure.trace and failure.trace.short_src or "?", ":",
      tostring(failure.trace and failure.trace.currentline or "?"), "\n  ",
      (tostring(message or "no message"):gsub("\n", "\n  ")), "\n")
    if options.verbose and failure.trace and failure.trace.traceback then
      out("  ", (failure.trace.traceback:gsub("\n", "\n  ")), "\n")
    end
  end

  function handler.suiteEnd()
    for _, failure in ipairs(handler.failures) do describe("FAILED", failure) end
    for _, failure in ipairs(handler.errors) do describe("ERROR", failure) end
    local path = os.getenv "MOONCLAVE_COUNTS"
    if path then
      local file = assert(io.open(path, "w"))
      file:write(string.format("%d %d %d\n", handler.successesCount, handler.failuresCount + handler.errorsCount,
        handler.pendingsCount))
      file:close()
    end
    return nil, true
  end

  busted.subscribe({ "file", "start" }, handler.fileStart)
  busted.subscribe({ "file", "end" }, handler.fileEnd)
  busted.subscribe({ "test", "end" }, handler.testEnd, { predicate = handler.cancelOnPending })
  busted.subscribe({ "suite", "end" }, handler.suiteEnd)
  return handler
end
