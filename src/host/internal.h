/*
 * What the host's files share: struct host, one part per file, and the functions that cross files.
 *
 * The rule of the turnstile: one event in (host_step), all its effects carried out, then the next.
 * What effects set off (answers, new attempts, apply work) is noted and done by host_turn, never
 * from within.
 */
#ifndef MOONCLAVE_HOST_INTERNAL_H
#define MOONCLAVE_HOST_INTERNAL_H

#include "base/event.h"
#include "base/mp.h"
#include "base/random.h"
#include "host/host.h"
#include "host/system.h"
#include "host/waiters.h"
#include "raft/entry.h"

/* A server of the effective configuration, this node included. */
struct member {
    struct raft_id id;
    uint64_t incarnation;
    char address[ADDRESS_MAX + 1];
    uint64_t lost_until_us; /* its connection broke: until then, or its next hello, no forwards */
    bool release_warned;
    bool guest;          /* its last hello was that of a blank one that asks to join: removed before it has heard that
                            it is a member, it asks on, and is to be answered */
    uint64_t since_us;   /* it is known here as a member */
    uint64_t healthy_us; /* as this leader's policy sees it: since when; 0: it is not */
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
    struct buffer labels; /* that it is to have */
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

/* ---- deploy.c ---- */
/* The DEPLOY that the machine is at work on. */
struct deploy {
    raft_index index; /* 0: none */
    uint64_t steps;   /* done */
    struct machine_versions versions;
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
    raft_index long_deploy; /* the last that took long; 0: none did */
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

/* ---- skip.c ---- */
struct skip {
    raft_index at;    /* of the SKIP entry */
    raft_index index; /* of the one it is about */
};
struct skips {
    struct skip *list; /* in the log, ascending by `at` */
    size_t count, capacity;
    raft_index deadly;   /* former lives died at it, and it has not been applied; 0: none */
    bool halted;         /* nothing is applied: it is next */
    uint8_t deadly_type; /* once halted */
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

/* ---- watch.c ---- */
#define COMMIT_MARKS 64

/* Something is slow now and then: told when it begins, and when it has been quick for a while. */
struct episode {
    bool on;
    uint64_t count, longest_us;
    raft_index index; /* SLOW_APPLY: of the slowest entry */
    uint64_t last_us; /* when it was slow last */
};

/* A server of the configuration, as its leader hears it. */
struct silence {
    struct raft_id id;
    uint64_t heard_us; /* in this term; when it began to be watched, if never */
    bool lost;
};

/* A batch of proposals up to `index`, not yet known to be committed. */
struct commit_mark {
    raft_index index;
    uint64_t proposed_us;
};

struct watch {
    uint64_t disk_since_us; /* the disk has been asked, and has completed nothing since then; 0: nothing is asked */
    bool disk_counted;      /* ... which was found to be slow */
    uint64_t hand_over_us;  /* a stalled leader tries not before then */
    struct episode disk, apply;
    struct silence *silences;
    size_t silence_count;
    uint64_t look_us;       /* at them, not before then */
    uint64_t leaderless_us; /* since then no leader is known; 0: one is */
    bool ready;             /* as told last */
    struct commit_mark marks[COMMIT_MARKS]; /* a ring */
    size_t mark_first, mark_count;
    struct host_timings timings;
    struct histogram_recent commits; /* as timings.commit */
    struct buffer data; /* of the event being told */
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

/* ---- policy.c ---- */
#define POLICY_CASES 16
#define POLICY_SAID  8

enum policy_verdict { POLICY_ASKED, POLICY_LEARNER, POLICY_VOTER, POLICY_REFUSED, POLICY_FAILED };

/* A server that is to be let in: what the policy says of it. */
struct policy_case {
    uint64_t hash; /* of all that the policy is told of it */
    uint64_t ticket;
    uint64_t asked_us;
    enum policy_verdict verdict;
    struct error error; /* REFUSED, FAILED: why */
};

struct policy {
    bool leads;           /* of this reign are the three below */
    uint64_t led_us;      /* since when this node leads */
    uint64_t review_us;   /* when to ask about all servers next */
    uint64_t transfer_us; /* it hands over on the policy's word no sooner */
    uint64_t tickets;     /* the last one given out */
    uint64_t ticket;      /* of the review that is out; 0: none */
    uint64_t asked_us;
    struct policy_case cases[POLICY_CASES];
    size_t case_count;
    uint64_t said[POLICY_SAID]; /* hashes of what was logged last: said once */
    size_t said_at;
    struct error problem; /* why it failed last time; code OK: it did not */
    struct error refusal; /* what was refused last, and why; code OK: nothing was */
    struct error done;    /* ... what was done last */
};

struct host {
    struct identity identity;
    char address[ADDRESS_MAX + 1];
    char lua_release[16];
    struct buffer bundle, config; /* the local app's */
    struct settings settings; /* the node's own, and the cluster's once they are known */
    struct settings started;  /* as this node was started */
    struct setting_sources sources; /* ... and where each came from; CHANGED: its own, while running */
    bool settings_compared;         /* with the cluster's */
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
    struct skips skips;
    struct staged staged;
    struct deploy deploy;
    bool sweeps; /* what a restore has replaced is being freed */
    struct stop stop;
    struct watch watch;
    struct policy policy;
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
void turnstile_adjust(struct host *host);    /* tells it the settings */

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
void say_applying(const struct host *host, raft_index index); /* 0: it is survived */
void machine_failed(struct host *host, raft_index index); /* fatal: the machine has said INTERNAL */
/* What is not done, as the reply of the entry: the same on every node. Returns the code. */
enum error_code apply_refuse(struct host *host, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
enum error_code refuse_skipped(struct host *host); /* writes the reply */
struct machine_entry stamps_of(const struct host *host, const struct raft_entry *entry);
#define APPLY_TOKEN (UINT64_C(1) << 63) /* marks log reads of the host among those of the core */

/* ---- skip.c ---- */
void skips_init(struct host *host, const struct host_deaths *deaths);
void skips_deinit(struct host *host);
void skips_remember(struct host *host, const struct raft_durable *durable); /* at a start */
void skips_persisted(struct host *host, const struct raft_persist *persist); /* it is given out */
void skips_forget(struct host *host); /* the log is empty */
bool skip_due(const struct host *host, raft_index index); /* it is to be skipped */
bool skip_lets_apply(struct host *host, const struct raft_entry *entry); /* false: not now */
bool skip_halted(const struct host *host);
void skip_refuse(struct host *host, struct waiter *waiter); /* of a node that has halted */
void skip_passed(struct host *host, raft_index index);
void skip_ask(struct host *host, struct waiter *waiter, raft_index index);
void skip_answer(struct host *host, struct waiter *waiter, raft_index index);
enum error_code apply_skip(struct host *host, const struct raft_entry *entry);

/* ---- deploy.c ---- */
void deploy_propose(struct host *host, struct waiter *waiter, struct slice arguments);
enum error_code apply_deploy(struct host *host, const struct raft_entry *entry);
bool deploy_skipped(const struct host *host, raft_index index);
bool deploying(const struct host *host); /* the entry after the applied one is under way, for many turns */
enum error_code deploy_step(struct host *host, const struct raft_entry *entry); /* that entry */
void deploy_abandon(struct host *host); /* all is as before it; harmless where there is none */

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

/* ---- settings.c: what changes while running ---- */
void settings_begin(struct host *host, const struct setting_sources *sources);
bool settings_are_asked(const struct waiter *waiter); /* the action `config`, of a client of this node */
/* What is this node's own is done, what is wrong refused. false: it is for the leader. */
bool settings_ask(struct host *host, struct waiter *waiter);
void settings_propose(struct host *host, struct waiter *waiter, struct slice arguments); /* at the leader */
enum error_code settings_applied(struct host *host, const struct raft_entry *entry);
void settings_adopt(struct host *host, const struct settings *cluster); /* its replicated ones: INIT's, a snapshot's */
void settings_compare(struct host *host); /* this node's flags with them: says once what is of no effect */

/* A label of a learner: the role it is to get. WANTS_POLICY: when the policy says so. */
#define WANTS        HOST_OWN_LABELS "wants"
#define WANTS_VOTER  "voter"
#define WANTS_POLICY "policy"
const char *server_wants(const struct raft_server *server); /* the label's value; "": it has none */

/* ---- policy.c ---- */
bool policy_runs(const struct host *host); /* there is one: it says who votes */
void policy_turn(struct host *host);
void policy_hear(struct host *host, uint64_t ticket, struct slice actions, const struct error *problem);
uint64_t policy_wakes_us(const struct host *host);
/* May `server`, which is not in the configuration, be let in? OK: as a learner, and *votes: to vote as soon as it has
 * caught up, whatever the policy says later. UNAVAILABLE: it is not known yet, or (*failed) the policy has failed;
 * REFUSED. With a text. Wants host->status. */
enum error_code policy_admit(struct host *host, const struct raft_server *server, bool *votes, bool *failed,
                             struct error *error);
void policy_write_status(const struct host *host, struct buffer *out); /* one map */

bool policy_read_action(struct mp_reader *reader, struct slice *verb, struct slice *text); /* [verb, text] */
void policy_say_once(struct host *host, enum log_level level, const char *text);

/* ---- policy_action.c: with host->status as it is now ---- */
bool policy_acts(struct slice verb); /* it is an action on a member */
/* true: it is done, as far as this leader can. `too_many`: the answer would take more votes than it may. */
bool policy_act(struct host *host, struct slice verb, struct slice text, bool too_many);
bool policy_takes_too_many(const struct host *host, struct slice actions); /* of sound ones */

/* ---- policy_view.c ---- */
/* Of all servers, or of one that wants to be let in (null: none does); as host->status has them. */
void policy_write_view(const struct host *host, const struct raft_server *candidate, struct buffer *out);
bool policy_heard(const struct host *host, const char *id); /* this node, or it answered not long ago */
const struct raft_peer_status *policy_peer(const struct host *host, const char *id); /* of who is none all is 0 */

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

/* ---- watch.c: what is told as events ---- */
void watch_turn(struct host *host);
uint64_t watch_wakes_us(const struct host *host); /* 0: no need */
void watch_deinit(struct host *host);
void watch_given(struct host *host);     /* a write, to the disk */
void watch_completed(struct host *host); /* some of them; persist_done says up to which */
uint64_t watch_disk_waits_us(const struct host *host); /* how long it has completed nothing, being asked */
void watch_room(struct host *host, bool full);
void watch_applied(struct host *host, raft_index index, uint64_t took_us);
void watch_role(struct host *host, enum raft_role before, raft_term term_before,
                const struct raft_id *leader_before);
void watch_configuration(struct host *host, const struct raft_configuration *configuration);
void watch_snapshot(struct host *host, enum event_type type, raft_index index, uint64_t size); /* size 0: not told */
void watch_stopping(struct host *host);
void watch_proposed(struct host *host, raft_index last);
void watch_write_commits(const struct host *host, struct buffer *out); /* how long those of the last seconds took */
void watch_committed(struct host *host, raft_index last);
void watch_tell(struct host *host, enum event_type type); /* with the map in watch.data */

/* ---- stats.c: what hashicorp/raft's Stats has, too ---- */
void stats_write_configuration(const struct raft_status *status, struct buffer *out); /* the pair */
void stats_write_contact(const struct host *host, struct buffer *out);                /* the pair */
void stats_write_raft(const struct host *host, const struct raft_status *status, struct buffer *out);
uint64_t stats_other_voters(const struct host *host, const struct raft_status *status);

/* ---- stop.c ---- */
void stop_begin(struct host *host);
void stop_turn(struct host *host);
uint64_t stop_wakes_us(const struct host *host);

#endif
