/*
 * Reads an app's folder into one msgpack map and finds files in it again. See bundle.h for the
 * bytes. Sorted paths make the bytes, and so the hash, those of the content and not of the
 * directory's order.
 */
#include "script/bundle.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/mp.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BUNDLE_VERSION   1
#define FOLDERS_DEEP_MAX 8
#define MAIN_FILE        "fsm.lua"

/* What has been read: path and contents of each are owned. */
struct files {
    struct bundle_source *list;
    size_t count, capacity;
    size_t bytes;
};

static void files_deinit(struct files *files);
static enum error_code read_folder(const char *folder, const char *relative, int depth,
                                   struct files *files, struct error *error);
static enum error_code read_file(const char *path, const char *relative, struct files *files,
                                 struct error *error);
static bool files_of(struct slice bundle, struct slice *files);

enum error_code bundle_read(const char *path, struct buffer *out, struct error *error)
{
    struct stat info;
    char single[PATH_MAX];
    if (stat(path, &info) != 0) {
        int why = errno;
        int size = snprintf(single, sizeof single, "%s.lua", path);
        if (size >= (int)sizeof single || stat(single, &info) != 0) {
            return error_set(error, ERROR_NOT_FOUND, "there is no app at %s: %s", path, strerror(why));
        }
        path = single;
    }
    struct files files = {0};
    enum error_code code = S_ISDIR(info.st_mode) ? read_folder(path, "", 0, &files, error)
                                                 : read_file(path, MAIN_FILE, &files, error);
    if (!code) {
        struct buffer bundle = {0};
        struct slice main_file;
        bundle_make(files.list, files.count, &bundle);
        if (bundle_file(buffer_slice(&bundle), MAIN_FILE, &main_file)) {
            buffer_append_slice(out, buffer_slice(&bundle));
        } else {
            code = error_set(error, ERROR_SCRIPT,
                             "%s has no " MAIN_FILE ": an app is a folder with one", path);
        }
        buffer_deinit(&bundle);
    }
    files_deinit(&files);
    return code;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(((const struct bundle_source *)a)->path, ((const struct bundle_source *)b)->path);
}

void bundle_make(struct bundle_source *files, size_t count, struct buffer *out)
{
    if (count > 0) qsort(files, count, sizeof *files, compare_paths);
    mp_write_map(out, 3);
    mp_write_text(out, "files");
    size_t start = out->size;
    mp_write_map(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        mp_write_text(out, files[i].path);
        mp_write_string(out, files[i].contents);
    }
    uint64_t hash = hash_bytes(out->data + start, out->size - start);
    mp_write_text(out, "hash");
    mp_write_u64(out, hash);
    mp_write_text(out, "version");
    mp_write_integer(out, BUNDLE_VERSION);
}

enum error_code bundle_verify(struct slice bundle, struct error *error)
{
    const struct mp_limits limits = {
        .depth = 2, .elements = BUNDLE_BYTES_MAX, .bytes = BUNDLE_BYTES_MAX + 65536};
    struct error why = {0};
    if (mp_check(bundle, &limits, &why)) {
        return error_set(error, ERROR_SCRIPT, "the bundle is damaged: %s", why.text);
    }
    struct slice value, files, contents;
    int64_t version;
    if (!mp_map_get(bundle, "version", &value)) {
        return error_set(error, ERROR_SCRIPT, "the bundle has no version");
    }
    struct mp_reader reader = mp_reader_of(value);
    if (!mp_read_integer(&reader, &version) || version != BUNDLE_VERSION) {
        return error_set(error, ERROR_VERSION,
                         "the bundle is of a version that this program does not know");
    }
    if (!files_of(bundle, &files)) return error_set(error, ERROR_SCRIPT, "the bundle has no files");
    if (hash_bytes(files.data, files.size) != bundle_hash(bundle)) {
        return error_set(error, ERROR_SCRIPT, "the bundle's hash does not fit its files");
    }
    if (!bundle_file(bundle, MAIN_FILE, &contents)) {
        return error_set(error, ERROR_SCRIPT, "the app has no " MAIN_FILE);
    }
    return ERROR_OK;
}

bool bundle_file(struct slice bundle, const char *path, struct slice *contents)
{
    struct slice files, value;
    if (!files_of(bundle, &files) || !mp_map_get(files, path, &value)) return false;
    struct mp_reader reader = mp_reader_of(value);
    return mp_read_string(&reader, contents);
}

uint64_t bundle_hash(struct slice bundle)
{
    struct slice value;
    uint64_t hash = 0;
    if (!mp_map_get(bundle, "hash", &value)) return 0;
    struct mp_reader reader = mp_reader_of(value);
    return mp_read_u64(&reader, &hash) ? hash : 0;
}

bool bundle_each(struct slice bundle, size_t i, struct slice *path, struct slice *contents)
{
    struct slice files;
    uint32_t count;
    if (!files_of(bundle, &files)) return false;
    struct mp_reader reader = mp_reader_of(files);
    if (!mp_read_map(&reader, &count) || i >= count) return false;
    for (size_t skipped = 0; skipped < 2 * i; skipped++) {
        if (!mp_skip(&reader, NULL)) return false;
    }
    return mp_read_string(&reader, path) && mp_read_string(&reader, contents);
}

static bool files_of(struct slice bundle, struct slice *files)
{
    return mp_map_get(bundle, "files", files);
}

/* ---- the folder ---- */

static char *join(const char *folder, const char *name)
{
    struct buffer path = {0};
    if (*folder) {
        buffer_append_text(&path, folder);
        buffer_append_byte(&path, '/');
    }
    buffer_append_text(&path, name);
    buffer_append_byte(&path, 0);
    return (char *)path.data;
}

static bool is_lua(const char *name)
{
    size_t size = strlen(name);
    return size > 4 && strcmp(name + size - 4, ".lua") == 0;
}

/* Hidden ones are editors' and version control's; spec/ and sim.lua are tests of the app, not the app. */
static bool is_ignored(const char *name, int depth)
{
    return name[0] == '.' || (depth == 0 && (strcmp(name, "spec") == 0 || strcmp(name, "sim.lua") == 0));
}

static enum error_code read_entry(const char *folder, const char *relative, const char *name,
                                  int depth, struct files *files, struct error *error)
{
    struct stat info;
    char *path = join(folder, name), *below = join(relative, name);
    enum error_code code = ERROR_OK;
    if (stat(path, &info) != 0) {
        code = error_set(error, ERROR_IO, "cannot read %s: %s", path, strerror(errno));
    } else if (S_ISDIR(info.st_mode)) {
        code = read_folder(path, below, depth + 1, files, error);
    } else if (S_ISREG(info.st_mode) && is_lua(name)) {
        code = read_file(path, below, files, error);
    }
    memory_free(path);
    memory_free(below);
    return code;
}

static enum error_code read_folder(const char *folder, const char *relative, int depth,
                                   struct files *files, struct error *error)
{
    if (depth > FOLDERS_DEEP_MAX) {
        return error_set(error, ERROR_SCRIPT, "%s: folders within folders deeper than %d", folder,
                         FOLDERS_DEEP_MAX);
    }
    DIR *directory = opendir(folder);
    if (!directory) {
        return error_set(error, ERROR_IO, "cannot read %s: %s", folder, strerror(errno));
    }
    enum error_code code = ERROR_OK;
    struct dirent *entry;
    while (!code && (entry = readdir(directory)) != NULL) {
        if (!is_ignored(entry->d_name, depth)) {
            code = read_entry(folder, relative, entry->d_name, depth, files, error);
        }
    }
    closedir(directory);
    return code;
}

static enum error_code read_file(const char *path, const char *relative, struct files *files,
                                 struct error *error)
{
    FILE *stream = fopen(path, "rb");
    if (!stream) return error_set(error, ERROR_IO, "cannot read %s: %s", path, strerror(errno));
    struct buffer contents = {0};
    size_t got;
    do {
        buffer_reserve(&contents, 65536);
        got = fread(contents.data + contents.size, 1, 65536, stream);
        contents.size += got;
    } while (got > 0 && files->bytes + contents.size <= BUNDLE_BYTES_MAX);
    bool failed = ferror(stream) != 0;
    fclose(stream);
    files->bytes += contents.size;
    if (failed || files->bytes > BUNDLE_BYTES_MAX) {
        buffer_deinit(&contents);
        if (failed) return error_set(error, ERROR_IO, "cannot read %s", path);
        return error_set(error, ERROR_TOO_LARGE, "%s: the app's Lua files are more than %d bytes",
                         path, BUNDLE_BYTES_MAX);
    }
    if (files->count == files->capacity) {
        files->capacity = files->capacity ? files->capacity * 2 : 8;
        files->list = memory_resize(files->list, files->capacity, sizeof *files->list);
    }
    files->list[files->count++] = (struct bundle_source){.path = memory_copy_text(relative),
                                                         .contents = buffer_slice(&contents)};
    return ERROR_OK;
}

static void files_deinit(struct files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        memory_free((void *)(uintptr_t)files->list[i].path);
        memory_free((void *)(uintptr_t)files->list[i].contents.data);
    }
    memory_free(files->list);
}
