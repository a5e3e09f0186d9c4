/* What a folder says of its node and cluster: survey.h. */
#include "cli/survey.h"

#include "host/system.h"

#include <inttypes.h>
#include <stdio.h>

static bool note_end(void *context, raft_index index, const struct raft_entry *entry, const struct error *damage);
static bool note_configuration(void *context, raft_index index, const struct raft_entry *entry,
                               const struct error *damage);

enum error_code survey_open(const char *folder, struct survey *survey, struct error *error)
{
    *survey = (struct survey){0};
    enum error_code code = store_inspect_open(folder, &survey->inspection, error);
    if (code != ERROR_OK) return code;
    const struct store_overview *overview = survey->overview = store_inspect_overview(survey->inspection);
    const struct raft_snapshot_meta *snapshot = &overview->snapshot;
    raft_index base = overview->has_base ? overview->base.index : 0;
    if (overview->has_snapshot) {
        survey->last_index = snapshot->index;
        survey->last_term = snapshot->term;
        survey->last_chain = snapshot->chain;
        survey->configuration_index = snapshot->configuration_index;
        survey->has_configuration =
            snapshot->configuration.size > 0 &&
            raft_configuration_decode(snapshot->configuration, &survey->configuration, NULL) == ERROR_OK;
    }
    store_inspect_rows(survey->inspection, base + 1, INT64_MAX, true, note_end, survey, NULL);
    raft_index since = survey->configuration_index > base ? survey->configuration_index : base;
    store_inspect_rows(survey->inspection, since + 1, INT64_MAX, true, note_configuration, survey, NULL);
    return ERROR_OK;
}

void survey_close(struct survey *survey)
{
    raft_configuration_deinit(&survey->configuration);
    store_inspect_close(survey->inspection);
    *survey = (struct survey){0};
}

static bool note_end(void *context, raft_index index, const struct raft_entry *entry, const struct error *damage)
{
    struct survey *survey = context;
    (void)damage;
    if (entry == NULL) return true;
    if (index <= survey->last_index) return false;
    survey->last_index = index;
    survey->last_term = entry->term;
    survey->last_chain = entry->chain;
    survey->last_time_ms = entry->time_ms;
    return false;
}

static bool note_configuration(void *context, raft_index index, const struct raft_entry *entry,
                               const struct error *damage)
{
    struct survey *survey = context;
    (void)damage;
    if (entry == NULL || entry->type != RAFT_CONFIGURATION) return true;
    if (raft_configuration_decode(entry->payload.bytes, &survey->configuration, NULL) != ERROR_OK) return true;
    survey->has_configuration = true;
    survey->configuration_index = index;
    return false;
}

const struct raft_server *survey_self(const struct survey *survey)
{
    if (!survey->has_configuration || !survey->overview->has_identity) return NULL;
    struct raft_id id = raft_id_of(survey->overview->identity.id);
    const struct raft_server *self = raft_configuration_find(&survey->configuration, &id);
    return self != NULL && self->incarnation == survey->overview->identity.incarnation ? self : NULL;
}

size_t survey_voters(const struct survey *survey)
{
    size_t voters = 0;
    for (size_t i = 0; i < survey->configuration.server_count; i++)
        voters += survey->configuration.servers[i].role == RAFT_VOTER;
    return voters;
}

void survey_print(const struct survey *survey)
{
    const struct store_overview *overview = survey->overview;
    printf("%s: ", overview->folder);
    if (overview->has_identity && overview->identity.cluster != 0)
        printf("node %s, cluster %016" PRIx64, overview->identity.id, overview->identity.cluster);
    else if (overview->has_identity)
        printf("node %s, which was never a member", overview->identity.id);
    else
        printf("whose it is cannot be read");
    putchar('\n');
    if (overview->has_hard_state) {
        const char *vote = overview->hard_state.vote.text;
        printf("  term %" PRIu64 ", %s%s\n", overview->hard_state.term, vote[0] ? "voted for " : "no vote", vote);
    }
    if (overview->last_index > 0)
        printf("  log: entries %" PRIu64 " to %" PRIu64 ", the last of term %" PRIu64 "\n", overview->first_index,
               overview->last_index, overview->last_term);
    if (overview->has_snapshot && overview->snapshot.index > 0)
        printf("  snapshot: at %" PRIu64 " of term %" PRIu64 ", %" PRIu64 " bytes\n", overview->snapshot.index,
               overview->snapshot.term, overview->snapshot.size);
    if (!survey->has_configuration) return;
    printf("  members, as of entry %" PRIu64 ":", survey->configuration_index);
    for (size_t i = 0; i < survey->configuration.server_count; i++) {
        const struct raft_server *server = &survey->configuration.servers[i];
        char address[ADDRESS_MAX + 1] = "-";
        raft_server_address(server, "node", address);
        printf("%s %s %s%s", i > 0 ? "," : "", server->id.text, address,
               server->role == RAFT_VOTER ? "" : " (learner)");
    }
    putchar('\n');
}

/* ---- the snapshot's trees: host/restore.c reads them alike ---- */

enum stage { STAGE_SYSTEM, STAGE_SESSIONS, STAGE_STATE, STAGE_END };

struct trees {
    const struct raft_snapshot_meta *meta;
    enum stage stage;
    struct state_restore *tree;
    struct system system;
    struct system_restored restored;
    struct settings settings;
    struct state *state;
    enum stage failed; /* with error: in which tree */
    struct error error;
};

static void end_tree(struct trees *trees)
{
    struct system *system = &trees->system;
    enum error_code code = ERROR_OK;
    trees->failed = trees->stage;
    if (trees->stage == STAGE_SYSTEM) {
        code = state_restore_finish(trees->tree, trees->meta->system_hash, system->tree, &trees->error);
        if (code == ERROR_OK) code = system_restored(system, &trees->settings, &trees->restored, &trees->error);
    } else if (trees->stage == STAGE_SESSIONS) {
        code = state_restore_finish(trees->tree, trees->restored.sessions, system->sessions.tree, &trees->error);
        if (code == ERROR_OK) code = sessions_restored(&system->sessions, &trees->error);
    } else {
        code = state_restore_finish(trees->tree, trees->meta->state_hash, trees->state, &trees->error);
    }
    state_restore_free(trees->tree);
    trees->tree = NULL;
    trees->stage++;
    bool app = trees->stage != STAGE_STATE || trees->restored.app_error.size == 0;
    if (!app) trees->stage = STAGE_END;
    if (code == ERROR_OK && trees->stage != STAGE_END) trees->tree = state_restore_begin();
}

static bool take_piece(void *context, struct slice bytes)
{
    struct trees *trees = context;
    while (bytes.size > 0 && trees->error.code == ERROR_OK) {
        size_t used = 0;
        trees->failed = trees->stage;
        if (trees->stage == STAGE_END) {
            error_set(&trees->error, ERROR_CORRUPT, "there are bytes behind it");
            break;
        }
        state_restore_feed(trees->tree, bytes, &used, &trees->error);
        if (trees->error.code == ERROR_OK && state_restore_whole(trees->tree)) end_tree(trees);
        bytes = slice_of(bytes.data + used, bytes.size - used);
    }
    return trees->error.code == ERROR_OK;
}

enum error_code survey_check_trees(const struct survey *survey, struct error *error)
{
    static const char *const names[] = {"the system's tree", "the sessions", "the app's state", "its end"};
    struct trees trees = {.meta = &survey->overview->snapshot, .tree = state_restore_begin(), .state = state_new()};
    struct error why = {0};
    settings_init(&trees.settings);
    system_init(&trees.system);
    enum error_code code = store_inspect_snapshot(survey->inspection, take_piece, &trees, &why);
    if (code == ERROR_NOT_FOUND) {
        code = ERROR_OK;
    } else if (code != ERROR_OK) {
        error_set(error, code, "%s", why.text);
    } else if (trees.error.code != ERROR_OK) {
        code = error_set(error, trees.error.code, "%s: %.400s", names[trees.failed], trees.error.text);
    } else if (trees.stage != STAGE_END) {
        code = error_set(error, ERROR_CORRUPT, "it ends within %s", names[trees.stage]);
    }
    state_restore_free(trees.tree);
    state_free(trees.state);
    system_deinit(&trees.system);
    return code;
}
