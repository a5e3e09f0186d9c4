/*
 * What an app's source says about its commands and queries, for people who type them: which fields of their
 * arguments the functions look at, and the comments above them. Nothing is run: the functions tell where they stand
 * (lua_getinfo), the rest is read from the bundle's text. What cannot be found is left out: a function that hands
 * its arguments on as a whole has fields that nobody sees here.
 */
#include "script/fsm_internal.h"

#include "base/mp.h"
#include "script/bundle.h"

#include <ctype.h>
#include <string.h>

#define FIELDS_MAX     32
#define ABOUT_MAX      2048
#define PARAMETER_TAKES_ARGUMENTS 2 /* f(state, command, ctx) */

/* Where a function stands. */
struct place {
    struct slice lines;   /* its own text */
    struct slice before;  /* the file's text above it */
    const char *arguments; /* what its parameter is called; null: it has none */
};

static bool find_place(struct fsm *fsm, int functions, struct slice name, struct slice bundle, struct place *place);
static void write_kind(struct fsm *fsm, const char *list, int functions, struct slice bundle, bool comments,
                       struct buffer *out);
static void write_fields(const struct place *place, struct buffer *out);
static void write_comment(const struct place *place, struct buffer *out);

void fsm_about(struct fsm *fsm, struct slice bundle, struct buffer *out)
{
    static const struct {
        const char *key;
        bool comments;
    } rows[] = {{"about", true}, {"arguments", false}};
    struct slice list;
    struct buffer names = {0};
    fsm_names(fsm, &names);
    mp_write_map(out, 4);
    for (size_t i = 0; i < 2; i++) {
        mp_write_text(out, rows[i].key);
        mp_write_map(out, 2);
        mp_write_text(out, "command");
        write_kind(fsm, "commands", fsm->commands, bundle, rows[i].comments, out);
        mp_write_text(out, "query");
        write_kind(fsm, "queries", fsm->queries, bundle, rows[i].comments, out);
    }
    static const char *const keys[] = {"commands", "queries"};
    for (size_t i = 0; i < 2; i++) {
        mp_write_text(out, keys[i]);
        if (mp_map_get(buffer_slice(&names), keys[i], &list)) mp_write_raw(out, list);
    }
    buffer_deinit(&names);
}

const struct state *fsm_state(const struct fsm *fsm)
{
    return fsm->state;
}

/* A map from each name to its fields or its comment. */
static void write_kind(struct fsm *fsm, const char *key, int functions, struct slice bundle, bool comments,
                       struct buffer *out)
{
    struct slice list = {0}, name;
    uint32_t count = 0;
    bool read = fsm->loaded && mp_map_get(buffer_slice(&fsm->names), key, &list);
    struct mp_reader reader = mp_reader_of(list);
    if (!read || !mp_read_array(&reader, &count)) count = 0;
    mp_write_map(out, count);
    for (uint32_t i = 0; i < count && mp_read_string(&reader, &name); i++) {
        struct place place = {0};
        (void)find_place(fsm, functions, name, bundle, &place);
        mp_write_string(out, name);
        if (comments) {
            write_comment(&place, out);
        } else {
            write_fields(&place, out);
        }
    }
}

/* The text from the beginning of line `first` (from 1) to the end of line `last`. */
static struct slice lines_of(struct slice text, int first, int last)
{
    const uint8_t *at = text.data, *end = text.data + text.size, *begin = NULL;
    int line = 1;
    for (;; line++) {
        const uint8_t *stop = memchr(at, '\n', (size_t)(end - at));
        if (line == first) begin = at;
        if (line == last || stop == NULL) return begin ? slice_of(begin, (size_t)((stop ? stop : end) - begin))
                                                       : slice_of(end, 0);
        at = stop + 1;
    }
}

static bool find_place(struct fsm *fsm, int functions, struct slice name, struct slice bundle, struct place *place)
{
    lua_State *L = fsm->L;
    lua_Debug where;
    struct slice text;
    int top = lua_gettop(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, functions);
    for (lua_pushnil(L); lua_next(L, top + 1); lua_pop(L, 1)) {
        size_t size;
        const char *key = lua_tolstring(L, -2, &size);
        if (slice_equal(slice_of(key, size), name)) break;
    }
    bool found = lua_gettop(L) == top + 3 && lua_isfunction(L, -1) && !lua_iscfunction(L, -1);
    if (found) {
        place->arguments = lua_getlocal(L, NULL, PARAMETER_TAKES_ARGUMENTS);
        lua_getinfo(L, ">S", &where);
        found = bundle_file(bundle, where.source + 1, &text) && where.linedefined > 0;
    }
    lua_settop(L, top);
    if (!found) return false;
    place->lines = lines_of(text, where.linedefined, where.lastlinedefined);
    place->before = slice_of(text.data, (size_t)(place->lines.data - text.data));
    return true;
}

static bool is_word(uint8_t byte)
{
    return isalnum(byte) || byte == '_';
}

/* The next `arguments.FIELD` from *at on; false: there is none. */
static bool next_field(const struct place *place, size_t *at, struct slice *field)
{
    const uint8_t *data = place->lines.data;
    size_t size = place->lines.size, length = strlen(place->arguments);
    for (size_t i = *at; i + length + 1 < size; i++) {
        if (memcmp(data + i, place->arguments, length) != 0 || data[i + length] != '.') continue;
        if (i > 0 && (is_word(data[i - 1]) || data[i - 1] == '.' || data[i - 1] == ':')) continue;
        size_t begin = i + length + 1, end = begin;
        while (end < size && is_word(data[end])) end++;
        if (end == begin || isdigit(data[begin])) continue; /* `..`, or no name */
        *field = slice_of(data + begin, end - begin);
        *at = end;
        return true;
    }
    return false;
}

/* Each once, in the order in which they stand there. */
static void write_fields(const struct place *place, struct buffer *out)
{
    struct slice fields[FIELDS_MAX], field;
    uint32_t count = 0;
    size_t at = 0;
    while (place->arguments != NULL && count < FIELDS_MAX && next_field(place, &at, &field)) {
        uint32_t i = 0;
        while (i < count && !slice_equal(fields[i], field)) i++;
        if (i == count) fields[count++] = field;
    }
    mp_write_array(out, count);
    for (uint32_t i = 0; i < count; i++) mp_write_string(out, fields[i]);
}

/* The line of comment that ends at `end`; false: no line of comment ends there. */
static bool comment_before(struct slice text, size_t end, size_t *begin, struct slice *words)
{
    if (end == 0 || text.data[end - 1] != '\n') return false;
    size_t stop = end - 1, start = stop;
    while (start > 0 && text.data[start - 1] != '\n') start--;
    *begin = start;
    while (start < stop && (text.data[start] == ' ' || text.data[start] == '\t')) start++;
    if (stop - start < 2 || memcmp(text.data + start, "--", 2) != 0) return false;
    while (start < stop && text.data[start] == '-') start++;
    if (start < stop && text.data[start] == ' ') start++;
    *words = slice_of(text.data + start, stop - start);
    return true;
}

static void write_comment(const struct place *place, struct buffer *out)
{
    struct buffer text = {0};
    struct slice words;
    size_t top = place->before.size, begin;
    while (comment_before(place->before, top, &begin, &words) && place->before.size - begin <= ABOUT_MAX) top = begin;
    for (size_t at = top; at < place->before.size;) {
        const uint8_t *stop = memchr(place->before.data + at, '\n', place->before.size - at);
        size_t next = (size_t)(stop - place->before.data) + 1;
        if (comment_before(place->before, next, &begin, &words)) {
            if (text.size > 0) buffer_append(&text, "\n", 1);
            buffer_append_slice(&text, words);
        }
        at = next;
    }
    mp_write_string(out, buffer_slice(&text));
    buffer_deinit(&text);
}
