/*
 * What a failed command says: code, message, traceback. All of it goes into the reply, and so must
 * be the same on every node: no addresses, no order of tables, and for memory no line (where
 * exactly it ran out may differ; that it did, not).
 */
#include "script/fsm_internal.h"

#include "base/error.h"
#include "base/mp.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TRACE_LEVELS_MAX 20

/* As luaL_error with a constant text, but at the innermost line of Lua: between it and us may be
 * other C functions. */
int fsm_raise(lua_State *L, const char *text)
{
    lua_Debug frame;
    for (int level = 1; lua_getstack(L, level, &frame); level++) {
        lua_getinfo(L, "Sl", &frame);
        if (frame.currentline < 0) continue;
        lua_pushfstring(L, "%s:%d: %s", frame.short_src, frame.currentline, text);
        return lua_error(L);
    }
    lua_pushstring(L, text);
    return lua_error(L);
}

/* Where a frame is, as luaL_traceback has it but without searching the loaded modules for names:
 * their order is not the same on every node. */
static void trace_frame(struct buffer *out, lua_State *L, lua_Debug *frame)
{
    lua_getinfo(L, "Snl", frame);
    if (frame->currentline > 0) {
        buffer_append_format(out, "\n%s:%d: in ", frame->short_src, frame->currentline);
    } else {
        buffer_append_format(out, "\n%s: in ", frame->short_src);
    }
    if (frame->name) {
        buffer_append_format(out, "function '%s'", frame->name);
    } else if (*frame->what == 'm') {
        buffer_append_text(out, "main chunk");
    } else if (*frame->what == 'C') {
        buffer_append_text(out, "?");
    } else {
        buffer_append_format(out, "function <%s:%d>", frame->short_src, frame->linedefined);
    }
}

/* The handler: notes the innermost frames and lets the message pass. Frame 0 is this function, the
 * last two are C. */
int fsm_trace(lua_State *L)
{
    struct fsm *fsm = fsm_of(L);
    lua_Debug frame;
    buffer_clear(&fsm->traceback);
    for (int level = 1; level <= TRACE_LEVELS_MAX && lua_getstack(L, level, &frame); level++) {
        lua_Debug outer;
        if (!lua_getstack(L, level + 1, &outer)) break; /* ours */
        trace_frame(&fsm->traceback, L, &frame);
    }
    return 1;
}

static const char *error_field(lua_State *L, int at, const char *name)
{
    lua_pushstring(L, name);
    if (lua_rawget(L, at) == LUA_TSTRING) return lua_tostring(L, -1);
    lua_pop(L, 1);
    return NULL;
}

/* Without Lua calls: the VM may be at its limits. */
const char *fsm_failure_text(struct fsm *fsm, char text[FSM_MESSAGE_MAX])
{
    const struct budget *budget = &fsm->budget;
    lua_State *L = fsm->L;
    const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    switch (budget->stop) {
    case BUDGET_RUNS:
    case BUDGET_STEPS:
        if (!message && lua_istable(L, -1)) message = error_field(L, lua_gettop(L), "message");
        if (!message && lua_istable(L, -1)) message = error_field(L, lua_gettop(L), "code");
        if (!message) {
            message =
                lua_istable(L, -1) ? "(error object is a table)" : "(error object is not a string)";
        }
        snprintf(text, FSM_MESSAGE_MAX, "%s", message);
        break;
    case BUDGET_MEMORY:
        snprintf(text, FSM_MESSAGE_MAX,
                 "more than %" PRIu64 " bytes of memory (%s_memory_max)", budget->memory_max, budget->whose);
        break;
    case BUDGET_BLOCK:
        snprintf(text, FSM_MESSAGE_MAX,
                 "a string or table of more than %" PRIu64 " bytes (block_bytes_max)",
                 budget->block_max);
        break;
    case BUDGET_EXHAUSTED:
        snprintf(text, FSM_MESSAGE_MAX,
                 "the system has no memory for the state machine, which is within its own limits");
        break;
    }
    return text;
}

struct slice fsm_traceback(const struct fsm *fsm)
{
    if (fsm->traceback.size == 0) return (struct slice){0};
    return slice_of(fsm->traceback.data + 1, fsm->traceback.size - 1); /* behind the first line end */
}

/* {"code", "message", "traceback"} */
void fsm_write_failure(struct fsm *fsm, struct buffer *reply)
{
    char text[FSM_MESSAGE_MAX];
    fsm_failure_text(fsm, text);
    bool traced = fsm->budget.stop <= BUDGET_STEPS && fsm->traceback.size > 0;
    mp_write_map(reply, traced ? 3 : 2);
    mp_write_text(reply, "code");
    mp_write_text(reply, error_name(ERROR_COMMAND_FAILED));
    mp_write_text(reply, "message");
    mp_write_string(reply, slice_of(text, utf8_cut(slice_text(text), FSM_MESSAGE_MAX - 8)));
    if (!traced) return;
    mp_write_text(reply, "traceback");
    mp_write_string(reply, fsm_traceback(fsm));
}
