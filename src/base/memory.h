/*
 * Memory that is there or stops the program. A node that cannot allocate cannot keep its promises: it says so and
 * aborts, it never goes on with a wrong answer. Sizes are in bytes. Free with memory_free.
 */
#ifndef MOONCLAVE_BASE_MEMORY_H
#define MOONCLAVE_BASE_MEMORY_H

#include <stddef.h>

void *memory_alloc(size_t size);                               /* uninitialised */
void *memory_zero(size_t count, size_t size);                  /* zeroed; overflow of the product stops too */
void *memory_resize(void *memory, size_t count, size_t size);  /* realloc of count * size, overflow-checked */
void *memory_try_resize(void *memory, size_t size);            /* may fail: null, and `memory` is as it was */
char *memory_copy_text(const char *text);
void memory_free(void *memory);

/* Called once, with the size that failed, instead of printing and aborting; must not return. Tests set it. */
extern void (*memory_on_failure)(size_t size);

#endif
