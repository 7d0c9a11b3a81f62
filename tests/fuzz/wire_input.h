// What the two fuzz targets of the codec share: a message made of an input's bytes, in memory of
// exactly its length, so that a sanitizer sees a byte read behind it. An input is its type (of
// engine/wire.h), a byte for the target, the payload's length (two bytes, little-endian), the
// payload and the bulk. HELLO's and READY's build is put in front, for none other would be taken.
// Thread rule: one thread.
#ifndef TRINE_TESTS_WIRE_INPUT_H
#define TRINE_TESTS_WIRE_INPUT_H

#include "base/version.h"
#include "tests/unit/wire_step_kit.h"

#include <stdlib.h>

struct wire_input {
    struct channel_message m;
    unsigned char *payload, *bulk; // owned
    unsigned choice;
    bool to_worker;
};

static inline void wire_must(bool ok) {
    if (!ok)
        abort();
}

static inline void wire_input_free(struct wire_input *in) {
    free(in->payload);
    free(in->bulk);
}

// Puts the build into wire_payload where this type begins with it; how many bytes that is.
static inline size_t wire_input_build(uint8_t type) {
    struct pack_writer w = pack_writer_of(wire_payload, sizeof wire_payload);
    if (type == WIRE_HELLO || type == WIRE_READY) {
        pack_put_u32(&w, WIRE_VERSION);
        pack_put_string(&w, version_commit);
    }
    return w.length;
}

// False: it is no message of this direction.
static inline bool wire_input_make(const uint8_t *data, size_t size, bool to_worker,
                                   struct wire_input *in) {
    void *bulk = NULL;
    *in = (struct wire_input){.to_worker = to_worker};
    if (size < 4)
        return false;
    size_t payload = (size_t)data[2] | (size_t)data[3] << 8;
    if (payload > size - 4 || payload > CHANNEL_PAYLOAD_BYTES)
        return false;
    size_t rest = size - 4 - payload, before = wire_input_build(data[0]);
    in->choice = data[1];
    in->payload = malloc(before + payload + !(before + payload));
    if (!in->payload || posix_memalign(&bulk, WIRE_ALIGN, rest + !rest))
        abort();
    in->bulk = bulk;
    memcpy(in->payload, wire_payload, before);
    if (payload)
        memcpy(in->payload + before, data + 4, payload);
    if (rest)
        memcpy(in->bulk, data + 4 + payload, rest);
    in->m = (struct channel_message){.type = data[0],
                                     .life = 1,
                                     .sequence = data[0] != WIRE_PROGRESS,
                                     .bulk_offset = rest ? 64 : 0,
                                     .bulk_length = rest,
                                     .payload = in->payload,
                                     .payload_length = before + payload,
                                     .fd_count = data[0] == WIRE_FILES ? in->choice : 0};
    struct errmsg msg;
    return wire_check_message(&in->m, to_worker, &msg) == ERR_OK;
}

// What was read, written again: the same bytes, for there is one way to say a thing.
struct wire_again {
    unsigned char payload[CHANNEL_PAYLOAD_BYTES];
    _Alignas(WIRE_ALIGN) unsigned char bulk[1 << 20];
    struct pack_writer w;
};
static struct wire_again wire_again;

static inline struct pack_writer *wire_again_begin(void) {
    wire_again.w = pack_writer_of(wire_again.payload, sizeof wire_again.payload);
    return &wire_again.w;
}

static inline void wire_again_same(const struct wire_input *in, size_t bulk_length) {
    wire_must(!wire_again.w.failed && wire_again.w.length == in->m.payload_length &&
              memcmp(wire_again.payload, in->payload, wire_again.w.length) == 0);
    wire_must(bulk_length == in->m.bulk_length &&
              memcmp(wire_again.bulk, in->bulk, bulk_length) == 0);
}

#endif
