/*
 * What the host's files share: struct host, one part per file, and the functions that cross files.
 *
 * The rule of the turnstile: one event in (host_step), all its effects carried out, then the next.
 * What effects set off (answers, new attempts, apply work) is noted and done by host_turn, never
 * from within.
 */
#ifndef MOONCLAVE_HOST_INTERNAL_H
#define MOONCLAVE_HOST_INTERNAL_H

#include "base/random.h"
#include "host/host.h"
#include "host/system.h"
#include "host/waiters.h"

/* A server of the effective configuration, this node included. */
struct member {
    struct raft_id id;
    uint64_t incarnation;
    char address[ADDRESS_MAX + 1];
    uint64_t lost_until_us; /* its connection broke: until then, or its next hello, no forwards */
    bool release_warned;
};

/* ---- contacts.c ---- */
#define CONTACTS_MAX 16
#define CONTACT_US   UINT64_C(60000000) /* of silence, until one is forgotten */

/* A node outside the effective configuration that this one speaks with. */
struct contact {
    struct raft_id id;
    uint64_t incarnation;
    char address[ADDRESS_MAX + 1];
    uint64_t until_us;
    bool guest; /* blank, and asks to join */
};

/* ---- bootstrap.c ---- */
enum bootstrap_stage {
    BOOTSTRAP_NONE,      /* not blank */
    BOOTSTRAP_GATHERING, /* waits for the others of --peers */
    BOOTSTRAP_JOINING,   /* asks a member to be let in */
    BOOTSTRAP_STORING,   /* the first configuration is on its way to the disk */
    BOOTSTRAP_REFUSED,   /* the disk was full: tried again at retry_us */
};

/* One address of --peers. */
struct candidate {
    char address[ADDRESS_MAX + 1];
    struct raft_id expected; /* of id=addr; "" : any */
    struct raft_id id;       /* heard; "" : not yet */
    uint64_t incarnation;
    uint64_t complained; /* hash of what was last complained about: said once */
    bool leads;          /* was told to; asked as soon as it says hello */
};

struct bootstrap {
    enum bootstrap_stage stage;
    struct candidate *candidates; /* of --peers, by address */
    size_t count;
    uint64_t peers_hash;
    uint64_t retry_us;
    uint64_t cluster;    /* being stored, with host->first_configuration */
    uint64_t complained; /* as a candidate's, about those who are not in the list */
    struct error error;  /* what is wrong with the list; code OK: nothing */
    bool joining;        /* started with --join: the candidates are members of some cluster */
    struct raft_id door; /* JOINING: the member to ask; "" : none has answered yet */
    uint64_t ask_us;     /* ... and when to ask next */
    uint64_t ticket;     /* of the question that is out; 0: none */
    uint64_t refused;    /* hash of the last temporary refusal: said once */
};

/* ---- reads.c ---- */
struct round;
struct reads {
    struct round *first, *last; /* asked, in order */
    struct round *pool;
    uint64_t context; /* the last one given out */
};

/* ---- apply.c ---- */
struct apply {
    raft_index applied;      /* by the machine */
    raft_index reported;     /* to the core */
    raft_index committed;    /* the last APPLY handed over */
    raft_term term;          /* of the entry applied last */
    uint64_t log_chain;      /* the log's, at that entry */
    struct raft_entry *held; /* read from the disk, with references, from held_at on */
    size_t held_at, held_count, held_capacity;
    size_t held_bytes;      /* not yet applied */
    uint64_t token;         /* of the read that is out; 0: none */
    raft_index asked_first; /* where it begins */
    uint64_t tokens;
    bool app_loaded;        /* the machine runs the app */
    struct error app_error; /* why it does not; code OK before INIT */
    struct buffer reply;    /* of the command being applied or the query being run */
};

/* ---- snapshot.c ---- */
#define TRAIL_MARKS 32

/* Where an entry ends in the bytes applied. */
struct trail_mark {
    raft_index index;
    uint64_t bytes;
};

enum snapshot_stage { SNAPSHOT_NONE, SNAPSHOT_WRITING, SNAPSHOT_FINISHING };
struct snapshots {
    raft_index index; /* of the newest, this node's own or installed; 0: none */
    uint64_t size;
    uint64_t log_bytes; /* of entries applied since */
    uint64_t bytes;     /* of all entries applied since the start */
    struct trail_mark trail[TRAIL_MARKS]; /* the newest, at trail_at the oldest of them; index 0: none */
    size_t trail_at;
    uint64_t taken;     /* by this node since it started */
    struct buffer newest; /* the meta of the one at `index`, as bytes; and as of then: */
    uint64_t newest_app, newest_ms; /* the hash of the app, the replicated clock */
    uint64_t again_us;  /* one was refused: not before then */

    enum snapshot_stage stage;      /* of the one being taken */
    struct raft_snapshot_meta meta; /* its configuration is in `configuration` */
    struct buffer configuration;
    struct state_snapshot *sessions; /* still to be written; null: are */
    bool machine_open;               /* the machine's snapshot has begun */
    struct buffer piece;             /* gathered for the next write */
    uint64_t token;
    size_t given;         /* writes not reported yet */
    uint64_t begun_bytes; /* log_bytes when it began */
    uint64_t begun_app, begun_ms;

    uint64_t installing; /* token of the core's; 0: nothing is being installed */
    struct raft_snapshot_meta incoming;
    struct buffer incoming_configuration;
};

/* ---- restore.c ---- */
enum restore_stage { RESTORE_NONE, RESTORE_SYSTEM, RESTORE_SESSIONS, RESTORE_STATE };
struct restore {
    enum restore_stage stage;
    uint64_t token;
    raft_index index;
    raft_term term;
    uint64_t chain, system_hash, state_hash, size;
    uint64_t offset;            /* bytes read */
    struct state_restore *tree; /* SYSTEM, SESSIONS */
    struct system_restored system;
    bool no_app;
};

/* ---- restore_log.c ---- */
enum staged_part { STAGED_SYSTEM, STAGED_SESSIONS, STAGED_STATE };
/* A backup that comes in through the log: as far as it has been applied, the same on every node. */
struct staged {
    uint64_t id; /* the index of the entry that began it; 0: there is none */
    uint64_t nonce;
    uint64_t active_ms; /* the replicated clock at its newest entry */
    uint64_t cluster;   /* whose backup it is */
    raft_index index;   /* of what, in that cluster's log */
    uint64_t system_hash, state_hash, size;
    uint64_t offset;    /* bytes that are there */
    enum staged_part part;
    struct state_restore *tree; /* SYSTEM, SESSIONS; the machine has the state's */
    struct system system;
    struct system_restored restored;
};

/* ---- stop.c ---- */
enum stop_stage { STOP_NONE, STOP_ANSWERING, STOP_DRAINING, STOP_DONE };
struct stop {
    enum stop_stage stage;
    uint64_t deadline_us; /* of the stage */
    uint64_t last_us;     /* of the whole */
    bool hands_over;      /* leadership is to be given to another: tried until then, next at again_us */
    uint64_t hand_over_until_us, again_us;
};

struct host {
    struct identity identity;
    char address[ADDRESS_MAX + 1];
    char lua_release[16];
    struct buffer bundle, config; /* the local app's */
    struct settings settings;
    struct host_ports ports;
    struct machine machine;
    size_t apply_slice_us;
    struct random random;

    /* the turnstile */
    struct raft *raft;         /* null while blank */
    struct raft_status status; /* scratch for raft_status: it is large */
    bool inside;               /* a call is in progress: ports may not call back */
    bool stepping;             /* effects are being carried out */
    bool frozen;               /* the core gets no more events: this node stops */
    bool dead;                 /* fatal was called: nothing happens any more */
    bool wiped;                /* found to be: a blank node that never takes part */
    uint64_t now_us;           /* as last read */
    uint64_t arrivals_us;      /* when the first request of this turn arrived; 0: none has */
    uint64_t raft_deadline_us; /* 0: none */
    uint64_t timer_us;         /* what ports.timer was last given */
    uint64_t persist_given;    /* sequences */
    uint64_t persist_done;     /* reported durable, or rolled back */
    uint64_t persist_noted;    /* durable, and the core not told yet; 0: nothing to tell */
    bool disk_full;

    /* the cluster as it is known */
    enum raft_role role;
    raft_term term;
    struct raft_id leader;
    bool route_again; /* leader, connection or app have changed: look at the parked again */
    struct member *members;
    size_t member_count;
    struct contact contacts[CONTACTS_MAX];
    size_t contact_count;
    size_t learner_count;
    raft_index configuration_index; /* of the effective configuration */
    bool named;                     /* ... which names this node */
    bool transfer_failed;    /* noted by an effect, for those who wait */
    raft_index member_until; /* of the newest configuration that names this node, + 1; 0: none */
    uint64_t heard_us;       /* an append came last */
    uint64_t introduce_us;   /* says hello again then, if it hears none until then; 0: no need */
    struct buffer first_configuration; /* at index 0, encoded */
    bool ready;
    bool ready_armed;
    raft_index ready_floor;

    struct bootstrap bootstrap;
    struct waiters waiters;
    struct blob *intake; /* where small bodies are gathered */
    size_t intake_used;
    uint64_t ticket;          /* the last forward ticket given out */
    struct raft_entry *batch; /* for one PROPOSE */
    size_t batch_capacity;
    raft_term init_term; /* in which INIT was proposed here; 0: never */
    struct reads reads;
    struct apply apply;
    struct system system;
    struct snapshots snapshots;
    struct restore restore;
    struct staged staged;
    bool sweeps; /* what a restore has replaced is being freed */
    struct stop stop;
    struct buffer scratch; /* error bodies, texts */
    struct host_counters counters;
};

/* ---- host.c ---- */
uint64_t host_now(struct host *host); /* reads the clock; never less than before */
void host_log(struct host *host, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void host_fatal(struct host *host, const struct error *error);
bool host_runs(const struct host *host); /* the core takes events */

/* ---- turnstile.c ---- */
/* Fills in the time. Only while host_runs. CORRUPT and VERSION have ended the node
 * already. */
enum error_code host_step(struct host *host, struct raft_event *event);
void turnstile_start(struct host *host, const struct raft_durable *durable);
void turnstile_persisted(struct host *host); /* tells the core what was noted */

/* ---- submit.c: arrivals, routing, answers ---- */
struct waiter *submit_admit(struct host *host, uint64_t ticket, const struct request *request,
                            const struct raft_id *from); /* `from` null: a client of this node */
void submit_route(struct host *host);
void submit_expire(struct host *host);
void submit_tell(struct host *host); /* the refusals noted */
void park(struct host *host, struct waiter *waiter, uint64_t wake_us);
/* Looked at again in this turn or the next, without what it knew of its last attempt. */
void arrive_again(struct host *host, struct waiter *waiter);
/* May it be sent again though an attempt may have been proposed? Queries always; commands in a
 * session or under a key, while that is safe. */
bool may_ask_again(const struct host *host, const struct waiter *waiter);
/* Answers now, and frees. */
void answer(struct host *host, struct waiter *waiter, enum error_code code, struct slice body);
void answer_error(struct host *host, struct waiter *waiter, enum error_code code,
                  const char *message);
/* Notes the answer for the end of the turn: for use within effects and host_submit. `message` is a
 * literal or null. */
void answer_later(struct host *host, struct waiter *waiter, enum error_code code,
                  const char *message);
uint64_t retry_at(const struct host *host); /* a heartbeat from now */

/* ---- propose.c ---- */
void propose_turn(struct host *host);
/* An entry that an action of the leader makes: its waiter is answered once it is applied, or refused. */
void propose_for(struct host *host, struct waiter *waiter, enum raft_entry_type type, struct slice payload);

/* ---- forward.c ---- */
void forward_or_park(struct host *host, struct waiter *waiter);
void forward_answered(struct host *host, const struct identity *from, uint64_t ticket,
                      const struct reply *reply);
void forward_lost(struct host *host, const struct raft_id *id);
void forward_reconsider(struct host *host); /* what may be sent again and is with a former leader */

/* ---- reads.c ---- */
void reads_ask(struct host *host);
void reads_ready(struct host *host, uint64_t context, raft_index index);
void reads_failed(struct host *host, uint64_t context);
bool reads_run(struct host *host, uint64_t until_us); /* true: more to do */
void reads_abandon(struct host *host);                /* this node stops: everyone is told */
void reads_deinit(struct host *host);

/* ---- apply.c ---- */
bool apply_run(struct host *host, uint64_t until_us); /* true: more to do */
void apply_log_read(struct host *host, const struct raft_entry *entries, size_t count);
void apply_forget(struct host *host); /* what was read of the log */
void apply_deinit(struct host *host);
void machine_failed(struct host *host, raft_index index); /* fatal: the machine has said INTERNAL */
#define APPLY_TOKEN (UINT64_C(1) << 63) /* marks log reads of the host among those of the core */

/* ---- snapshot.c ---- */
bool snapshot_turn(struct host *host); /* true: more to do */
void snapshot_note(struct host *host, const struct raft_entry *entry); /* it has been applied */
void snapshot_abandon(struct host *host); /* the one being taken; harmless where there is none */
void snapshot_deinit(struct host *host);
void host_snapshot_reported(struct host *host, const struct host_snapshot_report *report);
void snapshot_read_chunk(struct host *host, const struct raft_effect *effect);
void snapshot_write_chunk(struct host *host, const struct raft_effect *effect);
void snapshot_install(struct host *host, const struct raft_effect *effect);
void snapshot_compact(struct host *host, const struct raft_effect *effect);
void snapshot_ask(struct host *host, struct waiter *waiter);

/* ---- backup.c ---- */
bool snapshot_is_asked(const struct waiter *waiter); /* an action that is this node's own business */
bool backup_is_asked(const struct waiter *waiter);   /* ... and this one of them */
void snapshot_route(struct host *host, struct waiter *waiter);
void backup_noted(struct host *host, const struct raft_snapshot_meta *meta);
void backup_answer(struct host *host, struct waiter *waiter);

/* ---- restore.c ---- */
bool restoring(const struct host *host); /* nothing is applied, nothing asked of the machine meanwhile */
void restore_begin(struct host *host, const struct raft_snapshot_meta *meta);
void restore_read(struct host *host, const struct host_snapshot_report *report);
void restore_deinit(struct host *host);

/* ---- restore_log.c ---- */
bool restore_is_staged(const struct host *host); /* a backup is coming in: no snapshots */
void restore_propose(struct host *host, struct waiter *waiter, struct slice arguments);
enum error_code restore_apply(struct host *host, const struct raft_entry *entry);
void restore_expire(struct host *host);
bool restore_sweep(struct host *host); /* true: more to do */
void restore_drop(struct host *host); /* what has come of one; harmless where there is none */

/* ---- members.c: who is who ---- */
struct member *member_find(const struct host *host, const char *id); /* null: none */
void members_set(struct host *host, const struct raft_configuration *configuration);
void members_tell(struct host *host); /* the transport: whom to be connected with */
bool member_speaks(struct host *host, const struct identity *from); /* may its messages count? */
bool member_says(struct host *host, const struct identity *from, enum raft_message_type type);
enum error_code hello_check(struct host *host, const struct hello *hello, struct error *error);
void host_lost_its_data(struct host *host, const char *by);
uint64_t cluster_of(struct slice first_configuration); /* the cluster's id: never 0 */

void members_leave(struct host *host); /* where this node was removed */
void members_reintroduce(struct host *host); /* where it may have been, and has not heard of it */
void host_removed(struct host *host, const char *by);
void members_look_for_self(struct host *host); /* is this node still one? */
void members_remember(struct host *host, const struct raft_durable *durable);
void members_named_until(struct host *host, raft_index index); /* that configuration names this node */

/* ---- contacts.c ---- */
struct contact *contact_find(struct host *host, const char *id); /* null: none */
void contact_note(struct host *host, const struct hello *hello);
void contact_keep(struct host *host, const struct member *left);
void contact_heard(struct host *host, const char *id);
bool contacts_prune(struct host *host);
void contact_expect(struct host *host, const char *id, const char *address);
/* A guest may ask to be let in, nothing else; so may one that was let in and has not heard of it. */
bool contact_may_ask(struct host *host, const struct identity *from, const struct request *request);

/* ---- admin.c ---- */
void admin_turn(struct host *host);
void admin_transfers(struct host *host);
void admin_applied(const struct raft_entry *entry, struct buffer *reply);

/* ---- bootstrap.c ---- */
void bootstrap_init(struct host *host, const struct host_options *options);
void bootstrap_deinit(struct host *host);
void bootstrap_begin(struct host *host);
enum error_code bootstrap_hello(struct host *host, const struct hello *hello, struct error *error);
void bootstrap_stored(struct host *host);
void bootstrap_timer(struct host *host);
void bootstrap_turn(struct host *host); /* asks to be let in, where that is due */
/* Was this the answer to that question? */
bool bootstrap_answered(struct host *host, const struct identity *from, uint64_t ticket,
                        const struct reply *reply);

/* ---- stop.c ---- */
void stop_begin(struct host *host);
void stop_turn(struct host *host);
uint64_t stop_wakes_us(const struct host *host);

#endif
