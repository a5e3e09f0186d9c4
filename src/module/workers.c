/*
 * moonclave.workers: child processes that send messages, for work that is to use every core and may die of an assert.
 *
 *   start(function(send) ... end) -> worker   forks; the child runs the function, send(bytes) sends, and then it ends
 *   worker:take() -> the next message; nil: none has arrived
 *   worker:ended() -> nil: it runs; else { status= or signal=, noise= what it printed }, once its messages are taken
 *   worker:kill()
 *   wait(workers, seconds)  until one of them has something, or the time is over
 *   cores(), clock() (seconds, monotonic), terminal() (is stderr one?), columns()
 *
 * A worker that is collected is killed. What children print goes nowhere but into `noise`, of which the last 16 KiB
 * are kept. Messages are length (4 bytes, little-endian) and bytes.
 */
#include "base/buffer.h"
#include "module/fields.h"
#include "module/simcore.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKER      "moonclave.worker"
#define HEADER      4
#define WORKERS_MAX 256
#define NOISE_KEPT  16384

struct worker {
    pid_t pid;       /* 0: reaped */
    int messages;    /* pipes; -1: at their end */
    int noise;
    struct buffer arrived, printed;
    size_t taken; /* bytes of `arrived` already handed out */
    int wait_status;
};

static int send_fd; /* the child's end of its pipe: a child has one, and never starts others */

/* The parent's ends of all pipes. A child closes them: held open there they would hide the parent's end from others. */
static int parent_ends[2 * WORKERS_MAX];
static size_t parent_end_count;

/* ---- the child ---- */

static void write_all(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t written = write(fd, at, size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) _exit(1); /* nobody listens any more */
        at += written;
        size -= (size_t)written;
    }
}

static int child_send(lua_State *L)
{
    struct slice message = check_slice(L, 1);
    uint8_t header[HEADER];
    put_u32(header, (uint32_t)message.size);
    write_all(send_fd, header, sizeof header);
    write_all(send_fd, message.data, message.size);
    return 0;
}

static void keep_only(int messages, int noise)
{
    dup2(noise, STDOUT_FILENO);
    dup2(noise, STDERR_FILENO);
    close(noise);
    for (size_t i = 0; i < parent_end_count; i++) close(parent_ends[i]);
    send_fd = messages;
}

static _Noreturn void child(lua_State *L, int messages, int noise)
{
    keep_only(messages, noise);
    lua_pushvalue(L, 1);
    lua_pushcfunction(L, child_send);
    int status = lua_pcall(L, 1, 0, 0);
    if (status != LUA_OK) fprintf(stderr, "%s\n", luaL_tolstring(L, -1, NULL));
    fflush(NULL);
    _exit(status == LUA_OK ? 0 : 1);
}

/* ---- the parent ---- */

static struct worker *to_worker(lua_State *L, int at)
{
    return luaL_checkudata(L, at, WORKER);
}

static void close_end(int *fd)
{
    if (*fd < 0) return;
    close(*fd);
    for (size_t i = 0; i < parent_end_count; i++) {
        if (parent_ends[i] == *fd) parent_ends[i] = parent_ends[--parent_end_count];
    }
    *fd = -1;
}

static int start(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    struct worker *worker = lua_newuserdatauv(L, sizeof *worker, 0);
    memset(worker, 0, sizeof *worker);
    worker->messages = worker->noise = -1;
    luaL_setmetatable(L, WORKER);
    int messages[2], noise[2];
    if (parent_end_count + 2 > sizeof parent_ends / sizeof *parent_ends) return luaL_error(L, "too many workers");
    if (pipe(messages) != 0) return luaL_error(L, "no pipe for a child process: %s", strerror(errno));
    if (pipe(noise) != 0) {
        close(messages[0]), close(messages[1]);
        return luaL_error(L, "no pipe for a child process: %s", strerror(errno));
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        close(messages[0]), close(noise[0]);
        child(L, messages[1], noise[1]);
    }
    int reason = errno;
    close(messages[1]), close(noise[1]);
    worker->messages = parent_ends[parent_end_count++] = messages[0];
    worker->noise = parent_ends[parent_end_count++] = noise[0];
    if (pid < 0) return luaL_error(L, "no child process can be started: %s", strerror(reason));
    worker->pid = pid;
    fcntl(worker->messages, F_SETFL, O_NONBLOCK);
    fcntl(worker->noise, F_SETFL, O_NONBLOCK);
    return 1;
}

static void read_pipe(int *fd, struct buffer *into)
{
    while (*fd >= 0) {
        buffer_reserve(into, 65536);
        ssize_t got = read(*fd, into->data + into->size, into->capacity - into->size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (got <= 0) {
            close_end(fd);
            return;
        }
        into->size += (size_t)got;
    }
}

static void pump(struct worker *worker)
{
    read_pipe(&worker->messages, &worker->arrived);
    read_pipe(&worker->noise, &worker->printed);
    if (worker->printed.size > 2 * NOISE_KEPT) buffer_consume(&worker->printed, worker->printed.size - NOISE_KEPT);
}

static int take(lua_State *L)
{
    struct worker *worker = to_worker(L, 1);
    const uint8_t *at = worker->arrived.data + worker->taken;
    size_t left = worker->arrived.size - worker->taken;
    if (left < HEADER || left - HEADER < get_u32(at)) {
        if (worker->taken > 0) buffer_consume(&worker->arrived, worker->taken);
        worker->taken = 0;
        return 0;
    }
    size_t size = get_u32(at);
    push_slice(L, slice_of(at + HEADER, size));
    worker->taken += HEADER + size;
    return 1;
}

static int ended(lua_State *L)
{
    struct worker *worker = to_worker(L, 1);
    if (worker->messages >= 0 || worker->noise >= 0) return 0;
    if (worker->pid > 0) {
        while (waitpid(worker->pid, &worker->wait_status, 0) < 0 && errno == EINTR) {}
        worker->pid = 0;
    }
    lua_newtable(L);
    if (WIFSIGNALED(worker->wait_status))
        set_u64(L, "signal", (uint64_t)WTERMSIG(worker->wait_status));
    else
        set_u64(L, "status", (uint64_t)WEXITSTATUS(worker->wait_status));
    size_t size = worker->printed.size, cut = size > NOISE_KEPT ? size - NOISE_KEPT : 0;
    set_slice(L, "noise", slice_of(worker->printed.data + cut, size - cut));
    return 1;
}

static int stop(lua_State *L)
{
    struct worker *worker = to_worker(L, 1);
    if (worker->pid > 0) {
        kill(worker->pid, SIGKILL);
        while (waitpid(worker->pid, &worker->wait_status, 0) < 0 && errno == EINTR) {}
        worker->pid = 0;
    }
    return 0;
}

static int collect(lua_State *L)
{
    struct worker *worker = to_worker(L, 1);
    stop(L);
    close_end(&worker->messages);
    close_end(&worker->noise);
    buffer_deinit(&worker->arrived);
    buffer_deinit(&worker->printed);
    return 0;
}

static int wait_for(lua_State *L)
{
    struct pollfd polls[2 * WORKERS_MAX];
    nfds_t count = 0;
    luaL_checktype(L, 1, LUA_TTABLE);
    int timeout_ms = (int)(luaL_checknumber(L, 2) * 1000);
    lua_Integer workers = luaL_len(L, 1);
    luaL_argcheck(L, workers <= WORKERS_MAX, 1, "too many workers");
    for (lua_Integer i = 1; i <= workers; i++) {
        lua_geti(L, 1, i);
        const struct worker *worker = to_worker(L, -1);
        if (worker->messages >= 0) polls[count++] = (struct pollfd){.fd = worker->messages, .events = POLLIN};
        if (worker->noise >= 0) polls[count++] = (struct pollfd){.fd = worker->noise, .events = POLLIN};
        lua_pop(L, 1);
    }
    if (count > 0) (void)poll(polls, count, timeout_ms);
    for (lua_Integer i = 1; i <= workers; i++) {
        lua_geti(L, 1, i);
        pump(to_worker(L, -1));
        lua_pop(L, 1);
    }
    return 0;
}

/* ---- the machine ---- */

static int cores(lua_State *L)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    lua_pushinteger(L, count > 0 ? count : 1);
    return 1;
}

static int wall_clock(lua_State *L)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
    return 1;
}

static int terminal(lua_State *L)
{
    lua_pushboolean(L, isatty(STDERR_FILENO));
    return 1;
}

static int columns(lua_State *L)
{
    struct winsize size = {0};
    bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    lua_pushinteger(L, known ? size.ws_col : 80);
    return 1;
}

__attribute__((visibility("default"))) int luaopen_moonclave_workers(struct lua_State *L)
{
    static const luaL_Reg methods[] = {{"take", take}, {"ended", ended}, {"kill", stop}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"start", start}, {"wait", wait_for}, {"cores", cores}, {"clock", wall_clock},
        {"terminal", terminal}, {"columns", columns}, {NULL, NULL},
    };
    luaL_newmetatable(L, WORKER);
    lua_pushcfunction(L, collect);
    lua_setfield(L, -2, "__gc");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
