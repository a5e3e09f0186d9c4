/*
 * The replicated machine of one lifetime, watched: every call the host makes goes through here on
 * its way to the machine proper, so that the checks see each entry applied, the reply and the state
 * after it.
 *
 * The contract between workload and machine, kept by the small C machine below (for speed) and by
 * any app given instead: command ["append", {"key": 0..7, "pad": text, "value": v}]  ->  {"count":
 * commands on the key, "index": ctx.index} query   ["get", {"key": k}]                ->  {"count":
 * n, "last": value, "version": index of the newest command} Every value is unique, so a reply says
 * exactly which commands it has seen.
 */
#include "sim/internal.h"

#include "base/hash.h"
#include "base/mp.h"
#include "script/fsm.h"

#include <assert.h>
#include <string.h>

static const struct machine own_machine;
static uint64_t take_envelope(struct slice *body);
static bool read_registers(struct sim_machine *machine, struct slice bytes);
static uint64_t register_hash(uint64_t key, const struct sim_register *entry);
static uint64_t form_hash(const struct sim_machine *machine);
static uint64_t form_mask(int64_t number);
static void run_code(struct sim_machine *machine, const struct machine_entry *entry, struct slice bundle);
static void make_over(struct sim_machine *machine, int64_t number, raft_index index);
static bool body_arguments(struct slice body, const char *name, struct slice *arguments);
static bool map_u64(struct slice map, const char *key, uint64_t *value);

/* ---- the watch ---- */

static enum error_code watch_load(void *context, const struct machine_entry *entry,
                                  struct slice bundle, struct slice config, struct error *error)
{
    struct sim_machine *machine = context;
    struct sim *sim = machine->node->sim;
    if (machine->loaded)
        violate(sim, machine->node, "init_once", "INIT a second time, at index %llu",
                (unsigned long long)entry->index);
    if (!slice_equal(bundle, buffer_slice(&sim->bundle))) {
        violate(sim, machine->node, "init_bundle",
                "INIT carries other bytes than the nodes were started with");
    }
    enum error_code code = machine->inner.load(machine->inner.context, entry, bundle, config, error);
    if (code == ERROR_INTERNAL) return code;
    machine->loaded = code == ERROR_OK;
    machine->code = machine->loaded ? versions_find(sim, bundle) : 0;
    check_loaded(machine->node, entry, versions_find(sim, bundle), code, &(struct machine_versions){0},
                 machine->loaded ? machine->inner.hash(machine->inner.context) : 0);
    return code;
}

/* Other code over the state: all of it, or nothing has changed. */
static enum error_code watch_upgrade(void *context, const struct machine_entry *entry, struct slice bundle,
                                     struct machine_versions *versions, struct error *error)
{
    struct sim_machine *machine = context;
    struct sim_node *node = machine->node;
    struct sim *sim = node->sim;
    unsigned version = versions_find(sim, bundle);
    if (!machine->loaded) violate(sim, node, "init_first", "a version of the app is deployed before INIT");
    if (machine->staging) breach(sim, node, "deploy_waits", "a version is deployed while a backup is taken in");
    if (sim->options.poison && poison_kills_deploy(node, entry->index)) {
        node->poisoned = true;
        return ERROR_INTERNAL;
    }
    uint64_t before = machine->inner.hash(machine->inner.context);
    enum error_code code = machine->inner.upgrade(machine->inner.context, entry, bundle, versions, error);
    if (machine->fsm && fsm_exhausted(machine->fsm)) return code; /* no result: the host must stop the node */
    uint64_t after = machine->inner.hash(machine->inner.context);
    if (code != ERROR_OK && before != after)
        violate(sim, node, "deploy_whole", "version %u is refused, and has changed the state", version);
    if (code == ERROR_OK) machine->code = version;
    if (node->disk.snapshots.taking) COVER(sim, deploys_in_snapshot);
    TRACE(sim, node, "index %llu: version %u of the app over %u: %s", (unsigned long long)entry->index, version,
          machine->code, code == ERROR_OK ? "runs" : error->text);
    trace_event(sim, TRACE_DEPLOY, node->number, entry->index, after);
    trace_mix(sim, (uint64_t)version << 32 | code);
    check_loaded(node, entry, version, code, versions, after);
    if (code == ERROR_OK) check_deployed(node, entry, after);
    if (code != ERROR_OK && sim->options.next.size > 0 && !sim->options.manual)
        violate(sim, node, "deploy_accepted", "the app's next version is refused at index %llu: %s",
                (unsigned long long)entry->index, error->text);
    if (code != ERROR_OK) return code;
    machine->applied = entry->index;
    machine->time_ms = entry->time_ms;
    return code;
}

static void watch_configure(void *context, const struct settings *settings)
{
    struct sim_machine *machine = context;
    machine->settings = *settings;
    if (machine->inner.configure) machine->inner.configure(machine->inner.context, settings);
}

static enum error_code watch_apply(void *context, const struct machine_entry *entry,
                                   struct slice body, struct buffer *reply)
{
    struct sim_machine *machine = context;
    struct sim *sim = machine->node->sim;
    size_t before = reply->size;
    if (!machine->loaded)
        violate(sim, machine->node, "init_first", "a command is applied before INIT");
    uint64_t number = take_envelope(&body);
    if (sim->options.poison && poison_kills(machine->node, entry->index, entry->term, number)) {
        machine->node->poisoned = true;
        return ERROR_INTERNAL;
    }
    enum error_code code = machine->inner.apply(machine->inner.context, entry, body, reply);
    if (machine->fsm && fsm_exhausted(machine->fsm)) return code; /* no result: the host must stop the node */
    struct slice told = slice_of(reply->data + before, reply->size - before);
    machine->told_size = told.size;
    check_apply(machine->node, entry, number, body, machine_reply_hash(code, told),
                machine->inner.hash(machine->inner.context));
    machine->applied = entry->index;
    machine->time_ms = entry->time_ms;
    return code;
}

static enum error_code watch_query(void *context, struct slice body, struct buffer *reply)
{
    struct sim_machine *machine = context;
    size_t size = reply->size;
    if (!machine->loaded)
        violate(machine->node->sim, machine->node, "init_first", "a query is answered before INIT");
    uint64_t before = machine->inner.hash(machine->inner.context);
    uint64_t number = take_envelope(&body);
    enum error_code code = machine->inner.query(machine->inner.context, body, reply);
    if (machine->inner.hash(machine->inner.context) != before) {
        violate(machine->node->sim, machine->node, "query_reads_only", "a query changed the state");
    }
    struct slice told = slice_of(reply->data + size, reply->size - size);
    clients_queried(machine->node, number, machine_reply_hash(code, told));
    return code;
}

uint64_t machine_reply_hash(enum error_code code, struct slice body)
{
    return hash_seeded(body.data, body.size, (uint64_t)code);
}

/* 0: there is none. */
static uint64_t take_envelope(struct slice *body)
{
    if (body->size < SIM_ENVELOPE) return 0;
    uint64_t number = get_u64(body->data);
    *body = slice_of(body->data + SIM_ENVELOPE, body->size - SIM_ENVELOPE);
    return number;
}

/* ---- snapshots ---- */

static uint64_t watch_snapshot_begin(void *context)
{
    struct sim_machine *machine = context;
    uint64_t hash = machine->inner.hash(machine->inner.context);
    if (machine->inner.snapshot_begin(machine->inner.context) != hash)
        violate(machine->node->sim, machine->node, "state_agrees", "begins a snapshot of another state than it has");
    return hash;
}

static bool watch_snapshot_step(void *context, size_t work_max, struct buffer *out)
{
    struct sim_machine *machine = context;
    return machine->inner.snapshot_step(machine->inner.context, work_max, out);
}

static void watch_snapshot_end(void *context)
{
    struct sim_machine *machine = context;
    machine->inner.snapshot_end(machine->inner.context);
}

static enum error_code watch_restore_begin(void *context, const struct machine_entry *entry,
                                           struct slice bundle, struct error *error)
{
    struct sim_machine *machine = context;
    machine->restoring = true;
    machine->loaded = false;
    machine->staging = false;
    machine->code = versions_find(machine->node->sim, bundle);
    check_snapshot_code(machine->node, entry, machine->code);
    return machine->inner.restore_begin(machine->inner.context, entry, bundle, error);
}

static enum error_code watch_restore_feed(void *context, struct slice bytes, size_t *used, struct error *error)
{
    struct sim_machine *machine = context;
    return machine->inner.restore_feed(machine->inner.context, bytes, used, error);
}

static enum error_code watch_restore_finish(void *context, const struct machine_entry *entry, uint64_t hash,
                                            struct error *error)
{
    struct sim_machine *machine = context;
    struct sim *sim = machine->node->sim;
    enum error_code code = machine->inner.restore_finish(machine->inner.context, entry, hash, error);
    machine->restoring = false;
    if (code != ERROR_OK) return code;
    machine->loaded = true;
    COVER(sim, snapshots_restored);
    if (machine->node->disk.snapshots.installing == 0) COVER(sim, starts_restored);
    record_node(machine->node, MOMENT_restored, machine->node->disk.snapshots.meta.index, hash, 0, NULL);
    trace_event(sim, TRACE_RESTORED, machine->node->number, entry->index, hash);
    TRACE(sim, machine->node, "is restored at %llu, state %016llx", (unsigned long long)entry->index,
          (unsigned long long)hash);
    machine->applied = check_restored(machine->node, entry, machine->inner.hash(machine->inner.context));
    machine->time_ms = entry->time_ms;
    return code;
}

/* ---- another state in place of this one ---- */

static enum error_code watch_stage_begin(void *context, const struct settings *settings,
                                         const struct machine_entry *entry, struct slice bundle, struct error *error)
{
    struct sim_machine *machine = context;
    check_staged(machine->node, versions_find(machine->node->sim, bundle), entry);
    machine->staging = true;
    return machine->inner.stage_begin(machine->inner.context, settings, entry, bundle, error);
}

static enum error_code watch_stage_feed(void *context, struct slice bytes, size_t *used, struct error *error)
{
    struct sim_machine *machine = context;
    return machine->inner.stage_feed(machine->inner.context, bytes, used, error);
}

static enum error_code watch_stage_take(void *context, const struct settings *settings,
                                        const struct machine_entry *entry, struct slice bundle,
                                        const struct machine_entry *last, uint64_t hash, struct error *error)
{
    struct sim_machine *machine = context;
    enum error_code code =
        machine->inner.stage_take(machine->inner.context, settings, entry, bundle, last, hash, error);
    if (code != ERROR_OK) return code;
    machine->loaded = true;
    machine->code = versions_find(machine->node->sim, bundle);
    machine->applied = last->index;
    machine->time_ms = last->time_ms;
    if (machine->inner.hash(machine->inner.context) != hash)
        violate(machine->node->sim, machine->node, "restored_whole", "restores another state than the backup's");
    check_switched(machine->node, last, hash, machine->code, entry);
    return code;
}

static void watch_stage_end(void *context)
{
    struct sim_machine *machine = context;
    machine->staging = false;
    machine->inner.stage_end(machine->inner.context);
}

static bool watch_stage_sweep(void *context)
{
    struct sim_machine *machine = context;
    return machine->inner.stage_sweep && machine->inner.stage_sweep(machine->inner.context);
}

static uint64_t watch_hash(void *context)
{
    struct sim_machine *machine = context;
    return machine->inner.hash(machine->inner.context);
}

static void watch_encode(void *context, struct buffer *out)
{
    struct sim_machine *machine = context;
    machine->inner.encode(machine->inner.context, out);
}

void machine_begin(struct sim_machine *machine, struct sim_node *node, struct machine *table)
{
    *machine = (struct sim_machine){.node = node};
    if (node->sim->options.bundle.size > 0) {
        machine->fsm = fsm_new(&node->sim->plan.settings, NULL, NULL);
        fsm_machine(machine->fsm, &machine->inner);
    } else {
        machine->inner = own_machine;
        machine->inner.context = machine;
    }
    *table = (struct machine){
        .context = machine,
        .configure = watch_configure,
        .load = watch_load,
        .apply = watch_apply,
        .upgrade = watch_upgrade,
        .query = watch_query,
        .hash = watch_hash,
        .encode = watch_encode,
        .snapshot_begin = watch_snapshot_begin,
        .snapshot_step = watch_snapshot_step,
        .snapshot_end = watch_snapshot_end,
        .restore_begin = watch_restore_begin,
        .restore_feed = watch_restore_feed,
        .restore_finish = watch_restore_finish,
        .stage_begin = watch_stage_begin,
        .stage_feed = watch_stage_feed,
        .stage_take = watch_stage_take,
        .stage_end = watch_stage_end,
        .stage_sweep = watch_stage_sweep,
    };
}

void machine_end(struct sim_machine *machine)
{
    if (machine->fsm) fsm_free(machine->fsm);
    buffer_deinit(&machine->image);
    buffer_deinit(&machine->staged);
    *machine = (struct sim_machine){0};
}

/* ---- the contract's bytes ---- */

void machine_write_append(struct buffer *out, uint64_t value, uint64_t key, size_t padding)
{
    static const char fill[] = "0123456789abcdefghijklmnopqrstuv";
    mp_write_array(out, 2);
    mp_write_text(out, "append");
    mp_write_map(out, 3);
    mp_write_text(out, "key");
    mp_write_u64(out, key);
    mp_write_text(out, "pad");
    struct buffer text = {0};
    while (text.size < padding) {
        size_t left = padding - text.size;
        buffer_append(&text, fill, left < sizeof fill - 1 ? left : sizeof fill - 1);
    }
    mp_write_string(out, buffer_slice(&text));
    buffer_deinit(&text);
    mp_write_text(out, "value");
    mp_write_u64(out, value);
}

void machine_write_get(struct buffer *out, uint64_t key)
{
    mp_write_array(out, 2);
    mp_write_text(out, "get");
    mp_write_map(out, 1);
    mp_write_text(out, "key");
    mp_write_u64(out, key);
}

/* script/bundle.h says what it looks like; the C machine does not read it, the host may. */
void machine_bundle(struct buffer *out)
{
    struct buffer files = {0};
    mp_write_map(&files, 1);
    mp_write_text(&files, "fsm.lua");
    mp_write_text(&files, "return { commands = {}, queries = {} }");
    mp_write_map(out, 3);
    mp_write_text(out, "files");
    mp_write_raw(out, buffer_slice(&files));
    mp_write_text(out, "hash");
    mp_write_u64(out, hash_bytes(files.data, files.size));
    mp_write_text(out, "version");
    mp_write_integer(out, 1);
    buffer_deinit(&files);
}

/*
 * ---- the C machine ----
 *
 * It keeps its registers in the form of the version that wrote them: chain and last value under that number's mask (the
 * first one's is 0). Code reads by the mask of its own number, so that code over a state of another form gives wrong
 * answers; and mixes into the chain what it drew by chance when it was loaded, as an app does that has
 * `local drawn = math.random()` at its top.
 */

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
    run_code(machine, entry, bundle);
    return ERROR_OK;
}

/* The first version draws nothing: it is what it was when there were no others. */
static void run_code(struct sim_machine *machine, const struct machine_entry *entry, struct slice bundle)
{
    const struct sim *sim = machine->node->sim;
    unsigned version = versions_find(sim, bundle);
    machine->own.number = version > 0 ? versions_at(sim, version)->number : 0;
    machine->own.drawn = version > 1 ? hash_pair(entry->seed, entry->index) : 0;
}

static enum error_code own_upgrade(void *context, const struct machine_entry *entry, struct slice bundle,
                                   struct machine_versions *versions, struct error *error)
{
    struct sim_machine *machine = context;
    const struct sim *sim = machine->node->sim;
    unsigned found = versions_find(sim, bundle);
    const struct sim_bundle *next = found > 0 ? versions_at(sim, found) : NULL;
    *versions = (struct machine_versions){.from = machine->own.number};
    if (!next || next->kind == VERSION_BROKEN) return error_set(error, ERROR_SCRIPT, "it does not load");
    versions->to = next->number;
    bool odd = next->kind == VERSION_PICKY && machine->version % 2 == 1;
    if (next->number != machine->own.number && (next->kind == VERSION_FAILS || odd)) {
        struct sim_register before[SIM_KEYS];
        memcpy(before, machine->registers, sizeof before);
        memset(machine->registers, 0, sizeof before / 2); /* half way */
        memcpy(machine->registers, before, sizeof before);
        return error_set(error, ERROR_SCRIPT, "migrate from version %d: it fails", (int)versions->from);
    }
    if (next->kind == VERSION_ONE_WAY && versions->from > versions->to)
        return error_set(error, ERROR_SCRIPT, "there is no way back from version %d", (int)versions->from);
    if (versions->to != versions->from) make_over(machine, versions->to, entry->index);
    run_code(machine, entry, bundle);
    return ERROR_OK;
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
    run_code(machine, entry, bundle);
    machine->ended = false;
    buffer_clear(&machine->image);
    return ERROR_OK;
}

/* Bytes belong to it up to the end of the one value that the state is. */
static enum error_code own_restore_feed(void *context, struct slice bytes, size_t *used, struct error *error)
{
    struct sim_machine *machine = context;
    (void)error;
    *used = 0;
    while (!machine->ended && *used < bytes.size) {
        buffer_append_byte(&machine->image, bytes.data[(*used)++]);
        struct mp_reader reader = mp_reader_of(buffer_slice(&machine->image));
        machine->ended = mp_skip(&reader, NULL);
    }
    return ERROR_OK;
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
    *used = 0;
    while (!machine->staged_whole && *used < bytes.size) {
        buffer_append_byte(&machine->staged, bytes.data[(*used)++]);
        struct mp_reader reader = mp_reader_of(buffer_slice(&machine->staged));
        machine->staged_whole = mp_skip(&reader, NULL);
    }
    return ERROR_OK;
}

static enum error_code own_stage_take(void *context, const struct settings *settings,
                                      const struct machine_entry *entry, struct slice bundle,
                                      const struct machine_entry *last, uint64_t hash, struct error *error)
{
    struct sim_machine *machine = context, before = *machine;
    (void)settings, (void)last;
    if (read_registers(machine, buffer_slice(&machine->staged)) && machine->hash == hash) {
        run_code(machine, entry, bundle);
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

static const struct machine own_machine = {
    .load = own_load,
    .apply = own_apply,
    .upgrade = own_upgrade,
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
