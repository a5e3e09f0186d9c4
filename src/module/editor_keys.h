/*
 * The line editor's own keys: what they are bound to, and what libedit's functions are bound to. Only editor.c includes
 * it; it says how the whole works.
 */
#ifndef MOONCLAVE_MODULE_EDITOR_KEYS_H
#define MOONCLAVE_MODULE_EDITOR_KEYS_H

#include "base/buffer.h"

#include <histedit.h>
#include <lauxlib.h>
#include <lua.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#define PASTE_MAX     (1u << 20)
#define PASTE_WAIT_MS 2000
#define QUEUE_MAX     8

/* Keys that nobody types, bound to functions of ours; and what libedit binds by itself. */
#define KEY_REFRESH   0x1e
#define KEY_OPEN_LINE 0x1d
#define KEY_END       0x04
#define KEY_ABORT     0x07
#define KEY_TO_END    0x0f
#define KEY_QUOTE     0x16
#define KEY_ESCAPE    0x1b

struct editor {
    EditLine *line; /* null: closed */
    History *history;
    lua_State *L;   /* within read */
    int handlers;   /* a reference */
    bool failed;    /* a handler has raised: the error is on top of L's stack */
    bool cancelled;
    bool in_sequence; /* an escape or a quote was read, more belongs to it */
    mbstate_t decoding;
    wchar_t queue[QUEUE_MAX]; /* to be read before what is typed */
    size_t queued, taken;
    char *prompt;
};

/* ---- what they share with the editor ---- */

/* Calls one with what lies on the stack. false: it has raised, and reading is to end. */
static bool call_handler(struct editor *editor, const char *name, int arguments, int results)
{
    lua_State *L = editor->L;
    if (editor->failed) {
        lua_pop(L, arguments);
        return false;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, editor->handlers);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    lua_insert(L, -arguments - 1);
    editor->failed = lua_pcall(L, arguments, results, 0) != LUA_OK;
    return !editor->failed;
}

static struct editor *editor_of(EditLine *line)
{
    void *editor = NULL;
    el_get(line, EL_CLIENTDATA, &editor);
    return editor;
}

static void push_line(lua_State *L, EditLine *line)
{
    const LineInfo *info = el_line(line);
    lua_pushlstring(L, info->buffer, (size_t)(info->lastchar - info->buffer));
}

/* ---- functions that keys are bound to ---- */

static unsigned char refresh(EditLine *line, int key)
{
    (void)line, (void)key;
    return CC_REFRESH;
}

static unsigned char open_line(EditLine *line, int key)
{
    (void)key;
    return el_insertstr(line, "\n") == 0 ? CC_REFRESH : CC_ERROR;
}

/* Within several lines the arrows go from line to line, else through the history. */
static unsigned char up(EditLine *line, int key)
{
    (void)key;
    const LineInfo *info = el_line(line);
    bool within = memchr(info->buffer, '\n', (size_t)(info->cursor - info->buffer)) != NULL;
    el_push(line, within ? "\x1c" : "\x10");
    return CC_NORM;
}

static unsigned char down(EditLine *line, int key)
{
    (void)key;
    const LineInfo *info = el_line(line);
    bool within = memchr(info->cursor, '\n', (size_t)(info->lastchar - info->cursor)) != NULL;
    el_push(line, within ? "\x1f" : "\x0e");
    return CC_NORM;
}

/* So many characters to the left or to the right, by keys: libedit has no other way. */
static void push_moves(EditLine *line, const char *from, const char *to, char key)
{
    struct buffer keys = {0};
    for (; from < to; from++) {
        bool begins = (*from & 0xc0) != 0x80; /* a character of several bytes counts once */
        if (begins) buffer_append(&keys, &key, 1);
    }
    buffer_append(&keys, "", 1);
    if (keys.size > 1) el_push(line, (const char *)keys.data);
    buffer_deinit(&keys);
}

/* To the beginning and the end of the line that the cursor is in. */
static unsigned char home(EditLine *line, int key)
{
    const LineInfo *info = el_line(line);
    const char *begin = info->cursor;
    (void)key;
    while (begin > info->buffer && begin[-1] != '\n') begin--;
    push_moves(line, begin, info->cursor, '\x02');
    return CC_NORM;
}

static unsigned char end_of_line(EditLine *line, int key)
{
    const LineInfo *info = el_line(line);
    const char *end = memchr(info->cursor, '\n', (size_t)(info->lastchar - info->cursor));
    (void)key;
    push_moves(line, info->cursor, end != NULL ? end : info->lastchar, '\x06');
    return CC_NORM;
}

/* What is pasted comes between two marks, and is text: its line ends run nothing, its tabs complete nothing. */
static unsigned char paste(EditLine *line, int key)
{
    static const char end[] = "\033[201~";
    struct buffer text = {0};
    struct pollfd one = {.fd = STDIN_FILENO, .events = POLLIN};
    char byte;
    bool whole = false;
    (void)key;
    while (!whole && text.size < PASTE_MAX && poll(&one, 1, PASTE_WAIT_MS) > 0 && read(STDIN_FILENO, &byte, 1) == 1) {
        if (byte == '\r') byte = '\n';
        buffer_append(&text, &byte, 1);
        whole = text.size >= sizeof end - 1 &&
                memcmp(text.data + text.size - (sizeof end - 1), end, sizeof end - 1) == 0;
    }
    if (whole) text.size -= sizeof end - 1;
    while (text.size > 0 && text.data[text.size - 1] == '\n') text.size--;
    buffer_append(&text, "", 1);
    int status = text.size > 1 ? el_insertstr(line, (const char *)text.data) : 0;
    buffer_deinit(&text);
    return status == 0 ? CC_REFRESH : CC_ERROR;
}

static unsigned char complete(EditLine *line, int key)
{
    struct editor *editor = editor_of(line);
    lua_State *L = editor->L;
    const LineInfo *info = el_line(line);
    int top = lua_gettop(L);
    (void)key;
    push_line(L, line);
    lua_pushinteger(L, info->cursor - info->buffer);
    if (!call_handler(editor, "complete", 2, 3)) return CC_EOF;
    lua_Integer gone = lua_tointeger(L, top + 1);
    const char *instead = luaL_optstring(L, top + 2, "");
    const char *below = lua_tostring(L, top + 3);
    unsigned char answer = gone == 0 && instead[0] == '\0' ? CC_ERROR : CC_REFRESH;
    if (below != NULL) { /* under the line, and under what more lines the input has */
        printf("\r\n\033[J%s", below);
        for (const char *at = info->buffer; at < info->lastchar; at++) {
            if (*at == '\n') putchar('\n');
        }
        fflush(stdout);
        answer = CC_REDISPLAY;
    }
    if (gone > 0) el_deletestr(line, (int)gone);
    if (instead[0] != '\0') el_insertstr(line, instead);
    lua_settop(L, top);
    return answer;
}

/* ---- which keys ---- */

static void bind_keys(EditLine *line)
{
    static const struct {
        const char *name;
        unsigned char (*run)(EditLine *line, int key);
        const char *keys[5];
    } rows[] = {
        {"moonclave-refresh", refresh, {"^^"}},
        {"moonclave-open-line", open_line, {"^]"}},
        {"moonclave-complete", complete, {"^I"}},
        {"moonclave-paste", paste, {"\\e[200~"}},
        {"moonclave-up", up, {"\\e[A", "\\eOA"}},
        {"moonclave-down", down, {"\\e[B", "\\eOB"}},
        {"moonclave-home", home, {"^A", "\\e[H", "\\e[1~", "\\eOH"}},
        {"moonclave-end", end_of_line, {"^E", "\\e[F", "\\e[4~", "\\eOF"}},
    };
    static const char *const own[][2] = {
        {"^R", "em-inc-search-prev"}, {"^S", "em-inc-search-next"},     {"^\\", "ed-prev-line"},
        {"^_", "ed-next-line"},       {"^O", "ed-move-to-end"},         {"\\e[3~", "ed-delete-next-char"},
        {"\\e[1;5C", "em-next-word"}, {"\\e[1;5D", "ed-prev-word"},     {"^W", "ed-delete-prev-word"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        el_set(line, EL_ADDFN, rows[i].name, rows[i].name, rows[i].run);
        for (size_t k = 0; k < 5 && rows[i].keys[k] != NULL; k++)
            el_set(line, EL_BIND, rows[i].keys[k], rows[i].name, NULL);
    }
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) el_set(line, EL_BIND, own[i][0], own[i][1], NULL);
}

#endif
