/*
 * The small C machine of the simulator's own workload, for speed; machine.c says what it is asked.
 *
 * It keeps its registers in the form of the version that wrote them: chain and last value under that number's mask (the
 * first one's is 0). Code reads by the mask of its own number, so that code over a state of another form gives wrong
 * answers; and mixes into the chain what it drew by chance when it was loaded, as an app does that has
 * `local drawn = math.random()` at its top.
 */
#include "sim/internal.h"

#include "base/hash.h"
#include "base/mp.h"

#include <assert.h>
#include <string.h>

#define SLICES_MAX 6 /* of an upgrade */

static bool read_registers(struct sim_machine *machine, struct slice bytes);
static uint64_t register_hash(uint64_t key, const struct sim_register *entry);
static uint64_t form_hash(const struct sim_machine *machine);
static uint64_t form_mask(int64_t number);
static void run_code(struct sim_machine *machine, const struct machine_entry *entry, unsigned version);
static void make_over(struct sim_machine *machine, int64_t number, raft_index index);
static bool body_arguments(struct slice body, const char *name, struct slice *arguments);
static bool map_u64(struct slice map, const char *key, uint64_t *value);

static enum error_code own_load(void *context, const struct machine_entry *entry,
                                struct slice bundle, struct slice config, struct error *error)
{
    struct sim_machine *machine = context;
    (void)config, (void)error;
    memset(machine->registers, 0, sizeof machine->registers);
    machine->version = 0;
    machine->hash = 0;
    machine->form = 1;
    machine->migrations = 0;
    run_code(machine, entry, versions_find(machine->node->sim, bundle));
    return ERROR_OK;
}

/* The first version draws nothing: it is what it was when there were no others. */
static void run_code(struct sim_machine *machine, const struct machine_entry *entry, unsigned version)
{
    const struct sim *sim = machine->node->sim;
    machine->own.number = version > 0 ? versions_at(sim, version)->number : 0;
    machine->own.drawn = version > 1 ? hash_pair(entry->seed, entry->index) : 0;
}

/* It takes a few slices; the last one does it. */
static enum error_code own_upgrade_begin(void *context, const struct machine_entry *entry, struct slice bundle,
                                         struct machine_versions *versions, struct error *error)
{
    struct sim_machine *machine = context;
    const struct sim *sim = machine->node->sim;
    unsigned found = versions_find(sim, bundle);
    const struct sim_bundle *next = found > 0 ? versions_at(sim, found) : NULL;
    *versions = (struct machine_versions){.from = machine->own.number};
    if (!next || next->kind == VERSION_BROKEN) return error_set(error, ERROR_SCRIPT, "it does not load");
    versions->to = next->number;
    if (next->kind == VERSION_ONE_WAY && versions->from > versions->to)
        return error_set(error, ERROR_SCRIPT, "there is no way back from version %d", (int)versions->from);
    machine->slices = versions->from == versions->to ? 1 : 1 + entry->seed % SLICES_MAX;
    return ERROR_OK;
}

static enum error_code own_upgrade_step(void *context, uint64_t work_max, bool *more, struct error *error)
{
    struct sim_machine *machine = context;
    const struct sim_upgrade *upgrade = &machine->upgrade;
    const struct sim_bundle *next = versions_at(machine->node->sim, upgrade->version);
    (void)work_max;
    *more = --machine->slices > 0;
    if (*more) return ERROR_OK;
    bool odd = next->kind == VERSION_PICKY && machine->version % 2 == 1;
    if (next->number != machine->own.number && (next->kind == VERSION_FAILS || odd))
        return error_set(error, ERROR_SCRIPT, "migrate from version %d: it fails", (int)machine->own.number);
    if (next->number != machine->own.number) make_over(machine, next->number, upgrade->entry.index);
    run_code(machine, &upgrade->entry, upgrade->version);
    return ERROR_OK;
}

static void own_upgrade_end(void *context)
{
    ((struct sim_machine *)context)->slices = 0;
}

/* All registers in another form, and a note of it that a second time would show in. */
static void make_over(struct sim_machine *machine, int64_t number, raft_index index)
{
    uint64_t masks = form_mask(machine->own.number) ^ form_mask(number);
    uint64_t way = (uint64_t)machine->own.number << 32 ^ (uint64_t)number;
    machine->migrations = hash_pair(machine->migrations ^ index, way);
    machine->form = number;
    machine->hash = machine->version + form_hash(machine);
    for (unsigned key = 0; key < SIM_KEYS; key++) {
        struct sim_register *slot = &machine->registers[key];
        if (slot->count > 0) slot->chain ^= masks;
        if (slot->count > 0) slot->last ^= masks;
        machine->hash += register_hash(key, slot);
    }
}

static enum error_code own_apply(void *context, const struct machine_entry *entry,
                                 struct slice body, struct buffer *reply)
{
    struct sim_machine *machine = context;
    struct slice arguments;
    uint64_t value, key, mask = form_mask(machine->own.number);
    if (!body_arguments(body, "append", &arguments) || !map_u64(arguments, "value", &value) ||
        !map_u64(arguments, "key", &key) || key >= SIM_KEYS) {
        reply_write_error(reply, ERROR_BAD_REQUEST, NULL);
        return ERROR_BAD_REQUEST;
    }
    struct sim_register *slot = &machine->registers[key];
    uint64_t chain = slot->count > 0 ? slot->chain ^ mask : 0;
    machine->hash -= register_hash(key, slot) + machine->version;
    slot->count++;
    slot->last = value ^ mask;
    slot->chain = hash_pair(chain, value ^ machine->own.drawn) ^ mask;
    machine->version = entry->index;
    machine->hash += register_hash(key, slot) + machine->version;
    mp_write_map(reply, 2);
    mp_write_text(reply, "count");
    mp_write_u64(reply, slot->count);
    mp_write_text(reply, "index");
    mp_write_u64(reply, entry->index);
    return ERROR_OK;
}

static enum error_code own_query(void *context, struct slice body, struct buffer *reply)
{
    struct sim_machine *machine = context;
    struct slice arguments;
    uint64_t key;
    if (!body_arguments(body, "get", &arguments) || !map_u64(arguments, "key", &key) ||
        key >= SIM_KEYS) {
        reply_write_error(reply, ERROR_BAD_REQUEST, NULL);
        return ERROR_BAD_REQUEST;
    }
    const struct sim_register *slot = &machine->registers[key];
    mp_write_map(reply, 3);
    mp_write_text(reply, "count");
    mp_write_u64(reply, slot->count);
    mp_write_text(reply, "last");
    mp_write_u64(reply, slot->count > 0 ? slot->last ^ form_mask(machine->own.number) : 0);
    mp_write_text(reply, "version");
    mp_write_u64(reply, machine->version);
    return ERROR_OK;
}

static uint64_t own_hash(void *context)
{
    const struct sim_machine *machine = context;
    return machine->hash;
}

static void own_encode(void *context, struct buffer *out)
{
    const struct sim_machine *machine = context;
    bool made_over = machine->migrations != 0; /* else it is what it was before there were versions */
    mp_write_array(out, 3 * SIM_KEYS + (made_over ? 3 : 1));
    for (unsigned key = 0; key < SIM_KEYS; key++) {
        mp_write_u64(out, machine->registers[key].chain);
        mp_write_u64(out, machine->registers[key].count);
        mp_write_u64(out, machine->registers[key].last);
    }
    mp_write_u64(out, machine->version);
    if (!made_over) return;
    mp_write_u64(out, (uint64_t)machine->form);
    mp_write_u64(out, machine->migrations);
}

/* The state is small: it is written down at once, and given out piece by piece. */
static uint64_t own_snapshot_begin(void *context)
{
    struct sim_machine *machine = context;
    buffer_clear(&machine->image);
    own_encode(machine, &machine->image);
    machine->given = 0;
    return machine->hash;
}

static bool own_snapshot_step(void *context, size_t work_max, struct buffer *out)
{
    struct sim_machine *machine = context;
    size_t left = machine->image.size - machine->given, size = work_max < left ? work_max : left;
    size_t most = machine->node->sim->plan.snapshot_step; /* others come in between */
    if (size > most) size = most;
    buffer_append(out, machine->image.data + machine->given, size);
    machine->given += size;
    return machine->given < machine->image.size;
}

static void own_snapshot_end(void *context)
{
    struct sim_machine *machine = context;
    buffer_clear(&machine->image);
}

static enum error_code own_restore_begin(void *context, const struct machine_entry *entry,
                                         struct slice bundle, struct error *error)
{
    struct sim_machine *machine = context;
    (void)error;
    memset(machine->registers, 0, sizeof machine->registers);
    machine->version = 0;
    machine->hash = 0;
    run_code(machine, entry, versions_find(machine->node->sim, bundle));
    machine->ended = false;
    buffer_clear(&machine->image);
    return ERROR_OK;
}

/* Bytes belong to it up to the end of the one value that the state is. */
static enum error_code feed(struct buffer *bytes, bool *whole, struct slice more, size_t *used)
{
    *used = 0;
    while (!*whole && *used < more.size) {
        buffer_append_byte(bytes, more.data[(*used)++]);
        struct mp_reader reader = mp_reader_of(buffer_slice(bytes));
        *whole = mp_skip(&reader, NULL);
    }
    return ERROR_OK;
}

static enum error_code own_restore_feed(void *context, struct slice bytes, size_t *used, struct error *error)
{
    struct sim_machine *machine = context;
    (void)error;
    return feed(&machine->image, &machine->ended, bytes, used);
}

static enum error_code own_restore_finish(void *context, const struct machine_entry *entry, uint64_t hash,
                                          struct error *error)
{
    struct sim_machine *machine = context;
    (void)entry;
    bool sound = read_registers(machine, buffer_slice(&machine->image));
    buffer_clear(&machine->image);
    if (sound && machine->hash == hash) return ERROR_OK;
    return error_set(error, ERROR_CORRUPT, "the registers are not those of the snapshot");
}

static bool read_registers(struct sim_machine *machine, struct slice bytes)
{
    struct mp_reader reader = mp_reader_of(bytes);
    uint32_t count;
    uint64_t form = 1;
    bool sound = mp_read_array(&reader, &count) && (count == 3 * SIM_KEYS + 1 || count == 3 * SIM_KEYS + 3);
    machine->hash = 0;
    for (unsigned key = 0; sound && key < SIM_KEYS; key++) {
        struct sim_register *slot = &machine->registers[key];
        sound = mp_read_u64(&reader, &slot->chain) && mp_read_u64(&reader, &slot->count) &&
                mp_read_u64(&reader, &slot->last);
        machine->hash += register_hash(key, slot);
    }
    sound = sound && mp_read_u64(&reader, &machine->version);
    machine->migrations = 0;
    if (sound && count == 3 * SIM_KEYS + 3)
        sound = mp_read_u64(&reader, &form) && mp_read_u64(&reader, &machine->migrations);
    machine->form = (int64_t)form;
    machine->hash += machine->version + form_hash(machine);
    return sound;
}

static enum error_code own_stage_begin(void *context, const struct settings *settings,
                                       const struct machine_entry *entry, struct slice bundle, struct error *error)
{
    struct sim_machine *machine = context;
    (void)settings, (void)entry, (void)bundle, (void)error;
    buffer_clear(&machine->staged);
    machine->staged_whole = false;
    return ERROR_OK;
}

static enum error_code own_stage_feed(void *context, struct slice bytes, size_t *used, struct error *error)
{
    struct sim_machine *machine = context;
    (void)error;
    return feed(&machine->staged, &machine->staged_whole, bytes, used);
}

static enum error_code own_stage_take(void *context, const struct settings *settings,
                                      const struct machine_entry *entry, struct slice bundle,
                                      const struct machine_entry *last, uint64_t hash, struct error *error)
{
    struct sim_machine *machine = context, before = *machine;
    (void)settings, (void)last;
    if (read_registers(machine, buffer_slice(&machine->staged)) && machine->hash == hash) {
        run_code(machine, entry, versions_find(machine->node->sim, bundle));
        return ERROR_OK;
    }
    memcpy(machine->registers, before.registers, sizeof machine->registers);
    machine->version = before.version;
    machine->hash = before.hash;
    machine->form = before.form;
    machine->migrations = before.migrations;
    return error_set(error, ERROR_CORRUPT, "the registers are not those of the backup");
}

static void own_stage_end(void *context)
{
    struct sim_machine *machine = context;
    buffer_clear(&machine->staged);
}

const struct machine registers_machine = {
    .load = own_load,
    .apply = own_apply,
    .upgrade_begin = own_upgrade_begin,
    .upgrade_step = own_upgrade_step,
    .upgrade_end = own_upgrade_end,
    .query = own_query,
    .hash = own_hash,
    .encode = own_encode,
    .snapshot_begin = own_snapshot_begin,
    .snapshot_step = own_snapshot_step,
    .snapshot_end = own_snapshot_end,
    .restore_begin = own_restore_begin,
    .restore_feed = own_restore_feed,
    .restore_finish = own_restore_finish,
    .stage_begin = own_stage_begin,
    .stage_feed = own_stage_feed,
    .stage_take = own_stage_take,
    .stage_end = own_stage_end,
};

static uint64_t register_hash(uint64_t key, const struct sim_register *entry)
{
    return entry->count == 0 ? 0 : hash_pair(entry->chain, key << 32 | entry->count);
}

static uint64_t form_hash(const struct sim_machine *machine)
{
    return machine->migrations == 0 ? 0 : hash_pair(machine->migrations, (uint64_t)machine->form);
}

static uint64_t form_mask(int64_t number)
{
    return number == 1 ? 0 : hash_pair(0x666f726d, (uint64_t)number);
}

static bool body_arguments(struct slice body, const char *name, struct slice *arguments)
{
    struct mp_reader reader = mp_reader_of(body);
    uint32_t count;
    struct slice found;
    return mp_read_array(&reader, &count) && count == 2 && mp_read_string(&reader, &found) &&
           slice_equal(found, slice_text(name)) && mp_skip(&reader, arguments);
}

static bool map_u64(struct slice map, const char *key, uint64_t *value)
{
    struct slice found;
    if (!mp_map_get(map, key, &found)) return false;
    struct mp_reader reader = mp_reader_of(found);
    return mp_read_u64(&reader, value);
}
