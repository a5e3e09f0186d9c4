/*
 * Allocation that cannot fail quietly: the only file that calls malloc and its kin. Why it aborts
 * and does not return null: memory.h.
 */
#include "base/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void (*memory_on_failure)(size_t size);

static void fail(size_t size) __attribute__((noreturn));
static size_t product(size_t count, size_t size);

/* Size 0 gets a byte, so that null always and only means failure. */
void *memory_alloc(size_t size)
{
    void *memory = malloc(size ? size : 1);
    if (!memory) fail(size);
    return memory;
}

void *memory_zero(size_t count, size_t size)
{
    size_t bytes = product(count, size);
    void *memory = calloc(1, bytes ? bytes : 1);
    if (!memory) fail(bytes);
    return memory;
}

void *memory_resize(void *memory, size_t count, size_t size)
{
    size_t bytes = product(count, size);
    void *resized = realloc(memory, bytes ? bytes : 1);
    if (!resized) fail(bytes);
    return resized;
}

/* For the one caller that can tell of it in an orderly way: a VM whose owner stops the node. */
void *memory_try_resize(void *memory, size_t size)
{
    return realloc(memory, size ? size : 1);
}

char *memory_copy_text(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(memory_alloc(size), text, size);
}

void memory_free(void *memory)
{
    free(memory);
}

static size_t product(size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size) fail(SIZE_MAX);
    return count * size;
}

static void fail(size_t size)
{
    if (memory_on_failure) memory_on_failure(size);
    fprintf(stderr, "moonclave: out of memory: %zu bytes could not be had\n", size);
    abort();
}
