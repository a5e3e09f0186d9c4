/* What a deploy would change, or has: as lines for people, and as one JSON object. */
#include "cli/deploy.h"

#include "cli/progress.h"

#include "base/mp.h"
#include "http/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LONG_MS 100 /* from here on it is worth a word */

static const char signs[] = {[DEPLOY_ADDED] = '+', [DEPLOY_REMOVED] = '-', [DEPLOY_CHANGED] = '~'};

static void print_files(const struct deploy_found *found);
static void print_names(const struct deploy_try *try, const char *key);
static void print_state(const struct deploy_try *try);
static void print_time(const struct deploy_found *found);
static void print_lines(const char *label, const struct buffer *lines);

static bool tried_well(const struct deploy_found *found)
{
    return found->try != NULL && found->try->refusal.size == 0;
}

void deploy_print(const struct deploy_found *found)
{
    char bytes[16];
    printf("app       %016" PRIx64 " (%s, %s) follows %016" PRIx64 "\n", found->hash, found->app,
           progress_bytes(found->after.size, bytes), found->replaces);
    if (found->try != NULL && found->try->had_app) {
        const struct machine_versions *versions = &found->try->versions;
        if (!tried_well(found) && versions->to == 0) {
            /* it may not even have come to say which it is */
        } else if (versions->from == versions->to) {
            printf("version   %" PRId64 ", as before: migrate is not called\n", versions->to);
        } else {
            printf("version   %" PRId64 " -> %" PRId64 "\n", versions->from, versions->to);
        }
    }
    if (found->before.size > 0) print_files(found);
    if (tried_well(found)) {
        print_names(found->try, "commands");
        print_names(found->try, "queries");
        print_state(found->try);
        print_time(found);
    }
    if (found->try != NULL) print_lines("it logs", &found->try->said);
    print_lines("warning", &found->findings);
}

/* A line's label is there once; what belongs under it is aligned. */
static const char *label_of(const char *label, size_t *lines)
{
    return (*lines)++ == 0 ? label : "";
}

static void print_files(const struct deploy_found *found)
{
    struct deploy_files at = {0};
    struct deploy_file file;
    size_t lines = 0;
    while (deploy_files_next(&at, found->before, found->after, &file)) {
        printf("%-9s %c %.*s ", label_of("files", &lines), signs[file.kind], (int)file.path.size,
               (const char *)file.path.data);
        if (file.kind != DEPLOY_REMOVED) printf(" +%zu", file.lines_added);
        if (file.kind != DEPLOY_ADDED) printf(" -%zu", file.lines_removed);
        putchar('\n');
    }
}

static void names_of(const struct buffer *names, const char *key, struct slice *list)
{
    if (names->size == 0 || !mp_map_get(buffer_slice(names), key, list)) *list = (struct slice){0};
}

/* Those that come, or go. */
static void missing_names(const struct deploy_try *try, const char *key, bool come, struct buffer *out)
{
    struct slice before, after;
    names_of(&try->names_before, key, &before);
    names_of(&try->names_after, key, &after);
    deploy_names_missing(come ? after : before, come ? before : after, out);
}

static void print_names(const struct deploy_try *try, const char *key)
{
    size_t lines = 0;
    for (int come = 1; come >= 0; come--) {
        struct buffer list = {0};
        struct slice name;
        uint32_t count;
        missing_names(try, key, come != 0, &list);
        struct mp_reader reader = mp_reader_of(buffer_slice(&list));
        mp_read_array(&reader, &count);
        for (; count > 0 && mp_read_string(&reader, &name); count--)
            printf("%-9s %c %.*s\n", label_of(key, &lines), come ? '+' : '-', (int)name.size,
                   (const char *)name.data);
        buffer_deinit(&list);
    }
}

static void print_state(const struct deploy_try *try)
{
    char before[16], after[16];
    const struct deploy_changes *changes = &try->changes;
    uint64_t index = try->archive.reader.head.meta.index;
    uint64_t all = changes->items[0] + changes->items[1] + changes->items[2];
    progress_bytes(try->bytes_before, before);
    progress_bytes(try->bytes_after, after);
    if (all == 0) {
        printf("state     stays as it is (%" PRIu64 " values, %s, as of index %" PRIu64 ")\n", try->archive.items,
               before, index);
        return;
    }
    printf("state     items: %" PRIu64 " added, %" PRIu64 " removed, %" PRIu64 " changed; ",
           changes->items[DEPLOY_ADDED], changes->items[DEPLOY_REMOVED], changes->items[DEPLOY_CHANGED]);
    printf("%s -> %s (as of index %" PRIu64 ")\n", before, after, index);
    for (size_t i = 0; i < changes->shown; i++) {
        const struct deploy_difference *one = &changes->first[i];
        bool both = one->kind == DEPLOY_CHANGED;
        printf("          %c %.*s  %.*s%s%.*s\n", signs[one->kind], (int)one->path.size, (const char *)one->path.data,
               (int)one->before.size, one->before.size > 0 ? (const char *)one->before.data : "", both ? " -> " : "",
               (int)one->after.size, one->after.size > 0 ? (const char *)one->after.data : "");
    }
    if (changes->more) printf("            ... and more\n");
}

static void print_time(const struct deploy_found *found)
{
    uint64_t took_ms = found->try->took_us / 1000;
    printf("takes     %.1f ms here", (double)found->try->took_us / 1000);
    if (took_ms >= LONG_MS) printf(": commands and queries wait for about as long");
    putchar('\n');
}

static void print_lines(const char *label, const struct buffer *lines)
{
    struct slice left = buffer_slice(lines);
    while (left.size > 0) {
        const uint8_t *end = memchr(left.data, '\n', left.size);
        size_t size = end != NULL ? (size_t)(end - left.data) : left.size;
        printf("%-9s %.*s\n", label, (int)size, (const char *)left.data);
        size += end != NULL;
        left = slice_of(left.data + size, left.size - size);
    }
}

/* ---- JSON ---- */

/* A map whose entries are counted as they are written. */
struct map {
    struct buffer bytes;
    uint32_t count;
};

static struct buffer *key(struct map *map, const char *name)
{
    mp_write_text(&map->bytes, name);
    map->count++;
    return &map->bytes;
}

static void end(struct map *map, struct buffer *out)
{
    mp_write_map(out, map->count);
    buffer_append_slice(out, buffer_slice(&map->bytes));
    buffer_deinit(&map->bytes);
}

static void write_hash(struct buffer *out, uint64_t hash)
{
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, hash);
    mp_write_text(out, text);
}

static void write_versions(struct buffer *out, const struct machine_versions *versions)
{
    mp_write_map(out, 2);
    mp_write_text(out, "from");
    mp_write_integer(out, versions->from);
    mp_write_text(out, "to");
    mp_write_integer(out, versions->to);
}

static void write_lines(struct buffer *out, const struct buffer *lines)
{
    struct buffer list = {0};
    uint32_t count = 0;
    struct slice left = buffer_slice(lines);
    while (left.size > 0) {
        const uint8_t *line_end = memchr(left.data, '\n', left.size);
        size_t size = line_end != NULL ? (size_t)(line_end - left.data) : left.size;
        mp_write_string(&list, slice_of(left.data, size));
        count++;
        size += line_end != NULL;
        left = slice_of(left.data + size, left.size - size);
    }
    mp_write_array(out, count);
    buffer_append_slice(out, buffer_slice(&list));
    buffer_deinit(&list);
}

static void write_files(struct buffer *out, const struct deploy_found *found)
{
    struct deploy_files at = {0};
    struct deploy_file file;
    struct buffer list = {0};
    uint32_t count = 0;
    while (deploy_files_next(&at, found->before, found->after, &file)) {
        struct map map = {0};
        mp_write_text(key(&map, "change"), deploy_kind_names[file.kind]);
        mp_write_u64(key(&map, "lines_added"), file.lines_added);
        mp_write_u64(key(&map, "lines_removed"), file.lines_removed);
        mp_write_string(key(&map, "path"), file.path);
        end(&map, &list);
        count++;
    }
    mp_write_array(out, count);
    buffer_append_slice(out, buffer_slice(&list));
    buffer_deinit(&list);
}

static void write_names(struct buffer *out, const struct deploy_try *try, const char *name)
{
    mp_write_map(out, 2);
    mp_write_text(out, "added");
    missing_names(try, name, true, out);
    mp_write_text(out, "removed");
    missing_names(try, name, false, out);
}

static void write_state(struct buffer *out, const struct deploy_try *try)
{
    const struct deploy_changes *changes = &try->changes;
    struct map map = {0};
    mp_write_u64(key(&map, "added"), changes->items[DEPLOY_ADDED]);
    mp_write_u64(key(&map, "bytes_after"), try->bytes_after);
    mp_write_u64(key(&map, "bytes_before"), try->bytes_before);
    mp_write_u64(key(&map, "changed"), changes->items[DEPLOY_CHANGED]);
    struct buffer *list = key(&map, "first");
    mp_write_array(list, (uint32_t)changes->shown);
    for (size_t i = 0; i < changes->shown; i++) {
        const struct deploy_difference *one = &changes->first[i];
        struct map difference = {0};
        if (one->after.size > 0) mp_write_string(key(&difference, "after"), buffer_slice(&one->after));
        if (one->before.size > 0) mp_write_string(key(&difference, "before"), buffer_slice(&one->before));
        mp_write_text(key(&difference, "change"), deploy_kind_names[one->kind]);
        mp_write_string(key(&difference, "path"), buffer_slice(&one->path));
        end(&difference, list);
    }
    mp_write_u64(key(&map, "index"), try->archive.reader.head.meta.index);
    mp_write_u64(key(&map, "removed"), changes->items[DEPLOY_REMOVED]);
    end(&map, out);
}

static void write_outcome(struct map *map, const struct deploy_found *found, const struct deploy_outcome *outcome)
{
    if (outcome != NULL) mp_write_u64(key(map, "index"), outcome->index);
    if (outcome != NULL && !outcome->again)
        write_versions(key(map, "version"), &outcome->versions);
    else if (found->try != NULL && found->try->had_app)
        write_versions(key(map, "version"), &found->try->versions);
}

void deploy_print_json(const struct deploy_found *found, const struct deploy_outcome *outcome)
{
    struct map map = {0};
    struct buffer value = {0}, json = {0};
    struct error error;
    mp_write_text(key(&map, "app"), found->app);
    if (tried_well(found)) write_names(key(&map, "commands"), found->try, "commands");
    mp_write_boolean(key(&map, "deployed"), outcome != NULL);
    if (found->before.size > 0) write_files(key(&map, "files"), found);
    write_hash(key(&map, "hash"), found->hash);
    if (found->try != NULL) write_lines(key(&map, "logged"), &found->try->said);
    write_lines(key(&map, "problems"), &found->problems);
    if (tried_well(found)) write_names(key(&map, "queries"), found->try, "queries");
    if (found->try != NULL && found->try->refusal.size > 0)
        mp_write_string(key(&map, "refused"), buffer_slice(&found->try->refusal));
    write_hash(key(&map, "replaces"), found->replaces);
    mp_write_boolean(key(&map, "same"), found->same);
    if (tried_well(found)) {
        write_state(key(&map, "state"), found->try);
        mp_write_float(key(&map, "takes_ms"), (double)found->try->took_us / 1000);
    }
    if (found->try != NULL && found->try->traceback.size > 0)
        write_lines(key(&map, "traceback"), &found->try->traceback);
    write_outcome(&map, found, outcome);
    write_lines(key(&map, "warnings"), &found->findings);
    end(&map, &value);
    if (json_from_value(buffer_slice(&value), &json, &error) == ERROR_OK)
        printf("%.*s\n", (int)json.size, (const char *)json.data);
    buffer_deinit(&value);
    buffer_deinit(&json);
}
