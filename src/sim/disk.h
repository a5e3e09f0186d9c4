/*
 * The disk's own parts: the model (disk.c), the real store that can stand beside it (disk_real.c), and what rots on
 * either (disk_rot.c, disk_wal.c). The rest of the simulator sees internal.h only.
 *
 * With the real store the model says what must be there. Each write goes to the store first; what the store says is
 * done is done in the model. After a death the next start opens the store anew and compares.
 */
#ifndef MOONCLAVE_SIM_DISK_H
#define MOONCLAVE_SIM_DISK_H

#include "sim/internal.h"
#include "store/snapshot.h"
#include "store/store.h"
#include "store/vfs_lossy.h"

struct disk_report {
    enum sim_disk_op_kind kind;
    enum error_code code;
    uint64_t number; /* sequence, or token */
    struct sim_log entries;
    enum host_snapshot_kind job; /* of snapshots' files, or of what they change of the log */
    uint64_t offset;
    struct raft_payload bytes; /* owned */
};

/* ---- disk.c ---- */

void disk_carry_out(struct sim_node *node, const struct sim_disk_op *op); /* a write is durable, in the model */
void disk_log_push(struct sim_log *log, const struct raft_entry *entry);  /* takes a reference */
void disk_log_cut(struct sim_log *log, size_t count);
void disk_note_switch(struct sim_node *node, enum sim_disk_op_kind kind, struct host_snapshot_job *job); /* takes it */
/* The node learns of it a little later; reports of one kind keep their order, which *last_us remembers. */
void disk_tell(struct sim_node *node, struct disk_report *told, enum sim_stream stream, uint64_t *last_us);
/* Its data is lost for good: it stays down, as an operator leaves a node whose store refuses to open. */
void disk_wreck(struct sim_node *node);

/* ---- disk_snapshot.c ---- */

const char *snapshot_job_name(enum host_snapshot_kind kind);
struct host_snapshot_job *snapshot_job_copy(const struct host_snapshot_job *job);
void snapshot_job_free(struct host_snapshot_job *job);
void snapshot_files_next(struct sim_node *node, struct host_snapshot_job *job); /* of a COMPACT; takes it */
void snapshots_begin(struct sim_node *node); /* a lifetime: what is there of files */
void snapshots_crash(struct sim_node *node);
void snapshots_deinit(struct sim_snapshots *snapshots);
bool snapshots_rot(struct sim_node *node);
struct sim_file *snapshot_file(struct sim_snapshots *snapshots, enum sim_file_use use); /* the first; null: none */
struct sim_file *snapshot_file_at(struct sim_snapshots *snapshots, raft_index index);   /* complete; null: none */

/* ---- disk_switch.c ---- */

/* May it be carried out? Else that is a violation. */
bool snapshot_switch_sound(struct sim_node *node, const struct sim_disk_op *op);
void snapshot_switch(struct sim_node *node, const struct sim_disk_op *op); /* durable, in the model */

/* ---- disk_wal.c: a WAL's bytes, read by nobody's code but our own ---- */

struct sim_wal {
    uint32_t page_size, frames; /* frames: committed ones */
    uint8_t salt[8];
};

/* The committed frames of a WAL's bytes; false: no good header. */
bool wal_read(struct slice bytes, struct sim_wal *wal);
uint64_t wal_frame_at(const struct sim_wal *wal, uint32_t number); /* from 1 */
/*
 * `good` are the bytes as they were written, `bad` the same with damage from `from` on. How many of the last
 * transactions may be gone without a word when the mark vouches for `vouched` frames: what src/store/README.md says
 * cannot be told, and no more. 0: none.
 */
unsigned wal_untold(struct slice good, struct slice bad, uint64_t from, uint32_t vouched);

/* ---- disk_real.c ---- */

/* What a node has durable, in a few words: the chain speaks for every entry. */
struct sim_print {
    struct raft_hard_state hard_state;
    uint64_t cluster;
    raft_index last;
    uint64_t chain;
    raft_index snapshot, base;
    uint64_t meta; /* hash of the snapshot's meta; 0: none */
};

#define SIM_PRINTS 64
#define SIM_SECTOR 512

enum sim_damage_kind { DAMAGE_NONE, DAMAGE_BIT, DAMAGE_BYTE, DAMAGE_ZEROS, DAMAGE_COPY, DAMAGE_TAIL };

struct sim_damage {
    enum sim_damage_kind kind;
    const char *file;
    uint64_t at;
    size_t size;
    uint8_t before[SIM_SECTOR], after[SIM_SECTOR];
    struct sim_wal wal; /* as it was then; of damage to the WAL */
};

struct sim_real {
    struct vfs_lossy *vfs;
    char name[40];      /* of the VFS */
    struct store *open; /* null: closed */
    bool failed;        /* it has said what ends a process; it does nothing any more */
    bool limited;       /* the disk has no room */
    bool armed;         /* a fault is to strike at a call, or has struck */
    bool hurt;          /* one before that has struck: the store may have yet to say so */
    enum vfs_lossy_fault fault;
    uint64_t strikes_at;
    struct sim_disk_op *doubt; /* one transaction, there or not: nobody can say. Owned */
    size_t doubt_count;
    struct sim_print prints[SIM_PRINTS]; /* after the last transactions said to be done, the newest last */
    size_t print_count;
    struct sim_damage damage;
    struct buffer tail; /* of a WAL that has lost it */
    uint32_t vouched; /* frames of the WAL that the mark vouched for, before the last open */
};

struct sim_real *real_new(uint64_t seed);
void real_free(struct sim_real *real);
/* Opens it and compares. false: the process does not come up, this time or (wrecked) never again. */
bool real_begin(struct sim_node *node, bool faults);
/* What START is told. */
const struct raft_durable *real_durable(const struct sim_node *node);
/* Carries out the batch. How many of its writes are done; for a read the report has the entries. */
size_t real_batch(struct sim_node *node, struct disk_report *told);
/* Before a call: room as there is, and the fault that is due. */
void real_prepare(struct sim_node *node, bool reading);
/* What is not OK needs a reason, and but for a full disk it is the end of the process. Returns the code. */
enum error_code real_failing(struct sim_node *node, enum error_code code, const struct error *error);
bool real_own_snapshot(struct sim_node *node); /* disk_real_snapshot.c, as the next */
/* One job on snapshots' files; *told gets bytes and offset. */
enum error_code real_file_job(struct sim_node *node, const struct host_snapshot_job *job, struct disk_report *told);
void real_said(struct sim_node *node); /* the model has followed: what is durable now has been said */
enum error_code real_tidy(struct sim_node *node);
bool real_dead(const struct sim_real *real); /* the machine has died in the middle of a call */
/* The first `keep` of the outstanding operations are still done, then the process or the machine dies. */
void real_crash(struct sim_node *node, size_t keep);
/* The faults of the disk are over. */
void real_heal(struct sim_node *node);

/* ---- disk_rot.c ---- */

/* Whether the damage explains that `found` is there, without a word from the store. */
bool rot_untold(const struct sim_node *node, const struct sim_print *found);
/* The frames that the mark (store/mark.h) vouches for now; 0: none of this filling of the WAL. */
uint32_t rot_vouched(const struct sim_real *real);
bool print_equal(const struct sim_print *a, const struct sim_print *b);

#endif
