/*
 * What nodes say to each other: frames. Bytes in, bytes out; no sockets here.
 *
 * A connection between nodes begins, each way, with WIRE_MAGIC and a HELLO frame. A node that does
 * not accept the other's hello answers HELLO_REFUSED and closes. Behind an accepted hello come the
 * other frames, in any order.
 *
 * A frame, little-endian:
 *
 *    0  u32  size of the body
 *    4  u8   type (WIRE_TABLE)
 *    5  u8   0
 *    6  u16  covered: how much of the body the checksum covers; 0: all of it
 *    8  u64  checksum = XXH3(bytes 0..7, XXH3(covered part of the body))
 *   16  body: a msgpack array, then raw bytes, by type:
 *
 *   HELLO          [id, incarnation, cluster, address, protocol_min, protocol_max, format_level,
 *                  lua_release, peers_hash, joining, member_until] and the encoded configuration
 *   HELLO_REFUSED  [error number, text]
 *   FORWARD        [ticket, kind, consistency, session, sequence, timeout_ms] and the request's
 *                  body
 *   FORWARD_REPLY  [ticket, error number] and the reply's body
 *   REQUEST_VOTE   [from, to, term, pre, transfer, last_index, last_term]
 *   VOTE           [from, to, term, pre, granted]
 *   APPEND         [from, to, term, prev_index, prev_term, commit, round, state_index,
 *                  state_chain, entry count] and the entries' bytes (raft/entry.h)
 *   APPEND_RESULT  [from, to, term, success, prev_index, match, last_index, conflict_term,
 *                  conflict_index, round, state_index, state_chain]
 *   TIMEOUT_NOW    [from, to, term]
 *   READ_INDEX     [from, to, term, identity, lease]
 *   READ_INDEX_RESULT  [from, to, term, identity, success, index]
 *   INSTALL_SNAPSHOT [from, to, term, attempt, offset, checksum, last, meta (raft/snapshot_meta.h)]
 *                  and the chunk's bytes
 *   SNAPSHOT_RESULT [from, to, term, index, snapshot term, attempt, status, offset, match]
 *
 * Later protocols may add elements at the end of an array: readers skip what they do not know.
 * Writers of a protocol send every element it lists.
 *
 * An APPEND's checksum covers its array only (`covered`). Its entries each carry a checksum over
 * all their bytes, which decoding verifies: so every byte on the wire is under exactly one checksum
 * that is checked on arrival, and a payload is hashed once, not three times. What binds the entries
 * to each other and to the array is their count, their indexes (checked to be contiguous from
 * prev_index + 1) and the log's chain.
 */
#ifndef MOONCLAVE_WIRE_WIRE_H
#define MOONCLAVE_WIRE_WIRE_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/identity.h"
#include "base/request.h"
#include "raft/types.h"

#define WIRE_MAGIC "MCN1" /* begins with neither msgpack-RPC's 0x93/0x94 nor TLS's 0x16 */
#define WIRE_MAGIC_SIZE 4
#define WIRE_HEADER_SIZE 16

/* Which language a connection to the node's address speaks, by its first byte. */
enum wire_language {
    WIRE_LANGUAGE_UNKNOWN,
    WIRE_LANGUAGE_NODE,
    WIRE_LANGUAGE_RPC,
    WIRE_LANGUAGE_TLS,
};
enum wire_language wire_language_of(uint8_t first);

/* One row per frame that is no raft message: name, number (frozen), text. Raft's messages keep the
 * numbers of RAFT_MESSAGE_TABLE, of which 1 to 31 are theirs, now and later. */
/* clang-format off */
#define WIRE_TABLE(X) \
    X(HELLO,         64, "hello") \
    X(HELLO_REFUSED, 65, "hello_refused") \
    X(FORWARD,       66, "forward") \
    X(FORWARD_REPLY, 67, "forward_reply")
/* clang-format on */

enum wire_type {
#define X(name, number, text) WIRE_##name = number,
    RAFT_MESSAGE_TABLE(X)
    WIRE_TABLE(X)
#undef X
};

/* A frame as memory. Everything pointed to is borrowed: when encoding from the caller, after
 * decoding from the frame's bytes (and, for an APPEND's entries, from the struct wire_entries
 * given). */
struct wire_frame {
    enum wire_type type;
    union {
        struct hello hello;
        struct {
            enum error_code code; /* INTERNAL when the peer's number is not in our table */
            struct slice text;
        } refused;
        struct {
            uint64_t ticket;
            struct request request; /* body: one msgpack value, checked to be one */
        } forward;
        struct {
            uint64_t ticket;
            struct reply reply; /* body: one msgpack value, checked to be one, or empty */
        } forward_reply;
        struct raft_message message; /* the types of RAFT_MESSAGE_TABLE; decoding sets its type */
    };
};

const char *wire_type_name(unsigned type); /* "append"; "?" if unknown */
bool wire_is_message(unsigned type);       /* one of RAFT_MESSAGE_TABLE */

/* Appends the whole frame. For a raft message `type` and message.type must be equal. Entries are
 * copied once, here. */
void wire_encode(const struct wire_frame *frame, struct buffer *out);

/* How long is the frame that begins here? OK with *size, header included; OK with *size 0: the
 * header is not all there yet. TOO_LARGE: beyond frame_bytes_max; VERSION: a type not known. After
 * an error the connection is to be closed: there is no telling where the next frame begins. */
enum error_code wire_frame_size(struct slice bytes, size_t frame_bytes_max, size_t *size,
                                struct error *error);

/* Room for decoded entries, reused from frame to frame: zero-initialise, pass to every decode,
 * deinit at the end. */
struct wire_entries {
    struct raft_entry *entries;
    size_t capacity;
};
void wire_entries_deinit(struct wire_entries *entries);

/*
 * Decodes one whole frame; `bytes` must be exactly it (wire_frame_size). `blob` is what keeps the
 * bytes alive and holds them (at any offset): entries' payloads then name it, WITHOUT a reference
 * of their own. Hold the blob until the frame has been dealt with; whoever keeps an entry longer
 * takes a reference (raft_entry_take). With a null blob payloads are merely borrowed. A payload
 * without bytes never names a blob.
 *
 * OK; CORRUPT: a checksum does not match; VERSION: an entry's version or type is not known;
 * BAD_REQUEST: malformed, or a field is out of its range. The text names the frame. Allocates
 * nothing but room in *entries, never more than the bytes received account for.
 */
enum error_code wire_decode(struct blob *blob, struct slice bytes, struct wire_entries *entries,
                            struct wire_frame *frame, struct error *error);

#endif
