/*
 * Bytes: slices (borrowed), buffers (owned and growing), blobs (immutable and reference-counted).
 * A blob's count is not atomic: only the thread that runs the loop takes and drops references.
 */
#ifndef MOONCLAVE_BASE_BUFFER_H
#define MOONCLAVE_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed bytes. data may be null when size is 0. */
struct slice {
    const uint8_t *data;
    size_t size;
};

struct slice slice_of(const void *data, size_t size);
struct slice slice_text(const char *text); /* without the final zero */
bool slice_equal(struct slice a, struct slice b);
int slice_compare(struct slice a, struct slice b); /* bytewise, shorter first */

/* Owned bytes that grow. Zero-initialise ({0}) to begin; buffer_deinit to end. */
struct buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

void buffer_deinit(struct buffer *buffer);                          /* frees; the buffer is empty again */
void buffer_reserve(struct buffer *buffer, size_t more);            /* room for `more` bytes behind size */
void buffer_append(struct buffer *buffer, const void *data, size_t size);
void buffer_append_slice(struct buffer *buffer, struct slice slice);
void buffer_append_text(struct buffer *buffer, const char *text);
void buffer_append_format(struct buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buffer_append_byte(struct buffer *buffer, uint8_t byte);
void buffer_consume(struct buffer *buffer, size_t size);            /* drops the first `size` bytes */
void buffer_clear(struct buffer *buffer);                           /* size 0, memory kept */
struct slice buffer_slice(const struct buffer *buffer);             /* valid until the next change */

/* Immutable bytes shared by reference count. */
struct blob {
    size_t references;
    size_t size;
    uint8_t data[];
};

struct blob *blob_new(const void *data, size_t size);   /* copies; one reference, the caller's */
struct blob *blob_new_empty(size_t size);               /* to be filled once by the caller, before it is shared */
struct blob *blob_take(struct blob *blob);              /* one more reference; null is allowed */
void blob_drop(struct blob *blob);                      /* one less; freed at none; null is allowed */
size_t blob_count(void);                                /* blobs alive: the simulator asserts 0 at shutdown */

/* Little-endian integers at unaligned addresses. */
static inline void put_u16(uint8_t *at, uint16_t value)
{
    for (int i = 0; i < 2; i++) at[i] = (uint8_t)(value >> (8 * i));
}
static inline void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (8 * i));
}
static inline void put_u64(uint8_t *at, uint64_t value)
{
    for (int i = 0; i < 8; i++) at[i] = (uint8_t)(value >> (8 * i));
}
static inline uint16_t get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}
static inline uint32_t get_u32(const uint8_t *at)
{
    uint32_t value = 0;
    for (int i = 3; i >= 0; i--) value = value << 8 | at[i];
    return value;
}
static inline uint64_t get_u64(const uint8_t *at)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) value = value << 8 | at[i];
    return value;
}

#endif
