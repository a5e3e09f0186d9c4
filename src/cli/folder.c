/* See folder.h. */
#include "cli/folder.h"

#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void remove_contents(int parent, const char *name);
static void remove_all(DIR *folder);

enum error_code folder_temporary(const char *name, char **path, struct error *error)
{
    const char *above = getenv("TMPDIR");
    if (above == NULL || above[0] == 0) above = "/tmp";
    size_t size = strlen(above) + strlen(name) + sizeof "/moonclave--XXXXXX";
    *path = memory_alloc(size);
    snprintf(*path, size, "%s/moonclave-%s-XXXXXX", above, name);
    if (mkdtemp(*path) != NULL) return ERROR_OK;
    int reason = errno;
    memory_free(*path);
    *path = NULL;
    return error_set(error, ERROR_IO, "%s: no folder can be made there: %s: set TMPDIR, or give --data", above,
                     strerror(reason));
}

enum error_code folder_make(const char *path, struct error *error)
{
    struct stat found;
    if (mkdir(path, 0777) == 0) return ERROR_OK;
    int reason = errno;
    if (reason == EEXIST && stat(path, &found) == 0) {
        if (S_ISDIR(found.st_mode)) return ERROR_OK;
        reason = ENOTDIR;
    }
    return error_set(error, ERROR_IO, "%s: the folder cannot be made: %s", path, strerror(reason));
}

void folder_remove(const char *path)
{
    remove_contents(AT_FDCWD, path);
    (void)rmdir(path);
}

static void remove_contents(int parent, const char *name)
{
    int opened = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (opened < 0) return;
    DIR *folder = fdopendir(opened);
    if (folder == NULL) {
        close(opened);
        return;
    }
    remove_all(folder);
    closedir(folder);
}

static void remove_all(DIR *folder)
{
    struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (unlinkat(dirfd(folder), entry->d_name, 0) == 0) continue;
        remove_contents(dirfd(folder), entry->d_name);
        (void)unlinkat(dirfd(folder), entry->d_name, AT_REMOVEDIR);
    }
}
