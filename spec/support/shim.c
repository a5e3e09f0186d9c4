/*
 * Preloaded into a node by the rehearsals (support/shim.lua): a disk that fills, a disk that stalls, and a wall clock
 * that jumps, as a file tells while the node runs. The file, named by MOONCLAVE_SHIM, has three numbers: 1 where writes
 * to the node's database are refused with "no space left", how many milliseconds a sync of it takes, and how many
 * milliseconds the wall clock is ahead (or, with a minus, behind). It is read before each call that it bears on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct orders {
    int full;
    long sync_ms, clock_ms;
};

static struct orders read_orders(void)
{
    struct orders orders = {0};
    char text[64];
    const char *path = getenv("MOONCLAVE_SHIM");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return orders;
    ssize_t size = read(file, text, sizeof text - 1);
    close(file);
    text[size > 0 ? size : 0] = 0;
    sscanf(text, "%d %ld %ld", &orders.full, &orders.sync_ms, &orders.clock_ms);
    return orders;
}

/* The log's database and what belongs to it, and snapshots; not the sockets, not the node's log. */
static int is_database(int file)
{
    char link[64], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size <= 0) return 0;
    path[size] = 0;
    return strstr(path, "/moonclave.db") != NULL || strstr(path, "/snapshot-") != NULL;
}

static int refuses(int file)
{
    int kept = errno;
    int full = is_database(file) && read_orders().full;
    errno = full ? ENOSPC : kept;
    return full;
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset)
{
    static ssize_t (*next)(int, const void *, size_t, off64_t);
    if (!next) next = (ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    return refuses(file) ? -1 : next(file, data, size, offset);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset)
{
    static ssize_t (*next)(int, const void *, size_t, off_t);
    if (!next) next = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
    return refuses(file) ? -1 : next(file, data, size, offset);
}

ssize_t write(int file, const void *data, size_t size)
{
    static ssize_t (*next)(int, const void *, size_t);
    if (!next) next = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    return refuses(file) ? -1 : next(file, data, size);
}

/* Slept in pieces, so that a stall ends soon after it is ordered to. */
static void stall(int file)
{
    long slept_ms = 0;
    int kept = errno;
    while (is_database(file) && slept_ms < read_orders().sync_ms) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        slept_ms += 10;
    }
    errno = kept;
}

int fdatasync(int file)
{
    static int (*next)(int);
    if (!next) next = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    stall(file);
    return next(file);
}

int fsync(int file)
{
    static int (*next)(int);
    if (!next) next = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    stall(file);
    return next(file);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*next)(clockid_t, struct timespec *);
    if (!next) next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int status = next(clock, now);
    if (status != 0 || clock != CLOCK_REALTIME) return status;
    long long ns = (long long)now->tv_nsec + (long long)read_orders().clock_ms * 1000000;
    now->tv_sec += ns / 1000000000;
    ns %= 1000000000;
    if (ns < 0) now->tv_sec--;
    now->tv_nsec = (long)(ns < 0 ? ns + 1000000000 : ns);
    return status;
}
