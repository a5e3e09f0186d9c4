/*
 * Frames out of a stream. Only an APPEND with entries is copied: its entries live on, in the log's
 * tail, long after the stream's memory is used again; they share one blob. Everything else is read
 * where it lies.
 */
#include "node/peers.h"

#include <string.h>

enum error_code frames_next(struct frames *frames, struct wire_frame *frame, struct error *error)
{
    struct slice input = net_stream_input(frames->stream);
    frames->whole = false;
    frames->blob = NULL;
    if (!*frames->magic_seen) {
        if (input.size < WIRE_MAGIC_SIZE) return ERROR_OK;
        if (memcmp(input.data, WIRE_MAGIC, WIRE_MAGIC_SIZE) != 0) {
            return error_set(error, ERROR_VERSION, "it speaks no protocol of this program");
        }
        net_stream_consume(frames->stream, WIRE_MAGIC_SIZE);
        *frames->magic_seen = true;
        input = net_stream_input(frames->stream);
    }
    size_t size;
    enum error_code code =
        wire_frame_size(input, frames->node->options->settings.frame_bytes_max, &size, error);
    if (code != ERROR_OK || size == 0 || input.size < size) return code;
    struct slice bytes = slice_of(input.data, size);
    if (bytes.data[4] == RAFT_APPEND) { /* the type's place in the header */
        frames->blob = blob_new(bytes.data, bytes.size);
        bytes.data = frames->blob->data;
    }
    code = wire_decode(frames->blob, bytes, &frames->node->peers->entries, frame, error);
    if (code != ERROR_OK) {
        frames_drop(frames);
        return code;
    }
    frames->size = size;
    frames->whole = true;
    return ERROR_OK;
}

void frames_done(struct frames *frames)
{
    net_stream_consume(frames->stream, frames->size);
    frames_drop(frames);
}

void frames_drop(struct frames *frames)
{
    blob_drop(frames->blob);
    frames->blob = NULL;
}
