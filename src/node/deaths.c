/* The page: deaths.h. Its blocks are written when it is made: to store into a page that has none, on a full disk, would
 * be a death of its own. */
#include "node/deaths.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE  4096
#define MAGIC UINT64_C(0x000000013144636d)

enum { AT_MAGIC, AT_APPLYING, AT_SUSPECT, AT_COUNT };

struct deaths {
    volatile uint64_t *page; /* each field is stored whole, and in the order written */
};

static int open_page(const char *path, struct error *error);
static bool fill(int file);

struct deaths *deaths_open(const char *folder, struct host_deaths *found, struct error *error)
{
    size_t room = strlen(folder) + sizeof "/applying";
    char *path = memory_alloc(room);
    *found = (struct host_deaths){0};
    snprintf(path, room, "%s/applying", folder);
    int file = open_page(path, error);
    void *page = file >= 0 ? mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
    if (file >= 0 && page == MAP_FAILED)
        error_set(error, ERROR_IO, "%s: it cannot be mapped: %s", path, strerror(errno));
    if (file >= 0) close(file);
    memory_free(path);
    if (page == MAP_FAILED) return NULL;

    struct deaths *deaths = memory_zero(1, sizeof *deaths);
    volatile uint64_t *at = deaths->page = page;
    if (at[AT_MAGIC] != MAGIC) {
        at[AT_APPLYING] = at[AT_SUSPECT] = at[AT_COUNT] = 0;
        at[AT_MAGIC] = MAGIC;
    }
    uint64_t last = at[AT_APPLYING];
    if (last != 0) {
        uint64_t before = at[AT_SUSPECT] == last ? at[AT_COUNT] : 0;
        at[AT_COUNT] = 0; /* in between it says nothing wrong */
        at[AT_SUSPECT] = last;
        at[AT_COUNT] = before + 1;
        at[AT_APPLYING] = 0;
    }
    if (at[AT_SUSPECT] != 0 && at[AT_COUNT] != 0) {
        found->index = at[AT_SUSPECT];
        found->count = at[AT_COUNT] > 1000 ? 1000 : (unsigned)at[AT_COUNT];
    }
    return deaths;
}

void deaths_applying(struct deaths *deaths, raft_index index)
{
    if (deaths == NULL) return;
    volatile uint64_t *at = deaths->page;
    if (index == 0 && at[AT_SUSPECT] != 0 && at[AT_APPLYING] >= at[AT_SUSPECT]) at[AT_SUSPECT] = at[AT_COUNT] = 0;
    at[AT_APPLYING] = index;
}

void deaths_close(struct deaths *deaths, bool graceful)
{
    if (deaths == NULL) return;
    volatile uint64_t *at = deaths->page;
    if (graceful && at[AT_COUNT] > 1) at[AT_COUNT] = 1;
    munmap((void *)(uintptr_t)deaths->page, PAGE);
    memory_free(deaths);
}

static int open_page(const char *path, struct error *error)
{
    struct stat info;
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    bool whole = file >= 0 && fstat(file, &info) == 0 && (info.st_size >= PAGE || fill(file));
    if (whole) return file;
    error_set(error, ERROR_IO, "%s: it cannot be made: %s", path, strerror(errno));
    if (file >= 0) close(file);
    return -1;
}

static bool fill(int file)
{
    static const uint8_t zeros[PAGE];
    return ftruncate(file, 0) == 0 && pwrite(file, zeros, sizeof zeros, 0) == (ssize_t)sizeof zeros;
}
