/* Entries for people: log_view.h. What an entry of a type holds is in raft/types.h; a payload that is not what its type
 * promises is shown as the value it is. */
#include "cli/log_view.h"

#include "base/mp.h"
#include "cli/show.h"
#include "raft/configuration.h"
#include "raft/entry.h"
#include "script/bundle.h"

#include <inttypes.h>
#include <stdio.h>

#define TEXT_MAX  60 /* of a string, unless all of it is wanted */
#define ITEMS_MAX 12 /* of a list or table */

static bool split_command(const struct raft_entry *entry, struct slice *name, struct slice *arguments);
static void text_of_configuration(const struct raft_entry *entry, bool all, struct buffer *out);
static void text_of_map(struct slice map, bool all, struct buffer *out);
static void text_of_bundle(struct slice value, struct buffer *out);
static void write_payload(const struct raft_entry *entry, bool all, struct buffer *out);
static void write_map_of(struct slice map, bool all, struct buffer *out);
static void write_bundle(struct slice value, bool all, struct buffer *out);
static void show(struct slice value, bool all, struct buffer *out);
static bool is_map(struct slice value);
static bool is_value(struct slice value);

/* ---- text ---- */

void log_view_text(const struct raft_entry *entry, bool all, struct buffer *out)
{
    struct slice payload = entry->payload.bytes, name, arguments;
    if (entry->type == RAFT_COMMAND && split_command(entry, &name, &arguments)) {
        buffer_append_format(out, "%.*s ", (int)name.size, (const char *)name.data);
        show(arguments, all, out);
    } else if (entry->type == RAFT_CONFIGURATION) {
        text_of_configuration(entry, all, out);
    } else if (payload.size > 0 && is_map(payload)) {
        text_of_map(payload, all, out);
    } else if (payload.size > 0) {
        show(payload, all, out);
    }
    if (entry->flags & RAFT_ENTRY_KEYED)
        buffer_append_format(out, "  (key %016" PRIx64 "%016" PRIx64 ")", entry->session, entry->sequence);
    else if (entry->sequence != 0)
        buffer_append_format(out, "  (session %" PRIu64 " #%" PRIu64 ")", entry->session, entry->sequence);
    else if (entry->session != 0)
        buffer_append_format(out, "  (session %" PRIu64 ")", entry->session);
}

static bool split_command(const struct raft_entry *entry, struct slice *name, struct slice *arguments)
{
    struct mp_reader reader = mp_reader_of(entry->payload.bytes);
    uint32_t count;
    return mp_read_array(&reader, &count) && count == 2 && mp_read_string(&reader, name) && utf8_valid(*name) &&
           mp_skip(&reader, arguments) && mp_at_end(&reader);
}

/* "n1 voter 127.0.0.1:5001, n2 learner 127.0.0.1:5002; also a majority of n1 n3 is needed" */
static void text_of_configuration(const struct raft_entry *entry, bool all, struct buffer *out)
{
    static const char *const roles[] = {"voter", "learner", "leaving"};
    struct raft_configuration configuration = {0};
    if (raft_configuration_decode(entry->payload.bytes, &configuration, NULL) != ERROR_OK) {
        show(entry->payload.bytes, all, out);
        return;
    }
    for (size_t i = 0; i < configuration.server_count; i++) {
        const struct raft_server *server = &configuration.servers[i];
        char address[ADDRESS_MAX + 1] = "-";
        raft_server_address(server, "node", address);
        buffer_append_format(out, "%s%s %s %s", i > 0 ? ", " : "", server->id.text, roles[server->role], address);
        if (server->priority != 0) buffer_append_format(out, " priority %u", server->priority);
        for (size_t j = 0; j < server->label_count; j++)
            buffer_append_format(out, " %s=%s", server->labels[j].name, server->labels[j].value);
    }
    for (size_t i = 0; i < configuration.outgoing_count; i++)
        buffer_append_format(out, "%s %s", i == 0 ? "; also needed: a majority of" : "",
                             configuration.outgoing[i].text);
    raft_configuration_deinit(&configuration);
}

/* "key = value" for each, an app's bundle as its files. */
static void text_of_map(struct slice map, bool all, struct buffer *out)
{
    struct mp_reader reader = mp_reader_of(map);
    uint32_t count;
    mp_read_map(&reader, &count);
    for (uint32_t i = 0; i < count; i++) {
        struct slice key, value, text;
        if (!mp_skip(&reader, &key) || !mp_skip(&reader, &value)) return;
        if (i > 0) buffer_append_text(out, ", ");
        bool named = mp_read_string(&(struct mp_reader){key.data, key.data + key.size}, &text) && utf8_valid(text);
        if (named)
            buffer_append_slice(out, text);
        else
            show(key, all, out);
        buffer_append_text(out, " = ");
        if (named && slice_equal(text, slice_text("bundle")))
            text_of_bundle(value, out);
        else if (named && slice_equal(text, slice_text("settings")))
            show(value, true, out); /* numbers: worth their room */
        else
            show(value, all, out);
    }
}

static void text_of_bundle(struct slice value, struct buffer *out)
{
    struct slice bundle, path, contents;
    struct mp_reader reader = mp_reader_of(value);
    if (!mp_read_string(&reader, &bundle) || bundle_verify(bundle, NULL) != ERROR_OK) {
        show(value, false, out);
        return;
    }
    buffer_append_format(out, "app %016" PRIx64 " {", bundle_hash(bundle));
    for (size_t i = 0; bundle_each(bundle, i, &path, &contents); i++)
        buffer_append_format(out, "%s %.*s (%zu bytes)", i > 0 ? "," : "", (int)path.size, (const char *)path.data,
                             contents.size);
    buffer_append_text(out, " }");
}

/* ---- a map, keys in order ---- */

void log_view_map(const struct raft_entry *entry, bool all, struct buffer *out)
{
    bool keyed = entry->flags & RAFT_ENTRY_KEYED;
    char chain[17], time[24];
    snprintf(chain, sizeof chain, "%016" PRIx64, entry->chain);
    mp_write_map(out, keyed ? 8 : 9);
    mp_write_text(out, "chain");
    mp_write_text(out, chain);
    mp_write_text(out, "index");
    mp_write_u64(out, entry->index);
    if (keyed) {
        char key[33];
        snprintf(key, sizeof key, "%016" PRIx64 "%016" PRIx64, entry->session, entry->sequence);
        mp_write_text(out, "key");
        mp_write_text(out, key);
    }
    mp_write_text(out, "payload");
    write_payload(entry, all, out);
    if (!keyed) {
        mp_write_text(out, "sequence");
        mp_write_u64(out, entry->sequence);
        mp_write_text(out, "session");
        mp_write_u64(out, entry->session);
    }
    mp_write_text(out, "term");
    mp_write_u64(out, entry->term);
    mp_write_text(out, "time");
    mp_write_text(out, show_time(entry->time_ms, time));
    mp_write_text(out, "time_ms");
    mp_write_u64(out, entry->time_ms);
    mp_write_text(out, "type");
    mp_write_text(out, raft_entry_type_name(entry->type));
}

static void write_payload(const struct raft_entry *entry, bool all, struct buffer *out)
{
    struct slice payload = entry->payload.bytes, name, arguments;
    if (entry->type == RAFT_COMMAND && split_command(entry, &name, &arguments)) {
        mp_write_map(out, 2);
        mp_write_text(out, "arguments");
        mp_write_raw(out, arguments);
        mp_write_text(out, "command");
        mp_write_string(out, name);
    } else if (payload.size == 0) {
        mp_write_nil(out);
    } else if (is_map(payload)) {
        write_map_of(payload, all, out);
    } else if (is_value(payload)) {
        mp_write_raw(out, payload);
    } else {
        mp_write_string(out, payload);
    }
}

static void write_map_of(struct slice map, bool all, struct buffer *out)
{
    struct mp_reader reader = mp_reader_of(map);
    uint32_t count;
    mp_read_map(&reader, &count);
    mp_write_map(out, count);
    for (uint32_t i = 0; i < count; i++) {
        struct slice key = {0}, value = {0}, text = {0};
        mp_skip(&reader, &key);
        mp_skip(&reader, &value);
        mp_read_string(&(struct mp_reader){key.data, key.data + key.size}, &text);
        mp_write_raw(out, key);
        if (slice_equal(text, slice_text("bundle")))
            write_bundle(value, all, out);
        else
            mp_write_raw(out, value);
    }
}

static void write_bundle(struct slice value, bool all, struct buffer *out)
{
    struct slice bundle, path, contents;
    struct mp_reader reader = mp_reader_of(value);
    uint32_t count = 0;
    char hash[17];
    if (!mp_read_string(&reader, &bundle) || bundle_verify(bundle, NULL) != ERROR_OK) {
        mp_write_raw(out, value);
        return;
    }
    while (bundle_each(bundle, count, &path, &contents)) count++;
    snprintf(hash, sizeof hash, "%016" PRIx64, bundle_hash(bundle));
    mp_write_map(out, 2);
    mp_write_text(out, "files");
    mp_write_map(out, count);
    for (size_t i = 0; bundle_each(bundle, i, &path, &contents); i++) {
        mp_write_string(out, path);
        if (all)
            mp_write_string(out, contents);
        else
            mp_write_u64(out, contents.size);
    }
    mp_write_text(out, "hash");
    mp_write_text(out, hash);
}

/* ---- helpers ---- */

static void show(struct slice value, bool all, struct buffer *out)
{
    show_value(value, all ? 0 : TEXT_MAX, all ? 0 : ITEMS_MAX, out);
}

static bool is_value(struct slice value)
{
    const struct mp_limits limits = {.depth = VALUE_DEPTH_MAX + 2, .elements = UINT32_MAX, .bytes = SIZE_MAX};
    return mp_check(value, &limits, NULL) == ERROR_OK;
}

static bool is_map(struct slice value)
{
    struct mp_reader reader = mp_reader_of(value);
    uint32_t count;
    return is_value(value) && mp_read_map(&reader, &count);
}
