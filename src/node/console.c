/*
 * The unix socket in the data folder, control.sock: msgpack-RPC like that of the node's address, and Lua that is run on
 * this node. Who may open the socket is whom the file system lets (mode 0600): over the network there is no such thing.
 *
 *   console/eval   params [text]: an expression or statements; {"count", "cut", "output", "values"} (script/console.h).
 *                  One at a time for a connection; its globals stay until the connection ends
 *   console/cancel ends what runs, as the end of the connection does. A client that only sends no more, and goes on
 *   reading, gets its answer
 *
 * It runs in slices at the end of turns, beside what the node has to do.
 */
#include "node/internal.h"

#include "base/memory.h"
#include "base/mp.h"
#include "script/console.h"
#include "state/state.h"
#include "wire/rpc.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SOCKET_NAME "control.sock"
#define SLICE_US    250 /* a turn has a few of them */

struct local {
    struct net_listener *listener; /* null: there is none */
    char path[4096];
};

/* A client's console. */
struct looker {
    struct later later;
    struct node *node;
    struct client *client;
    struct console *console;
    uint64_t id; /* of the request that waits */
    bool runs;
};

static void accepted(void *context, struct net_stream *stream);
static struct looker *looker_new(struct node *node, struct client *client);
static void begin(struct looker *looker, uint64_t id, struct slice params);
static void run_slice(struct later *later);
static void answer_error(struct client *client, uint64_t id, enum error_code code, const char *text);
static const struct state *look_at_state(void *context);
static void status(void *context, struct buffer *out);
static void members(void *context, struct buffer *out);

void local_open(struct node *node)
{
    struct local *local = node->local = memory_zero(1, sizeof *local);
    struct error error;
    snprintf(local->path, sizeof local->path, "%s/" SOCKET_NAME, node->options->data);
    if (net_listen_local(node->net, local->path, accepted, node, &local->listener, &error) != ERROR_OK) {
        log_write(LOG_LEVEL_WARN, "node", "%s: `moonclave repl` cannot run Lua on this node", error.text);
    }
}

void local_close(struct node *node)
{
    struct local *local = node->local;
    if (local == NULL) return;
    if (local->listener != NULL) (void)unlink(local->path);
    net_listener_close(local->listener);
    memory_free(local);
    node->local = NULL;
}

static void accepted(void *context, struct net_stream *stream)
{
    client_begin_local(context, stream);
}

/* ---- calls ---- */

bool local_call(struct node *node, struct client *client, struct looker **looker, uint64_t id,
                const struct rpc_message *message)
{
    if (slice_equal(message->method, slice_text("console/cancel"))) {
        static const uint8_t nil = 0xc0;
        const struct reply reply = {ERROR_OK, slice_of(&nil, 1)};
        if (*looker != NULL && (*looker)->runs) console_cancel((*looker)->console);
        client_reply(client, id, &reply);
        return true;
    }
    if (!slice_equal(message->method, slice_text("console/eval"))) return false;
    if (*looker == NULL) *looker = looker_new(node, client);
    if ((*looker)->runs) {
        answer_error(client, id, ERROR_OVERLOADED, "something runs on this connection already: console/cancel ends it");
    } else {
        begin(*looker, id, message->params);
    }
    return true;
}

bool local_runs(const struct looker *looker)
{
    return looker != NULL && looker->runs;
}

void local_end(struct looker *looker)
{
    if (looker == NULL) return;
    node_forget_later(looker->node, &looker->later);
    console_free(looker->console);
    memory_free(looker);
}

static struct looker *looker_new(struct node *node, struct client *client)
{
    const struct console_ports ports = {
        .context = node, .state = look_at_state, .status = status, .members = members};
    struct looker *looker = memory_zero(1, sizeof *looker);
    looker->later.run = run_slice;
    looker->node = node;
    looker->client = client;
    looker->console = console_new(&ports);
    return looker;
}

static void begin(struct looker *looker, uint64_t id, struct slice params)
{
    struct mp_reader reader = mp_reader_of(params);
    struct slice text;
    struct error error;
    uint32_t count;
    if (!mp_read_array(&reader, &count) || count != 1 || !mp_read_string(&reader, &text)) {
        answer_error(looker->client, id, ERROR_BAD_REQUEST, "params are [text], the Lua to run");
    } else if (console_begin(looker->console, text, &error) != ERROR_OK) {
        answer_error(looker->client, id, error.code, error.text);
    } else {
        looker->id = id;
        looker->runs = true;
        node_later(looker->node, &looker->later);
    }
}

static void run_slice(struct later *later)
{
    struct looker *looker = (struct looker *)((char *)later - offsetof(struct looker, later));
    struct buffer out = {0};
    struct error error;
    enum error_code code;
    if (client_is_gone(looker->client)) console_cancel(looker->console);
    if (console_step(looker->console, SLICE_US, &out, &code, &error)) {
        node_later(looker->node, &looker->later);
        return;
    }
    looker->runs = false;
    if (code == ERROR_OK) {
        const struct reply reply = {ERROR_OK, buffer_slice(&out)};
        client_reply(looker->client, looker->id, &reply);
    } else {
        answer_error(looker->client, looker->id, code, error.text);
    }
    buffer_deinit(&out);
}

static void answer_error(struct client *client, uint64_t id, enum error_code code, const char *text)
{
    struct buffer body = {0};
    reply_write_error(&body, code, text);
    const struct reply reply = {code, buffer_slice(&body)};
    client_reply(client, id, &reply);
    buffer_deinit(&body);
}

/* ---- what it looks at ---- */

static const struct state *look_at_state(void *context)
{
    return fsm_state(((struct node *)context)->fsm);
}

static void status(void *context, struct buffer *out)
{
    status_write(context, out);
}

static void members(void *context, struct buffer *out)
{
    host_members(((struct node *)context)->host, out);
}
