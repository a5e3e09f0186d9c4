/*
 * cluster.session(): a client of the cluster that numbers its commands, so that they can be sent
 * again until their outcome is known. The counting is Lua's; opening, renewing and closing go to
 * the host as SESSION requests.
 */
#include "script/control_internal.h"

#include <lauxlib.h>
#include <stdlib.h>

/*
 * A command keeps its sequence through all attempts. `waiting` holds the sequences under way: the
 * oldest of them must stay within the window of replies that the cluster keeps, or its retry would
 * find none. A client that goes away ends its handler where it waits: closing takes its sequence
 * out, and weak keys do where a script forgot a coroutine.
 *
 * What is not one of AGAIN ends it; a refusal behind an attempt without an answer is no outcome,
 * though: what became of that one nobody can tell.
 */
static const char session_source[] =
    "local propose, manage, code_of, failure = ...\n"
    "local AGAIN = { timeout = true, unavailable = true, not_leader = true }\n"
    "local OUTCOME = { timeout = true, command_failed = true, no_such_command = true, bad_request = true }\n"
    "local Session = {}\n"
    "Session.__index = Session\n"
    "Session.__name = 'moonclave.session'\n"
    "\n"
    "local function oldest(self)\n"
    "  local least = self.next\n"
    "  for _, sequence in pairs(self.waiting) do\n"
    "    if sequence < least then least = sequence end\n"
    "  end\n"
    "  return least\n"
    "end\n"
    "\n"
    "local function again(self, name, arguments, options)\n"
    "  local unknown = false\n"
    "  for attempt = 1, self.attempts do\n"
    "    local result, err = propose(name, arguments, options)\n"
    "    local code = err ~= nil and code_of(err)\n"
    "    if code == 'timeout' then unknown = true end\n"
    "    if not AGAIN[code] or attempt == self.attempts then\n"
    "      if unknown and code and not OUTCOME[code] then\n"
    "        return nil, failure('timeout', 'no attempt had an outcome, and the last was refused: ' .. tostring(err))\n"
    "      end\n"
    "      return result, err\n"
    "    end\n"
    "  end\n"
    "end\n"
    "\n"
    "function Session:propose(name, arguments, options)\n"
    "  if self.closed then return nil, failure('session_expired', 'the session was closed') end\n"
    "  local sequence = self.next\n"
    "  if sequence - oldest(self) >= self.window then\n"
    "    return nil, failure('overloaded', 'as many commands as the session may have are under way')\n"
    "  end\n"
    "  self.next = sequence + 1\n"
    "  local guard <close> = setmetatable({}, { __close = function(guard) self.waiting[guard] = nil end })\n"
    "  self.waiting[guard] = sequence\n"
    "  local result, err = again(self, name, arguments,\n"
    "    { session = self.id, sequence = sequence, timeout = options and options.timeout })\n"
    "  return result, err\n"
    "end\n"
    "\n"
    "function Session:renew()\n"
    "  return manage('renew', self.id, oldest(self) - 1)\n"
    "end\n"
    "\n"
    "function Session:close()\n"
    "  self.closed = true\n"
    "  return manage('close', self.id, 0)\n"
    "end\n"
    "\n"
    "return function(options)\n"
    "  options = options or {}\n"
    "  local attempts = options.attempts or 3\n"
    "  if math.type(attempts) ~= 'integer' or attempts < 1 then\n"
    "    error('attempts is a whole number from 1', 2)\n"
    "  end\n"
    "  local opened, err = manage('open', 0, 0)\n"
    "  if not opened then return nil, err end\n"
    "  return setmetatable({ id = opened.session, window = opened.window, timeout = opened.timeout_ms / 1000,\n"
    "    attempts = attempts, next = 1, waiting = setmetatable({}, { __mode = 'k' }) }, Session)\n"
    "end\n";

/* manage(action, session, acknowledged) -> the host's reply; or nil, err */
static int manage(lua_State *L)
{
    static const char *const names[] = {"open", "renew", "close", NULL};
    struct buffer *body = &vm_of(L)->control->scratch;
    enum session_action action = (enum session_action)luaL_checkoption(L, 1, NULL, names);
    struct request request = {
        .kind = REQUEST_SESSION,
        .session = (uint64_t)luaL_checkinteger(L, 2),
    };
    buffer_clear(body);
    session_body_write(body, action, (uint64_t)luaL_checkinteger(L, 3));
    request.body = buffer_slice(body);
    return cluster_submit(L, &request, "session");
}

/* code_of(err) -> the code, where the error is ours: an app's own "timeout" is its command's outcome. */
static int code_of(lua_State *L)
{
    if (cluster_is_own_error(L, 1)) {
        lua_getfield(L, 1, "code");
    } else {
        lua_pushboolean(L, false);
    }
    return 1;
}

static int failure(lua_State *L)
{
    size_t size;
    const char *name = luaL_checklstring(L, 1, &size);
    enum error_code code;
    if (!error_from_name(name, size, &code)) code = ERROR_INTERNAL;
    cluster_push_error(L, code, luaL_checkstring(L, 2));
    return 1;
}

void session_open(lua_State *L)
{
    if (luaL_loadbufferx(L, session_source, sizeof session_source - 1, "=cluster.session", "t"))
        abort();
    lua_getfield(L, -2, "propose");
    lua_pushcfunction(L, manage);
    lua_pushcfunction(L, code_of);
    lua_pushcfunction(L, failure);
    lua_call(L, 4, 1);
    lua_setfield(L, -2, "session");
}
