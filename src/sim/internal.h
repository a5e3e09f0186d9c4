/*
 * What the simulator's files share: the world, its nodes, and what the checks remember. Everything
 * belongs to one struct sim, which sim_run makes and frees.
 *
 * Rules that keep a run replayable: every draw comes from one of the seeded streams; time is
 * integers; nothing depends on an address; every event goes through world.c and into the trace
 * hash.
 */
#ifndef MOONCLAVE_SIM_INTERNAL_H
#define MOONCLAVE_SIM_INTERNAL_H

#include "base/random.h"
#include "host/host.h"
#include "sim/clients.h"
#include "sim/deploys.h"
#include "sim/once.h"
#include "sim/operators.h"
#include "sim/poison.h"
#include "sim/record.h"
#include "sim/settings.h"
#include "sim/snapshots.h"
#include "sim/trace.h"
#include "sim/sim.h"

#define SIM_ROUNDS 512 /* how old an echo may be and still be dated */
#define NOBODY   UINT32_MAX

struct sim;
struct sim_node;
struct sim_configuration;
struct sim_ledger;
struct policy_vm;

/* ---- world.c: events in the order of virtual time, randomness, the trace ---- */

enum sim_event_kind {
    EVENT_START, /* a node's process begins */
    EVENT_TURN,  /* the end of a turn of the node's loop */
    EVENT_TIMER,
    EVENT_DELIVER,     /* a packet arrives */
    EVENT_CONNECT,     /* a node dials another */
    EVENT_HELLO,       /* a node says hello again on an open connection */
    EVENT_PEER_LOST,   /* a node notices a broken connection */
    EVENT_DISK_DONE,   /* a batch of writes, or a read, has reached the disk */
    EVENT_DISK_REPORT, /* the node learns of it */
    EVENT_FILE_DONE,   /* a piece of work on snapshots' files is done */
    EVENT_CLIENT,      /* a client does its next thing */
    EVENT_SUBMIT,      /* a request arrives at its node */
    EVENT_OVERDUE,     /* a request should have been answered by now */
    EVENT_FAULT,       /* the next fault strikes */
    EVENT_HEAL,        /* a partition ends */
    EVENT_KILL,        /* a stop that takes too long */
    EVENT_RESTORE,     /* somebody restores a backup, or does the next step of that */
    EVENT_PHASE,       /* the run asks itself whether a phase is over */
    EVENT_SETTINGS,    /* somebody changes some */
    EVENT_POLICY,      /* a membership policy has decided about a view */
    EVENT_POISON,      /* operators look for nodes that have halted */
    EVENT_DEPLOY,      /* somebody deploys a version of the app */
};

struct sim_event {
    uint64_t at_us;
    uint64_t order; /* ties are broken by the order of pushing */
    void *data;     /* owned by the event; how it is freed depends on its kind */
    uint64_t number;
    uint32_t lifetime; /* of the node: in another lifetime the event is dropped; 0: always */
    uint16_t kind;
    uint16_t node;
};

enum sim_stream {
    STREAM_PLAN,
    STREAM_NODES,
    STREAM_NETWORK,
    STREAM_DISK,
    STREAM_CLIENTS,
    STREAM_FAULTS,
    STREAM_SNAPSHOTS,
    STREAM_ONCE, /* regulars and what they need */
    STREAM_SETTINGS,
    STREAM_POLICY,
    STREAM_POISON,
    STREAM_RESTORES,
    STREAM_DEPLOYS,
    STREAMS
};

struct sim_world {
    uint64_t now_us;
    struct sim_event *heap;
    size_t count, capacity;
    uint64_t order;
    struct random random[STREAMS];
    uint64_t trace_hash;
};

void world_init(struct sim_world *world, uint64_t seed);
void world_deinit(struct sim_world *world); /* the heap must be empty */
struct sim_event *world_push(struct sim_world *world, uint64_t delay_us, enum sim_event_kind kind,
                             unsigned node);
/* The next event that is due by then; moves the clock. */
bool world_pop(struct sim_world *world, uint64_t until_us, struct sim_event *event);
void world_defer(struct sim_world *world, const struct sim_event *event, uint64_t until_us);

uint64_t draw(struct sim *sim, enum sim_stream stream,
              uint64_t limit); /* 0 ... limit - 1; 0 for limit 0 */
uint64_t draw_between(struct sim *sim, enum sim_stream stream, uint64_t least, uint64_t most);
bool chance(struct sim *sim, enum sim_stream stream, unsigned permille);

/* ---- plan.c: what a seed draws before anything happens ---- */

/* clang-format off */
#define SIM_FAULT_TABLE(X) \
    X(crash) X(crash_midway) X(crash_all) X(crash_leader) X(stop) X(pause) X(partition) X(one_way) \
    X(bridge) X(isolate_leader) X(strand_leader) \
    X(reset) X(disk_full) X(disk_slow) X(disk_error) X(clock_jump) X(wipe) \
    X(bit_rot) X(lost_tail) X(clock_rate) X(no_memory) \
    X(join) X(rejoin) X(remove) X(promote) X(demote) X(replace) X(transfer) X(priority) X(forget) \
    X(snapshot)
/* clang-format on */

enum sim_fault {
#define X(name) FAULT_##name,
    SIM_FAULT_TABLE(X)
#undef X
        FAULTS
};

struct sim_plan {
    unsigned founders; /* the first members: nodes 0 ... founders - 1 */
    unsigned nodes;    /* with the spares, which are down until an operator starts them */
    unsigned clients;
    uint64_t safety_us;
    struct settings settings;
    uint64_t election_us;
    /* network */
    uint64_t latency_least_us, latency_most_us;
    unsigned drop, duplicate, late; /* permille */
    uint64_t late_most_us;
    unsigned reset_in_hello; /* permille */
    bool cut_in_flight;      /* a partition also stops what is under way */
    /* disk */
    uint64_t write_least_us, write_most_us, report_most_us;
    unsigned slow_write; /* permille */
    unsigned store_dies; /* permille of writes, in the middle of which the machine dies */
    unsigned open_fails; /* permille: dies, or meets an I/O error, while it opens its store */
    uint32_t page_size, checkpoint_pages, snapshot_block;
    size_t snapshot_step; /* bytes of the C machine's state written at a time */
    /* nodes */
    uint64_t turn_most_us;     /* between a completion and the end of the turn; 0: at once */
    uint64_t reading_clock_us; /* what reading the clock may take: makes slices end */
    uint64_t apply_slice_us;
    unsigned clock_drift_ppm;
    uint64_t restart_most_us;
    /* clients */
    uint64_t think_most_us;
    unsigned queries, stale, lease, cancels; /* permille */
    size_t padding_most;
    unsigned large; /* permille of commands with a large padding */
    struct sim_once_plan once; /* ... with sessions and keys */
    uint64_t settings_us;      /* somebody changes some every so often, at the longest; 0: nobody does */
    enum sim_policy policy;
    uint64_t deploys_us; /* somebody deploys so often, at the longest, or the next version then; 0: nobody does */
    /* faults */
    uint64_t fault_least_us, fault_most_us;
    unsigned weight[FAULTS];
    unsigned weights; /* their sum */
};

void plan_draw(struct sim *sim);
/* Is this number left out: listed, or `only` the listed ones are not? */
bool trim_leaves_out(const uint32_t *numbers, size_t count, bool only, uint64_t number);

/* ---- disk.c: what survives a crash (its parts: disk.h) ---- */

struct sim_log { /* entry i at index i + 1; payload references are owned */
    struct raft_entry *entries;
    size_t count, capacity;
};

struct sim_mark { /* an index as it will be once every write noted is done */
    raft_term term;
    uint64_t chain;
    uint64_t time_ms;
};

enum sim_disk_op_kind {
    DISK_PERSIST,
    DISK_BOOTSTRAP,
    DISK_READ,
    DISK_TIDY,    /* of the disk itself */
    DISK_ADOPT,   /* what a finished snapshot leaves to the log's order: see disk_snapshot.c */
    DISK_INSTALL,
    DISK_COMPACT,
    DISK_FILE,    /* reports only: work on snapshots' files */
};

struct sim_real;

struct sim_disk_op {
    enum sim_disk_op_kind kind;
    struct raft_persist persist; /* its entries are the core's, borrowed until reported */
    uint64_t seal;               /* hash of what was given: the core must not touch it meanwhile */
    struct blob *configuration;  /* BOOTSTRAP */
    uint64_t cluster;
    uint64_t token; /* READ */
    raft_index first, last;
    size_t bytes_max;
    struct host_snapshot_job *job; /* ADOPT, INSTALL, COMPACT; owned */
};

struct sim_disk {
    /* durable */
    uint64_t incarnation, cluster;
    struct blob *configuration; /* at index 0; null: blank */
    struct raft_hard_state hard_state;
    struct sim_log log;
    struct sim_snapshots snapshots;
    /* of this lifetime */
    struct sim_disk_op *ops; /* a queue: head ... head + count */
    size_t head, count, capacity;
    size_t batch;  /* ops being carried out now; 0: idle */
    bool retries;  /* the next write tries again what was refused */
    bool refusing; /* a refusal is on its way: what comes until it is known is not done either */
    uint64_t sequence;  /* of the last persist noted */
    uint64_t report_us; /* when the last report arrives: reports keep their order */
    uint64_t asked_us;  /* a write is under way, and none was reported since then; 0: none is */
    uint64_t stalled_us; /* when none had been for an election timeout; 0: never */
    struct raft_hard_state intended_hard_state;
    struct sim_mark *intended;
    size_t intended_count, intended_capacity;
    /* faults */
    uint64_t full_until_us, slow_until_us, stands_until_us;
    bool fail_next;
    bool rotten;          /* something on it is damaged, and nobody has noticed yet */
    raft_index rot_index; /* of the model: the damaged entry; 0: the hard state */
    struct sim_real *real; /* the store itself; null: the model is all there is */
};

void disk_init(struct sim *sim, struct sim_disk *disk, uint64_t incarnation);
void disk_deinit(struct sim_disk *disk);
bool disk_begin(struct sim_node *node); /* a lifetime begins; false: it cannot start from this disk now */
/* Its writes have lately taken an election timeout or longer: its leader may have handed over. */
bool disk_has_stalled(const struct sim_node *node);
void disk_heal(struct sim_node *node);  /* its faults are over, but for what has rotted */
/* Damages something durable; false: there is nothing to damage. */
bool disk_rot(struct sim_node *node);
/* The node is down: what was written last, and said to be durable, is not there. false: there is nothing to lose. */
bool disk_lose_tail(struct sim_node *node);
/* What has rotted comes to light: the node is wrecked, or the damage means nothing. */
void disk_settle(struct sim_node *node);
void disk_crash(
    struct sim_node *node); /* any prefix of the outstanding writes is done, the rest is lost */
void disk_note_persist(struct sim_node *node, const struct raft_persist *persist);
void disk_note_bootstrap(struct sim_node *node, struct slice configuration, uint64_t cluster);
void disk_note_read(struct sim_node *node, uint64_t token, raft_index first, raft_index last,
                    size_t bytes_max);
void disk_note_snapshot(struct sim_node *node, const struct host_snapshot_job *job); /* copies */
void disk_on_done(struct sim *sim, struct sim_event *event);
void disk_on_file_done(struct sim *sim, struct sim_event *event);
void disk_on_report(struct sim *sim, struct sim_event *event);
void disk_report_free(void *report);
/* Fills what START needs from the model; the arrays belong to the caller (memory_free on runs and configurations). */
void disk_durable(const struct sim_disk *disk, struct raft_durable *durable);
const struct raft_durable *disk_found(const struct sim_node *node); /* what the real store says; null: the model */
/* Durable, in the log or under the snapshot; 0: not there. */
raft_term disk_term(const struct sim_disk *disk, raft_index index);

/* ---- network.c ---- */

struct sim_link { /* between two processes: the death of either closes it */
    bool open;
};

struct sim_packet;

struct sim_network {
    struct sim_link links[SIM_NODES_MAX][SIM_NODES_MAX]; /* [lower][higher] */
    bool blocked[SIM_NODES_MAX][SIM_NODES_MAX];          /* [from][to] */
    unsigned stranded;        /* the node whose packets under way trickle in late; NOBODY: none */
    uint64_t partition;       /* counts them: a heal ends its own only */
    bool calm[SIM_NODES_MAX]; /* between two calm nodes nothing is lost, doubled or late */
};

void network_send(struct sim_node *node, const struct raft_message *message);
void network_forward(struct sim_node *node, const struct raft_id *to, uint64_t ticket,
                     const struct request *request);
void network_forward_reply(struct sim_node *node, const struct raft_id *to, uint64_t ticket,
                           const struct reply *reply);
void network_peers(struct sim_node *node, const struct host_peer *peers, size_t count);
void network_on_deliver(struct sim *sim, struct sim_event *event);
void network_on_connect(struct sim *sim, struct sim_event *event);
void network_on_hello(struct sim *sim, struct sim_event *event);
void network_on_peer_lost(struct sim *sim, struct sim_event *event);
void network_packet_drop(void *packet);
void network_break(struct sim *sim, unsigned a, unsigned b); /* both notice, sooner or later */
void network_node_died(struct sim_node *node);
void network_heal(struct sim *sim, unsigned a, unsigned b); /* both ways */
void network_dial_soon(struct sim_node *node); /* whoever it wants and is not connected with */

/* ---- machine.c: the replicated machine of one lifetime, watched ---- */

struct sim_register {
    uint64_t count, last, chain;
};

/* Of a version that is being deployed; version 0: none is. */
struct sim_upgrade {
    unsigned version; /* its place + 1 */
    struct machine_entry entry;
    struct machine_versions versions;
    uint64_t before; /* the state's hash */
};

struct sim_machine {
    struct sim_node *node;
    struct machine inner; /* the C machine below, or the fsm VM */
    struct fsm *fsm;      /* null: the C machine */
    bool loaded;
    unsigned code; /* the version of the app that it runs, its place + 1 (deploys.h); 0: none */
    bool staging;  /* a backup's state comes in */
    struct sim_upgrade upgrade;
    /* of the C machine */
    struct sim_code {
        int64_t number; /* of its version, which knows one form of the state */
        uint64_t drawn; /* by chance, when it was loaded */
    } own;
    uint64_t slices; /* that an upgrade still takes */
    int64_t form;        /* the state's: the number of the version that wrote it */
    uint64_t migrations; /* a hash of all that it has gone through */
    uint64_t version; /* index of the last command that changed the state */
    struct sim_register registers[SIM_KEYS];
    uint64_t hash;
    raft_index applied; /* last index given to apply, by this lifetime; or of what was restored */
    bool restoring;
    struct buffer image; /* of the C machine: bytes of a snapshot that is taken, or restored */
    size_t given;        /* of these, out */
    bool ended;          /* these are all */
    struct buffer staged; /* of the C machine: a backup's bytes that have come */
    bool staged_whole;
    size_t told_size;    /* of the reply given there */
    uint64_t time_ms;   /* its stamp */
    struct settings settings; /* it was told last */
};

void machine_begin(struct sim_machine *machine, struct sim_node *node, struct machine *table);
void machine_end(struct sim_machine *machine);
extern const struct machine registers_machine; /* registers.c; its context is the struct sim_machine */
uint64_t machine_reply_hash(enum error_code code, struct slice body);
void machine_write_append(struct buffer *out, uint64_t value, uint64_t key, size_t padding);
void machine_write_get(struct buffer *out, uint64_t key);
void machine_bundle(struct buffer *out); /* a well-formed one, for the C machine; others: versions.c */

/* ---- node.c: one server: its process, clock and ports ---- */

struct sim_ballot {   /* one node in one term: candidate + 1; 0: none */
    uint8_t promised; /* told to anyone, or durable */
    uint8_t durable;
    raft_index match; /* longest durable prefix of that term's leader's log, noted before the node
                         left the term */
};

struct sim_ballots { /* by term */
    struct sim_ballot *items;
    size_t count, capacity;
};

struct sim_life { /* what a server was before it lost its disk: lives.c */
    struct sim_disk disk;
    struct sim_ballots ballots;
};

struct sim_watch { /* what the checks saw last of this lifetime */
    raft_term term;
    raft_index commit, applied, durable, last;
    enum raft_role role;
    raft_index match[SIM_NODES_MAX];
    uint64_t match_of[SIM_NODES_MAX]; /* the incarnation that is believed to have it; 0: not known */
    uint64_t led_us;          /* a leader: when it was first seen to be one */
    raft_index configuration; /* index of the effective one */
    uint64_t configured_us;   /* since when it is that */
    bool stays_voter;         /* in it */
    bool configuration_known;
    uint64_t heard_us;   /* no later than its leader's last word, on its own clock */
    raft_term pre_term;  /* the term it was last granted a pre-vote for, and by whom */
    uint32_t pre_granted;
    uint64_t round;      /* the newest it has sent */
    uint64_t round_us[SIM_ROUNDS];    /* when, by its number modulo that */
    uint64_t echoed_us[SIM_NODES_MAX]; /* when the newest that each has echoed was first sent */
    bool answers_vote;   /* in the call under way */
};

struct sim_received { /* what a message has met */
    struct raft_status status;
    struct raft_peer_status peer; /* of its sender, where it is a leader's */
    uint64_t steps, clock_us;
    bool quiet; /* all it has written is reported, so that nothing it says has to wait */
};

struct sim_node {
    struct sim *sim;
    unsigned number;
    struct raft_id id;
    char address[ADDRESS_MAX + 1];
    struct host *host; /* null: down */
    uint32_t lifetime; /* counts starts */
    bool inside;       /* the host is being called */
    bool dying;        /* crashed in the middle of a call: its ports do nothing any more */
    bool stopping, stopped;
    uint64_t stop_began_us; /* on its own clock */
    bool held;              /* is to stay down: a START does nothing */
    bool wiped;             /* lost its disk: permanently lost to the cluster */
    bool wrecked;           /* wiped, for its disk is damaged and the store refuses to open: it stays down */
    bool spare;             /* starts with --join: no first member, or not any more */
    bool hurries;           /* restarts at once */
    bool idle;              /* a spare that nobody has started: a START does nothing */
    uint64_t crash_after;   /* port calls until it crashes; 0: not armed */
    uint64_t paused_until_us;
    bool expects_fatal; /* its disk has failed: it must stop by itself */
    /* the clock: local = base + (now - born) * rate / 10^6 + spent */
    uint64_t clock_base_us, clock_born_us, clock_rate_ppm, clock_spent_us;
    int64_t wall_offset_ms;
    uint64_t timer_generation, timer_at_us; /* on its own clock; 0: none is set */
    uint64_t usual_rate_ppm, rate_change;   /* the rate it goes back to; counts the changes */
    bool turn_scheduled;
    struct sim_machine machine;
    unsigned app; /* the version that its host says runs: its place + 1; 0: none */
    struct sim_disk disk;
    struct sim_life *former; /* oldest first: they still count for what was durable once */
    size_t former_count;
    bool wants[SIM_NODES_MAX];             /* whom its host wants to be connected with */
    bool dialing[SIM_NODES_MAX];           /* a CONNECT is scheduled */
    bool owed[SIM_NODES_MAX];              /* a connection broke, and it has not noticed yet */
    uint64_t accepted[SIM_NODES_MAX];      /* the incarnation whose hello it has accepted in this
                                              lifetime; 0: none */
    uint64_t heard_cluster[SIM_NODES_MAX]; /* the cluster id that hello gave */
    struct sim_watch watch;
    struct sim_page page;
    bool poisoned; /* it dies of the poisoned command */
    uint64_t steps_of_former_lives;
};

void node_init(struct sim *sim, unsigned number);
void node_deinit(struct sim_node *node);
void node_start_after(struct sim_node *node, uint64_t delay_us);
void node_on_start(struct sim *sim, struct sim_event *event);
void node_on_turn(struct sim *sim, struct sim_event *event);
void node_on_timer(struct sim *sim, struct sim_event *event);
void node_on_kill(struct sim *sim, struct sim_event *event);
bool node_up(const struct sim_node *node);
bool node_paused(const struct sim_node *node);
void node_enter(struct sim_node *node); /* before every call of the host ... */
/* ... and after it: checks, the end of the turn, a crash that was due */
void node_leave(struct sim_node *node);
void node_crash(struct sim_node *node); /* at once, from outside a call */
uint64_t node_clock_us(const struct sim_node *node);
void node_clock_rate(struct sim_node *node, uint64_t rate_ppm); /* from now on; 0: its usual one */
struct sim_node *node_find(struct sim *sim, const struct raft_id *id); /* null: none */
struct sim_node *node_leading(struct sim *sim); /* of the highest term; null: none */

/* ---- faults.c ---- */

void faults_begin(struct sim *sim);
void faults_on_fault(struct sim *sim, struct sim_event *event);
void faults_on_heal(struct sim *sim, struct sim_event *event);
void faults_stop(struct sim_node *node); /* asks it to stop, as an operator would */
void faults_heal_node(struct sim_node *node); /* its own faults end: paused, full, slow, crashed */
void faults_part(struct sim *sim, unsigned a, unsigned b);
void faults_deafen(struct sim_node *node); /* a partition: it hears nobody, and may still be heard */

/* ---- invariants.c, promises.c, ledger.c: what must hold ---- */

struct sim_version { /* an entry seen at an index: one per term */
    raft_term term;
    uint64_t chain;
    uint64_t time_ms;
    uint8_t type;
    uint32_t next;  /* 0: none */
    uint32_t claim; /* what it says of a session or key (once.c); 0: nothing */
};

struct sim_record {           /* all that is known of one index */
    uint32_t versions;        /* first in the pool; 0: none */
    raft_term committed_term; /* 0: not committed yet */
    uint64_t committed_chain;
    raft_term announced_in; /* the term of whoever announced the commit first */
    raft_term applied_term; /* 0: not applied yet */
    uint64_t number;        /* the command applied there; 0: none */
    uint64_t state_hash, reply_hash, time_ms;
    uint64_t host_chain; /* host_applied's; 0: not seen */
    uint64_t host_state; /* ... and its hash of the state, where host_chain was seen */
    bool skipped; /* a command that was not run: its session or key has answered it */
    bool lawful;  /* one that was to be run */
    bool restored; /* a backup has taken the state's place here */
};

struct sim_reign {   /* one term */
    uint32_t leader; /* its node; NOBODY: none seen */
    uint32_t lifetime;
    raft_index last; /* of its log when it was elected: what follows is of its term */
    bool lost_time;  /* that log was empty behind its snapshot: nobody has told it the last stamp */
    struct raft_term_run *runs;
    size_t run_count;
};

struct sim_ledger {
    struct sim_record *records; /* by index */
    size_t record_count, record_capacity;
    struct sim_version *versions;
    size_t version_count, version_capacity;
    struct sim_reign *reigns; /* by term */
    size_t reign_count, reign_capacity;
    struct sim_ballots ballots[SIM_NODES_MAX]; /* of the present incarnations: lives.c has the former */
    raft_index committed;        /* highest announced */
    raft_index applied;          /* highest applied anywhere */
    uint64_t configuration_hash; /* of the first configuration; 0: none yet */
    struct sim_configuration *configurations; /* all that were seen, the first one first */
    size_t configuration_count, configuration_capacity;
    size_t configuration_committed; /* the place of the newest that is */
    struct sim_taken *taken; /* by index, ascending */
    size_t taken_count, taken_capacity;
};

void ledger_deinit(struct sim_ledger *ledger);
struct sim_record *ledger_record(struct sim_ledger *ledger, raft_index index);
struct sim_reign *ledger_reign(struct sim_ledger *ledger, raft_term term);
struct sim_ballot *ledger_ballot(struct sim_ledger *ledger, unsigned node, raft_term term);
/* The one chain an entry of this index and term has; 0: not seen. */
const struct sim_version *ledger_version(const struct sim_ledger *ledger, raft_index index,
                                         raft_term term);
struct sim_version *ledger_add_version(struct sim_ledger *ledger,
                                       const struct raft_entry *entry); /* until the next one is added */
/* The term at an index of a core's log, or under what it has compacted away: that was committed. 0: not there. */
raft_term ledger_term_of(const struct sim_ledger *ledger, const struct raft *raft, raft_index index);
void ledger_set_log(const struct sim_ledger *ledger, struct sim_reign *reign, const struct raft *raft,
                    raft_index last);
/* The term at an index in the log of a term's leader; 0: not known or not there. */
raft_term ledger_leader_term_at(const struct sim_ledger *ledger, raft_term term, raft_index index);
/* The longest prefix of that log that a durable log has. */
raft_index ledger_match(const struct sim_ledger *ledger, raft_term term,
                        const struct sim_disk *disk);

void check_bootstrap(struct sim_node *node, struct slice configuration);
void check_persist(struct sim_node *node,
                   const struct raft_persist *persist); /* before it is noted */
void check_before_durable(struct sim_node *node, const struct raft_persist *persist);
void check_after_durable(struct sim_node *node, const struct raft_persist *persist);
void check_send(struct sim_node *node, const struct raft_message *message);
/* Around every message that a host is handed. */
void check_receiving(struct sim_node *node, const struct raft_message *message,
                     struct sim_received *before);
void check_received(struct sim_node *node, const struct raft_message *message,
                    const struct sim_received *before);
/* A linearizable query, asked then, is answered by a leader. */
void check_read(struct sim_node *node, uint64_t asked_us);
void promises_see_entry(struct sim_node *node, const struct raft_entry *entry);
void check_role(struct sim_node *node, enum raft_role role, raft_term term);
void check_node(struct sim_node *node); /* after every call of its host */
void check_apply(struct sim_node *node, const struct machine_entry *entry, uint64_t number,
                 struct slice body, uint64_t reply_hash, uint64_t state_hash);

/* The first one counts; it ends the run. invariants.c says which is which. */
void violate(struct sim *sim, const struct sim_node *node, const char *invariant,
             const char *format, ...) __attribute__((format(printf, 4, 5)));
void breach(struct sim *sim, const struct sim_node *node, const char *invariant, const char *format,
            ...) __attribute__((format(printf, 4, 5)));

/* ---- sim.c ---- */

enum sim_phase { PHASE_SAFETY, PHASE_MAJORITY, PHASE_CONVERGENCE, PHASE_CALM, PHASE_OVER };

struct sim {
    struct sim_options options;
    struct sim_result *result; /* points at `own` */
    struct sim_result own;
    struct sim_world world;
    struct sim_plan plan;
    struct sim_network network;
    struct sim_node nodes[SIM_NODES_MAX];
    struct sim_clients clients;
    struct sim_operators operators;
    struct sim_restores restores;
    struct sim_once once;
    struct sim_settings settings;
    struct sim_poison poison;
    struct sim_deploys deploys;
    struct sim_regular regulars[SIM_CLIENTS_MAX];
    struct sim_ledger ledger;
    struct sim_recorder recorder;
    struct buffer bundle;
    struct policy_vm *policy; /* of all nodes: it keeps nothing between two views; null: not needed yet */
    unsigned policy_of;       /* the version of the app that it is of */
    uint64_t strikes; /* faults so far, those left out too */
    char struck[160]; /* what the one under way does */
    enum sim_phase phase;
    uint64_t phase_deadline_us;
    uint64_t settled_us; /* of the majority phase: when the next look at the leader is due */
    raft_index late_applied; /* by all nodes, when patience was at its end */
    unsigned late_times;     /* it was */
    bool was_calm;       /* the calm phase is behind it */
    unsigned calm_leader;
    raft_term calm_term;
    bool calm_moving; /* it has handed over, for its disk did not answer: who is to stay is not settled */
    bool healthy[SIM_NODES_MAX]; /* the majority that must make progress */
    char waits_for[160];          /* what sim_agrees found missing */
    bool over;
    size_t blobs_before;
};

#define COVER(sim, what) ((sim)->result->coverage.what++)

/* ---- coverage.c: the cells of what a run has met ---- */

void cover_received(struct sim_node *node, const struct raft_message *message);
void cover_node(struct sim_node *node, const struct raft_status *status);
void cover_fault(struct sim *sim, unsigned fault);
void cover_order(struct sim *sim, const struct sim_order *order);

uint64_t sim_steps(const struct sim *sim);
void sim_on_phase(struct sim *sim, struct sim_event *event);

/* ---- policy.c ---- */

void policy_draw(struct sim *sim, bool operated);
bool policy_is_own(const struct sim *sim); /* the app's: it may keep servers out, and from voting */
void policy_end(struct sim *sim);
void policy_note(struct sim_node *node, uint64_t ticket, struct slice view); /* copies */
void policy_on_decided(struct sim *sim, struct sim_event *event);
void policy_view_free(void *view);

/* ---- agreement.c ---- */

bool sim_agrees(struct sim *sim, bool all); /* see there */
/* Nobody is to be offered leadership. */
bool agreement_preferred(struct sim *sim, const struct sim_node *leader, bool for_good);
void agreement_check_end(struct sim *sim);

#endif
