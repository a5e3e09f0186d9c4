/* What the files of `moonclave recover` share. */
#ifndef MOONCLAVE_CLI_RECOVER_H
#define MOONCLAVE_CLI_RECOVER_H

#include "cli/survey.h"

/* recover_backup.c: copies the files of a stopped node's folder beside it, durably: FOLDER.before-recovery, or with a
 * number behind where that is taken. Snapshots are linked where they can be: they are never changed, only deleted.
 * The path, for people and to be freed with memory_free. IO, DISK_FULL: what was begun is removed again. */
enum error_code recover_backup(const char *folder, char **path, struct error *error);

/* recover_write.c: makes the node of a sound folder the only member of a new cluster that goes on from it. UNAVAILABLE:
 * it has changed since it was surveyed (which is closed). */
struct recover_plan {
    const char *folder; /* as resolved; borrowed */
    struct identity identity;
    uint64_t cluster; /* the new one */
    struct raft_configuration first, next;
    struct raft_entry entry; /* its payload is `bytes` */
    struct buffer bytes, first_bytes;
    raft_index last_index;
    uint64_t last_chain;
};
/* From a survey whose configuration names the node. To be freed. */
void recover_plan_init(struct recover_plan *plan, const struct survey *survey);
void recover_plan_deinit(struct recover_plan *plan);
enum error_code recover_write(const struct recover_plan *plan, struct error *error);

#endif
