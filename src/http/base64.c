/* Base64 for the bytes that JSON cannot carry. Decoding is strict: one text for one sequence of
 * bytes. */
#include "http/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int digit_of(char c);

void base64_encode(struct slice bytes, struct buffer *out)
{
    buffer_reserve(out, bytes.size / 3 * 4 + 4);
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t group = (uint32_t)bytes.data[i] << 16;
        if (left > 1) group |= (uint32_t)bytes.data[i + 1] << 8;
        if (left > 2) group |= bytes.data[i + 2];
        buffer_append_byte(out, (uint8_t)alphabet[group >> 18]);
        buffer_append_byte(out, (uint8_t)alphabet[group >> 12 & 63]);
        buffer_append_byte(out, left > 1 ? (uint8_t)alphabet[group >> 6 & 63] : '=');
        buffer_append_byte(out, left > 2 ? (uint8_t)alphabet[group & 63] : '=');
    }
}

bool base64_decode(const char *text, size_t size, struct buffer *out)
{
    if (size % 4 != 0) return false;
    size_t padding = 0;
    while (padding < 2 && padding < size && text[size - 1 - padding] == '=') padding++;
    size_t before = out->size;
    uint32_t group = 0;
    for (size_t i = 0; i < size; i++) {
        int digit = i < size - padding ? digit_of(text[i]) : 0;
        if (digit < 0) goto bad;
        group = group << 6 | (uint32_t)digit;
        if (i % 4 < 3) continue;
        uint8_t bytes[3] = {(uint8_t)(group >> 16), (uint8_t)(group >> 8), (uint8_t)group};
        size_t kept = i + 1 == size ? 3 - padding : 3;
        for (size_t j = kept; j < 3; j++) {
            if (bytes[j] != 0) goto bad; /* bits that mean nothing must be zero */
        }
        buffer_append(out, bytes, kept);
        group = 0;
    }
    return true;
bad:
    out->size = before;
    return false;
}

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+') return 62;
    return c == '/' ? 63 : -1;
}
