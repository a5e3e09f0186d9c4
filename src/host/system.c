/* The system tree: see system.h. Clock and chain change with every entry, so they live beside the
 * tree and are written into it only when somebody asks for the whole. */
#include "host/system.h"

#include "base/hash.h"
#include "base/mp.h"
#include "base/mutant.h"

#include <assert.h>
#include <string.h>

static void encode_settings(const struct settings *settings, struct buffer *out);
static enum error_code decode_settings(struct slice bytes, struct settings *settings,
                                       struct error *error);
static enum error_code newer_level(uint64_t level, struct error *error);
static void forget_replicated(struct settings *settings);
static enum error_code set_replicated(struct settings *settings, struct slice name, uint64_t value,
                                      struct error *error);
static const struct setting_row *find_named(struct slice name);
static void put_entry(struct system *system, struct state_table *table,
                      const struct machine_entry *entry);
static void put(struct system *system, struct state_table *table, const char *key,
                struct state_value value);
static struct slice app_string(const struct system *system, const char *key);
static bool get_u64_of(const struct state_table *table, const char *key, uint64_t *value);

/* ---- INIT's bytes ---- */

void init_payload_encode(const struct init_payload *init, struct buffer *out)
{
    mp_write_map(out, 4);
    mp_write_text(out, "bundle");
    mp_write_string(out, init->bundle);
    mp_write_text(out, "config");
    if (init->config.size > 0) {
        mp_write_raw(out, init->config);
    } else {
        mp_write_nil(out);
    }
    mp_write_text(out, "format_level");
    mp_write_u64(out, init->format_level);
    mp_write_text(out, "settings");
    encode_settings(&init->settings, out);
}

enum error_code init_payload_decode(struct slice bytes, const struct settings *own,
                                    struct init_payload *init, struct error *error)
{
    static const struct mp_limits limits = {
        .depth = VALUE_DEPTH_MAX + 2, .elements = UINT32_MAX, .bytes = SIZE_MAX};
    struct slice level = {0}, bundle = {0}, settings = {0};
    uint64_t format_level = 0;
    init->settings = *own;
    if (mp_check(bytes, &limits, error) != ERROR_OK || !mp_map_get(bytes, "format_level", &level) ||
        !mp_read_u64(&(struct mp_reader){level.data, level.data + level.size}, &format_level)) {
        return error_set(error, ERROR_CORRUPT, "the app's first entry is not readable");
    }
    if (format_level > FORMAT_LEVEL) return newer_level(format_level, error);
    init->format_level = (uint32_t)format_level;
    if (!mp_map_get(bytes, "config", &init->config) || !mp_map_get(bytes, "settings", &settings) ||
        !mp_map_get(bytes, "bundle", &bundle) ||
        !mp_read_string(&(struct mp_reader){bundle.data, bundle.data + bundle.size},
                        &init->bundle)) {
        return error_set(error, ERROR_CORRUPT, "the app's first entry lacks a part");
    }
    return decode_settings(settings, &init->settings, error);
}

static enum error_code newer_level(uint64_t level, struct error *error)
{
    return error_set(error, ERROR_VERSION,
                     "the cluster writes format level %u, this program knows up to %u",
                     (unsigned)level, (unsigned)FORMAT_LEVEL);
}

static void encode_settings(const struct settings *settings, struct buffer *out)
{
    unsigned count;
    const struct setting_row *rows = settings_rows(&count);
    struct settings_change all = {.values = *settings};
    for (unsigned i = 0; i < count; i++) {
        all.named[i] = rows[i].scope == SETTING_REPLICATED;
        all.count += all.named[i];
    }
    settings_payload_encode(&all, out);
}

/* Keys in order, as canonical bytes want them; the table is short, so finding the next is a walk.
 */
void settings_payload_encode(const struct settings_change *change, struct buffer *out)
{
    unsigned count;
    const struct setting_row *rows = settings_rows(&count);
    mp_write_map(out, change->count);
    const char *last = "";
    for (unsigned left = change->count; left > 0; left--) {
        const struct setting_row *next = NULL;
        for (unsigned i = 0; i < count; i++) {
            if (!change->named[i] || strcmp(rows[i].name, last) <= 0) continue;
            if (next == NULL || strcmp(rows[i].name, next->name) < 0) next = &rows[i];
        }
        assert(next != NULL && next->scope == SETTING_REPLICATED); /* as many are left as were counted */
        mp_write_text(out, next->name);
        mp_write_u64(out, settings_get(&change->values, next));
        last = next->name;
    }
}

enum error_code settings_payload_decode(struct slice bytes, struct settings_change *change, struct error *error)
{
    static const struct mp_limits limits = {.depth = 2, .elements = 1024, .bytes = SIZE_MAX};
    struct mp_reader reader = mp_reader_of(bytes);
    uint32_t count = 0;
    *change = (struct settings_change){0};
    if (mp_check(bytes, &limits, error) != ERROR_OK || !mp_read_map(&reader, &count))
        return error_set(error, ERROR_CORRUPT, "the change of settings is not readable");
    for (uint32_t i = 0; i < count; i++) {
        struct slice name;
        uint64_t value;
        if (!mp_read_string(&reader, &name) || !mp_read_u64(&reader, &value))
            return error_set(error, ERROR_CORRUPT, "the change of settings is not readable");
        enum error_code code = set_replicated(&change->values, name, value, error);
        if (code != ERROR_OK) return code;
        const struct setting_row *row = find_named(name);
        change->count += !change->named[settings_place(row)];
        change->named[settings_place(row)] = true;
    }
    return ERROR_OK;
}

/* A setting that an older program's INIT does not have takes the table's value, as it does on every node. */
static enum error_code decode_settings(struct slice bytes, struct settings *settings,
                                       struct error *error)
{
    struct mp_reader reader = mp_reader_of(bytes);
    uint32_t count = 0;
    forget_replicated(settings);
    if (!mp_read_map(&reader, &count))
        return error_set(error, ERROR_CORRUPT, "the replicated settings are not a map");
    for (uint32_t i = 0; i < count; i++) {
        struct slice name;
        uint64_t value;
        if (!mp_read_string(&reader, &name) || !mp_read_u64(&reader, &value)) {
            return error_set(error, ERROR_CORRUPT, "the replicated settings are not readable");
        }
        enum error_code code = set_replicated(settings, name, value, error);
        if (code != ERROR_OK) return code;
    }
    return ERROR_OK;
}

static void forget_replicated(struct settings *settings)
{
    unsigned count;
    const struct setting_row *rows = settings_rows(&count);
    for (unsigned i = 0; i < count; i++) {
        if (rows[i].scope == SETTING_REPLICATED)
            settings_set(settings, rows[i].name, rows[i].initial, NULL);
    }
}

static enum error_code set_replicated(struct settings *settings, struct slice name, uint64_t value,
                                      struct error *error)
{
    const struct setting_row *row = find_named(name);
    if (row != NULL && row->scope == SETTING_REPLICATED &&
        settings_set(settings, row->name, value, NULL) == ERROR_OK)
        return ERROR_OK;
    return error_set(error, ERROR_VERSION,
                     "the cluster has a setting that this program does not know: %.*s",
                     (int)name.size, (const char *)name.data);
}

static const struct setting_row *find_named(struct slice name)
{
    char text[64] = "";
    if (name.size < sizeof text) memcpy(text, name.data, name.size);
    return settings_find(text);
}

/* ---- the tree ---- */

void system_init(struct system *system)
{
    memset(system, 0, sizeof *system);
    system->tree = state_new();
    sessions_init(&system->sessions);
}

void system_deinit(struct system *system)
{
    state_free(system->tree);
    sessions_deinit(&system->sessions);
    memset(system, 0, sizeof *system);
}

bool system_apply_init(struct system *system, const struct machine_entry *entry,
                       const struct init_payload *init)
{
    if (!GUARD(INIT_TWICE, !system->initialised)) return false;
    system->initialised = true;
    system->app_hash = bundle_name(init->bundle);
    system->app_index = entry->index;
    system->entry = *entry;
    state_begin(system->tree);
    struct state_table *root = state_root(system->tree);
    put(system, root, "format_level", state_integer(init->format_level));
    struct state_table *app = state_make_table(system->tree, root, state_key_text("app"));
    put(system, app, "bundle", state_string(init->bundle));
    put(system, app, "config", state_string(init->config));
    put(system, app, "hash", state_integer((int64_t)system->app_hash));
    put(system, app, "index", state_integer((int64_t)entry->index));
    put_entry(system, app, entry);
    struct state_table *settings = state_make_table(system->tree, root, state_key_text("settings"));
    unsigned count;
    const struct setting_row *rows = settings_rows(&count);
    for (unsigned i = 0; i < count; i++) {
        if (rows[i].scope != SETTING_REPLICATED) continue;
        put(system, settings, rows[i].name,
            state_integer((int64_t)settings_get(&init->settings, &rows[i])));
    }
    state_commit(system->tree);
    return true;
}

void system_deploy(struct system *system, const struct machine_entry *entry, struct slice bundle)
{
    struct state_table *app = state_get_table(state_root(system->tree), state_key_text("app"));
    system->app_hash = bundle_name(bundle);
    system->app_index = entry->index;
    system->entry = *entry;
    state_begin(system->tree);
    if (!FAULT(DEPLOY_BUNDLE_KEPT)) put(system, app, "bundle", state_string(bundle));
    put(system, app, "error", state_nil());
    put(system, app, "hash", state_integer((int64_t)system->app_hash));
    put(system, app, "index", state_integer((int64_t)entry->index));
    if (!FAULT(DEPLOY_STAMPS_KEPT)) put_entry(system, app, entry);
    state_commit(system->tree);
}

void system_apply_settings(struct system *system, const struct settings_change *change, raft_index index)
{
    unsigned count;
    const struct setting_row *rows = settings_rows(&count);
    struct state_table *root = state_root(system->tree);
    struct state_table *settings = state_get_table(root, state_key_text("settings"));
    struct state_table *changed = state_get_table(root, state_key_text("changed"));
    assert(settings != NULL);
    state_begin(system->tree);
    if (changed == NULL) changed = state_make_table(system->tree, root, state_key_text("changed"));
    for (unsigned i = 0; i < count; i++) {
        if (!change->named[i]) continue;
        put(system, settings, rows[i].name, state_integer((int64_t)settings_get(&change->values, &rows[i])));
        put(system, changed, rows[i].name, state_integer((int64_t)index));
    }
    state_commit(system->tree);
}

raft_index system_setting_index(const struct system *system, const char *name)
{
    const struct state_table *changed = state_get_table(state_root(system->tree), state_key_text("changed"));
    uint64_t index;
    return changed != NULL && get_u64_of(changed, name, &index) ? index : 0;
}

static void put(struct system *system, struct state_table *table, const char *key,
                struct state_value value)
{
    bool fits = state_put(system->tree, table, state_key_text(key), value);
    assert(fits); /* two levels deep */
    (void)fits;
}

void system_replace(struct system *system, struct system *other, const struct machine_entry *entry, uint64_t id)
{
    static const char *const first[] = {"format_level", "settings"};
    struct state_table *root = state_root(system->tree), *from = state_root(other->tree);
    state_begin(system->tree);
    for (size_t i = 0; !system->initialised && i < sizeof first / sizeof *first; i++) {
        struct state_value value = state_get(from, state_key_text(first[i]));
        if (value.type == STATE_TABLE) value = state_of_table(state_copy(value.table));
        put(system, root, first[i], value);
    }
    put(system, root, "app", state_of_table(state_copy(state_get_table(from, state_key_text("app")))));
    put(system, state_get_table(root, state_key_text("app")), "index", state_integer((int64_t)entry->index));
    struct state_table *restored = state_make_table(system->tree, root, state_key_text("restored"));
    put(system, restored, "id", state_integer((int64_t)id));
    put(system, restored, "index", state_integer((int64_t)entry->index));
    state_commit(system->tree);
    system->initialised = true;
    system->app_hash = other->app_hash;
    system->app_index = system->restored_index = entry->index;
    system->restored_id = id;
    system->entry = *entry;
    struct sessions before = system->sessions;
    system->sessions = other->sessions;
    other->sessions = before;
    sessions_end_all(&system->sessions);
}

struct slice system_bundle(const struct system *system)
{
    return app_string(system, "bundle");
}

struct slice system_config(const struct system *system)
{
    return app_string(system, "config");
}

static struct slice app_string(const struct system *system, const char *key)
{
    const struct state_table *app =
        state_get_table(state_root(system->tree), state_key_text("app"));
    if (app == NULL) return slice_of(NULL, 0);
    struct state_value value = state_get(app, state_key_text(key));
    assert(value.type == STATE_STRING);
    return value.string;
}

/* Before INIT the settings are not the cluster's yet, and there are no sessions. */
void system_advance(struct system *system, const struct settings *settings, uint64_t time_ms)
{
    if (time_ms > system->clock_ms) system->clock_ms = time_ms;
    if (system->initialised) sessions_advance(&system->sessions, settings, system->clock_ms);
}

void system_chain(struct system *system, raft_index index, enum error_code code, struct slice reply,
                  uint64_t state_hash)
{
    uint8_t bytes[40];
    put_u64(bytes, index);
    put_u64(bytes + 8, code);
    put_u64(bytes + 16, hash_bytes(reply.data, reply.size));
    put_u64(bytes + 24, state_hash);
    put_u64(bytes + 32, sessions_hash(&system->sessions));
    system->chain = hash_seeded(bytes, sizeof bytes, system->chain);
}

void system_note_app_error(struct system *system, const char *text)
{
    struct state_table *app = state_get_table(state_root(system->tree), state_key_text("app"));
    state_begin(system->tree);
    put(system, app, "error", state_string(slice_text(text)));
    state_commit(system->tree);
}

void system_note_skipped(struct system *system, raft_index index)
{
    struct state_table *root = state_root(system->tree);
    state_begin(system->tree);
    struct state_table *skipped = state_get_table(root, state_key_text("skipped"));
    if (skipped == NULL) skipped = state_make_table(system->tree, root, state_key_text("skipped"));
    bool fits = state_put(system->tree, skipped, state_key_integer((int64_t)index), state_boolean(true));
    assert(fits); /* two levels deep */
    (void)fits;
    state_commit(system->tree);
}

bool system_has_skipped(const struct system *system, raft_index index)
{
    const struct state_table *skipped = state_get_table(state_root(system->tree), state_key_text("skipped"));
    return skipped != NULL && state_get(skipped, state_key_integer((int64_t)index)).type == STATE_BOOLEAN;
}

uint64_t system_seal(struct system *system, uint64_t sessions)
{
    struct state_table *root = state_root(system->tree);
    state_begin(system->tree);
    put(system, root, "clock_ms", state_integer((int64_t)system->clock_ms));
    put(system, root, "chain", state_integer((int64_t)system->chain));
    put(system, root, "sessions", state_integer((int64_t)sessions));
    put_entry(system, root, &system->entry);
    state_commit(system->tree);
    return state_hash(system->tree);
}

/* ---- out of a snapshot ---- */

static const struct {
    const char *name;
    size_t offset;
} entry_fields[] = {
    {"index", offsetof(struct machine_entry, index)},
    {"seed", offsetof(struct machine_entry, seed)},
    {"sequence", offsetof(struct machine_entry, sequence)},
    {"session", offsetof(struct machine_entry, session)},
    {"term", offsetof(struct machine_entry, term)},
    {"time_ms", offsetof(struct machine_entry, time_ms)},
};
#define ENTRY_FIELDS (sizeof entry_fields / sizeof *entry_fields)

static void put_entry(struct system *system, struct state_table *table,
                      const struct machine_entry *entry)
{
    struct state_table *fields = state_make_table(system->tree, table, state_key_text("entry"));
    for (size_t i = 0; i < ENTRY_FIELDS; i++) {
        uint64_t value;
        memcpy(&value, (const char *)entry + entry_fields[i].offset, sizeof value);
        put(system, fields, entry_fields[i].name, state_integer((int64_t)value));
    }
}

/* ---- reading: each false where it is not what was written ---- */

static bool get_u64_of(const struct state_table *table, const char *key, uint64_t *value)
{
    struct state_value found = state_get(table, state_key_text(key));
    if (found.type != STATE_INTEGER) return false;
    *value = (uint64_t)found.integer;
    return true;
}

static bool get_entry(const struct state_table *table, struct machine_entry *entry)
{
    const struct state_table *fields = state_get_table(table, state_key_text("entry"));
    if (fields == NULL || state_count(fields) != ENTRY_FIELDS) return false;
    for (size_t i = 0; i < ENTRY_FIELDS; i++) {
        uint64_t value;
        if (!get_u64_of(fields, entry_fields[i].name, &value)) return false;
        memcpy((char *)entry + entry_fields[i].offset, &value, sizeof value);
    }
    return true;
}

static bool get_app(struct system *system, const struct state_table *app,
                    struct system_restored *restored)
{
    struct state_value error = state_get(app, state_key_text("error"));
    uint64_t index;
    if (state_get(app, state_key_text("bundle")).type != STATE_STRING ||
        state_get(app, state_key_text("config")).type != STATE_STRING ||
        (error.type != STATE_NIL && error.type != STATE_STRING))
        return false;
    restored->app_error = error.type == STATE_STRING ? error.string : (struct slice){0};
    if (!get_u64_of(app, "hash", &system->app_hash) || !get_u64_of(app, "index", &index) ||
        !get_entry(app, &restored->init))
        return false;
    system->app_index = index;
    return true;
}

/* There is none where nothing was ever restored. */
static bool get_restored(struct system *system, const struct state_table *root)
{
    const struct state_table *table = state_get_table(root, state_key_text("restored"));
    return table == NULL ||
           (get_u64_of(table, "id", &system->restored_id) && get_u64_of(table, "index", &system->restored_index));
}

/* As INIT's: what is not there takes the table's value, what is not known here is a newer program's. */
static enum error_code get_settings(const struct state_table *table, struct settings *settings,
                                    struct error *error)
{
    struct state_cursor cursor;
    struct state_key key;
    struct state_value value;
    forget_replicated(settings);
    state_scan(&cursor, table, &(struct state_range){0});
    while (state_scan_next(&cursor, &key, &value)) {
        if (!key.is_string || value.type != STATE_INTEGER)
            return error_set(error, ERROR_CORRUPT, "the replicated settings are not readable");
        enum error_code code = set_replicated(settings, key.string, (uint64_t)value.integer, error);
        if (code != ERROR_OK) return code;
    }
    return ERROR_OK;
}

enum error_code system_restored(struct system *system, const struct settings *own,
                                struct system_restored *restored, struct error *error)
{
    const struct state_table *root = state_root(system->tree);
    const struct state_table *app = state_get_table(root, state_key_text("app"));
    const struct state_table *settings = state_get_table(root, state_key_text("settings"));
    uint64_t level;
    restored->settings = *own;
    if (!get_u64_of(root, "format_level", &level))
        return error_set(error, ERROR_CORRUPT, "its first tree has no format level");
    if (level > FORMAT_LEVEL) return newer_level(level, error);
    if (app == NULL || settings == NULL || !get_app(system, app, restored) ||
        !get_u64_of(root, "clock_ms", &system->clock_ms) ||
        !get_u64_of(root, "chain", &system->chain) ||
        !get_u64_of(root, "sessions", &restored->sessions) || !get_entry(root, &system->entry) ||
        !get_restored(system, root))
        return error_set(error, ERROR_CORRUPT, "its first tree lacks a part");
    system->initialised = true;
    return get_settings(settings, &restored->settings, error);
}

uint64_t bundle_name(struct slice bundle)
{
    static const struct mp_limits limits = {.depth = 4, .elements = 1 << 20, .bytes = SIZE_MAX};
    struct slice found;
    uint64_t hash = 0;
    if (mp_check(bundle, &limits, NULL) == ERROR_OK && mp_map_get(bundle, "hash", &found) &&
        mp_read_u64(&(struct mp_reader){found.data, found.data + found.size}, &hash)) {
        return hash;
    }
    return hash_bytes(bundle.data, bundle.size);
}
