/*
 * The host: everything around the core that is not I/O. The turnstile (events into raft_step, its
 * effects out through ports), waiting clients, forwarding, clock stamps, apply, the system tree,
 * bootstrap and stopping.
 *
 * All I/O goes through struct host_ports. `node` implements the ports on libuv and a disk thread,
 * `sim` on a virtual world. A port function only notes what is to be done and returns: it never
 * calls back into the host from within. Completions come as calls from outside, later. After any
 * calls the owner calls host_turn once: that is where what has gathered is proposed as one step,
 * reads are asked as one round, and a slice of apply work is done.
 *
 * Blobs: the host runs on one thread. Memory for persists stays valid until their completion is
 * reported.
 */
#ifndef MOONCLAVE_HOST_HOST_H
#define MOONCLAVE_HOST_HOST_H

#include "base/error.h"
#include "base/event.h"
#include "base/histogram.h"
#include "base/identity.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/request.h"
#include "base/settings.h"
#include "raft/raft.h"

struct host;
struct sessions;

/* Labels that begin with this are the program's own. The first configuration of a cluster that `moonclave recover`
 * began has two, on its only server: the id of the cluster that was, and a random number. */
#define HOST_OWN_LABELS     "moonclave."
#define HOST_RECOVERED_FROM HOST_OWN_LABELS "recovered_from"
#define HOST_RECOVERY       HOST_OWN_LABELS "recovery"

uint64_t host_cluster_of(struct slice first_configuration); /* the id of the cluster named after it: never 0 */

/* A peer as the transport must know it. While blank, ids are unknown ("") and addresses come from
 * --peers. */
struct host_peer {
    struct raft_id id;
    char address[ADDRESS_MAX + 1];
};

/*
 * Work on snapshots' files, apart from the log's: carried out in the order given, slowly if need be,
 * while the disk's other work goes on. Three kinds have a second part that belongs to the log's own
 * order, behind every write given out before it.
 */
enum host_snapshot_kind {
    HOST_SNAPSHOT_BEGIN,   /* one of this node's own; hashes and size are not known yet */
    HOST_SNAPSHOT_WRITE,   /* its next bytes */
    HOST_SNAPSHOT_FINISH,  /* complete: synced; then, in the log's order, what this node starts from.
                              meta lacks its size only */
    HOST_SNAPSHOT_ABORT,   /* given up; harmless when none is being taken */
    HOST_SNAPSHOT_READ,    /* bytes of the complete one at meta.index */
    HOST_SNAPSHOT_RECEIVE, /* bytes of one that comes in; without bytes: how much of it is there? */
    HOST_SNAPSHOT_INSTALL, /* the one that came in: synced; then, in the log's order and in one
                              transaction, what this node starts from, and its log the empty one
                              behind it */
    HOST_SNAPSHOT_COMPACT, /* in the log's order: the log up to up_to may go; then snapshots before
                              the one at meta.index */
};
#define HOST_SNAPSHOT_KINDS 8

struct host_snapshot_job {
    enum host_snapshot_kind kind;
    uint64_t token;                 /* of the report; 0: none is wanted (ABORT, COMPACT) */
    struct raft_snapshot_meta meta; /* BEGIN, FINISH, RECEIVE, INSTALL; of READ and COMPACT the index.
                                       Its configuration is borrowed for the call */
    uint64_t offset;                /* READ, RECEIVE */
    size_t max_bytes;               /* READ */
    struct raft_payload bytes;      /* WRITE, RECEIVE: whoever keeps them takes a reference */
    raft_index up_to;               /* COMPACT */
};

/* OK; DISK_FULL: not done (a snapshot being taken is given up, and what is still given out of it is
 * answered alike; one coming in is as far as it was); UNAVAILABLE: too many snapshots are kept for
 * others, or there is none of that index. Anything else is the end of the node. */
struct host_snapshot_report {
    enum host_snapshot_kind kind;
    uint64_t token;
    enum error_code code;
    const struct error *error;
    uint64_t offset;           /* RECEIVE: how many bytes are there; FINISH: the size */
    struct raft_payload bytes; /* READ: at least one, at most max_bytes; the caller's */
};

struct host_ports {
    void *context;

    uint64_t (*now_us)(void *context);  /* monotonic */
    uint64_t (*wall_ms)(void *context); /* the wall clock, for stamps only */

    /* Disk, in the order called. Completions: host_persisted, host_bootstrapped, host_log_read. */
    void (*persist)(void *context, const struct raft_persist *persist);
    void (*bootstrap)(void *context, struct slice configuration, uint64_t cluster); /* copies */
    void (*log_read)(void *context, uint64_t token, raft_index first, raft_index last,
                     size_t max_bytes);
    /* Completion: host_snapshot_done. */
    void (*snapshot)(void *context, const struct host_snapshot_job *job);

    /* Network, best effort, to a peer by id; borrowed for the call. What is forwarded arrives at
     * most once, and only in the lifetime it was sent to: a command must not be done twice. What
     * was certainly not sent may be answered, later, by host_forward_reply with UNAVAILABLE. */
    void (*send)(void *context, const struct raft_message *message); /* to message->to */
    void (*forward)(void *context, const struct raft_id *to, uint64_t ticket,
                    const struct request *request);
    void (*forward_reply)(void *context, const struct raft_id *to, uint64_t ticket,
                          const struct reply *reply);
    /* Whom to be connected with; copies. Called again, it also means that what host_hello says has
     * changed (this node has become a member): it is to be said again on open connections. */
    void (*peers)(void *context, const struct host_peer *peers, size_t count);

    /* The machine is about to be called for this entry; 0: it has returned. What was said last, and not taken back,
     * is what this process dies of if it dies now: host_deaths of the next one. Called for every command, so it must
     * cost next to nothing; null: nobody keeps it. */
    void (*applying)(void *context, raft_index index);

    /* Call host_timer then. The last one set counts; 0: none. */
    void (*timer)(void *context, uint64_t at_us);
    /* Once for each host_submit. */
    void (*reply)(void *context, uint64_t ticket, const struct reply *reply);
    /* One of these has changed. */
    void (*role)(void *context, enum raft_role role, raft_term term, const struct raft_id *leader);
    /* The app is (again) known: after INIT was applied, and did load. */
    void (*loaded)(void *context, struct slice bundle, struct slice config);
    /* This leader asks the membership policy (policy.c; README of this folder: what is in a view). Copies.
     * Answered, later and at most once, by host_policy_decided; an answer that does not come is asked for
     * again. Null: there is no policy here. */
    void (*policy)(void *context, uint64_t ticket, struct slice view);
    void (*stopped)(void *context); /* host_stop has finished */
    /* Some have changed; borrowed for the call. May be null: nobody else goes by them. */
    void (*settings)(void *context, const struct settings *settings);
    /* The node must stop at once, loudly, non-zero. The host does nothing any more. */
    void (*fatal)(void *context, const struct error *error);
    void (*log)(void *context, enum log_level level, const char *text);
    /* Something an operator may want to hear of (base/event.h): `data` is one msgpack map, borrowed for the call.
     * Null: nobody listens. */
    void (*event)(void *context, enum event_type type, struct slice data);
};

/* The entry that the last lives of this node died at while it was applied, and how many in a row. */
struct host_deaths {
    raft_index index; /* 0: none */
    unsigned count;
};

struct host_options {
    struct identity identity; /* from the store: id, incarnation, cluster (0 while blank) */
    struct slice first_configuration; /* from the store: the one at index 0, which a cluster is named
                                         after; empty while blank. Copied */
    const char *address;      /* advertised host:port */
    const char *const *peers; /* --peers, as host:port or id=host:port; null: none given. Copied */
    size_t peer_count;
    const char *const *join; /* --join: addresses of members, for a blank node that is to become one;
                                null: none given. Copied */
    size_t join_count;
    struct slice labels; /* of one that joins: a msgpack map of texts; empty: none. Copied */
    struct slice bundle; /* of the local app folder (script/bundle.h); empty: none here. Copied */
    struct slice config; /* the app's config: one msgpack value. Copied */
    const char *lua_release; /* "5.4.4" */
    uint64_t seed;           /* of all the host's randomness */
    struct host_deaths deaths;
    size_t apply_slice_us;   /* how long one turn may apply; 0: without limit */
    const struct setting_sources *sources; /* of the settings. Null: what is not the default is a flag's. Copied */
};

/* Copies what it is given. `settings` and `machine` are copied too; machine.context stays the
 * caller's. */
struct host *host_new(const struct host_options *options, const struct settings *settings,
                      const struct host_ports *ports, const struct machine *machine);
void host_free(struct host *host);

/* Begins with what the disk holds. With an empty configuration and peers: gathers them (README of
 * this folder). */
void host_start(struct host *host, const struct raft_durable *durable);

/* The end of a turn of the owner's loop. true: more work waits, call again without sleeping. */
bool host_turn(struct host *host);
void host_timer(struct host *host);

/* ---- completions of the disk ---- */
/* OK: every write up to sequence is durable. DISK_FULL: this one and every later one given was
 * rolled back. Other codes end the node (fatal). `error` holds the text. */
void host_persisted(struct host *host, uint64_t sequence, enum error_code code,
                    const struct error *error);
void host_bootstrapped(struct host *host, enum error_code code, const struct error *error);
void host_log_read(struct host *host, uint64_t token, const struct raft_entry *entries,
                   size_t count, enum error_code code, const struct error *error);
void host_snapshot_done(struct host *host, const struct host_snapshot_report *report);

/* ---- network ---- */
/* Fills what this node says first; configuration is borrowed until the next call on the host. Only
 * reads: it may be called at any time. */
void host_hello(struct host *host, struct hello *hello);
/* What a peer said first, on a connection in either direction. OK: go on. Else FOREIGN, WIPED,
 * VERSION ... with a text for both sides' logs: the transport refuses with it. */
enum error_code host_receive_hello(struct host *host, const struct hello *hello,
                                   struct error *error);
/* This node was refused by a peer (HELLO_REFUSED). WIPED always means the one who is refused: a
 * blank node takes no part any more and says so, unless it is to join: then it asks on until its
 * former self is removed; a member does not believe it. */
void host_refused(struct host *host, const struct raft_id *by, enum error_code code,
                  const char *text);
/* Messages from a peer whose hello was accepted; `from` is that hello's identity. */
void host_receive(struct host *host, const struct identity *from,
                  const struct raft_message *message);
void host_forwarded(struct host *host, const struct identity *from, uint64_t ticket,
                    const struct request *request);
void host_forward_reply(struct host *host, const struct identity *from, uint64_t ticket,
                        const struct reply *reply);
void host_peer_lost(struct host *host, const struct raft_id *id); /* the connection to it broke */

/* ---- clients ---- */
/* Answered exactly once through ports.reply with the ticket (chosen by the caller, unique while it
 * waits), never from within this call. Copies. */
void host_submit(struct host *host, uint64_t ticket, const struct request *request);
/* No reply any more; the command may still take effect. A ticket not known is nobody's. */
void host_cancel(struct host *host, uint64_t ticket);

/* ---- the membership policy ---- */
/* What it decided about the view of that ticket: a msgpack array of [verb, text] (README of this folder).
 * Each is judged here once more; what is unsafe is refused, whatever the policy says. `problem`: it has
 * failed, and nothing is changed; null: it has not. */
void host_policy_decided(struct host *host, uint64_t ticket, struct slice actions,
                         const struct error *problem);

/* Graceful: new requests are refused SHUTTING_DOWN, waiting ones answered, the disk drained; then
 * ports.stopped. */
void host_stop(struct host *host);

/* For readyz: a member, a leader is known, the app is loaded, and it has applied what was known to
 * be committed when all that became so. */
bool host_ready(const struct host *host);
bool host_is_leader(const struct host *host);
/* The entry that this node's former lives died of, and that it does not apply (skip.c); 0: it applies. */
raft_index host_halted(const struct host *host);
/* Status as one msgpack map, Raft's names (README lists the keys); members as an array of maps. */
void host_status(const struct host *host, struct buffer *out);
void host_members(const struct host *host, struct buffer *out);
/* Every setting as this node knows it: {"applied_index", "id", "settings": {name: {...}}} (README lists the keys). */
void host_config(const struct host *host, struct buffer *out);
/* As they are in force here, for the simulator's invariants. */
const struct settings *host_settings(const struct host *host);
/* For the simulator's invariants; null while blank. */
const struct raft *host_raft(const struct host *host);
/* For the simulator's invariants (host/sessions.h). */
const struct sessions *host_sessions(const struct host *host);

/* For the simulator and divergence detection: after applying `index`, the chain of results and
 * state. */
struct host_applied {
    raft_index index;
    uint64_t chain;      /* hash(chain before, index, reply, state hash) */
    uint64_t state_hash; /* of the user's state */
};
struct host_applied host_applied(const struct host *host);

/* Counters, for specs and metrics: never reset. */
struct host_counters {
    uint64_t proposals;     /* entries proposed here as the leader */
    uint64_t propose_steps; /* PROPOSE events: proposals / propose_steps is the batch */
    uint64_t reads, read_rounds;
    uint64_t applied;
    uint64_t append_messages, append_entries; /* sent */
    uint64_t forwards;
    uint64_t steps; /* events given to the core: raft_step calls, START too */
    uint64_t handovers;   /* of leadership, begun because the disk did not answer */
    uint64_t slow_writes, slow_applies; /* that took longer than slow_disk_ms, slow_apply_ms */
    uint64_t policy_asked, policy_failed, policy_done, policy_refused; /* views, and actions */
};
struct host_counters host_counters(const struct host *host);

/* How long things take, since the start; borrowed. */
struct host_timings {
    struct histogram proposal;   /* a command of a client here, from its arrival to its answer */
    struct histogram commit;     /* a batch of entries proposed here, until it is committed and durable here */
    struct histogram apply;      /* one entry */
    struct histogram read_round; /* until a majority has confirmed it, or the leader has given an index */
};
const struct host_timings *host_timings(const struct host *host);

/* What there is at the moment, for metrics and health. */
struct host_load {
    uint64_t waiting, waiting_bytes;  /* requests */
    uint64_t apply_pending;           /* entries */
    uint64_t sessions, session_bytes, keys, key_bytes;
    uint64_t snapshot_bytes, log_bytes; /* of the newest; applied since */
    bool snapshot_taking, restoring;
    uint64_t disk_waits_us;           /* the disk has completed nothing for so long, being asked */
    uint64_t leaderless_us;           /* no leader is known for so long; 0: one is */
    uint64_t clock_ms;                /* the replicated clock */
    bool disk_slow, apply_slow;       /* now, or a moment ago */
};
struct host_load host_load(const struct host *host);

#endif
