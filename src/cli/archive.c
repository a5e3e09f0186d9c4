/* A backup looked at without a cluster: archive.h. What its data is: host/restore.c. */
#include "cli/archive.h"

#include "cli/cli.h"
#include "cli/progress.h"
#include "raft/snapshot_meta.h"
#include "script/bundle.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define READ_BYTES 262144

static enum error_code take_head(struct archive *archive, struct error *error);
static enum error_code take_data(struct archive *archive, struct slice data, struct error *error);
static enum error_code end_part(struct archive *archive, struct error *error);
static enum error_code end_system(struct archive *archive, struct error *error);
static enum error_code end_sessions(struct archive *archive, struct error *error);
static enum error_code end_state(struct archive *archive, struct error *error);
static uint64_t count_items(const struct state_table *table);

void archive_init(struct archive *archive)
{
    memset(archive, 0, sizeof *archive);
    backup_reader_init(&archive->reader);
    system_init(&archive->system);
    archive->state = state_new();
    archive->tree = state_restore_begin();
}

void archive_deinit(struct archive *archive)
{
    backup_reader_deinit(&archive->reader);
    state_restore_free(archive->tree);
    system_deinit(&archive->system);
    state_free(archive->state);
    raft_configuration_deinit(&archive->members);
}

/* ---- bytes in ---- */

enum error_code archive_feed(struct archive *archive, struct slice bytes, struct error *error)
{
    enum error_code code = ERROR_OK;
    while (code == ERROR_OK && bytes.size > 0) {
        struct slice data;
        size_t used;
        enum backup_stage before = archive->reader.stage;
        code = backup_reader_feed(&archive->reader, bytes, &used, &data, error);
        if (code == ERROR_OK && before == BACKUP_META && archive->reader.stage != BACKUP_META)
            code = take_head(archive, error);
        if (code == ERROR_OK && data.size > 0) code = take_data(archive, data, error);
        bytes = slice_of(bytes.data + used, bytes.size - used);
    }
    return code;
}

static enum error_code take_head(struct archive *archive, struct error *error)
{
    struct error why;
    enum error_code code =
        raft_configuration_decode(archive->reader.head.meta.configuration, &archive->members, &why);
    if (code == ERROR_OK) return code;
    return error_set(error, code, "its members are not readable: %.400s", why.text);
}

static enum error_code take_data(struct archive *archive, struct slice data, struct error *error)
{
    uint64_t at = archive->reader.offset - data.size;
    enum error_code code = ERROR_OK;
    while (code == ERROR_OK && data.size > 0) {
        struct error why;
        size_t used = 0;
        if (archive->part == ARCHIVE_ALL)
            return error_set(error, ERROR_CORRUPT, "there are bytes behind its data's end, at %" PRIu64, at);
        code = state_restore_feed(archive->tree, data, &used, &why);
        if (code != ERROR_OK) {
            return error_set(error, code,
                             "its %s are not readable, near byte %" PRIu64 " of the data: %.300s",
                             archive->part == ARCHIVE_SYSTEM     ? "app and settings"
                             : archive->part == ARCHIVE_SESSIONS ? "sessions"
                                                                 : "items",
                             at, why.text);
        }
        at += used;
        data = slice_of(data.data + used, data.size - used);
        if (state_restore_whole(archive->tree)) code = end_part(archive, error);
    }
    return code;
}

static enum error_code end_part(struct archive *archive, struct error *error)
{
    enum error_code code = archive->part == ARCHIVE_SYSTEM     ? end_system(archive, error)
                           : archive->part == ARCHIVE_SESSIONS ? end_sessions(archive, error)
                                                               : end_state(archive, error);
    state_restore_free(archive->tree);
    archive->tree = state_restore_begin();
    archive->part++;
    return code;
}

static enum error_code end_system(struct archive *archive, struct error *error)
{
    struct settings own;
    struct error why;
    settings_init(&own);
    enum error_code code = state_restore_finish(archive->tree, archive->reader.head.meta.system_hash,
                                                archive->system.tree, &why);
    if (code == ERROR_OK) code = system_restored(&archive->system, &own, &archive->restored, &why);
    if (code == ERROR_OK && archive->system.app_hash != archive->reader.head.app_hash)
        code = error_set(&why, ERROR_CORRUPT, "the app is not the one that the head names");
    if (code == ERROR_OK && archive->restored.app_error.size == 0)
        code = bundle_verify(system_bundle(&archive->system), &why);
    if (code == ERROR_OK) return code;
    return error_set(error, code == ERROR_VERSION ? code : ERROR_CORRUPT, "its app and settings: %.400s",
                     why.text);
}

static enum error_code end_sessions(struct archive *archive, struct error *error)
{
    struct error why;
    struct sessions *sessions = &archive->system.sessions;
    enum error_code code =
        state_restore_finish(archive->tree, archive->restored.sessions, sessions->tree, &why);
    if (code == ERROR_OK) code = sessions_restored(sessions, &why);
    if (code == ERROR_OK) return code;
    return error_set(error, code, "its sessions: %.400s", why.text);
}

static enum error_code end_state(struct archive *archive, struct error *error)
{
    struct error why;
    enum error_code code =
        state_restore_finish(archive->tree, archive->reader.head.meta.state_hash, archive->state, &why);
    if (code != ERROR_OK) return error_set(error, code, "its items: %.400s", why.text);
    archive->items = count_items(state_root(archive->state));
    return ERROR_OK;
}

/* Of an app that does not load there is no state. */
enum error_code archive_end(struct archive *archive, struct error *error)
{
    enum error_code code = backup_reader_end(&archive->reader, error);
    bool no_app = archive->part == ARCHIVE_STATE && archive->restored.app_error.size > 0;
    if (code == ERROR_OK && archive->part != ARCHIVE_ALL && !no_app)
        code = error_set(error, ERROR_CORRUPT, "its data ends in the middle");
    archive->whole = code == ERROR_OK;
    return code;
}

static uint64_t count_items(const struct state_table *table)
{
    struct state_cursor cursor;
    struct state_key key;
    struct state_value value;
    uint64_t count = 0;
    state_scan(&cursor, table, &(struct state_range){0});
    while (state_scan_next(&cursor, &key, &value))
        count += value.type == STATE_TABLE ? count_items(value.table) : 1;
    return count;
}

/* ---- a file ---- */

enum error_code archive_read_file(struct archive *archive, const char *path, struct error *error)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "rb");
    if (file == NULL) {
        return error_set(error, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, "%.300s: %s", path,
                         strerror(errno));
    }
    struct stat about;
    struct progress progress;
    struct buffer bytes = {0};
    struct error why;
    bool sized = fstat(fileno(file), &about) == 0 && S_ISREG(about.st_mode);
    progress_begin(&progress, "checking", sized ? (uint64_t)about.st_size : 0);
    buffer_reserve(&bytes, READ_BYTES);
    enum error_code code = ERROR_OK;
    size_t size;
    while (code == ERROR_OK && (size = fread(bytes.data, 1, READ_BYTES, file)) > 0) {
        code = archive_feed(archive, slice_of(bytes.data, size), &why);
        progress_at(&progress, archive->reader.position);
    }
    if (code == ERROR_OK && ferror(file))
        code = error_set(&why, ERROR_IO, "it cannot be read: %s", strerror(errno));
    if (code == ERROR_OK) code = archive_end(archive, &why);
    progress_end(&progress);
    if (!standard) fclose(file);
    buffer_deinit(&bytes);
    if (code == ERROR_OK) return code;
    return error_set(error, code, "%.100s: %s%.380s", standard ? "stdin" : path,
                     code == ERROR_CORRUPT ? "damaged: " : "", why.text);
}

int archive_verify(const char *path, bool json)
{
    struct archive archive;
    struct error error;
    archive_init(&archive);
    enum error_code code = archive_read_file(&archive, path, &error);
    if (code == ERROR_OK) archive_print(&archive, path, json);
    archive_deinit(&archive);
    return code == ERROR_OK ? EXIT_DONE : cli_fail_error(&error);
}
