/*
 * Writing msgpack: the door to msgpack-c. Its packer chooses the shortest form of every integer and
 * length; this file adds what canonical form asks for beyond that (mp.h): 8-byte floats with one
 * NaN, str or bin by the bytes' validity. Reading is mp_read.c.
 */
#include "base/mp.h"

#include <assert.h>
#include <msgpack.h>
#include <string.h>

static msgpack_packer packer_on(struct buffer *out);

void mp_write_nil(struct buffer *out)
{
    msgpack_packer packer = packer_on(out);
    msgpack_pack_nil(&packer);
}

void mp_write_boolean(struct buffer *out, bool value)
{
    msgpack_packer packer = packer_on(out);
    if (value) {
        msgpack_pack_true(&packer);
    } else {
        msgpack_pack_false(&packer);
    }
}

void mp_write_integer(struct buffer *out, int64_t value)
{
    msgpack_packer packer = packer_on(out);
    msgpack_pack_int64(&packer, value);
}

void mp_write_u64(struct buffer *out, uint64_t value)
{
    msgpack_packer packer = packer_on(out);
    msgpack_pack_uint64(&packer, value);
}

void mp_write_float(struct buffer *out, double value)
{
    static const uint64_t one_nan = 0x7ff8000000000000;
    if (value != value) memcpy(&value, &one_nan, sizeof value);
    msgpack_packer packer = packer_on(out);
    msgpack_pack_double(&packer, value);
}

void mp_write_string(struct buffer *out, struct slice value)
{
    assert(value.size <= UINT32_MAX);
    msgpack_packer packer = packer_on(out);
    if (utf8_valid(value)) {
        msgpack_pack_str_with_body(&packer, value.data, value.size);
    } else {
        msgpack_pack_bin_with_body(&packer, value.data, value.size);
    }
}

void mp_write_string_head(struct buffer *out, uint32_t size, bool text)
{
    msgpack_packer packer = packer_on(out);
    if (text) {
        msgpack_pack_str(&packer, size);
    } else {
        msgpack_pack_bin(&packer, size);
    }
}

void mp_write_text(struct buffer *out, const char *value)
{
    mp_write_string(out, slice_text(value));
}

void mp_write_array(struct buffer *out, uint32_t count)
{
    msgpack_packer packer = packer_on(out);
    msgpack_pack_array(&packer, count);
}

void mp_write_map(struct buffer *out, uint32_t count)
{
    msgpack_packer packer = packer_on(out);
    msgpack_pack_map(&packer, count);
}

void mp_write_raw(struct buffer *out, struct slice value)
{
    buffer_append_slice(out, value);
}

static int append(void *out, const char *bytes, size_t size)
{
    buffer_append(out, bytes, size);
    return 0;
}

static msgpack_packer packer_on(struct buffer *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, append);
    return packer;
}
