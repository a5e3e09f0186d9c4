/*
 * moonclave.channel: one msgpack-RPC connection that never waits, for the client library
 * (lua/moonclave/client). It writes requests and finds answers; who waits for which, and what is
 * sent again, is decided in Lua.
 *
 *   open(address) -> channel | nil, why    begins to connect: "127.0.0.1:5001", "[::1]:5001",
 *                                          "unix:/path", "/path"
 *   resolve(address, numbers) -> list | nil, why    what open takes, for a HOST:PORT. A name is asked
 *                                          of the system's resolver, which may take long. With
 *                                          `numbers` it is not: then a name is nil, nil, host, port
 *   pack(value) -> bytes                   raises what is no plain data; nil is an empty table
 *   set() -> set                           channels that are waited for together
 *   clock() -> seconds, monotonic;  random() -> 0 <= number < 1
 *
 *   channel:send(method, params) -> id, mark    packed params; queued, not yet written
 *   channel:work()      connects, reads and writes what it can without waiting
 *   channel:flush()     only writes
 *   channel:next()      -> id, error, result of the next answer; nothing where there is none
 *   channel:state()     -> "connecting" | "open" | "closed", why
 *   channel:written()   up to which mark all has left: a request with a later mark was never sent whole
 *   channel:close()
 *
 *   set:add(channel)    until it is closed;  set:close()
 *   set:wait(seconds)   until one of them has been worked on, or a signal has come
 *   set:fd()            readable when wait(0) has something to do: for another loop
 *
 * A channel that the other side has closed keeps the answers that were read before.
 */
#include "base/memory.h"
#include "base/mp.h"
#include "module/channel.h"
#include "module/channel_address.h"
#include "module/fields.h"
#include "script/values.h"
#include "wire/rpc.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CHANNEL          "moonclave.channel"
#define CHANNEL_SET      "moonclave.channel.set"
#define PACKED           "moonclave.channel.packed"
#define ANSWER_BYTES_MAX (256u << 20)
#define ELEMENTS_MAX     (1u << 24)
#define READ_SIZE        65536
#define KEPT_MAX         (1u << 20) /* an empty buffer that is larger gives its memory back */
#define EVENTS_MAX       32    /* in one look; the others are found by the next */
#define LOST_MS          10000 /* what no host acknowledges for so long is lost, and so is the connection */
#define SECONDS_MAX      86400.0

enum channel_state { CONNECTING, OPEN, CLOSED };

struct channel {
    enum channel_state state;
    int fd; /* -1: closed */
    int set; /* the set's descriptor; -1: in none */
    uint32_t awaited; /* what the set has been told to wait for */
    uint32_t last_id;
    struct rpc_parser parser;
    struct buffer output, input;
    size_t output_written, input_taken; /* of the buffers' beginnings */
    uint64_t queued, written;           /* bytes ever */
    char why[ERROR_TEXT_MAX];
};

static void await(struct channel *channel);

/* ---- the end ---- */

static struct channel *to_channel(lua_State *L, int at)
{
    return luaL_checkudata(L, at, CHANNEL);
}

static void end(struct channel *channel, const char *why)
{
    if (channel->state == CLOSED) return;
    channel->state = CLOSED;
    snprintf(channel->why, sizeof channel->why, "%s", why);
    /* Not left to close(): a child process may still hold the socket, and the set the channel. */
    if (channel->set >= 0) (void)epoll_ctl(channel->set, EPOLL_CTL_DEL, channel->fd, NULL);
    if (channel->fd >= 0) close(channel->fd);
    channel->fd = channel->set = -1;
    buffer_deinit(&channel->output);
}

static int channel_close(lua_State *L)
{
    struct channel *channel = to_channel(L, 1);
    end(channel, "it was closed here");
    buffer_deinit(&channel->input);
    channel->input_taken = 0;
    channel->parser = (struct rpc_parser){0};
    return 0;
}

/* ---- connecting ---- */

static void begin(struct channel *channel, const struct sockaddr *address, socklen_t size)
{
    int one = 1;
    unsigned lost_ms = LOST_MS;
    channel->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (channel->fd < 0) {
        end(channel, strerror(errno));
        return;
    }
    if (address->sa_family != AF_UNIX) {
        (void)setsockopt(channel->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        (void)setsockopt(channel->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &lost_ms, sizeof lost_ms);
    }
    if (connect(channel->fd, address, size) == 0) {
        channel->state = OPEN;
    } else if (errno != EINPROGRESS) {
        end(channel, strerror(errno));
    }
}

static int open_channel(lua_State *L)
{
    const char *address = luaL_checkstring(L, 1), *path = unix_path(address);
    struct channel *channel = lua_newuserdatauv(L, sizeof *channel, 0);
    *channel = (struct channel){.state = CONNECTING, .fd = -1, .set = -1};
    luaL_setmetatable(L, CHANNEL);
    if (path) {
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        if (strlen(path) >= sizeof at.sun_path) return failure(L, "the path of a unix socket has at most 107 bytes");
        strcpy(at.sun_path, path);
        begin(channel, (const struct sockaddr *)&at, sizeof at);
    } else {
        struct addrinfo *list;
        int status = lookup(address, AI_NUMERICHOST, &list);
        if (status != 0) return failure(L, gai_strerror(status));
        begin(channel, list->ai_addr, list->ai_addrlen);
        freeaddrinfo(list);
    }
    return 1;
}

static void connect_on(struct channel *channel)
{
    struct sockaddr_storage peer;
    int problem = 0;
    socklen_t size = sizeof problem, peer_size = sizeof peer;
    if (getsockopt(channel->fd, SOL_SOCKET, SO_ERROR, &problem, &size) != 0) problem = errno;
    if (problem == 0 && getpeername(channel->fd, (struct sockaddr *)&peer, &peer_size) != 0) return; /* not yet */
    if (problem == 0 && talks_to_itself(channel->fd)) problem = ECONNREFUSED;
    if (problem == 0) {
        channel->state = OPEN;
    } else {
        end(channel, strerror(problem));
    }
}

/* ---- bytes ---- */

static void drop_front(struct buffer *buffer, size_t *done);

static void write_on(struct channel *channel)
{
    while (channel->state == OPEN && channel->output_written < channel->output.size) {
        ssize_t size = send(channel->fd, channel->output.data + channel->output_written,
                            channel->output.size - channel->output_written, MSG_NOSIGNAL);
        if (size > 0) {
            channel->output_written += (size_t)size;
            channel->written += (uint64_t)size;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            break;
        } else if (errno != EINTR) {
            end(channel, strerror(errno));
            return;
        }
    }
    drop_front(&channel->output, &channel->output_written);
}

/* What is done with goes when it is the larger half: so each byte is moved about once. */
static void drop_front(struct buffer *buffer, size_t *done)
{
    if (*done < buffer->size - *done) return;
    if (*done == buffer->size && buffer->capacity > KEPT_MAX) {
        buffer_deinit(buffer);
    } else {
        buffer_consume(buffer, *done);
    }
    *done = 0;
}

/* Reads until there is no more. What was read in one go and is not full is taken for all there is. */
static void read_on(struct channel *channel)
{
    while (channel->state == OPEN) {
        drop_front(&channel->input, &channel->input_taken);
        buffer_reserve(&channel->input, READ_SIZE);
        size_t room = channel->input.capacity - channel->input.size;
        ssize_t size = recv(channel->fd, channel->input.data + channel->input.size, room, 0);
        if (size > 0) {
            channel->input.size += (size_t)size;
            if ((size_t)size < room) return;
        } else if (size == 0) {
            end(channel, "it closed the connection");
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno != EINTR) {
            end(channel, strerror(errno));
        }
    }
}

static void work_on(struct channel *channel)
{
    if (channel->state == CONNECTING) connect_on(channel);
    read_on(channel); /* first: a write that fails would hide answers that are there */
    write_on(channel);
}

static int work(lua_State *L)
{
    work_on(to_channel(L, 1));
    await(to_channel(L, 1));
    return 0;
}

static int flush(lua_State *L)
{
    write_on(to_channel(L, 1));
    await(to_channel(L, 1));
    return 0;
}

/* ---- sets ---- */

/* Level-triggered: what is not read now is found again. */
static void await(struct channel *channel)
{
    if (channel->set < 0) return;
    bool writes = channel->state == CONNECTING || channel->output_written < channel->output.size;
    uint32_t events = (channel->state == OPEN ? EPOLLIN : 0u) | (writes ? EPOLLOUT : 0u);
    struct epoll_event event = {.events = events, .data.ptr = channel};
    if (events == channel->awaited) return;
    (void)epoll_ctl(channel->set, EPOLL_CTL_MOD, channel->fd, &event);
    channel->awaited = events;
}

static int *to_set(lua_State *L)
{
    return luaL_checkudata(L, 1, CHANNEL_SET);
}

static int new_set(lua_State *L)
{
    int *set = lua_newuserdatauv(L, sizeof *set, 0);
    *set = epoll_create1(EPOLL_CLOEXEC);
    if (*set < 0) return luaL_error(L, "no set of channels: %s", strerror(errno));
    luaL_setmetatable(L, CHANNEL_SET);
    return 1;
}

static int set_close(lua_State *L)
{
    int *set = to_set(L);
    if (*set >= 0) close(*set);
    *set = -1;
    return 0;
}

static int set_add(lua_State *L)
{
    int *set = to_set(L);
    struct channel *channel = to_channel(L, 2);
    luaL_argcheck(L, channel->set < 0, 2, "the channel is in a set already");
    if (channel->state == CLOSED) return 0;
    struct epoll_event event = {.data.ptr = channel};
    if (epoll_ctl(*set, EPOLL_CTL_ADD, channel->fd, &event) != 0)
        return luaL_error(L, "the set takes no channel: %s", strerror(errno));
    channel->set = *set;
    channel->awaited = 0;
    await(channel);
    return 0;
}

static int to_milliseconds(lua_Number seconds)
{
    if (!(seconds > 0)) return 0;
    return (int)ceil((seconds < SECONDS_MAX ? seconds : SECONDS_MAX) * 1000);
}

/* A signal ends the wait early, so that a hook that its handler has set is run. */
static int set_wait(lua_State *L)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(*to_set(L), events, EVENTS_MAX, to_milliseconds(luaL_checknumber(L, 2)));
    for (int i = 0; i < count; i++) {
        work_on(events[i].data.ptr);
        await(events[i].data.ptr);
    }
    return 0;
}

static int set_descriptor(lua_State *L)
{
    lua_pushinteger(L, *to_set(L));
    return 1;
}

/* ---- messages ---- */

/* Encoding may raise: the buffer it fills is a userdata, freed by the collector. */
static int packed_free(lua_State *L)
{
    buffer_deinit(luaL_checkudata(L, 1, PACKED));
    return 0;
}

static int pack(lua_State *L)
{
    static const struct value_rules rules = {.refuse_metatables = true};
    lua_settop(L, 1);
    struct buffer *out = lua_touserdata(L, lua_upvalueindex(1));
    buffer_clear(out);
    if (lua_isnil(L, 1)) {
        mp_write_array(out, 0);
    } else {
        value_encode_with(L, 1, out, &rules);
    }
    push_slice(L, buffer_slice(out));
    if (out->capacity > READ_SIZE) buffer_deinit(out);
    return 1;
}

static int send_request(lua_State *L)
{
    struct channel *channel = to_channel(L, 1);
    const char *method = luaL_checkstring(L, 2);
    struct slice params = check_slice(L, 3);
    luaL_argcheck(L, channel->state != CLOSED, 1, "the channel is closed");
    size_t before = channel->output.size;
    channel->last_id = channel->last_id == UINT32_MAX ? 1 : channel->last_id + 1;
    rpc_write_request(&channel->output, channel->last_id, method, params);
    channel->queued += channel->output.size - before;
    lua_pushinteger(L, channel->last_id);
    lua_pushinteger(L, (lua_Integer)channel->queued);
    return 2;
}

static int next_answer(lua_State *L)
{
    struct channel *channel = to_channel(L, 1);
    struct slice bytes = slice_of(channel->input.data + channel->input_taken,
                                  channel->input.size - channel->input_taken);
    struct mp_limits limits = rpc_limits(ANSWER_BYTES_MAX);
    struct rpc_message message;
    struct error error;
    size_t size;
    limits.elements = ELEMENTS_MAX;
    if (bytes.size == 0) return 0;
    lua_settop(L, 1);
    enum error_code code = rpc_next(&channel->parser, bytes, &limits, &message, &size, &error);
    if (code == ERROR_OK && size == 0) return 0;
    if (code == ERROR_OK && message.type == RPC_RESPONSE) {
        struct mp_reader reason = mp_reader_of(message.error), result = mp_reader_of(message.result);
        lua_pushinteger(L, message.id);
        if (value_push(L, &reason) && value_push(L, &result)) {
            channel->input_taken += size;
            return 3;
        }
    }
    end(channel, code == ERROR_TOO_LARGE ? error.text
                                         : "what answers there does not speak msgpack-RPC: is it the node's --addr, "
                                           "and not its HTTP port?");
    buffer_clear(&channel->input);
    channel->input_taken = 0;
    return 0;
}

/* ---- looking ---- */

static int state(lua_State *L)
{
    static const char *const names[] = {"connecting", "open", "closed"};
    const struct channel *channel = to_channel(L, 1);
    lua_pushstring(L, names[channel->state]);
    lua_pushstring(L, channel->why);
    return channel->state == CLOSED ? 2 : (lua_pop(L, 1), 1);
}

static int written(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)to_channel(L, 1)->written);
    return 1;
}

static int monotonic(lua_State *L)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
    return 1;
}

/* Of its own: the script's math.random, which it may have seeded, is left alone. */
static int random_unit(lua_State *L)
{
    uint32_t bits = 0;
    if (getrandom(&bits, sizeof bits, 0) != (ssize_t)sizeof bits) bits = (uint32_t)clock();
    lua_pushnumber(L, (lua_Number)bits / 4294967296.0);
    return 1;
}

static void new_type(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction ends)
{
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, ends);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

static void push_pack(lua_State *L)
{
    struct buffer *scratch = lua_newuserdatauv(L, sizeof *scratch, 0);
    *scratch = (struct buffer){0};
    luaL_newmetatable(L, PACKED);
    lua_pushcfunction(L, packed_free);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_pushcclosure(L, pack, 1);
}

__attribute__((visibility("default"))) int luaopen_moonclave_channel(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"send", send_request}, {"work", work},       {"flush", flush},   {"next", next_answer},
        {"state", state},       {"written", written}, {"close", channel_close}, {NULL, NULL},
    };
    static const luaL_Reg set_methods[] = {
        {"add", set_add}, {"wait", set_wait}, {"fd", set_descriptor}, {"close", set_close}, {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"open", open_channel}, {"resolve", resolve}, {"set", new_set},
        {"clock", monotonic},   {"random", random_unit}, {NULL, NULL},
    };
    new_type(L, CHANNEL, methods, channel_close);
    new_type(L, CHANNEL_SET, set_methods, set_close);
    luaL_newlib(L, functions);
    push_pack(L);
    lua_setfield(L, -2, "pack");
    value_push_object_function(L);
    lua_setfield(L, -2, "object");
    lua_pushliteral(L, MOONCLAVE_VERSION);
    lua_setfield(L, -2, "version");
    return 1;
}
