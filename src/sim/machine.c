/*
 * The replicated machine of one lifetime, watched: every call the host makes goes through here on
 * its way to the machine proper, so that the checks see each entry applied, the reply and the state
 * after it.
 *
 * The contract between workload and machine, kept by the small C machine of registers.c (for speed) and by
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

static uint64_t take_envelope(struct slice *body);
static enum error_code upgraded(struct sim_machine *machine, enum error_code code, const struct error *error);

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
static enum error_code watch_upgrade_begin(void *context, const struct machine_entry *entry, struct slice bundle,
                                           struct machine_versions *versions, struct error *error)
{
    struct sim_machine *machine = context;
    struct sim_node *node = machine->node;
    struct sim *sim = node->sim;
    if (!machine->loaded) violate(sim, node, "init_first", "a version of the app is deployed before INIT");
    if (machine->staging) breach(sim, node, "deploy_waits", "a version is deployed while a backup is taken in");
    if (machine->upgrade.version != 0) violate(sim, node, "deploy_alone", "a version is deployed within another");
    machine->upgrade = (struct sim_upgrade){.version = versions_find(sim, bundle), .entry = *entry};
    machine->upgrade.before = machine->inner.hash(machine->inner.context);
    enum error_code code = machine->inner.upgrade_begin(machine->inner.context, entry, bundle, versions, error);
    machine->upgrade.versions = *versions;
    return code == ERROR_OK ? code : upgraded(machine, code, error);
}

static enum error_code watch_upgrade_step(void *context, uint64_t work_max, bool *more, struct error *error)
{
    struct sim_machine *machine = context;
    struct sim_node *node = machine->node;
    enum error_code code = machine->inner.upgrade_step(machine->inner.context, work_max, more, error);
    if (!*more) return upgraded(machine, code, error);
    COVER(node->sim, deploys_sliced);
    if (machine->inner.hash(machine->inner.context) != machine->upgrade.before)
        violate(node->sim, node, "deploy_whole", "half of a version's work is in the hash of the state");
    return code;
}

static void watch_upgrade_end(void *context)
{
    struct sim_machine *machine = context;
    machine->inner.upgrade_end(machine->inner.context);
    machine->upgrade.version = 0;
    if (machine->inner.hash(machine->inner.context) != machine->upgrade.before)
        violate(machine->node->sim, machine->node, "deploy_whole", "what is given up has changed the state");
}

/* The end of one, at its beginning or after its last slice. */
static enum error_code upgraded(struct sim_machine *machine, enum error_code code, const struct error *error)
{
    struct sim_node *node = machine->node;
    struct sim *sim = node->sim;
    const struct sim_upgrade upgrade = machine->upgrade;
    const struct machine_entry *entry = &upgrade.entry;
    machine->upgrade.version = 0;
    if (machine->fsm && fsm_exhausted(machine->fsm)) return code; /* no result: the host must stop the node */
    if (sim->options.poison && poison_kills_deploy(node, entry->index)) {
        node->poisoned = true;
        return ERROR_INTERNAL;
    }
    uint64_t after = machine->inner.hash(machine->inner.context);
    if (code != ERROR_OK && upgrade.before != after)
        violate(sim, node, "deploy_whole", "version %u is refused, and has changed the state", upgrade.version);
    if (code == ERROR_OK) machine->code = upgrade.version;
    if (node->disk.snapshots.taking) COVER(sim, deploys_in_snapshot);
    TRACE(sim, node, "index %llu: version %u of the app over %u: %s", (unsigned long long)entry->index,
          upgrade.version, machine->code, code == ERROR_OK ? "runs" : error->text);
    trace_event(sim, TRACE_DEPLOY, node->number, entry->index, after);
    trace_mix(sim, (uint64_t)upgrade.version << 32 | code);
    check_loaded(node, entry, upgrade.version, code, &upgrade.versions, after);
    if (code == ERROR_OK) check_deployed(node, entry, after);
    if (code != ERROR_OK && sim->options.next.size > 0 && !sim->options.manual)
        violate(sim, node, "deploy_accepted", "the app's next version is refused at index %llu: %s",
                (unsigned long long)entry->index, error->text);
    if (code != ERROR_OK) return code;
    machine->applied = entry->index;
    machine->time_ms = entry->time_ms;
    return code;
}

/* Nothing is asked of it in the middle of an upgrade. */
static void check_alone(const struct sim_machine *machine, const char *what)
{
    if (machine->upgrade.version != 0)
        violate(machine->node->sim, machine->node, "deploy_alone", "%s while a version is being deployed", what);
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
    check_alone(machine, "a command is applied");
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
    check_alone(machine, "a query is answered");
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
    check_alone(machine, "a snapshot is written");
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
    machine->upgrade.version = 0;
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
        machine->inner = registers_machine;
        machine->inner.context = machine;
    }
    *table = (struct machine){
        .context = machine,
        .configure = watch_configure,
        .load = watch_load,
        .apply = watch_apply,
        .upgrade_begin = watch_upgrade_begin,
        .upgrade_step = watch_upgrade_step,
        .upgrade_end = watch_upgrade_end,
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
