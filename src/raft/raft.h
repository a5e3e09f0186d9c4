/*
 * The Raft core: the protocol as a pure function of its events. No I/O, no clock, no randomness but the seed it is
 * started with, no threads, no globals. The same object runs in production and in the simulator.
 *
 * The contract:
 * - Every effect may be carried out at once, in the order given. Messages that may only leave once something is durable
 *   (votes, vote requests, append results) are held inside and released by PERSISTED: a host cannot get it wrong.
 * - Persists are numbered. PERSISTED n says that every write up to n is durable. A truncation clamps what earlier
 *   numbers stand for. The leader sends beside its own write (Ongaro §10.2.1) and counts itself only as far as durable.
 * - An event is borrowed for the call, except that payload references of entries are taken where they are kept.
 *   Effects point into the core's arena and are valid until the next raft_step on it.
 * - Not durable, rebuilt at start: role, leader, commit, progress. Durable: term, vote, log.
 * - Snapshots are the owner's files: the core says what is to be read, written, installed and forgotten, and never
 *   holds more of one than a chunk. What the owner has to do, effect by effect, is in this folder's README.md.
 */
#ifndef MOONCLAVE_RAFT_RAFT_H
#define MOONCLAVE_RAFT_RAFT_H

#include "base/error.h"
#include "raft/configuration.h"
#include "raft/types.h"

struct raft; /* one server's core */

struct raft_settings {
    uint64_t election_timeout_us; /* least; drawn afresh between this and twice this */
    uint64_t heartbeat_us;
    uint64_t disk_retry_us;
    size_t append_bytes_max;
    size_t append_window;         /* messages in flight per follower while replicating; one while probing */
    size_t uncommitted_bytes_max;
    size_t tail_bytes_max;
    bool leases;                  /* reads may be answered by the leader's lease. All servers must agree on it: a voter
                                     keeps its word to a leader across a restart only where it is set */
    uint32_t clock_drift_ppm;     /* how far any server's clock rate may be off, in millionths: shortens the lease */
    size_t snapshot_chunk_bytes;  /* of a snapshot in one message */
    size_t snapshot_window;       /* chunks in flight per follower */
    size_t trailing_entries;      /* kept in the log before a snapshot's end, for slow followers */
};

/* ---- events ---- */

enum raft_event_type {
    RAFT_EVENT_START,           /* first, once */
    RAFT_EVENT_TIMER,           /* the deadline given out has come; harmless when early */
    RAFT_EVENT_RECEIVE,
    RAFT_EVENT_PROPOSE,
    RAFT_EVENT_READ,
    RAFT_EVENT_PERSISTED,
    RAFT_EVENT_PERSIST_REFUSED, /* disk full, rolled back: this write and every later one outstanding was not done */
    RAFT_EVENT_LOG_READ,        /* answers READ_LOG */
    RAFT_EVENT_APPLIED,         /* the machine has applied up to index */
    RAFT_EVENT_UNREACHABLE,     /* messages to a peer may have been lost: the connection broke */
    RAFT_EVENT_CONFIGURE,       /* a change of membership, at the leader */
    RAFT_EVENT_TRANSFER,        /* hand leadership over, at the leader */
    RAFT_EVENT_SNAPSHOT_TAKEN,  /* the owner's snapshot at an applied index is complete, synced, and what the node would
                                   start from: the log before it may go. Ignored when it is not newer */
    RAFT_EVENT_CHUNK_READ,      /* answers CHUNK_READ */
    RAFT_EVENT_CHUNK_WRITTEN,   /* answers CHUNK_WRITE */
    RAFT_EVENT_SNAPSHOT_INSTALLED, /* answers SNAPSHOT_INSTALL: durable */
    RAFT_EVENT_SNAPSHOT_FAILED, /* answers CHUNK_WRITE or SNAPSHOT_INSTALL: not done (a full disk, bytes that do not
                                   make the snapshot); the leader may try again */
};

/* How a read is confirmed. Both are linearizable; a lease that does not hold at the moment falls back to a round. */
enum raft_read_mode {
    RAFT_READ_ROUND, /* by a quorum that answers a round begun after the read (Ongaro §6.4) */
    RAFT_READ_LEASE, /* at once, while the leader's lease holds (§6.4.1) */
};

/* Why a change of membership was refused. Nothing was appended. */
enum raft_refusal {
    RAFT_REFUSAL_NONE,
    RAFT_REFUSAL_NOT_LEADER,
    RAFT_REFUSAL_DISK_FULL,
    RAFT_REFUSAL_PENDING,       /* another change is not committed yet, or still needs two majorities */
    RAFT_REFUSAL_TOO_EARLY,     /* this term has not committed an entry yet (Ongaro 2015): in a moment */
    RAFT_REFUSAL_TRANSFER,      /* leadership is being handed over */
    RAFT_REFUSAL_STALE,         /* the configuration is not the expected one any more: look again */
    RAFT_REFUSAL_MALFORMED,     /* ids not valid, twice, or out of order; no address or incarnation; a leaving role */
    RAFT_REFUSAL_NO_VOTERS,     /* nobody would be left to vote */
    RAFT_REFUSAL_NO_CHANGE,
    RAFT_REFUSAL_INCARNATION,   /* a known id with another incarnation: it is to be removed, then added */
    RAFT_REFUSAL_NOT_CAUGHT_UP, /* a new voter is not a learner that keeps up (`forced` does without) */
};
const char *raft_refusal_name(enum raft_refusal refusal); /* "not_caught_up" */

/*
 * CONFIGURE. `wanted` is the whole new configuration: servers that are voters or learners, sorted by id; its `previous`
 * and `outgoing` are ignored. One voter more or less is one step (Ongaro §4.1); where several change at once the core
 * goes through a joint configuration (§4.3), and its leader, whoever that is by then, appends the final one by itself.
 *
 * After OK the change is entry `index` of `term`, and its fate is that entry's, as with a proposal: committed once that
 * index is applied with that term; certainly not done once it is applied with another; unknown until then. A joint
 * change is decided when its joint entry is committed, and complete when the next configuration is.
 */
struct raft_configure {
    raft_index expected;  /* in: the index of the configuration it replaces (compare-and-set) */
    const struct raft_configuration *wanted;
    bool forced;          /* in: new voters need not be caught up */
    uint64_t time_ms;     /* in: the stamp */
    raft_index index;     /* out */
    raft_term term;       /* out */
    enum raft_refusal refusal; /* out: why not, when the step does not return OK */
};

struct raft_event {
    enum raft_event_type type;
    uint64_t now_us; /* never less than in the event before */
    raft_index keep_from; /* SNAPSHOT_TAKEN: the log before it may go, also where trailing_entries would keep it (it
                             has become large); 0: no such wish */
    union {
        struct {
            const struct raft_durable *durable;
            uint64_t seed;
            uint64_t incarnation; /* of this server: a configuration with another one means a former server of its id.
                                     0: whatever they say is meant */
        } start;
        const struct raft_message *message;      /* RECEIVE; message->to is this server */
        struct {                                  /* PROPOSE: type, flags, time_ms, seed, session, sequence, payload are
                                                     given; term, index and chain are assigned; time_ms may be raised to
                                                     keep stamps from going back */
            struct raft_entry *entries;           /* all accepted or all refused; assigned fields written back */
            size_t entry_count;
        } propose;
        struct {                                  /* READ: answered by READ_READY or READ_FAILED with context, once */
            uint64_t context;
            enum raft_read_mode mode;
            bool ask;                             /* one who does not lead asks the leader for an index, and fails the
                                                     read after an election timeout; else it fails at once */
        } read;
        uint64_t persisted;                       /* PERSISTED, PERSIST_REFUSED: the number */
        struct {
            uint64_t token;
            const struct raft_entry *entries;     /* from `first` on, as many as fitted; 0: no longer there */
            size_t entry_count;
        } log_read;
        raft_index applied;
        struct raft_id peer;                      /* UNREACHABLE */
        struct raft_configure *configure;         /* CONFIGURE: written back */
        struct raft_id target;                    /* TRANSFER: a voter, or "" for the best one */
        const struct raft_snapshot_meta *snapshot; /* SNAPSHOT_TAKEN; raft_snapshot_prepare has begun it */
        struct {
            uint64_t token;                       /* as given; an answer that is no longer waited for is harmless */
            struct raft_payload bytes;            /* CHUNK_READ: from the offset asked for on; none: cannot be read */
            uint64_t offset;                      /* CHUNK_WRITTEN: all bytes before it are there, in order */
        } chunk;                                  /* the four answers */
    };
};

/* ---- effects ---- */

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };
const char *raft_role_name(enum raft_role role); /* "follower", "pre-candidate", "candidate", "leader" */

enum raft_effect_type {
    RAFT_EFFECT_PERSIST,       /* report PERSISTED or PERSIST_REFUSED with its number later; a failed write or sync
                                  is the end of the process, the core is not asked */
    RAFT_EFFECT_SEND,          /* best effort: may be lost */
    RAFT_EFFECT_APPLY,         /* entries first ... last are committed and durable here; gapless, once */
    RAFT_EFFECT_READ_LOG,      /* answer with LOG_READ: entries from first on, at most to last, at most max_bytes but
                                  at least one */
    RAFT_EFFECT_READ_READY,    /* the state at `index` or later answers the read linearizably */
    RAFT_EFFECT_READ_FAILED,   /* not the leader (any more): ask elsewhere */
    RAFT_EFFECT_ROLE,          /* role, term or known leader changed */
    RAFT_EFFECT_CONFIGURATION, /* the effective configuration changed (on append, on truncation) */
    RAFT_EFFECT_DEADLINE,      /* raise TIMER at this time; the last one given out counts. Given out only when it must
                                  be earlier than the last: a TIMER may find nothing to do and name the next one */
    RAFT_EFFECT_TRANSFER_FAILED, /* the target did not take over within an election timeout: this server leads on. That
                                  it did is seen by ROLE */
    RAFT_EFFECT_FORGOT,        /* a follower has lost entries that it acknowledged in this term: somebody must be told.
                                  Once for each in a term; no answer */
    RAFT_EFFECT_CHUNK_READ,    /* answer with CHUNK_READ: at least one byte, at most max_bytes */
    RAFT_EFFECT_CHUNK_WRITE,   /* answer with CHUNK_WRITTEN or SNAPSHOT_FAILED. Without bytes: keep what is there of
                                  this snapshot, drop what is there of any other, and say how much it is. Else the
                                  bytes continue what is there; those that do not are dropped, and the offset says so */
    RAFT_EFFECT_SNAPSHOT_INSTALL, /* its bytes are all written: sync them; make it, in one transaction, what this node
                                  starts from and its log the empty one behind it; answer with SNAPSHOT_INSTALLED or
                                  SNAPSHOT_FAILED. The machine is restored from it before any APPLY behind it */
    RAFT_EFFECT_COMPACT,       /* the log up to up_to, and snapshots before the one at snapshot_from, are needed no
                                  more: may be removed at leisure; no answer */
};

struct raft_effect {
    enum raft_effect_type type;
    union {
        struct raft_persist persist;   /* borrowed until reported done: the core keeps entries and references alive */
        struct raft_message message;   /* SEND: to message.to; append entries valid until the next step only */
        struct {
            raft_index first, last;
        } apply;
        struct {
            uint64_t token;
            raft_index first, last;
            size_t max_bytes;
        } read_log;
        struct {
            uint64_t context;
            raft_index index;
        } read;
        struct {
            enum raft_role role;
            raft_term term;
            struct raft_id leader; /* "" : unknown */
        } role;
        struct {
            raft_index index;
            const struct raft_configuration *configuration; /* the core's; valid until the next step */
        } configuration;
        uint64_t deadline_us;
        struct raft_id target; /* TRANSFER_FAILED */
        struct {
            struct raft_id peer;
            raft_index acknowledged; /* it had said that it holds so much */
            raft_index last;         /* and says that its log ends there */
        } forgot;
        struct {
            uint64_t token;
            struct raft_snapshot_meta snapshot; /* its configuration, and the bytes: valid until the next step */
            uint64_t offset;
            size_t max_bytes;          /* CHUNK_READ */
            struct raft_payload bytes; /* CHUNK_WRITE */
            bool last;                 /* CHUNK_WRITE: they end it */
        } chunk;                       /* CHUNK_READ, CHUNK_WRITE, SNAPSHOT_INSTALL (token and snapshot) */
        struct {
            raft_index up_to, snapshot_from;
        } compact;
    };
};

struct raft_effects {
    const struct raft_effect *effects;
    size_t count;
};

/* ---- calls ---- */

/* `id` must be valid. Heap-owned by the caller until raft_free. */
struct raft *raft_new(const char *id, const struct raft_settings *settings);
void raft_free(struct raft *raft); /* drops every payload reference */
/* Between two steps: limits and sizes count from the next one on. Timeouts, append_bytes_max, leases and their drift
 * stay as they began, and must be the same. */
void raft_adjust(struct raft *raft, const struct raft_settings *settings);

/*
 * One event in, one set of effects out. Returns
 *   OK
 *   NOT_LEADER, OVERLOADED (uncommitted bytes), DISK_FULL   PROPOSE: nothing was appended
 *   UNAVAILABLE   PROPOSE: leadership is being handed over, nothing was appended: to be tried again, here or elsewhere,
 *                 after ROLE or TRANSFER_FAILED
 *   NOT_LEADER, DISK_FULL, UNAVAILABLE (in a moment), CONFLICT (stale), BAD_REQUEST   CONFIGURE: nothing was appended;
 *                 configure->refusal says why
 *   NOT_LEADER, UNAVAILABLE (nobody is fit, or a transfer is under way), NOT_FOUND (no such voter)   TRANSFER
 *   CORRUPT       what was received contradicts what is committed or chained: the node must stop, loudly
 * With an error the effects may still hold some that must be carried out (a DEADLINE, say).
 */
enum error_code raft_step(struct raft *raft, const struct raft_event *event, struct raft_effects *effects,
                          struct error *error);

/* The entry at an index while it is in memory (the tail): null when it must be read from the disk. Everything not yet
 * applied that was received since the start is in memory. Borrowed until the next step. */
const struct raft_entry *raft_entry_at(const struct raft *raft, raft_index index);

/* What it thinks, for status pages, metrics and the simulator's invariants. Borrowed until the next step. */
enum raft_standing { /* a peer's part in the effective configuration */
    RAFT_STANDING_VOTER,
    RAFT_STANDING_LEARNER,
    RAFT_STANDING_LEAVING,  /* votes among the outgoing, and goes with the next configuration */
    RAFT_STANDING_DEPARTED, /* in it no more: is told so, for a while */
};
const char *raft_standing_name(enum raft_standing standing); /* "voter", "learner", "leaving", "departed" */
struct raft_peer_status {
    struct raft_id id;
    enum raft_standing standing;
    const char *progress;      /* "probe", "replicate", "snapshot" */
    raft_index match, next;
    size_t in_flight;
    uint64_t contact_us;       /* when it last answered; 0: never in this term */
    /* Catching up in rounds (Ongaro §4.2.1), in this leader's term. */
    uint64_t rounds;           /* done */
    uint64_t round_us;         /* how long the last one took */
    bool caught_up;            /* it took less than an election timeout, and the peer is heard of */
    bool stuck;                /* it lacks entries, and has taken none for several election timeouts */
    bool forgot;               /* it has lost entries that it acknowledged in this term: its word counts no more */
    raft_index snapshot_index; /* of the snapshot that is on its way there; 0: none */
    uint64_t snapshot_offset;  /* bytes of it that are there */
    uint64_t snapshot_size;
};
struct raft_status {
    struct raft_id id;
    enum raft_role role;
    raft_term term;
    struct raft_id vote;
    struct raft_id leader;
    raft_index snapshot_index; /* of the newest; 0: none */
    raft_term snapshot_term;
    raft_index installing_index; /* of the leader's snapshot that is being received or installed; 0: none */
    raft_index first_index;    /* of the log: at most snapshot index + 1 */
    raft_index last_index;
    raft_term last_term;
    raft_index commit_index;
    raft_index applied_index;  /* as reported by APPLIED */
    raft_index durable_index;
    uint64_t persist_sequence; /* last given out */
    size_t uncommitted_bytes;
    size_t tail_bytes;
    bool disk_full;
    raft_index configuration_index;
    const struct raft_configuration *configuration;
    bool configuration_pending; /* not committed here, or joint: no other change is possible */
    struct raft_id transfer_target; /* "" : no transfer is under way */
    uint64_t lease_until_us;    /* a leader's lease: 0 when there is none */
    const struct raft_peer_status *peers; /* of a leader: everyone else, in the configuration's order */
    size_t peer_count;
};
void raft_status(const struct raft *raft, struct raft_status *status);

/* Begins the meta of a snapshot to be taken at an applied index, not before the newest snapshot: fills in index,
 * term, chain (0 when only the disk knows it: the owner has it from the entry it applied), configuration_index
 * and, into *configuration, its bytes, which meta->configuration then points to. Format level, hashes and size are
 * the owner's. */
void raft_snapshot_prepare(const struct raft *raft, raft_index index, struct raft_snapshot_meta *meta,
                           struct buffer *configuration);

/* The log's term at an index: 0 when it is not in the log (before the snapshot, past the end). */
raft_term raft_log_term(const struct raft *raft, raft_index index);

#endif
