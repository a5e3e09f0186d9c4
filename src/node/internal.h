/*
 * What the files of node/ share. One struct holds the node; each file has its part and its
 * functions here.
 *
 * The one rule to know: a port of the host never calls back into the host. What an answer sets off
 * (a script resumes, a connection's next request is looked at) is noted and done at the end of the
 * turn: node_later.
 */
#ifndef MOONCLAVE_NODE_INTERNAL_H
#define MOONCLAVE_NODE_INTERNAL_H

#include "host/host.h"
#include "net/net.h"
#include "node/deaths.h"
#include "node/disk.h"
#include "node/files.h"
#include "node/metrics.h"
#include "node/node.h"
#include "node/tickets.h"
#include "script/control.h"
#include "script/fsm.h"
#include "store/backup.h"
#include "store/store.h"

#define NAME_MAX_BYTES 256 /* of a command or query */

struct backup;
struct client;
struct events;
struct policy_vm;
struct local;
struct looker;
struct peers;
struct rpc_message;
struct door;
struct web;

/* Something that wants to go on once the host has returned. Embedded; listed at most once. */
struct later {
    struct later *next;
    void (*run)(struct later *later);
    bool listed;
};

/* A log line that strangers can provoke is written at most once a second. */
struct log_gate {
    uint64_t next_ms;
    unsigned held_back;
};

struct node {
    const struct node_options *options;
    struct node_options *own; /* the same: its settings follow what changes while running */
    uv_loop_t loop;
    struct net *net;
    struct store *store;
    struct disk *disk;
    struct files *files;
    struct deaths *deaths;
    struct fsm *fsm;
    struct host *host;
    struct control *control;
    struct policy_vm *policy;
    struct tickets *tickets;
    struct peers *peers;
    struct door *door;
    struct local *local;
    struct web *web;
    struct events *events;
    struct metrics metrics;

    uv_timer_t timer;     /* the host's */
    uint64_t deadline_us; /* when the host wants to be called; 0: never */
    uint64_t armed_us;    /* when the timer will fire; 0: not running */
    uv_timer_t stop_timer;
    uv_signal_t signals[2];
    uv_pipe_t standard_input;
    bool has_standard_input;

    struct later *later, **later_end;
    struct buffer bundle, config; /* of the app, noted by ports.loaded */
    bool load_due;                /* ... and not yet given to the control VM */
    bool loaded;                  /* the app is known: requests can be understood */
    bool stopping, stopped;
    enum exit_status status;
    uint64_t started_ms;
    struct client *rpc_clients;
    struct backup *backups; /* on their way to clients */
    uint64_t backup_token;  /* the last one given out */
    struct log_gate bad_client;
    struct buffer scratch; /* for the length of one call */
    size_t clients;        /* RPC and HTTP connections */
    size_t clients_max;    /* the setting, or fewer where descriptors are scarce */
};

/* ---- node.c ---- */
bool node_may_log(struct node *node, struct log_gate *gate);
void node_later(struct node *node, struct later *later);
void node_forget_later(struct node *node, struct later *later);
void node_settings(struct node *node, const struct settings *settings); /* they have changed */
void node_stop(struct node *node, const char *why); /* gracefully; the second time at once */
void node_fatal(struct node *node, const struct error *error) __attribute__((noreturn));

/* ---- ports.c ---- */
void ports_fill(struct node *node, struct host_ports *ports);
void ports_timer_fired(uv_timer_t *timer);
extern const struct disk_events ports_disk_events; /* without context */
extern const struct files_events ports_files_events;

/* ---- app.c: the scripts ---- */
void app_open(struct node *node);
void app_load(struct node *node); /* what ports.loaded has noted */
/* To the control VM, at the turn's end. */
void app_reply(struct node *node, uint64_t ticket, const struct reply *reply);
void app_close(struct node *node);

/* ---- policy.c: who may be a member ---- */
void policy_open(struct node *node);
void policy_load(struct node *node); /* the app's, as noted by ports.loaded */
void policy_ask(struct node *node, uint64_t ticket, struct slice view); /* answered at the turn's end */
void policy_close(struct node *node);

/* ---- status.c ---- */
/* One msgpack map: the host's and the node's own. */
void status_write(struct node *node, struct buffer *out);

/* ---- door.c: the node's address, where nodes and RPC clients knock ---- */
enum error_code door_open(struct node *node, struct error *error);
void door_shut(struct node *node); /* accepts nobody any more */
void door_close(struct node *node);
/* For one more client; else says so in the log, now and then. */
bool door_has_room(struct node *node);
/* Listens on "host:port"; the error names the flag it came from. */
enum error_code door_listen(struct node *node, const char *address, const char *flag,
                            net_accept accept, struct net_listener **listener, struct error *error);

/* ---- clients.c: msgpack-RPC ---- */
/* Takes the stream; its first bytes wait in it. */
void client_begin(struct node *node, struct net_stream *stream);
void client_begin_local(struct node *node, struct net_stream *stream); /* of the unix socket */
void client_reply(void *client, uint64_t id, const struct reply *reply);
struct client;
bool client_is_gone(const struct client *client);
void clients_close(struct node *node);

/* ---- backup.c: a snapshot as a file, to a client ---- */
#define BACKUPS_MAX 2 /* of a node at once: each keeps a snapshot */
struct backup_events { /* none is called from within backup_begin, backup_next or backup_end */
    /* Its snapshot is there: how many bytes it has in all, and the head's values. */
    void (*ready)(void *context, uint64_t size, const struct backup_head *head);
    void (*piece)(void *context, struct slice bytes, bool last); /* once for each backup_next */
    void (*failed)(void *context, const struct reply *reply);    /* nothing follows; it is still to be ended */
};
/* Null: as many as may be are under way already. A client ends it with backup_end, whatever has come of it. */
struct backup *backup_begin(struct node *node, enum consistency consistency, uint32_t timeout_ms,
                            const struct backup_events *events, void *context);
bool backup_is_ready(const struct backup *backup); /* for backup_next: nothing is under way, and it is not over */
void backup_next(struct backup *backup);
void backup_end(struct backup *backup); /* null is allowed */
void backup_reply(void *backup, const struct reply *reply);
bool backups_own(uint64_t token);
void backups_read(struct node *node, const struct host_snapshot_report *report);

/* ---- console.c: the unix socket in the data folder, and Lua that is run on this node over it ---- */
/* Goes on without where it cannot be: the log says so. */
void local_open(struct node *node);
void local_close(struct node *node);
/* "console/eval", "console/cancel". false: another method. *looker: the client's, made when first needed. */
bool local_call(struct node *node, struct client *client, struct looker **looker, uint64_t id,
                const struct rpc_message *message);
bool local_runs(const struct looker *looker); /* an answer comes; null is allowed, and in the next */
void local_end(struct looker *looker);

/* ---- peers.c ---- */
void peers_open(struct node *node);
void peers_close(struct node *node);
/* Takes effect later. */
void peers_want(struct node *node, const struct host_peer *peers, size_t count);
void peers_send(struct node *node, const struct raft_message *message);
void peers_forward(struct node *node, const struct raft_id *to, uint64_t ticket,
                   const struct request *request);
void peers_forward_reply(struct node *node, const struct raft_id *to, uint64_t ticket,
                         const struct reply *reply);
void peers_hello_again(struct node *node); /* what this node says of itself has changed */
/* Takes it; a node's first bytes wait in it. */
void peers_incoming(struct node *node, struct net_stream *stream);

/* ---- web.c, routes.c: HTTP ---- */
enum error_code web_open(struct node *node, struct error *error);
void web_shut(struct node *node);
void web_close(struct node *node);
void web_reply(void *connection, const struct reply *reply);
void web_respond(struct node *node, uint64_t exchange, const struct http_response *response);

#endif
