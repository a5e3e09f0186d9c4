/* The way back from `moonclave recover`: the folder as it was, beside it. It gets its name when all of it is there, so
 * that what is left of one that was interrupted is not taken for it. */
#include "cli/recover.h"

#include "base/memory.h"
#include "cli/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ATTEMPTS   100
#define PIECE      (1u << 20)
#define SNAPSHOT   "snapshot-"
#define LOCK       "lock" /* holds nothing; and to close any descriptor of it would let go of the lock */

static enum error_code make_folder(const char *like, const char *path, struct error *error);
static void take_after(int file, const struct stat *info);
static enum error_code name_it(const char *folder, const char *partial, char **path, struct error *error);
static enum error_code sync_above(char **path, struct error *error);
static enum error_code copy_all(const char *from, const char *to, struct error *error);
static enum error_code copy_file(int from_folder, int to_folder, const char *name, const struct stat *info,
                                 struct error *error);
static bool copy_bytes(int from, int to);
static enum error_code failed(const char *what, const char *name, struct error *error);

enum error_code recover_backup(const char *folder, char **path, struct error *error)
{
    size_t room = strlen(folder) + sizeof ".before-recovery.partial";
    char *partial = memory_alloc(room);
    snprintf(partial, room, "%s.before-recovery.partial", folder);
    folder_remove(partial);
    enum error_code code = make_folder(folder, partial, error);
    if (code == ERROR_OK) code = copy_all(folder, partial, error);
    if (code == ERROR_OK) code = name_it(folder, partial, path, error);
    if (code != ERROR_OK) folder_remove(partial);
    memory_free(partial);
    return code;
}

/* As the one it is a copy of: whoever runs the node is to be able to go on with it. */
static enum error_code make_folder(const char *like, const char *path, struct error *error)
{
    struct stat info;
    if (stat(like, &info) != 0 || mkdir(path, 0700) != 0) return failed("cannot be made", path, error);
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return failed("cannot be made", path, error);
    take_after(folder, &info);
    close(folder);
    return ERROR_OK;
}

static void take_after(int file, const struct stat *info)
{
    if (fchown(file, info->st_uid, info->st_gid) != 0) errno = 0; /* only root may: then it is this user's */
    if (fchmod(file, info->st_mode & 0777) != 0) errno = 0;
}

/* Durably. A folder that is there, and not empty, is not replaced. */
static enum error_code name_it(const char *folder, const char *partial, char **path, struct error *error)
{
    size_t room = strlen(folder) + 32;
    *path = memory_alloc(room);
    for (int i = 1; i < ATTEMPTS; i++) {
        snprintf(*path, room, i == 1 ? "%s.before-recovery" : "%s.before-recovery-%d", folder, i);
        if (rename(partial, *path) == 0) return sync_above(path, error);
        if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR) break;
    }
    enum error_code code = failed("cannot be made", *path, error);
    memory_free(*path);
    *path = NULL;
    return code;
}

static enum error_code sync_above(char **path, struct error *error)
{
    char *above = memory_copy_text(*path);
    int folder = open(dirname(above), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum error_code code = ERROR_OK;
    if (folder >= 0 && fsync(folder) != 0 && errno != EINVAL) code = failed("cannot be synced", above, error);
    if (folder >= 0) close(folder);
    memory_free(above);
    if (code == ERROR_OK) return code;
    memory_free(*path);
    *path = NULL;
    return code;
}

static enum error_code copy_all(const char *from, const char *to, struct error *error)
{
    int from_folder = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int to_folder = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = from_folder >= 0 ? fdopendir(dup(from_folder)) : NULL;
    enum error_code code = ERROR_OK;
    struct dirent *entry;
    if (list == NULL || to_folder < 0) code = failed("cannot be read", from, error);
    while (code == ERROR_OK && (entry = readdir(list)) != NULL) {
        struct stat info;
        if (strcmp(entry->d_name, LOCK) == 0) continue;
        if (fstatat(from_folder, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode)) continue;
        bool snapshot = strncmp(entry->d_name, SNAPSHOT, strlen(SNAPSHOT)) == 0;
        if (snapshot && linkat(from_folder, entry->d_name, to_folder, entry->d_name, 0) == 0) continue;
        code = copy_file(from_folder, to_folder, entry->d_name, &info, error);
    }
    if (code == ERROR_OK && fsync(to_folder) != 0) code = failed("cannot be synced", to, error);
    if (list != NULL) closedir(list);
    if (from_folder >= 0) close(from_folder);
    if (to_folder >= 0) close(to_folder);
    return code;
}

static enum error_code copy_file(int from_folder, int to_folder, const char *name, const struct stat *info,
                                 struct error *error)
{
    int from = openat(from_folder, name, O_RDONLY | O_CLOEXEC);
    int to = openat(to_folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    enum error_code code = ERROR_OK;
    if (to >= 0) take_after(to, info);
    if (from < 0 || to < 0 || !copy_bytes(from, to) || fsync(to) != 0) code = failed("cannot be copied", name, error);
    if (from >= 0) close(from);
    if (to >= 0) close(to);
    return code;
}

static bool copy_bytes(int from, int to)
{
    uint8_t *piece = memory_alloc(PIECE);
    ssize_t got = 0, put = 0;
    bool good = true;
    while (good && (got = read(from, piece, PIECE)) > 0) {
        for (ssize_t done = 0; good && done < got; done += put) {
            put = write(to, piece + done, (size_t)(got - done));
            good = put > 0;
        }
    }
    memory_free(piece);
    return good && got == 0;
}

static enum error_code failed(const char *what, const char *name, struct error *error)
{
    enum error_code code = errno == ENOSPC || errno == EDQUOT ? ERROR_DISK_FULL : ERROR_IO;
    return error_set(error, code, "%s: %s: %s", name, what, strerror(errno));
}
