/*
 * Slices, growing buffers and counted blobs. Who owns what: buffer.h. A buffer doubles when it
 * grows, so that n bytes appended one at a time cost n moves, not n squared.
 */
#include "base/buffer.h"

#include "base/memory.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CAPACITY_LEAST 64

static _Atomic size_t blobs_alive; /* the disk thread makes blobs too: only this tally is shared */

/* ---- slices ---- */

struct slice slice_of(const void *data, size_t size)
{
    return (struct slice){data, size};
}

struct slice slice_text(const char *text)
{
    return slice_of(text, strlen(text));
}

bool slice_equal(struct slice a, struct slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

int slice_compare(struct slice a, struct slice b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common ? memcmp(a.data, b.data, common) : 0;
    if (order) return order < 0 ? -1 : 1;
    return (a.size > b.size) - (a.size < b.size);
}

/* ---- buffers ---- */

void buffer_deinit(struct buffer *buffer)
{
    memory_free(buffer->data);
    *buffer = (struct buffer){0};
}

void buffer_reserve(struct buffer *buffer, size_t more)
{
    assert(more <= SIZE_MAX / 2 - buffer->size);
    size_t needed = buffer->size + more;
    if (needed <= buffer->capacity) return;
    size_t capacity = buffer->capacity ? buffer->capacity : CAPACITY_LEAST;
    while (capacity < needed) capacity *= 2;
    buffer->data = memory_resize(buffer->data, capacity, 1);
    buffer->capacity = capacity;
}

void buffer_append(struct buffer *buffer, const void *data, size_t size)
{
    if (size == 0) return;
    buffer_reserve(buffer, size);
    memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
}

void buffer_append_slice(struct buffer *buffer, struct slice slice)
{
    buffer_append(buffer, slice.data, slice.size);
}

void buffer_append_text(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, text, strlen(text));
}

void buffer_append_format(struct buffer *buffer, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    assert(size >= 0);
    buffer_reserve(buffer,
                   (size_t)size +
                       1); /* vsnprintf writes a final zero: beyond size, never part of it */
    vsnprintf((char *)buffer->data + buffer->size, (size_t)size + 1, format, again);
    va_end(again);
    buffer->size += (size_t)size;
}

void buffer_append_byte(struct buffer *buffer, uint8_t byte)
{
    buffer_reserve(buffer, 1);
    buffer->data[buffer->size++] = byte;
}

void buffer_consume(struct buffer *buffer, size_t size)
{
    assert(size <= buffer->size);
    buffer->size -= size;
    if (size && buffer->size) memmove(buffer->data, buffer->data + size, buffer->size);
}

void buffer_clear(struct buffer *buffer)
{
    buffer->size = 0;
}

struct slice buffer_slice(const struct buffer *buffer)
{
    return slice_of(buffer->data, buffer->size);
}

/* ---- blobs ---- */

struct blob *blob_new(const void *data, size_t size)
{
    struct blob *blob = blob_new_empty(size);
    if (size) memcpy(blob->data, data, size);
    return blob;
}

struct blob *blob_new_empty(size_t size)
{
    assert(size <= SIZE_MAX - sizeof(struct blob));
    struct blob *blob = memory_alloc(sizeof *blob + size);
    blob->references = 1;
    blob->size = size;
    blobs_alive++;
    return blob;
}

struct blob *blob_take(struct blob *blob)
{
    if (!blob) return NULL;
    assert(blob->references > 0);
    blob->references++;
    return blob;
}

void blob_drop(struct blob *blob)
{
    if (!blob) return;
    assert(blob->references > 0);
    if (--blob->references) return;
    blobs_alive--;
    memory_free(blob);
}

size_t blob_count(void)
{
    return blobs_alive;
}
