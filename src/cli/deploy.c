/*
 * `moonclave deploy APP`: the next version of the cluster's app, while it runs (host/deploy.c). First the new version
 * is tried on a copy of the state in this process (deploy_try.c): what it would change is shown, and what the cluster
 * would refuse is never sent. Then, if it is meant, it goes to the leader, through any node.
 *
 * It names the app that it follows, the one it was tried on: where somebody else has deployed meanwhile, the cluster
 * refuses it. And the same bundle again does nothing: so whatever is lost on the way is sent again, and an outcome that
 * is not known is found out by the same command.
 */
#include "cli/deploy.h"

#include "cli/cli.h"
#include "cli/places.h"
#include "cli/view.h"
#include "script/bundle.h"

#include "base/mp.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MS  5000
#define PAUSE_MS   200

struct deploy_options {
    const char *address;
    uint64_t timeout_s;
    bool json, yes, force, dry_run, no_dry_run;
};

struct job {
    const char *path;
    struct deploy_options options;
    struct buffer bundle;
    struct places places;
    char leader[ADDRESS_MAX + 1]; /* empty: it is the node asked, or cannot be reached */
    struct buffer status, members, settings; /* the leader's where it can be reached, else those of the node asked */
    struct deploy_try try;
    struct deploy_found found;
    struct deploy_outcome outcome;
    bool sent; /* at least once: it may be on its way */
    struct error error;
};

static int deploy_run(int argc, char **argv);
static enum error_code read_line(struct job *job, int argc, char **argv);
static enum error_code deploy(struct job *job);
static enum error_code look(struct job *job, bool *same);
static enum error_code ask(struct job *job, const char *method, struct buffer *out);
static void ask_leader(struct job *job);
static bool is_same(struct job *job, uint64_t hash);
static void tell_same(const struct job *job);
static enum error_code dry_run(struct job *job, bool *same);
static enum error_code look_at_files(struct job *job);
static void look_at_source(struct deploy_found *found);
static void look_at_scripts(struct job *job, struct slice config, struct buffer *problems);
static enum error_code judge(struct job *job);
static enum error_code agree(struct job *job);
static void go_to_leader(struct job *job);
static enum error_code give(struct job *job);
static enum error_code give_once(struct job *job, struct slice body, uint64_t left_ms);
static enum error_code not_given(struct job *job, enum error_code code);
static void say(const struct job *job);

#define FIELD(name) offsetof(struct deploy_options, name)
static const struct flag rows[] = {
    {"addr", FLAG_TEXT, FIELD(address), 0, 0, "HOST:PORT", "any node's address (127.0.0.1:5001)"},
    {"dry-run", FLAG_BOOLEAN, FIELD(dry_run), 0, 0, NULL, "only shows what it would change"},
    {"force", FLAG_BOOLEAN, FIELD(force), 0, 0, NULL, "also where api.lua or policy.lua does not load here"},
    {"json", FLAG_BOOLEAN, FIELD(json), 0, 0, NULL, "all of it as one JSON object; needs --yes or --dry-run"},
    {"no-dry-run", FLAG_BOOLEAN, FIELD(no_dry_run), 0, 0, NULL,
     "does not fetch the state and try it: where that is too large"},
    {"timeout", FLAG_INTEGER, FIELD(timeout_s), 1, 86400, "SECONDS", "how long to wait for the cluster (60)"},
    {"yes", FLAG_BOOLEAN, FIELD(yes), 0, 0, NULL, "does not ask whether that is meant; -y says the same"},
};
static const char *const arguments[] = {"APP"};
static const struct flags flags = {.command = "deploy", .rows = rows, .count = sizeof rows / sizeof *rows,
                                   .arguments = arguments, .argument_count = 1};

const struct cli_command deploy_command = {
    .name = "deploy",
    .summary = "gives the cluster another version of its app",
    .usage = "APP [--dry-run] [-y] [flags]",
    .help = "While it runs: all nodes go over to the new files at one index of the log, and fsm.lua's\n"
            "migrate(state, from_version) makes the state over there, or all refuse alike and nothing has changed.\n"
            "Commands and queries wait meanwhile; none is lost.\n"
            "\n"
            "First comes a dry run: the state is fetched, the new version is tried on it in this process, by the\n"
            "cluster's own budgets, and what would change is shown: versions, files, commands and queries, items of\n"
            "the state, and how long it takes. What would be refused is not sent: exit code 1, with the reason. What\n"
            "`moonclave check` says of the source is shown as warnings. Then it asks.\n"
            "\n"
            "  migrate is called where `version` (an integer, 0 where there is none) differs; without a migrate a\n"
            "  newer version takes the state as it is, and an older one is refused.\n"
            "  api.lua and policy.lua are loaded here as well. A node on which api.lua does not load serves no new\n"
            "  route: so that is refused, but for --force: it may need what only the nodes have.\n"
            "\n"
            "Two people at once: who comes second is told of the conflict, and is to look again. After a timeout the\n"
            "same command is safe: what is there already is not done twice.\n"
            "\n"
            "  moonclave deploy examples/kv --dry-run\n"
            "  moonclave deploy examples/kv --addr 127.0.0.1:5002 -y\n",
    .flags = &flags,
    .run = deploy_run,
};

static int deploy_run(int argc, char **argv)
{
    struct job job = {.options = {.address = "127.0.0.1:5001", .timeout_s = 60}};
    deploy_try_init(&job.try);
    enum error_code code = read_line(&job, argc, argv);
    if (code == ERROR_OK) code = deploy(&job);
    places_end(&job.places);
    deploy_try_deinit(&job.try);
    struct buffer *const buffers[] = {&job.bundle,   &job.status,         &job.members,
                                      &job.settings, &job.found.problems, &job.found.findings};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) buffer_deinit(buffers[i]);
    return code == ERROR_OK ? EXIT_DONE : cli_fail(exit_status_of(code), "deploy: %s", job.error.text);
}

static enum error_code read_line(struct job *job, int argc, char **argv)
{
    const struct deploy_options *options = &job->options;
    struct error why;
    enum error_code code = flags_parse(&flags, argc, argv, &job->options, NULL, &job->path, &why);
    if (code != ERROR_OK) { /* it names the command itself */
        const char *text = strncmp(why.text, "deploy: ", 8) == 0 ? why.text + 8 : why.text;
        return error_set(&job->error, code, "%s", text);
    }
    if (job->path == NULL) {
        return error_set(&job->error, ERROR_USAGE,
                         "which app? `moonclave deploy APP`, a folder with an fsm.lua or a .lua file");
    }
    if (options->dry_run && options->no_dry_run)
        return error_set(&job->error, ERROR_USAGE, "--dry-run and --no-dry-run: give one of them");
    if (options->json && !options->yes && !options->dry_run)
        return error_set(&job->error, ERROR_USAGE, "--json asks nothing: it needs --yes, or --dry-run");
    places_begin(&job->places, options->address);
    code = bundle_read(job->path, &job->bundle, &job->error);
    if (code == ERROR_OK) code = bundle_verify(buffer_slice(&job->bundle), &job->error);
    job->found.app = job->path;
    job->found.after = buffer_slice(&job->bundle);
    job->found.hash = code == ERROR_OK ? bundle_hash(buffer_slice(&job->bundle)) : 0;
    return code;
}

static enum error_code deploy(struct job *job)
{
    bool same = false;
    enum error_code code = look(job, &same);
    if (code == ERROR_OK && !same) code = job->options.no_dry_run ? look_at_files(job) : dry_run(job, &same);
    if (code == ERROR_OK && same) {
        tell_same(job);
        return ERROR_OK;
    }
    if (code == ERROR_OK) code = judge(job);
    if (code == ERROR_OK && job->options.dry_run) {
        if (job->options.json)
            deploy_print_json(&job->found, NULL);
        else
            printf("dry run: nothing was sent\n");
        return ERROR_OK;
    }
    if (code == ERROR_OK) code = agree(job);
    if (code == ERROR_OK) code = give(job);
    if (code == ERROR_OK) say(job);
    return code;
}

/* ---- what the cluster runs ---- */

static enum error_code look(struct job *job, bool *same)
{
    char hash[CELL_MAX] = "";
    struct slice app;
    enum error_code code = places_connect(&job->places, &job->error);
    if (code == ERROR_OK) code = ask(job, "status", &job->status);
    if (code == ERROR_OK) code = ask(job, "members", &job->members);
    if (code == ERROR_OK) code = ask(job, "config", &job->settings);
    if (code != ERROR_OK) return code;
    ask_leader(job);
    places_learn(&job->places, buffer_slice(&job->members));
    if (mp_map_get(buffer_slice(&job->status), "app", &app)) view_text(app, "hash", hash, sizeof hash);
    job->found.replaces = strtoull(hash, NULL, 16);
    if (job->found.replaces == 0)
        return error_set(&job->error, ERROR_CONFLICT,
                         "the cluster has no app yet: its first one comes with the nodes' start");
    *same = is_same(job, job->found.replaces);
    return ERROR_OK;
}

static enum error_code ask(struct job *job, const char *method, struct buffer *out)
{
    struct slice result;
    enum error_code code =
        rpc_client_call(job->places.client, method, slice_of(NULL, 0), ANSWER_MS, &result, &job->error);
    if (code == ERROR_OK) buffer_append_slice(out, result);
    return code;
}

/* Another node may lag, and not have the newest app yet. */
static void ask_leader(struct job *job)
{
    char leader[CELL_MAX], id[CELL_MAX], address[CELL_MAX];
    struct rpc_client *client = NULL;
    struct error ignored;
    struct slice result;
    view_text(buffer_slice(&job->status), "leader", leader, sizeof leader);
    view_text(buffer_slice(&job->status), "id", id, sizeof id);
    view_text(buffer_slice(&job->status), "leader_address", address, sizeof address);
    if (leader[0] == 0 || strcmp(leader, id) == 0) return;
    if (rpc_client_open(&client, address, PLACES_CONNECT_MS, &ignored) == ERROR_OK &&
        rpc_client_call(client, "status", slice_of(NULL, 0), ANSWER_MS, &result, &ignored) == ERROR_OK) {
        buffer_clear(&job->status);
        buffer_append_slice(&job->status, result);
        snprintf(job->leader, sizeof job->leader, "%s", address);
    }
    rpc_client_close(client);
}

/* An app that did not load is begun anew by the same one again. */
static bool is_same(struct job *job, uint64_t hash)
{
    struct slice app, error;
    bool broken = mp_map_get(buffer_slice(&job->status), "app", &app) && mp_map_get(app, "error", &error);
    return job->found.same = hash == job->found.hash && !broken;
}

static void tell_same(const struct job *job)
{
    char index[CELL_MAX] = "";
    struct slice app;
    if (mp_map_get(buffer_slice(&job->status), "app", &app)) view_text(app, "version", index, sizeof index);
    if (job->options.json)
        deploy_print_json(&job->found, NULL);
    else
        printf("the cluster runs this app already (app %016" PRIx64 ", since index %s): there is nothing to do\n",
               job->found.hash, index);
}

/* ---- what would change ---- */

static enum error_code dry_run(struct job *job, bool *same)
{
    struct deploy_try *try = &job->try;
    const struct archive_source source = {.client = job->places.client,
                                          .address = job->options.address,
                                          .consistency = "linearizable",
                                          .timeout_s = job->options.timeout_s,
                                          .what = "fetching the state"};
    struct error why;
    struct deploy_found *found = &job->found;
    enum error_code code = archive_fetch(&try->archive, &source, &why);
    if (code != ERROR_OK)
        return error_set(&job->error, code, "the state cannot be fetched for the dry run: %.350s", why.text);
    found->replaces = try->archive.reader.head.app_hash;
    *same = is_same(job, found->replaces);
    if (*same) return ERROR_OK;
    found->before = system_bundle(&try->archive.system);
    found->try = try;
    code = deploy_try_run(try, found->after, &job->error);
    if (code != ERROR_OK) return code;
    if (try->refusal.size == 0) look_at_scripts(job, system_config(&try->archive.system), &found->problems);
    look_at_source(found);
    return ERROR_OK;
}

/* Without the state there are no budgets and no config of the cluster's: what is found is shown, and fsm.lua that does
 * not load is refused. */
static enum error_code look_at_files(struct job *job)
{
    struct error why;
    struct buffer problems = {0};
    enum error_code code = deploy_try_load(job->found.after, &why);
    if (code != ERROR_OK)
        return error_set(&job->error, code, "the app does not load, nothing was sent: %.420s", why.text);
    struct buffer config = {0};
    mp_write_map(&config, 0);
    look_at_scripts(job, buffer_slice(&config), &problems);
    buffer_append_slice(&job->found.findings, buffer_slice(&problems));
    buffer_deinit(&config);
    buffer_deinit(&problems);
    look_at_source(&job->found);
    return ERROR_OK;
}

static void look_at_source(struct deploy_found *found)
{
    struct error why;
    if (deploy_try_rules(found->after, &found->findings, &why) != ERROR_OK)
        buffer_append_format(&found->findings, "the source is not looked at: %s\n", why.text);
}

static void look_at_scripts(struct job *job, struct slice config, struct buffer *problems)
{
    const struct deploy_world world = {.config = config,
                                       .status = buffer_slice(&job->status),
                                       .members = buffer_slice(&job->members),
                                       .settings = buffer_slice(&job->settings)};
    deploy_try_scripts(job->found.after, &world, problems);
}

/* Shows what was found; not OK: it is not to be sent. */
static enum error_code judge(struct job *job)
{
    const struct deploy_found *found = &job->found;
    const struct buffer *refusal = &job->try.refusal;
    const struct buffer *traceback = &job->try.traceback;
    bool refused = refusal->size > 0, broken = found->problems.size > 0 && !job->options.force;
    if (!job->options.json) deploy_print(found);
    if (!refused && !broken) return ERROR_OK;
    if (job->options.json) deploy_print_json(found, NULL);
    fflush(stdout);
    if (refused && traceback->size > 0 && !job->options.json)
        fprintf(stderr, "%.*s\n", (int)traceback->size, (const char *)traceback->data);
    if (refused)
        return error_set(&job->error, ERROR_SCRIPT, "the cluster would refuse this app, nothing was sent: %.*s",
                         (int)refusal->size, (const char *)refusal->data);
    size_t size = found->problems.size - 1; /* without the last line end */
    return error_set(&job->error, ERROR_SCRIPT,
                     "nothing was sent: %.*s: a node that cannot load that goes without it; --force sends it all the "
                     "same", (int)(size < 380 ? size : 380), (const char *)found->problems.data);
}

static enum error_code agree(struct job *job)
{
    if (job->options.yes) return ERROR_OK;
    if (!isatty(STDIN_FILENO))
        return error_set(&job->error, ERROR_USAGE, "not done: it changes the app of the whole cluster; --yes says that "
                         "it is meant");
    fflush(stdout);
    fprintf(stderr, "every node goes over to it at one index%s\n",
            job->found.try == NULL ? "; what becomes of the state was not tried" : "");
    return cli_go_on() ? ERROR_OK : error_set(&job->error, ERROR_USAGE, "not done");
}

/* ---- to the cluster ---- */

/* What another attempt may change; none does harm. */
static bool passes(enum error_code code)
{
    return code == ERROR_UNAVAILABLE || code == ERROR_NOT_LEADER || code == ERROR_SHUTTING_DOWN ||
           code == ERROR_OVERLOADED || code == ERROR_DISK_FULL;
}

/* Of its death one hears at once; a follower that has passed it on waits for an answer until the time is over. */
static void go_to_leader(struct job *job)
{
    struct rpc_client *client = NULL;
    struct error ignored;
    if (job->leader[0] == 0 || rpc_client_open(&client, job->leader, PLACES_CONNECT_MS, &ignored) != ERROR_OK) return;
    places_end(&job->places);
    job->places.client = client;
}

static enum error_code give(struct job *job)
{
    struct buffer body = {0};
    char hash[17];
    uint64_t deadline_ms = cli_clock_ms() + job->options.timeout_s * 1000;
    enum error_code code;
    snprintf(hash, sizeof hash, "%016" PRIx64, job->found.replaces);
    mp_write_map(&body, 2);
    mp_write_text(&body, "bundle");
    mp_write_string(&body, job->found.after);
    mp_write_text(&body, "replaces");
    mp_write_text(&body, hash);
    go_to_leader(job);
    for (;;) {
        uint64_t now_ms = cli_clock_ms();
        code = places_connect(&job->places, &job->error);
        if (code == ERROR_OK)
            code = give_once(job, buffer_slice(&body), deadline_ms > now_ms ? deadline_ms - now_ms : 1);
        if (!passes(code) || cli_clock_ms() + PAUSE_MS >= deadline_ms) break;
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
    }
    buffer_deinit(&body);
    return code == ERROR_OK ? code : not_given(job, code);
}

static bool read_version(struct slice answer, const char *key, int64_t *version)
{
    struct slice value;
    return mp_map_get(answer, key, &value) &&
           mp_read_integer(&(struct mp_reader){value.data, value.data + value.size}, version);
}

static enum error_code give_once(struct job *job, struct slice body, uint64_t left_ms)
{
    struct buffer params = {0};
    struct slice result, value;
    mp_write_array(&params, 2);
    mp_write_raw(&params, body);
    mp_write_map(&params, 1);
    mp_write_text(&params, "timeout");
    mp_write_float(&params, (double)left_ms / 1000);
    enum error_code code = places_call(&job->places, "admin/deploy", buffer_slice(&params),
                                       (unsigned)left_ms + PLACES_CONNECT_MS, &result, &job->error);
    buffer_deinit(&params);
    if (code == ERROR_UNAVAILABLE || code == ERROR_TIMEOUT) job->sent = true;
    if (code != ERROR_OK) return code;
    struct deploy_outcome *outcome = &job->outcome;
    bool told = mp_map_get(result, "index", &value) &&
                mp_read_u64(&(struct mp_reader){value.data, value.data + value.size}, &outcome->index);
    if (!told)
        return error_set(&job->error, ERROR_BAD_REQUEST,
                         "the answer is not understood: is that node of another version?");
    outcome->again = !read_version(result, "from", &outcome->versions.from) ||
                     !read_version(result, "to", &outcome->versions.to);
    return ERROR_OK;
}

static enum error_code not_given(struct job *job, enum error_code code)
{
    const struct error why = job->error;
    char bytes[CELL_MAX];
    snprintf(bytes, sizeof bytes, "%zu", job->found.after.size);
    if (code == ERROR_CONFLICT)
        return error_set(&job->error, code, "%.400s: nothing has changed; `moonclave deploy` again looks at what is "
                         "there now", why.text);
    if (code == ERROR_TIMEOUT || job->sent)
        return error_set(&job->error, code, "%.300s: whether it is deployed is not known: the same command again is "
                         "safe, nothing is done twice", why.text);
    if (code == ERROR_TOO_LARGE)
        return error_set(&job->error, code, "%.300s: the app has %s bytes, and the nodes take entries of "
                         "entry_bytes_max (`moonclave config list`)", why.text, bytes);
    return code;
}

static void say(const struct job *job)
{
    const struct deploy_outcome *outcome = &job->outcome;
    struct machine_versions versions = outcome->again ? job->try.versions : outcome->versions;
    if (job->options.json) {
        deploy_print_json(&job->found, outcome);
        return;
    }
    printf("deployed at index %" PRIu64 ": ", outcome->index);
    if (outcome->again && job->found.try == NULL)
        printf("an attempt before this one had done it");
    else if (versions.from != versions.to)
        printf("version %" PRId64 " -> %" PRId64, versions.from, versions.to);
    else
        printf("version %" PRId64, versions.to);
    printf(" (app %016" PRIx64 ")\n", job->found.hash);
}
