/*
 * The new version of an app over a copy of the cluster's state, in this process: the same code that each node will run,
 * by the cluster's own settings. The archive that was fetched stays what it was, to be compared with.
 */
#include "cli/deploy.h"

#include "cli/cli.h"

#include "module/app_modules.h"
#include "script/bundle.h"
#include "script/control.h"
#include "script/fsm.h"
#include "script/library.h"
#include "script/policy.h"

#include "base/mp.h"
#include "http/json.h"

#include <string.h>
#include <time.h>

#define STEP_BYTES (1u << 20)

static enum error_code copy_state(struct deploy_try *try, struct machine *machine, struct error *error);
static enum error_code take_new(struct deploy_try *try, struct machine *machine, struct slice bundle);
static uint64_t size_of(struct machine *machine);
static void said(void *context, const char *text);

void deploy_try_init(struct deploy_try *try)
{
    memset(try, 0, sizeof *try);
    archive_init(&try->archive);
}

void deploy_try_deinit(struct deploy_try *try)
{
    archive_deinit(&try->archive);
    fsm_free(try->fsm);
    deploy_changes_deinit(&try->changes);
    buffer_deinit(&try->names_before);
    buffer_deinit(&try->names_after);
    buffer_deinit(&try->said);
    buffer_deinit(&try->refusal);
    buffer_deinit(&try->traceback);
}

enum error_code deploy_try_run(struct deploy_try *try, struct slice bundle, struct error *error)
{
    struct machine machine;
    const struct archive *archive = &try->archive;
    enum error_code code = ERROR_OK;
    try->fsm = fsm_new(&archive->restored.settings, said, &try->said);
    try->had_app = archive->restored.app_error.size == 0;
    fsm_machine(try->fsm, &machine);
    if (try->had_app) code = copy_state(try, &machine, error);
    buffer_clear(&try->said); /* what the old one says as it is loaded */
    if (code == ERROR_OK) code = take_new(try, &machine, bundle);
    if (code == ERROR_INTERNAL)
        return error_set(error, code, "there is no memory here for the state: --no-dry-run goes without");
    if (code != ERROR_OK || try->refusal.size > 0) return code;
    try->bytes_after = size_of(&machine);
    deploy_changes_find(archive->state, fsm_state(try->fsm), &try->changes);
    return ERROR_OK;
}

/* Piece by piece: there are two states in memory, and no third. */
static enum error_code copy_state(struct deploy_try *try, struct machine *machine, struct error *error)
{
    const struct archive *archive = &try->archive;
    struct error why;
    enum error_code code = machine->restore_begin(machine->context, &archive->restored.init,
                                                  system_bundle(&archive->system), &why);
    if (code != ERROR_OK)
        return error_set(error, code, "the cluster's app does not load in this program: %.400s", why.text);
    struct state_snapshot *snapshot = state_snapshot_begin(archive->state);
    struct buffer bytes = {0};
    uint64_t hash = state_snapshot_hash(snapshot);
    bool more = true;
    while (code == ERROR_OK && more) {
        size_t used;
        buffer_clear(&bytes);
        more = state_snapshot_step(snapshot, STEP_BYTES, &bytes);
        code = machine->restore_feed(machine->context, buffer_slice(&bytes), &used, error);
        try->bytes_before += bytes.size;
    }
    state_snapshot_end(snapshot);
    buffer_deinit(&bytes);
    if (code == ERROR_OK) code = machine->restore_finish(machine->context, &archive->system.entry, hash, error);
    fsm_names(try->fsm, &try->names_before);
    return code;
}

/* As the entry behind the last one would; its index, clock and chance are not known before it is there. */
static enum error_code take_new(struct deploy_try *try, struct machine *machine, struct slice bundle)
{
    const struct archive *archive = &try->archive;
    struct timespec now;
    struct error why;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    const struct machine_entry entry = {
        .index = archive->reader.head.meta.index + 1,
        .term = archive->reader.head.meta.term,
        .time_ms = now_ms > archive->system.clock_ms ? now_ms : archive->system.clock_ms,
        .seed = now_ms,
    };
    uint64_t begun_us = cli_clock_us();
    enum error_code code =
        try->had_app ? machine_upgrade(machine, &entry, bundle, &try->versions, &why)
                     : machine->load(machine->context, &entry, bundle, system_config(&archive->system), &why);
    try->took_us = cli_clock_us() - begun_us;
    if (code == ERROR_INTERNAL) return code;
    if (code != ERROR_OK) {
        buffer_append_text(&try->refusal, why.text);
        buffer_append_slice(&try->traceback, fsm_traceback(try->fsm));
    } else {
        fsm_names(try->fsm, &try->names_after);
    }
    return ERROR_OK;
}

static uint64_t size_of(struct machine *machine)
{
    struct buffer bytes = {0};
    uint64_t size = 0;
    bool more = true;
    machine->snapshot_begin(machine->context);
    while (more) {
        more = machine->snapshot_step(machine->context, STEP_BYTES, &bytes);
        size += bytes.size;
        buffer_clear(&bytes);
    }
    machine->snapshot_end(machine->context);
    buffer_deinit(&bytes);
    return size;
}

enum error_code deploy_try_load(struct slice bundle, struct error *error)
{
    struct settings settings;
    struct machine machine;
    const struct machine_entry entry = {.index = 1, .term = 1};
    settings_init(&settings);
    struct fsm *fsm = fsm_new(&settings, NULL, NULL);
    fsm_machine(fsm, &machine);
    enum error_code code = machine.restore_begin(machine.context, &entry, bundle, error);
    fsm_free(fsm);
    return code;
}

static void said(void *context, const char *text)
{
    buffer_append_text(context, text);
    buffer_append_byte(context, '\n');
}

/* ---- api.lua and policy.lua ---- */

static void submit(void *context, uint64_t ticket, const struct request *request)
{
    (void)context;
    (void)ticket;
    (void)request; /* nobody can wait while an app is loaded, and no request is served */
}

static void respond(void *context, uint64_t exchange, const struct http_response *response)
{
    (void)context;
    (void)exchange;
    (void)response;
}

static void tell_status(void *context, struct buffer *out)
{
    buffer_append_slice(out, ((const struct deploy_world *)context)->status);
}

static void tell_members(void *context, struct buffer *out)
{
    buffer_append_slice(out, ((const struct deploy_world *)context)->members);
}

static void tell_settings(void *context, struct buffer *out)
{
    buffer_append_slice(out, ((const struct deploy_world *)context)->settings);
}

static enum error_code json_decode(void *context, struct slice json, struct buffer *out, struct error *error)
{
    (void)context;
    return json_to_value(json, out, error);
}

static void log_line(void *context, enum log_level level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
}

void deploy_try_scripts(struct slice bundle, const struct deploy_world *world, struct buffer *problems)
{
    struct deploy_world told = *world;
    const struct control_ports ports = {
        .context = &told,
        .submit = submit,
        .respond = respond,
        .status = tell_status,
        .members = tell_members,
        .config = tell_settings,
        .json_decode = json_decode,
        .log = log_line,
    };
    struct error why;
    struct control *control = control_new(&ports);
    if (control_load(control, bundle, world->config, &why) != ERROR_OK)
        buffer_append_format(problems, "%s\n", why.text);
    control_free(control);
    if (policy_check(bundle, &why) != ERROR_OK) buffer_append_format(problems, "%s\n", why.text);
}

/* ---- the rules of `moonclave check` ---- */

enum error_code deploy_try_rules(struct slice bundle, struct buffer *findings, struct error *error)
{
    static const struct library_module modules[] = {
        {"moonclave.fsm", luaopen_moonclave_fsm},
    };
    struct buffer options = {0};
    mp_write_map(&options, 1);
    mp_write_text(&options, "bundle");
    mp_write_string(&options, bundle);
    const struct library_command command = {
        .module = "moonclave.check.source",
        .options = buffer_slice(&options),
        .modules = modules,
        .module_count = sizeof modules / sizeof *modules,
        .text = findings,
    };
    int status;
    enum error_code code = library_run(&command, &status, error);
    buffer_deinit(&options);
    return code;
}
