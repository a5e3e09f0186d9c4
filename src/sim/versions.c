/*
 * Versions of the app: the bundle that the nodes are started with, and those that may follow it. Each is other bytes,
 * some the same number, some do not load or cannot make the state over.
 *
 * The C machine's are told apart by what stands in their fsm.lua, which nothing runs; it does what their kind says
 * (machine.c). Of an app that keeps to the contract they are its own files with fsm.lua wrapped: what that returns gets
 * another version and a migrate that writes all that there is. Line numbers stay, for the first line is not broken.
 */
#include "sim/internal.h"

#include "base/memory.h"
#include "script/bundle.h"

#include <assert.h>
#include <string.h>

#define FILES_MAX 64

/* What follows the first, which has the number 1. */
static const struct {
    int64_t number;
    enum sim_version_kind kind;
    const char *body; /* of an app, behind its own */
} rows[] = {
    {2, VERSION_SOUND, "migrate(function(state) return state end)\n"},
    {3, VERSION_SOUND,
     "migrate(function(state) local copy = {} for k, v in pairs(state) do copy[k] = v end return copy end)\n"},
    {3, VERSION_SOUND, "migrate(function(state) return state end) -- 3 again, for it was not good enough\n"},
    {4, VERSION_ONE_WAY,
     "migrate(function(state, from) if from > fsm.version then error 'no way back' end return state end)\n"},
    {5, VERSION_BROKEN, "error 'it does not load'\n"},
    {6, VERSION_FAILS, "migrate(function(state) state.registers = {} state.version = 0 error 'half way' end)\n"},
    {7, VERSION_PICKY,
     "migrate(function(state)\n"
     "  if state.version % 2 == 1 then state.version = 0 error 'it is odd' end\n"
     "  return state\n"
     "end)\n"},
};

/* The same for all: a form for every register, and a count of what was made over. */
static const char common[] =
    "local function migrate(rest)\n"
    "  function fsm.migrate(state, from)\n"
    "    for _, register in pairs(state.registers) do register.form = fsm.version end\n"
    "    state.migrations = (state.migrations or 0) * 31 + from\n"
    "    return rest(state, from)\n"
    "  end\n"
    "end\n";

static void make_own(struct sim *sim, size_t row);
static void make_of_app(struct sim *sim, size_t row);
static struct sim_bundle *add(struct sim *sim, struct slice bytes);

void versions_begin(struct sim *sim)
{
    const struct sim_options *options = &sim->options;
    struct sim_bundle *first = add(sim, buffer_slice(&sim->bundle));
    bool foreign = options->manual || options->workload;
    *first = (struct sim_bundle){.bytes = first->bytes, .hash = first->hash, .number = 1};
    first->kind = options->bundle.size > 0 ? VERSION_ONE_WAY : VERSION_SOUND; /* an app's own has no migrate */
    if (foreign) first->kind = VERSION_FOREIGN;
    if (foreign) first->number = 0;
    if (options->next.size > 0) versions_add(sim, options->next);
    if (foreign || sim->plan.deploys_us == 0) return;
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
        if (options->bundle.size > 0)
            make_of_app(sim, row);
        else
            make_own(sim, row);
    }
}

void versions_end(struct sim *sim)
{
    struct sim_deploys *deploys = &sim->deploys;
    for (size_t i = 0; i < deploys->bundle_count; i++) buffer_deinit(&deploys->bundles[i].bytes);
    memory_free(deploys->bundles);
    deploys->bundles = NULL;
    deploys->bundle_count = 0;
}

unsigned versions_add(struct sim *sim, struct slice bytes)
{
    unsigned found = versions_find(sim, bytes);
    if (found == 0) add(sim, bytes);
    return found == 0 ? (unsigned)sim->deploys.bundle_count : found;
}

unsigned versions_find(const struct sim *sim, struct slice bytes)
{
    for (size_t i = 0; i < sim->deploys.bundle_count; i++) {
        if (slice_equal(buffer_slice(&sim->deploys.bundles[i].bytes), bytes)) return (unsigned)i + 1;
    }
    return 0;
}

const struct sim_bundle *versions_at(const struct sim *sim, unsigned version)
{
    assert(version > 0 && version <= sim->deploys.bundle_count);
    return &sim->deploys.bundles[version - 1];
}

static struct sim_bundle *add(struct sim *sim, struct slice bytes)
{
    struct sim_deploys *deploys = &sim->deploys;
    deploys->bundles = memory_resize(deploys->bundles, deploys->bundle_count + 1, sizeof *deploys->bundles);
    struct sim_bundle *bundle = &deploys->bundles[deploys->bundle_count++];
    *bundle = (struct sim_bundle){.hash = bundle_hash(bytes), .kind = VERSION_FOREIGN};
    buffer_append_slice(&bundle->bytes, bytes);
    return bundle;
}

static void note(struct sim *sim, size_t row, struct bundle_source *files, size_t count)
{
    struct buffer bytes = {0};
    bundle_make(files, count, &bytes);
    struct sim_bundle *bundle = add(sim, buffer_slice(&bytes));
    bundle->number = rows[row].number;
    bundle->kind = rows[row].kind;
    buffer_deinit(&bytes);
}

static void make_own(struct sim *sim, size_t row)
{
    struct buffer text = {0};
    buffer_append_format(&text, "return { version = %d, commands = {}, queries = {} } -- %zu", (int)rows[row].number,
                         row);
    struct bundle_source file = {"fsm.lua", buffer_slice(&text)};
    note(sim, row, &file, 1);
    buffer_deinit(&text);
}

static void make_of_app(struct sim *sim, size_t row)
{
    struct slice bundle = sim->options.bundle, path, contents;
    struct bundle_source files[FILES_MAX];
    char *paths[FILES_MAX];
    size_t count = 0;
    struct buffer text = {0};
    for (; count < FILES_MAX && bundle_each(bundle, count, &path, &contents); count++) {
        paths[count] = memory_alloc(path.size + 1);
        memcpy(paths[count], path.data, path.size);
        paths[count][path.size] = '\0';
        bool own = strcmp(paths[count], "fsm.lua") == 0;
        if (own) {
            buffer_append_text(&text, "local fsm = (function(...) ");
            buffer_append_slice(&text, contents);
            buffer_append_format(&text, "\nend)(...)\nfsm.version = %d\n%s%sreturn fsm\n", (int)rows[row].number,
                                 common, rows[row].body);
        }
        files[count] = (struct bundle_source){paths[count], contents};
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(files[i].path, "fsm.lua") == 0) files[i].contents = buffer_slice(&text);
    }
    note(sim, row, files, count);
    for (size_t i = 0; i < count; i++) memory_free(paths[i]);
    buffer_deinit(&text);
}
