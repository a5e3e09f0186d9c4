/*
 * What the files of the core share: the server's state and the functions they call each other by.
 * Private to raft/.
 *
 * A step runs one handler (the tables in raft.c and receive.c), which changes state and may emit
 * answers; then finish (raft.c) compares the state with what has been given out and emits the rest:
 * PERSIST, messages, APPLY, DEADLINE. So handlers say what is, not what follows from it, and no
 * order between them matters.
 */
#ifndef MOONCLAVE_RAFT_CORE_H
#define MOONCLAVE_RAFT_CORE_H

#include "base/random.h"
#include "raft/gate.h"
#include "raft/log.h"
#include "raft/peers.h"
#include "raft/raft.h"

/* A read that waits: our owner's, by its context, or another server's, by its request's identity. */
struct raft_context {
    uint64_t number;
    struct raft_id from; /* "" : our owner's */
};
struct raft_contexts {
    struct raft_context *contexts;
    size_t count, capacity;
};

/* Reads at a leader. They are confirmed by rounds: a read joins the next round to start, and is
 * answered once a quorum has echoed that round or a later one. Where leases are on, every heartbeat
 * is a round too, so that it is known when the word was sent that a follower answers. */
#define RAFT_ROUNDS_KEPT 32
struct raft_reads {
    uint64_t round; /* newest started: ascends for the life of the process, never used twice */
    uint64_t began_us[RAFT_ROUNDS_KEPT]; /* of the newest rounds, by number modulo */
    uint64_t asked_round;
    raft_index index; /* what the reads of that round may be answered from */
    struct raft_contexts asked;   /* in that round */
    struct raft_contexts waiting; /* for the next one */
};

/* Reads at a server that does not lead: what it asks of its leader. One request at a time. */
struct raft_asking {
    uint64_t identity; /* of the newest request; 0: none is out */
    uint64_t since_us; /* the oldest read has waited since then */
    uint64_t again_us; /* asks again then, as another request */
    struct raft_contexts asked;   /* by that request */
    struct raft_contexts waiting; /* for the next one */
    bool asked_for_round, waiting_for_round; /* some of them do not trust a lease */
};

/* A transfer of leadership under way. */
struct raft_handover {
    struct raft_id target; /* "" : none */
    uint64_t tell_again_us; /* it is sent TIMEOUT_NOW from then on, when it has everything */
    uint64_t deadline_us;
};

/* A follower's dealings with its leader: of the present term only. */
struct raft_following {
    raft_index verified;   /* the leader's log and ours agree up to here */
    bool ack_due;          /* some of it is not durable yet: the answer waits for PERSISTED */
    raft_index prev_index; /* of the newest append: echoed */
    uint64_t round;        /* the newest heard: echoed */
};

#define RAFT_HANDOVER_TIMEOUTS 4 /* election timeouts to lead before leadership is offered */

/* The snapshots that can be read: the newest, and older ones that are on their way to someone
 * (snapshot.c). */
struct raft_snapshots {
    struct raft_snapshot_meta *metas; /* ascending, the newest last; their configurations are owned */
    size_t count, capacity;
    uint64_t token;   /* last given out with CHUNK_READ, CHUNK_WRITE, SNAPSHOT_INSTALL */
    uint64_t attempt; /* last given out to a transfer */
    raft_index keep_from; /* the owner's wish; 0: none */
};

/* A snapshot that is coming in from the leader of a term (install.c). */
struct raft_incoming {
    struct raft_snapshot_meta meta; /* its configuration is owned; index 0: none comes */
    struct raft_id from;
    raft_term leader_term;
    uint64_t attempt;     /* the newest of the leader's */
    uint64_t offer_token; /* of the CHUNK_WRITE that asked how much is there */
    bool asking;          /* ... and has not been answered */
    uint64_t given;       /* bytes given out to be written */
    bool complete;        /* all are written: the log stands still from here on */
    uint64_t token;       /* of the SNAPSHOT_INSTALL given out; 0: not yet */
};

/* What the effects point into: valid until the next step. */
struct raft_arena {
    struct raft_effect *effects;
    size_t count, capacity;
    struct raft_entry *entries; /* from LOG_READ, on their way into an append; with references */
    size_t entry_count, entry_capacity;
    struct raft_entry chunk; /* a payload that a message or CHUNK_WRITE points to, with a reference */
};

/* What the owner was told last. */
struct raft_told {
    bool role_told;
    enum raft_role role;
    raft_term term;
    struct raft_id leader;
    uint64_t configuration_changes;
    raft_index applied;   /* APPLY given out up to here */
    uint64_t deadline_us; /* 0: none, or it has come */
    raft_index snapshot_from;
};

struct raft {
    struct raft_id id;
    uint64_t incarnation; /* 0: not told */
    struct raft_settings settings;
    struct random random;
    bool started;
    uint64_t now_us;

    /* durable, by way of the gate */
    struct raft_hard_state hard_state;
    struct raft_log log;
    struct raft_gate gate;

    /* volatile, on every server */
    enum raft_role role;   /* assigned in role.c only */
    struct raft_id leader; /* of this term; "" while unknown */
    raft_index commit_index;
    raft_index applied_index;
    struct raft_following following;
    struct raft_peers peers; /* everyone else in the effective configuration */
    struct raft_snapshots snapshots;
    struct raft_incoming incoming;
    bool own_vote;           /* (pre-)candidate: it counts, being durable where it must be */
    bool told_to_campaign;   /* candidate: by its leader, so that its requests are heeded at once */
    uint64_t silent_until_us; /* with leases: what it promised before its restart may hold until then */
    struct raft_asking asking;
    uint64_t heard_us; /* the leader's last word: meaningful while `leader` is another server */
    uint64_t waiting_since_us;    /* the election timeout runs from here */
    uint64_t election_timeout_us; /* as drawn */
    uint64_t ask_again_us;        /* (pre-)candidate: repeats its requests then */

    /* volatile, on a leader */
    raft_index term_start; /* index of this term's NOOP */
    uint64_t leader_since_us;
    uint64_t heartbeat_due_us;
    uint64_t quorum_check_us; /* not before then can contact with the quorum have been lost */
    uint64_t commit_push_us;  /* idle followers hear of a new commit then; 0: nothing to tell */
    raft_index settled_index; /* committed and durable here, as far as counted below */
    size_t uncommitted_bytes; /* in memory behind settled_index */
    struct raft_reads reads;
    struct raft_handover handover;
    bool lease_forgone;   /* somebody was told to campaign in this term */
    uint64_t handover_us; /* not before then is leadership offered to a voter of higher priority */
    uint64_t log_read_token; /* last given out */

    struct raft_arena arena;
    struct raft_told told;
};

/* ---- arena.c ---- */
void raft_arena_reset(struct raft_arena *arena);
void raft_arena_deinit(struct raft_arena *arena);
struct raft_effect *raft_emit(struct raft *raft,
                              enum raft_effect_type type); /* to be filled before the next one */
void raft_send(struct raft *raft, const struct raft_message *message);
struct raft_message raft_message_to(const struct raft *raft, enum raft_message_type type,
                                    const struct raft_id *to);
/* Copies of entries, with references, for this step's messages. Once in a step. */
const struct raft_entry *raft_arena_entries(struct raft_arena *arena,
                                            const struct raft_entry *entries, size_t count);
/* The same for a chunk's bytes. Once in a step. */
struct raft_payload raft_arena_chunk(struct raft_arena *arena, const struct raft_payload *bytes);

/* ---- role.c ---- */
/* `leader` null: unknown. The term is ours or higher. */
void raft_become_follower(struct raft *raft, raft_term term, const struct raft_id *leader);
void raft_become_pre_candidate(struct raft *raft);
void raft_become_candidate(struct raft *raft);
void raft_become_leader(struct raft *raft);

/* ---- election.c: the side that asks ---- */
bool raft_may_campaign(const struct raft *raft); /* a voter whose disk takes writes */
void raft_campaign(struct raft *raft);
void raft_campaign_at_once(struct raft *raft); /* told to by the leader: no pre-vote */
void raft_ask_for_votes(struct raft *raft); /* of those who have not granted one */
void raft_count_votes(struct raft *raft);
enum error_code raft_receive_vote(struct raft *raft, const struct raft_message *message,
                                  struct error *error);

/* ---- vote.c: the side that is asked ---- */
enum error_code raft_receive_request_vote(struct raft *raft, const struct raft_message *message,
                                          struct error *error);

/* ---- append.c: the follower ---- */
enum error_code raft_receive_append(struct raft *raft, const struct raft_message *message,
                                    struct error *error);
void raft_ack_durable(struct raft *raft); /* after PERSISTED */

/* ---- result.c, send.c: the leader ---- */
enum error_code raft_receive_append_result(struct raft *raft, const struct raft_message *message,
                                           struct error *error);
void raft_matched(struct raft *raft, struct raft_peer *peer, raft_index match); /* durable there */
void raft_replicate(struct raft *raft); /* sends what every peer may be sent */
enum error_code raft_log_was_read(struct raft *raft, const struct raft_event *event,
                                  struct error *error);
enum error_code raft_unreachable(struct raft *raft, const struct raft_event *event,
                                 struct error *error);
void raft_speak_to_all(struct raft *raft); /* a heartbeat to everyone at the end of this step */

/* ---- forgot.c: followers that lose what they acknowledged ---- */
void raft_notice_loss(struct raft *raft, struct raft_peer *peer,
                      const struct raft_append_result *result);

/* ---- snapshot.c: those of one's own ---- */
void raft_snapshots_load(struct raft *raft, const struct raft_snapshot_meta *meta); /* at START */
void raft_snapshots_deinit(struct raft_snapshots *snapshots);
enum error_code raft_snapshot_taken(struct raft *raft, const struct raft_event *event,
                                    struct error *error);
void raft_snapshots_add(struct raft *raft, const struct raft_snapshot_meta *meta); /* as the newest */
const struct raft_snapshot_meta *raft_snapshots_newest(const struct raft *raft); /* null: none */
/* One that is there: the newest, or one that is on its way. */
const struct raft_snapshot_meta *raft_snapshots_find(const struct raft *raft, raft_index index);
void raft_snapshots_sweep(struct raft *raft); /* forgets those that nobody needs; at a step's start */
void raft_compact(struct raft *raft);         /* emits COMPACT where something has become needless */
/* A copy whose configuration is owned, to be freed with memory_free. */
struct raft_snapshot_meta raft_snapshot_meta_copy(const struct raft_snapshot_meta *meta);

/* ---- transfer.c: the leader's side of a snapshot on its way ---- */
/* Begins where only a snapshot can help, and sends what may be sent. */
void raft_transfer(struct raft *raft, struct raft_peer *peer);
void raft_transfer_interrupted(struct raft *raft, struct raft_peer *peer);
void raft_transfers_end(struct raft *raft); /* leadership is over */
void raft_transfer_done(struct raft_peer *peer); /* it has what only the snapshot held */
bool raft_peer_gone(const struct raft *raft, const struct raft_peer *peer); /* long silent */
enum error_code raft_chunk_was_read(struct raft *raft, const struct raft_event *event,
                                    struct error *error);
enum error_code raft_receive_snapshot_result(struct raft *raft, const struct raft_message *message,
                                             struct error *error);

/* ---- install.c: the follower's ---- */
enum error_code raft_receive_install_snapshot(struct raft *raft, const struct raft_message *message,
                                              struct error *error);
enum error_code raft_chunk_was_written(struct raft *raft, const struct raft_event *event,
                                       struct error *error);
enum error_code raft_snapshot_was_installed(struct raft *raft, const struct raft_event *event,
                                            struct error *error);
enum error_code raft_snapshot_failed(struct raft *raft, const struct raft_event *event,
                                     struct error *error);
void raft_install(struct raft *raft);         /* emits SNAPSHOT_INSTALL once nothing stands before it */
bool raft_log_stands(const struct raft *raft); /* for a snapshot that is about to replace it */
void raft_incoming_deinit(struct raft_incoming *incoming);

/* ---- commit.c ---- */
void raft_advance_commit(struct raft *raft); /* a leader's, by counting */
void raft_settle(struct raft *raft);         /* moves settled_index up */

/* ---- membership.c ---- */
const struct raft_configuration *raft_effective(const struct raft *raft); /* decides every quorum */
enum error_code raft_configure(struct raft *raft, const struct raft_event *event,
                               struct error *error);
bool raft_configuration_pending(const struct raft *raft); /* not committed, or joint */
void raft_follow_membership(struct raft *raft); /* a leader's next step once it has committed one */

/* ---- catch_up.c: how far behind the peers are ---- */
void raft_catch_up_begin(struct raft *raft, struct raft_peer *peer); /* a round, where one is due */
void raft_catch_up_moved(struct raft *raft, struct raft_peer *peer); /* its match is higher now */
bool raft_caught_up(const struct raft *raft, const struct raft_peer *peer);
bool raft_stuck(const struct raft *raft, const struct raft_peer *peer);

/* ---- handover.c ---- */
enum error_code raft_hand_over(struct raft *raft, const struct raft_event *event,
                               struct error *error);
bool raft_handing_over(const struct raft *raft);
void raft_advance_handover(struct raft *raft); /* tells the target once it has everything */
void raft_handover_timer(struct raft *raft);   /* aborts; offers leadership to who is preferred */
/* A leader that goes: to the best of those that hold at least `match`, if there is one. */
void raft_abdicate(struct raft *raft, raft_index match);
uint64_t raft_handover_deadline(const struct raft *raft); /* 0: none */
enum error_code raft_receive_timeout_now(struct raft *raft, const struct raft_message *message,
                                         struct error *error);

/* ---- lease.c ---- */
void raft_lease_mark(struct raft *raft); /* a heartbeat leaves: a round of its own */
void raft_lease_answered(struct raft *raft, struct raft_peer *peer, uint64_t round);
uint64_t raft_lease_until(const struct raft *raft); /* 0: none */

/* ---- propose.c ---- */
enum error_code raft_propose(struct raft *raft, const struct raft_event *event,
                             struct error *error);
/* Appends one entry of this term at the leader; the assigned fields are written back. */
void raft_append_own(struct raft *raft, struct raft_entry *entry);

/* ---- reads.c ---- */
enum error_code raft_read(struct raft *raft, const struct raft_event *event, struct error *error);
void raft_advance_reads(struct raft *raft);
void raft_fail_reads(struct raft *raft);
void raft_reads_deinit(struct raft_reads *reads);
void raft_begin_round(struct raft *raft); /* the appends from now on carry a number not used before */
void raft_push_context(struct raft_contexts *contexts, uint64_t number, const struct raft_id *from);
void raft_read_ready(struct raft *raft, const struct raft_context *context, raft_index index);
void raft_read_failed(struct raft *raft, const struct raft_contexts *contexts);

/* ---- read_index.c: reads between servers ---- */
void raft_ask_for_index(struct raft *raft, uint64_t context, enum raft_read_mode mode);
void raft_fail_asking(struct raft *raft);
void raft_asking_timer(struct raft *raft);
uint64_t raft_asking_deadline(const struct raft *raft); /* 0: none */
void raft_asking_deinit(struct raft_asking *asking);
enum error_code raft_receive_read_index(struct raft *raft, const struct raft_message *message,
                                        struct error *error);
enum error_code raft_receive_read_index_result(struct raft *raft,
                                               const struct raft_message *message,
                                               struct error *error);

/* ---- timer.c ---- */
enum error_code raft_timer(struct raft *raft, const struct raft_event *event, struct error *error);
void raft_restart_election_timeout(struct raft *raft); /* from now, drawn afresh */
void raft_arm(struct raft *raft); /* emits DEADLINE where it has to be earlier */

/* ---- receive.c ---- */
enum error_code raft_receive(struct raft *raft, const struct raft_event *event,
                             struct error *error);

/* ---- small questions ---- */
static inline raft_index raft_least(raft_index a, raft_index b)
{
    return a < b ? a : b;
}
static inline raft_index raft_most(raft_index a, raft_index b)
{
    return a > b ? a : b;
}
static inline bool raft_is_self(const struct raft *raft, const struct raft_id *id)
{
    return raft_id_equal(&raft->id, id);
}

#endif
