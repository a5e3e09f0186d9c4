/*
 * What `moonclave recover` writes: one entry and three rows, in one transaction.
 *
 * The entry is a configuration that names this node alone, in a term above all it has seen; it ends the log, so whoever
 * leads commits everything before it. The rows are the term, and the cluster's name: it is the hash of the first
 * configuration (host/bootstrap.c), and gets a new one, which names this node and the cluster that was, with a random
 * number, so that two recoveries are never the same. What the lost servers say carries the old name: nothing of it
 * counts here ever again (host/members.c), however high their terms. The incarnation stays: former configurations in
 * the log mean this node by it, to those who will read that log.
 */
#include "cli/recover.h"

#include "base/hash.h"
#include "host/host.h"
#include "raft/entry.h"
#include "store/recover.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static void only_self(const struct survey *survey, struct raft_configuration *configuration);

void recover_plan_init(struct recover_plan *plan, const struct survey *survey)
{
    const struct store_overview *overview = survey->overview;
    const char *id = overview->identity.id;
    char text[17];
    uint64_t nonce = 0;
    *plan = (struct recover_plan){
        .folder = overview->folder,
        .identity = overview->identity,
        .last_index = survey->last_index,
        .last_chain = survey->last_chain,
    };
    only_self(survey, &plan->next);
    only_self(survey, &plan->first);
    plan->next.previous = survey->configuration_index;
    snprintf(text, sizeof text, "%016" PRIx64, overview->identity.cluster);
    raft_configuration_set_label(&plan->first, id, HOST_RECOVERED_FROM, text, NULL);
    if (getrandom(&nonce, sizeof nonce, 0) != (ssize_t)sizeof nonce) nonce = survey->last_chain;
    snprintf(text, sizeof text, "%016" PRIx64, nonce);
    raft_configuration_set_label(&plan->first, id, HOST_RECOVERY, text, NULL);

    raft_configuration_encode(&plan->first, &plan->first_bytes);
    raft_configuration_encode(&plan->next, &plan->bytes);
    plan->cluster = host_cluster_of(buffer_slice(&plan->first_bytes));
    raft_term seen = overview->hard_state.term > survey->last_term ? overview->hard_state.term : survey->last_term;
    plan->entry = (struct raft_entry){
        .type = RAFT_CONFIGURATION,
        .term = seen + 1,
        .index = survey->last_index + 1,
        .time_ms = survey->last_time_ms,
        .payload = {NULL, buffer_slice(&plan->bytes)},
    };
    plan->entry.chain = raft_entry_chain(&plan->entry, survey->last_chain);
}

void recover_plan_deinit(struct recover_plan *plan)
{
    raft_configuration_deinit(&plan->first);
    raft_configuration_deinit(&plan->next);
    buffer_deinit(&plan->bytes);
    buffer_deinit(&plan->first_bytes);
}

/* As it is known, and as a voter; what the program had noted about it is of the past. */
static void only_self(const struct survey *survey, struct raft_configuration *configuration)
{
    const char *id = survey->overview->identity.id;
    raft_configuration_init(configuration);
    struct raft_server *self = raft_configuration_insert(configuration, survey_self(survey));
    self->role = RAFT_VOTER;
    for (size_t i = self->label_count; i-- > 0;) {
        char name[128];
        snprintf(name, sizeof name, "%s", self->labels[i].name);
        if (strncmp(name, HOST_OWN_LABELS, strlen(HOST_OWN_LABELS)) == 0)
            raft_configuration_set_label(configuration, id, name, NULL, NULL);
    }
}

enum error_code recover_write(const struct recover_plan *plan, struct error *error)
{
    const struct store_options options = {.folder = plan->folder, .id = plan->identity.id,
                                          .incarnation = plan->identity.incarnation};
    const struct store_recovery recovery = {
        .cluster = plan->cluster,
        .first_configuration = buffer_slice(&plan->first_bytes),
        .hard_state = {.term = plan->entry.term},
        .entry = &plan->entry,
    };
    struct store *store;
    enum error_code code = store_open(&options, &store, error);
    if (code != ERROR_OK) return code;
    const struct raft_durable *durable = store_durable(store);
    if (durable->last_index != plan->last_index || durable->last_chain != plan->last_chain ||
        store_identity(store)->cluster != plan->identity.cluster) {
        code = error_set(error, ERROR_UNAVAILABLE, "%s: it has changed meanwhile: look again", plan->folder);
    } else {
        code = store_recover(store, &recovery, error);
    }
    store_close(store);
    return code;
}
