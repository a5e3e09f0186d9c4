/*
 * moonclave.editor: lines typed at a terminal, by libedit's own interface (histedit.h), and the terminal itself.
 *
 *   open(handlers) -> editor                  standard input and output are a terminal
 *   editor:read() -> text                     nil, "end" (Ctrl-D) | "cancelled" (Ctrl-C) | "terminated" (by a signal)
 *   editor:add(text)                          to the history that arrows and Ctrl-R go through
 *   editor:close()                            the terminal is as it was
 *   guard(f, ...) -> like pcall               Ctrl-C raises the value `interrupted` in f
 *   wait(seconds) -> whether a line was typed  Ctrl-C ends it early
 *   append(path, text)                        to a file that only its owner may read
 *   terminal(fd) -> boolean;  size() -> columns, rows;  clock() -> seconds, monotonic;  program() -> its path
 *
 * Handlers are functions: prompt() -> text, in which \1 stands around what takes no room; finished(text) -> whether
 * Enter ends the input, or begins another line of it; complete(text, cursor) -> how many bytes before the cursor
 * go, what comes instead, text to show below (or nil); idle() -> has the prompt changed?, seconds until it wants to
 * be called again, and a descriptor that wakes it when it can be read.
 *
 * libedit asks for each key by get_key (EL_GETCFN), and that is where everything else happens: while no key comes, idle
 * runs. A prompt that has changed is drawn by a key of our own, which is bound to a function that only says "refresh":
 * EL_REFRESH would draw a second prompt beside the first. No key of ours is sent in between the bytes of one key.
 * While a line is edited Ctrl-C is such a key too. The terminal is raw only within read.
 */
#include "module/editor.h"

#include "module/editor_keys.h"
#include "module/fields.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#define EDITOR          "moonclave.editor"
#define HISTORY_MAX     2000

static volatile sig_atomic_t interrupted, terminated, resized;
static lua_State *guarded; /* what Ctrl-C raises in; null: nothing */
static const char interrupted_mark;

/* ---- signals ---- */

static void raise_interrupted(lua_State *L, lua_Debug *where)
{
    (void)where;
    lua_sethook(L, NULL, 0, 0);
    lua_pushlightuserdata(L, (void *)(uintptr_t)&interrupted_mark);
    lua_error(L);
}

static void note_signal(int number)
{
    if (number == SIGINT) interrupted = 1;
    if (number == SIGWINCH) resized = 1;
    if (number == SIGTERM || number == SIGHUP) terminated = 1;
    if (number == SIGINT && guarded != NULL)
        lua_sethook(guarded, raise_interrupted, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

/* Without SA_RESTART: a wait is to end. */
static void catch_signal(int number, struct sigaction *before)
{
    struct sigaction action = {.sa_handler = note_signal};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, before);
}

static int guard(lua_State *L)
{
    struct sigaction before;
    lua_State *outer = guarded;
    luaL_checktype(L, 1, LUA_TFUNCTION);
    guarded = L;
    interrupted = 0;
    catch_signal(SIGINT, &before);
    int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
    sigaction(SIGINT, &before, NULL);
    guarded = outer;
    lua_sethook(L, NULL, 0, 0);
    interrupted = 0;
    lua_pushboolean(L, status == LUA_OK);
    lua_insert(L, 1);
    return lua_gettop(L);
}

/* ---- handlers ---- */

static char *prompt(EditLine *line)
{
    struct editor *editor = editor_of(line);
    if (call_handler(editor, "prompt", 0, 1)) {
        free(editor->prompt);
        editor->prompt = strdup(luaL_optstring(editor->L, -1, ""));
        lua_pop(editor->L, 1);
    }
    return editor->prompt != NULL ? editor->prompt : (editor->prompt = strdup("> "));
}

/* ---- keys ---- */

static void queue_key(struct editor *editor, wchar_t key)
{
    if (editor->queued < QUEUE_MAX) editor->queue[editor->queued++] = key;
}

/* Incremental search shows itself in the line. */
static bool is_searching(EditLine *line)
{
    const LineInfo *info = el_line(line);
    size_t size = (size_t)(info->lastchar - info->buffer);
    return memmem(info->buffer, size, "\nbck", 4) != NULL || memmem(info->buffer, size, "\nfwd", 4) != NULL;
}

static bool is_finished(struct editor *editor)
{
    push_line(editor->L, editor->line);
    if (!call_handler(editor, "finished", 1, 1)) return true;
    bool finished = lua_toboolean(editor->L, -1);
    lua_pop(editor->L, 1);
    return finished;
}

static void follow_sequence(struct editor *editor, wchar_t key)
{
    if (editor->in_sequence) {
        editor->in_sequence = key == '[' || key == 'O' || key == ';' || (key >= '0' && key <= '9');
    } else {
        editor->in_sequence = key == KEY_ESCAPE || key == KEY_QUOTE;
    }
}

static wchar_t translate(struct editor *editor, wchar_t key)
{
    const LineInfo *info = el_line(editor->line);
    bool plain = !editor->in_sequence;
    /* Ctrl-D that was typed while the terminal was cooked arrives as a zero. */
    if (key == 0 && info->buffer == info->lastchar) key = KEY_END;
    follow_sequence(editor, key);
    if (!plain || (key != '\r' && key != '\n') || is_searching(editor->line)) return key;
    return is_finished(editor) ? '\n' : KEY_OPEN_LINE;
}

/* true: a key is in *key. false: these bytes are none yet, or it is the end (*ended). */
static bool read_key(struct editor *editor, wchar_t *key, bool *ended)
{
    char byte;
    ssize_t size = read(STDIN_FILENO, &byte, 1);
    *ended = size == 0 || (size < 0 && errno != EINTR && errno != EAGAIN);
    if (size != 1) return false;
    size_t used = mbrtowc(key, &byte, 1, &editor->decoding);
    if (used == (size_t)-2) return false;
    if (used == (size_t)-1) {
        memset(&editor->decoding, 0, sizeof editor->decoding);
        return false;
    }
    if (used == 0) *key = 0;
    return true;
}

/* Returns for how many milliseconds idle wants to wait, and for what; *changed: the prompt is another. */
static int ask_idle(struct editor *editor, struct pollfd *also, bool *changed)
{
    lua_State *L = editor->L;
    *changed = false;
    if (!call_handler(editor, "idle", 0, 3)) return 0;
    *changed = lua_toboolean(L, -3);
    double seconds = luaL_optnumber(L, -2, 1);
    *also = (struct pollfd){.fd = (int)luaL_optinteger(L, -1, -1), .events = POLLIN};
    lua_pop(L, 3);
    return seconds <= 0 ? 0 : seconds > 60 ? 60000 : (int)(seconds * 1000) + 1;
}

static bool key_waits(void)
{
    struct pollfd one = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&one, 1, 0) > 0;
}

/* Nothing is typed: signals, the prompt, and waiting. true: a key of ours is in *key. */
static bool wait_for_key(struct editor *editor, wchar_t *key)
{
    struct pollfd polls[2] = {{.fd = STDIN_FILENO, .events = POLLIN}};
    bool changed = false;
    if (resized) {
        resized = 0;
        el_resize(editor->line);
        changed = true;
    }
    if (interrupted) {
        interrupted = 0;
        editor->cancelled = true;
        if (is_searching(editor->line)) queue_key(editor, KEY_ABORT);
        queue_key(editor, KEY_TO_END);
        queue_key(editor, '\n');
        return false;
    }
    bool prompt_changed = false;
    int timeout_ms = ask_idle(editor, &polls[1], &prompt_changed);
    if ((changed || prompt_changed) && !editor->in_sequence && !is_searching(editor->line)) {
        *key = KEY_REFRESH;
        return true;
    }
    (void)poll(polls, 2, timeout_ms);
    return false;
}

/* EL_GETCFN: 1 and a key, 0 at the end, -1 after an error. */
static int get_key(EditLine *line, wchar_t *key)
{
    struct editor *editor = editor_of(line);
    for (;;) {
        if (editor->taken < editor->queued) {
            *key = editor->queue[editor->taken++];
            if (editor->taken == editor->queued) editor->taken = editor->queued = 0;
            return 1;
        }
        if (editor->failed || terminated) return 0;
        bool ended = false;
        if (key_waits()) {
            if (read_key(editor, key, &ended)) {
                *key = translate(editor, *key);
                return 1;
            }
            if (ended) return 0;
        } else if (wait_for_key(editor, key)) {
            return 1;
        }
    }
}

/* ---- an editor ---- */

static struct editor *to_editor(lua_State *L)
{
    struct editor *editor = luaL_checkudata(L, 1, EDITOR);
    luaL_argcheck(L, editor->line != NULL, 1, "the editor is closed");
    return editor;
}

static int open_editor(lua_State *L)
{
    HistEvent event;
    luaL_checktype(L, 1, LUA_TTABLE);
    if (setlocale(LC_CTYPE, "") == NULL || MB_CUR_MAX == 1) setlocale(LC_CTYPE, "C.UTF-8");
    struct editor *editor = lua_newuserdatauv(L, sizeof *editor, 0);
    memset(editor, 0, sizeof *editor);
    editor->handlers = LUA_NOREF;
    luaL_setmetatable(L, EDITOR);
    editor->line = el_init("moonclave", stdin, stdout, stderr);
    if (editor->line == NULL) return luaL_error(L, "the terminal cannot be used (TERM=%s)", getenv("TERM"));
    editor->history = history_init();
    history(editor->history, &event, H_SETSIZE, HISTORY_MAX);
    history(editor->history, &event, H_SETUNIQUE, 1);
    el_set(editor->line, EL_CLIENTDATA, editor);
    el_set(editor->line, EL_EDITOR, "emacs");
    el_set(editor->line, EL_HIST, history, editor->history);
    el_set(editor->line, EL_PROMPT_ESC, prompt, '\1');
    el_set(editor->line, EL_GETCFN, get_key);
    bind_keys(editor->line);
    lua_pushvalue(L, 1);
    editor->handlers = luaL_ref(L, LUA_REGISTRYINDEX);
    return 1;
}

static void say(const char *text)
{
    fputs(text, stdout);
    fflush(stdout);
}

static int read_line(lua_State *L)
{
    static const int numbers[] = {SIGINT, SIGWINCH, SIGTERM, SIGHUP};
    struct sigaction before[4];
    struct editor *editor = to_editor(L);
    int count = 0;
    interrupted = terminated = 0;
    editor->L = L;
    editor->failed = editor->cancelled = editor->in_sequence = false;
    editor->queued = editor->taken = 0;
    for (size_t i = 0; i < 4; i++) catch_signal(numbers[i], &before[i]);
    el_resize(editor->line); /* nobody heard of it between two lines */
    say("\033[?2004h");
    const char *text = el_gets(editor->line, &count);
    say("\033[?2004l");
    for (size_t i = 0; i < 4; i++) sigaction(numbers[i], &before[i], NULL);
    editor->L = NULL;
    if (editor->failed) return lua_error(L);
    if (editor->cancelled || text == NULL || count <= 0) {
        lua_pushnil(L);
        lua_pushstring(L, terminated ? "terminated" : editor->cancelled ? "cancelled" : "end");
        return 2;
    }
    if (text[count - 1] == '\n') count--;
    lua_pushlstring(L, text, (size_t)count);
    return 1;
}

static int add(lua_State *L)
{
    HistEvent event;
    history(to_editor(L)->history, &event, H_ENTER, luaL_checkstring(L, 2));
    return 0;
}

static int close_editor(lua_State *L)
{
    struct editor *editor = luaL_checkudata(L, 1, EDITOR);
    if (editor->line == NULL) return 0;
    el_end(editor->line);
    history_end(editor->history);
    free(editor->prompt);
    luaL_unref(L, LUA_REGISTRYINDEX, editor->handlers);
    editor->line = NULL;
    return 0;
}

/* ---- the terminal ---- */

static int terminal(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

static int size(lua_State *L)
{
    struct winsize window = {0};
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0 && window.ws_row > 0;
    lua_pushinteger(L, known ? window.ws_col : 80);
    lua_pushinteger(L, known ? window.ws_row : 24);
    return 2;
}

/* In a cooked terminal a line comes whole. */
static int wait_for(lua_State *L)
{
    struct pollfd one = {.fd = STDIN_FILENO, .events = POLLIN};
    char line[256];
    double seconds = luaL_checknumber(L, 1);
    bool typed = poll(&one, 1, seconds > 86400 ? 86400000 : (int)(seconds * 1000)) > 0;
    if (typed) typed = read(STDIN_FILENO, line, sizeof line) >= 0;
    lua_pushboolean(L, typed);
    return 1;
}

static int append(lua_State *L)
{
    struct slice text = check_slice(L, 2);
    int file = open(luaL_checkstring(L, 1), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    bool written = file >= 0 && write(file, text.data, text.size) == (ssize_t)text.size;
    if (file >= 0) close(file);
    lua_pushboolean(L, written);
    return 1;
}

/* The file that runs: for commands of the program that are to be run as well. */
static int program(lua_State *L)
{
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path);
    if (length <= 0 || (size_t)length == sizeof path) return 0;
    lua_pushlstring(L, path, (size_t)length);
    return 1;
}

static int monotonic(lua_State *L)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
    return 1;
}

__attribute__((visibility("default"))) int luaopen_moonclave_editor(lua_State *L)
{
    static const luaL_Reg methods[] = {{"read", read_line}, {"add", add}, {"close", close_editor}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"open", open_editor}, {"guard", guard}, {"wait", wait_for},  {"terminal", terminal},
        {"size", size},        {"clock", monotonic},  {"append", append},
        {"program", program},  {NULL, NULL},
    };
    luaL_newmetatable(L, EDITOR);
    lua_pushcfunction(L, close_editor);
    lua_setfield(L, -2, "__gc");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    lua_pushlightuserdata(L, (void *)(uintptr_t)&interrupted_mark);
    lua_setfield(L, -2, "interrupted");
    return 1;
}
