/*
 * Another version of the app, at one index on all nodes. A DEPLOY entry is a canonical msgpack map:
 *
 *   {"bundle": bytes, "replaces": hash}   hash: that of the bundle this one is meant to follow, as a 64-bit integer
 *                                         with a sign; null: whichever there is
 *
 * All that can be wrong with it is judged as it is applied, by what is applied and nothing else: so it is refused
 * everywhere or nowhere. The same bundle again changes nothing and is told what the first was, so it may be sent again.
 *
 * The app's state goes on under the new code, which may make it over (machine.upgrade_begin). That may take long, so it
 * is done in slices: the entry stays the next one to be applied, nothing is asked of the machine meanwhile, and Raft
 * goes on. Where no app runs, because INIT's did not load, the new one begins as INIT's would have.
 *
 * Sessions and keys stay what they are; the system tree holds the new bundle with the stamps of this entry, which is
 * what a snapshot loads it by.
 */
#include "host/internal.h"

#include "base/mp.h"
#include "base/mutant.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define STEP_WORK 4000 /* VM instructions: a few milliseconds where every second one writes */
#define MANY_STEPS 500 /* of one deploy: it is not to be done again at every start */

struct payload {
    struct slice bundle;
    bool any;          /* whatever there is, it is replaced */
    uint64_t replaces;
};

static bool read_asked(struct slice arguments, struct payload *deploy);
static bool read_hash(struct mp_item item, uint64_t *hash);
static bool read_payload(struct slice payload, struct payload *deploy);
static enum error_code begin(struct host *host, const struct raft_entry *entry, const struct payload *deploy);
static enum error_code end(struct host *host, const struct raft_entry *entry, enum error_code code,
                           const struct error *error);
static void note(struct host *host, raft_index index);
static void write_reply(struct host *host, const struct machine_versions *versions);

/* ---- asked of the leader ---- */

void deploy_propose(struct host *host, struct waiter *waiter, struct slice arguments)
{
    struct payload deploy;
    struct buffer bytes = {0};
    if (!read_asked(arguments, &deploy)) {
        answer_error(host, waiter, ERROR_BAD_REQUEST,
                     "`bundle` is the new version's files as bytes (`moonclave deploy` makes them), and `replaces` the "
                     "hash of the one it follows, 16 hexadecimal digits as in the status");
        return;
    }
    mp_write_map(&bytes, 2);
    mp_write_text(&bytes, "bundle");
    mp_write_string(&bytes, deploy.bundle);
    mp_write_text(&bytes, "replaces");
    if (deploy.any)
        mp_write_nil(&bytes);
    else
        mp_write_integer(&bytes, (int64_t)deploy.replaces);
    propose_for(host, waiter, RAFT_DEPLOY, buffer_slice(&bytes));
    buffer_deinit(&bytes);
}

static bool read_asked(struct slice arguments, struct payload *deploy)
{
    struct slice value;
    struct mp_item item = {.type = MP_NIL};
    if (!mp_map_get(arguments, "bundle", &value) ||
        !mp_read_string(&(struct mp_reader){value.data, value.data + value.size}, &deploy->bundle) ||
        deploy->bundle.size == 0)
        return false;
    if (mp_map_get(arguments, "replaces", &value))
        mp_read(&(struct mp_reader){value.data, value.data + value.size}, &item);
    deploy->any = item.type == MP_NIL;
    return deploy->any || read_hash(item, &deploy->replaces);
}

/* 16 hexadecimal digits. */
static bool read_hash(struct mp_item item, uint64_t *hash)
{
    *hash = 0;
    if (item.type != MP_STRING || item.string.size != 16) return false;
    for (size_t i = 0; i < 16; i++) {
        const char *digit = memchr("0123456789abcdef", item.string.data[i], 16);
        if (digit == NULL) return false;
        *hash = *hash << 4 | (uint64_t)(digit - "0123456789abcdef");
    }
    return true;
}

/* ---- applied, alike on every node ---- */

enum error_code apply_deploy(struct host *host, const struct raft_entry *entry)
{
    const struct system *system = &host->system;
    struct payload deploy;
    if (!read_payload(entry->payload.bytes, &deploy)) {
        struct error error;
        error_set(&error, ERROR_VERSION,
                  "entry %" PRIu64 " deploys an app in a way that this program (moonclave %s) does not know: a newer "
                  "one does",
                  entry->index, MOONCLAVE_VERSION);
        host_fatal(host, &error);
        return error.code;
    }
    if (deploy_skipped(host, entry->index)) return refuse_skipped(host);
    if (!system->initialised)
        return apply_refuse(host, ERROR_CONFLICT,
                            "the cluster has no app yet: its first one comes with the nodes' start");
    bool same = host->apply.app_loaded && slice_equal(deploy.bundle, system_bundle(system));
    if (!GUARD(DEPLOY_TWICE, !same)) {
        write_reply(host, NULL);
        return ERROR_OK;
    }
    if (!GUARD(DEPLOY_UNCOMPARED, deploy.any || deploy.replaces == system->app_hash)) {
        return apply_refuse(host, ERROR_CONFLICT,
                            "it is meant to follow the app %016" PRIx64 ", and the cluster's is %016" PRIx64
                            ": look at what that changed, and deploy again",
                            deploy.replaces, system->app_hash);
    }
    if (!GUARD(DEPLOY_OVER_RESTORE, !restore_is_staged(host)))
        return apply_refuse(host, ERROR_CONFLICT,
                            "a backup is being restored: wait until it is done, or give it up with "
                            "`moonclave restore --abort`");
    return begin(host, entry, &deploy);
}

static enum error_code begin(struct host *host, const struct raft_entry *entry, const struct payload *deploy)
{
    struct machine *machine = &host->machine;
    struct machine_entry stamps = stamps_of(host, entry);
    struct error error;
    enum error_code code;
    say_applying(host, entry->index);
    host->deploy = (struct deploy){0};
    if (!host->apply.app_loaded) {
        code = machine->load(machine->context, &stamps, deploy->bundle, system_config(&host->system), &error);
        return end(host, entry, code, &error);
    }
    code = machine->upgrade_begin(machine->context, &stamps, deploy->bundle, &host->deploy.versions, &error);
    if (code != ERROR_OK) return end(host, entry, code, &error);
    host->deploy.index = entry->index;
    host_log(host, LOG_LEVEL_INFO,
             "goes over to the app %016" PRIx64 " at index %" PRIu64 " (its version %" PRId64 ", before %" PRId64
             "): commands and queries wait until that is done",
             bundle_name(deploy->bundle), entry->index, host->deploy.versions.to, host->deploy.versions.from);
    return code;
}

bool deploy_skipped(const struct host *host, raft_index index)
{
    return !GUARD(DEPLOY_NOT_SKIPPED, !skip_due(host, index));
}

bool deploying(const struct host *host)
{
    return host->deploy.index != 0;
}

enum error_code deploy_step(struct host *host, const struct raft_entry *entry)
{
    struct error error;
    bool more;
    assert(entry->index == host->deploy.index);
    enum error_code code = host->machine.upgrade_step(host->machine.context, STEP_WORK, &more, &error);
    host->deploy.steps++;
    if (more) return code;
    if (host->deploy.steps >= MANY_STEPS) host->snapshots.long_deploy = entry->index; /* refused or not */
    host->deploy.index = 0;
    return end(host, entry, code, &error);
}

void deploy_abandon(struct host *host)
{
    if (!deploying(host)) return;
    host->deploy.index = 0;
    host->machine.upgrade_end(host->machine.context);
    say_applying(host, 0);
}

static enum error_code end(struct host *host, const struct raft_entry *entry, enum error_code code,
                           const struct error *error)
{
    struct payload deploy;
    if (code == ERROR_INTERNAL) {
        machine_failed(host, entry->index);
        return code;
    }
    say_applying(host, 0);
    bool read = read_payload(entry->payload.bytes, &deploy);
    assert(read); /* it began */
    (void)read;
    if (code != ERROR_OK) {
        host_log(host, LOG_LEVEL_INFO,
                 "the app %016" PRIx64 " is refused at index %" PRIu64 ", nothing has changed: %s",
                 bundle_name(deploy.bundle), entry->index, error->text);
        return apply_refuse(host, code, "the app is refused, nothing has changed: %.400s", error->text);
    }
    struct machine_entry stamps = stamps_of(host, entry);
    system_deploy(&host->system, &stamps, deploy.bundle);
    note(host, entry->index);
    write_reply(host, &host->deploy.versions);
    return ERROR_OK;
}

static void note(struct host *host, raft_index index)
{
    struct apply *apply = &host->apply;
    const struct machine_versions *versions = &host->deploy.versions;
    host_log(host, LOG_LEVEL_INFO,
             "the app is %016" PRIx64 " from index %" PRIu64 " on (its version %" PRId64 ", before %" PRId64 ")",
             host->system.app_hash, index, versions->to, versions->from);
    apply->app_error.code = ERROR_OK;
    apply->app_loaded = true;
    host->route_again = true;
    host->ports.loaded(host->ports.context, system_bundle(&host->system), system_config(&host->system));
}

/* ---- bytes ---- */

static bool read_payload(struct slice payload, struct payload *deploy)
{
    static const struct mp_limits limits = {.depth = 1, .elements = 5, .bytes = SIZE_MAX};
    struct slice bundle, replaces;
    struct mp_item item;
    if (mp_check(payload, &limits, NULL) != ERROR_OK || !mp_map_get(payload, "bundle", &bundle) ||
        !mp_read_string(&(struct mp_reader){bundle.data, bundle.data + bundle.size}, &deploy->bundle) ||
        !mp_map_get(payload, "replaces", &replaces))
        return false;
    mp_read(&(struct mp_reader){replaces.data, replaces.data + replaces.size}, &item);
    deploy->any = item.type == MP_NIL;
    deploy->replaces = (uint64_t)item.integer;
    return deploy->any || item.type == MP_INTEGER;
}

/* {"from", "hash", "index", "to"}; without versions: nothing had to be done. */
static void write_reply(struct host *host, const struct machine_versions *versions)
{
    char hash[17];
    struct buffer *reply = &host->apply.reply;
    snprintf(hash, sizeof hash, "%016" PRIx64, host->system.app_hash);
    mp_write_map(reply, versions != NULL ? 4 : 2);
    if (versions != NULL) {
        mp_write_text(reply, "from");
        mp_write_integer(reply, versions->from);
    }
    mp_write_text(reply, "hash");
    mp_write_text(reply, hash);
    mp_write_text(reply, "index");
    mp_write_u64(reply, host->system.app_index);
    if (versions == NULL) return;
    mp_write_text(reply, "to");
    mp_write_integer(reply, versions->to);
}
