/* What is in a backup, for people and as JSON: archive.h. */
#include "cli/archive.h"

#include "base/mp.h"
#include "cli/progress.h"
#include "http/json.h"
#include "script/bundle.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static void print_lines(const struct archive *archive, const char *path);
static void print_app(const struct archive *archive);
static void print_settings(const struct archive *archive);
static void write_value(const struct archive *archive, struct buffer *out);
static const char *time_text(uint64_t time_ms, char *out, size_t size);
static unsigned count_files(struct slice bundle);

void archive_print(const struct archive *archive, const char *path, bool json)
{
    struct buffer value = {0}, text = {0};
    struct error error;
    if (!json) {
        print_lines(archive, path);
        return;
    }
    write_value(archive, &value);
    if (json_from_value(buffer_slice(&value), &text, &error) == ERROR_OK)
        printf("%.*s\n", (int)text.size, (const char *)text.data);
    buffer_deinit(&value);
    buffer_deinit(&text);
}

static void print_lines(const struct archive *archive, const char *path)
{
    const struct backup_head *head = &archive->reader.head;
    char time[32], bytes[16];
    printf("%s: a whole backup, every checksum and hash is right\n", path);
    printf("  index     %" PRIu64 ", term %" PRIu64 ", %s\n", head->meta.index, head->meta.term,
           time_text(head->time_ms, time, sizeof time));
    printf("  cluster   %016" PRIx64 ", format level %u\n", head->cluster, (unsigned)head->meta.format_level);
    print_app(archive);
    printf("  state     %" PRIu64 " items, hash %016" PRIx64 "\n", archive->items, head->meta.state_hash);
    printf("  data      %s\n", progress_bytes(head->meta.size, bytes));
    printf("  sessions  %zu open, %zu idempotency keys\n", archive->system.sessions.count,
           archive->system.sessions.ring_count);
    print_settings(archive);
    printf("  members   ");
    for (size_t i = 0; i < archive->members.server_count; i++) {
        const struct raft_server *server = &archive->members.servers[i];
        const struct raft_address *address = server->address_count > 0 ? &server->addresses[0] : NULL;
        printf("%s%s %s:%u%s", i > 0 ? ", " : "", server->id.text, address ? address->host : "?",
               address ? address->port : 0u, server->role == RAFT_LEARNER ? " (learner)" : "");
    }
    printf("\n");
}

static void print_app(const struct archive *archive)
{
    struct slice bundle = system_bundle(&archive->system);
    unsigned files = count_files(bundle);
    printf("  app       %016" PRIx64 ", %u file%s", archive->system.app_hash, files, files == 1 ? "" : "s");
    if (archive->restored.app_error.size > 0) {
        printf(", which does not load: %.*s", (int)archive->restored.app_error.size,
               (const char *)archive->restored.app_error.data);
    }
    printf("\n");
}

/* Those that are not the table's own. */
static void print_settings(const struct archive *archive)
{
    unsigned count, shown = 0;
    const struct setting_row *rows = settings_rows(&count);
    printf("  settings  ");
    for (unsigned i = 0; i < count; i++) {
        uint64_t value = settings_get(&archive->restored.settings, &rows[i]);
        if (rows[i].scope != SETTING_REPLICATED || value == rows[i].initial) continue;
        printf("%s%s=%" PRIu64, shown++ > 0 ? ", " : "", rows[i].name, value);
    }
    printf("%s\n", shown == 0 ? "the defaults" : "");
}

/* ---- as JSON ---- */

static void write_hex(struct buffer *out, const char *key, uint64_t value)
{
    char text[20];
    snprintf(text, sizeof text, "%016" PRIx64, value);
    mp_write_text(out, key);
    mp_write_text(out, text);
}

static void write_number(struct buffer *out, const char *key, uint64_t value)
{
    mp_write_text(out, key);
    mp_write_u64(out, value);
}

static void write_members(const struct archive *archive, struct buffer *out)
{
    mp_write_text(out, "members");
    mp_write_array(out, (uint32_t)archive->members.server_count);
    for (size_t i = 0; i < archive->members.server_count; i++) {
        const struct raft_server *server = &archive->members.servers[i];
        char address[ADDRESS_MAX + 8] = "";
        if (server->address_count > 0)
            snprintf(address, sizeof address, "%s:%u", server->addresses[0].host,
                     (unsigned)server->addresses[0].port);
        mp_write_map(out, 3);
        mp_write_text(out, "address");
        mp_write_text(out, address);
        mp_write_text(out, "id");
        mp_write_text(out, server->id.text);
        mp_write_text(out, "role");
        mp_write_text(out, server->role == RAFT_LEARNER ? "learner" : "voter");
    }
}

static void write_settings(const struct archive *archive, struct buffer *out)
{
    unsigned count, replicated = 0;
    const struct setting_row *rows = settings_rows(&count);
    for (unsigned i = 0; i < count; i++) replicated += rows[i].scope == SETTING_REPLICATED;
    mp_write_text(out, "settings");
    mp_write_map(out, replicated);
    for (unsigned i = 0; i < count; i++) {
        if (rows[i].scope == SETTING_REPLICATED)
            write_number(out, rows[i].name, settings_get(&archive->restored.settings, &rows[i]));
    }
}

static void write_value(const struct archive *archive, struct buffer *out)
{
    const struct backup_head *head = &archive->reader.head;
    mp_write_map(out, 14);
    write_hex(out, "app", archive->system.app_hash);
    write_number(out, "bytes", head->meta.size);
    write_hex(out, "checksum", head->checksum);
    write_hex(out, "cluster", head->cluster);
    write_number(out, "format_level", head->meta.format_level);
    write_number(out, "index", head->meta.index);
    write_number(out, "items", archive->items);
    write_number(out, "keys", archive->system.sessions.ring_count);
    write_members(archive, out);
    write_number(out, "sessions", archive->system.sessions.count);
    write_settings(archive, out);
    write_hex(out, "state_hash", head->meta.state_hash);
    write_number(out, "term", head->meta.term);
    write_number(out, "time_ms", head->time_ms);
}

/* ---- small things ---- */

static const char *time_text(uint64_t time_ms, char *out, size_t size)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    if (gmtime_r(&seconds, &parts) == NULL || strftime(out, size, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0)
        snprintf(out, size, "%" PRIu64 " ms", time_ms);
    return out;
}

static unsigned count_files(struct slice bundle)
{
    struct slice path, contents;
    unsigned count = 0;
    while (bundle_each(bundle, count, &path, &contents)) count++;
    return count;
}
