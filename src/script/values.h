/*
 * Values between Lua and msgpack bytes: nil, boolean, integer, float, string, and tables of these
 * with string and integer keys, canonical as base/mp.h says. Used by every VM of this folder.
 *
 * A table whose keys are exactly 1..n is an array; an empty one too, unless it carries the mark of
 * moonclave.object.
 */
#ifndef MOONCLAVE_SCRIPT_VALUES_H
#define MOONCLAVE_SCRIPT_VALUES_H

#include "base/buffer.h"
#include "base/mp.h"

#include <lua.h>
#include <stdbool.h>

/* Pushes the reader's next value. false: malformed, nested deeper than VALUE_DEPTH_MAX, or a key
 * that is neither string nor integer; nothing is pushed then. An empty map comes marked as an
 * object. Integers above 2^63-1 become floats. */
bool value_push(lua_State *L, struct mp_reader *reader);

/* Appends the value at `index` in canonical form. Raises, with what and where (".items[3]: a
 * function is not plain data"), when there is something in it that is no plain data; `out` then
 * holds a part: the caller cuts it back. */
void value_encode(lua_State *L, int index, struct buffer *out);

/* The same under rules. What is no plain data is offered to `foreign` first (may be null): it
 * appends one value and returns true, or returns false. */
typedef bool value_foreign(lua_State *L, int index, struct buffer *out, int depth);
struct value_rules {
    value_foreign *foreign;
    int depth;        /* how many containers it is within already */
    size_t bytes_max; /* of `out` as a whole; 0: no limit */
    bool refuse_metatables;
};
void value_encode_with(lua_State *L, int index, struct buffer *out,
                       const struct value_rules *rules);

/* Pushes the function moonclave.object(t): marks t (none: a new table) to be a map even when it is
 * empty, returns it. */
void value_push_object_function(lua_State *L);
bool value_is_object(lua_State *L, int index); /* carries the mark */

#endif
