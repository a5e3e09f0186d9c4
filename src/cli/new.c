/*
 * `moonclave new`: the skeleton of an app. Its files are templates in the Lua library's folder new/ (its README.md
 * tells what may stand in them); here is the list of them, and the care that nothing is written over.
 */
#include "cli/cli.h"

#include "base/buffer.h"
#include "script/library.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_MAX_BYTES 64
#define NAME_MARK "@NAME@"

static int new_run(int argc, char **argv);
static enum error_code check_name(const char *path, const char **name, struct error *error);
static enum error_code make_all(const char *path, const char *name, struct error *error);
static enum error_code make_folder(const char *path, const char *below, struct error *error);
static enum error_code make_file(const char *library, const char *path, size_t i, const char *name,
                                 struct error *error);
static enum error_code read_template(const char *path, const char *name, struct buffer *out, struct error *error);
static void remove_all(const char *path);

/* Templates have no dot in front: what lists a folder shows them. */
static const struct {
    const char *template, *file;
} files[] = {
    {"README.txt", "README.md"},
    {"fsm.lua", "fsm.lua"},
    {"api.lua", "api.lua"},
    {"sim.lua", "sim.lua"},
    {"app_spec.lua", "spec/app_spec.lua"},
    {"busted.lua", ".busted"},
    {"luacheckrc.txt", ".luacheckrc"},
    {"editorconfig.txt", ".editorconfig"},
};
#define FILES (sizeof files / sizeof *files)

static const char *const arguments[] = {"NAME"};
static const struct flags flags = {.command = "new", .arguments = arguments, .argument_count = 1};

const struct cli_command new_command = {
    .name = "new",
    .summary = "an app to begin with: moonclave new shop",
    .usage = "NAME",
    .help = "Makes the folder NAME with a small app that works: fsm.lua, what is replicated; api.lua, its routes;\n"
            "sim.lua, what simulated clients ask and which answers are right; a spec with the test kit; a README.md\n"
            "that says how to run all of it. NAME may be a path; its last part names the app: 1 to 64 letters,\n"
            "digits, - and _, a letter first. What exists is never written over.\n"
            "\n"
            "  moonclave new shop\n"
            "  cd shop && moonclave cluster .\n",
    .flags = &flags,
    .run = new_run,
};

static int new_run(int argc, char **argv)
{
    const char *path = NULL, *name = NULL;
    struct error error;
    enum error_code code = flags_parse(&flags, argc, argv, NULL, NULL, &path, &error);
    if (code == ERROR_OK) code = check_name(path, &name, &error);
    if (code == ERROR_OK) code = make_all(path, name, &error);
    if (code != ERROR_OK) return cli_fail_error(&error);
    printf("%s is made:\n", path);
    for (size_t i = 0; i < FILES; i++) printf("  %s/%s\n", path, files[i].file);
    printf("Next: %s cluster %s    (its README.md tells more)\n", cli_program(), path);
    return EXIT_DONE;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static enum error_code check_name(const char *path, const char **name, struct error *error)
{
    if (path == NULL)
        return error_set(error, ERROR_USAGE, "new: NAME is missing: %s new NAME, as in shop", cli_program());
    const char *slash = strrchr(path, '/');
    const char *last = slash != NULL ? slash + 1 : path;
    size_t size = strlen(last);
    bool fits = size > 0 && size <= NAME_MAX_BYTES && is_letter(last[0]);
    for (size_t i = 0; fits && i < size; i++) {
        fits = is_letter(last[i]) || (last[i] >= '0' && last[i] <= '9') || last[i] == '-' || last[i] == '_';
    }
    *name = last;
    if (fits && strlen(path) < PATH_MAX - 64) return ERROR_OK;
    return error_set(error, ERROR_USAGE, "new: \"%.80s\": a name is 1 to %d letters, digits, - and _, and begins with "
                     "a letter, as in shop", path, NAME_MAX_BYTES);
}

/* All of it or nothing: what a full disk has begun is taken away again. */
static enum error_code make_all(const char *path, const char *name, struct error *error)
{
    struct buffer library = {0};
    enum error_code code = library_folder("moonclave.sim", false, &library, error);
    buffer_append_byte(&library, 0);
    if (code == ERROR_OK) code = make_folder(path, "", error);
    if (code == ERROR_OK) {
        code = make_folder(path, "/spec", error);
        for (size_t i = 0; code == ERROR_OK && i < FILES; i++) {
            code = make_file((const char *)library.data, path, i, name, error);
        }
        if (code != ERROR_OK) remove_all(path);
    }
    buffer_deinit(&library);
    return code;
}

static enum error_code make_folder(const char *path, const char *below, struct error *error)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s%s", path, below);
    if (mkdir(folder, 0777) == 0) return ERROR_OK;
    if (errno == EEXIST) {
        return error_set(error, ERROR_USAGE, "new: %.200s exists already: choose another name, or remove it", folder);
    }
    return error_set(error, ERROR_IO, "new: %.200s cannot be made: %s", folder, strerror(errno));
}

static enum error_code make_file(const char *library, const char *path, size_t i, const char *name,
                                 struct error *error)
{
    char from[PATH_MAX + 64], to[PATH_MAX];
    struct buffer text = {0};
    snprintf(from, sizeof from, "%s/moonclave/new/%s", library, files[i].template);
    snprintf(to, sizeof to, "%s/%s", path, files[i].file);
    enum error_code code = read_template(from, name, &text, error);
    if (code == ERROR_OK) {
        FILE *out = fopen(to, "wbx");
        bool written = out != NULL && fwrite(text.data, 1, text.size, out) == text.size;
        if (out != NULL && fclose(out) != 0) written = false;
        if (!written) code = error_set(error, ERROR_IO, "new: %.200s cannot be written: %s", to, strerror(errno));
    }
    buffer_deinit(&text);
    return code;
}

/* The file with the app's name in the place of each mark. */
static enum error_code read_template(const char *path, const char *name, struct buffer *out, struct error *error)
{
    char line[1024];
    FILE *in = fopen(path, "rb");
    if (in == NULL) return error_set(error, ERROR_IO, "new: %.200s cannot be read: %s", path, strerror(errno));
    while (fgets(line, sizeof line, in) != NULL) {
        const char *rest = line;
        for (const char *mark; (mark = strstr(rest, NAME_MARK)) != NULL; rest = mark + strlen(NAME_MARK)) {
            buffer_append(out, rest, (size_t)(mark - rest));
            buffer_append_text(out, name);
        }
        buffer_append_text(out, rest);
    }
    bool failed = ferror(in) != 0;
    fclose(in);
    if (failed) return error_set(error, ERROR_IO, "new: %.200s cannot be read", path);
    return ERROR_OK;
}

static void remove_all(const char *path)
{
    char file[PATH_MAX];
    for (size_t i = 0; i < FILES; i++) {
        snprintf(file, sizeof file, "%s/%s", path, files[i].file);
        (void)unlink(file);
    }
    snprintf(file, sizeof file, "%s/spec", path);
    (void)rmdir(file);
    (void)rmdir(path);
}
