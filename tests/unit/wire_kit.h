// What the tests of the codec (engine/wire.h) share: messages as they would have been received, and
// bytes of them made wrong. Thread rule: main thread only.
#ifndef TRINE_TESTS_WIRE_KIT_H
#define TRINE_TESTS_WIRE_KIT_H

#include "base/mem.h"
#include "engine/wire_spec.h"
#include "engine/wire_work.h"
#include "tests/check.h"

static unsigned char wire_payload[CHANNEL_PAYLOAD_BYTES];

static inline struct pack_writer wire_begin(void) {
    memset(wire_payload, 0xA5, sizeof wire_payload);
    return pack_writer_of(wire_payload, sizeof wire_payload);
}

static inline struct channel_message wire_message(enum wire_type type, const struct pack_writer *w,
                                                  size_t bulk_length) {
    CHECK(!w->failed);
    return (struct channel_message){.type = (uint16_t)type,
                                    .life = 1,
                                    .sequence = type != WIRE_PROGRESS,
                                    .bulk_offset = bulk_length ? 128 : 0,
                                    .bulk_length = bulk_length,
                                    .payload = wire_payload,
                                    .payload_length = w->length};
}

static uint64_t wire_state = 88172645463325252U;
static inline uint32_t wire_random(uint32_t below) {
    wire_state ^= wire_state << 13;
    wire_state ^= wire_state >> 7;
    wire_state ^= wire_state << 17;
    return (uint32_t)(wire_state >> 32) % below;
}

// A reader under test; true: it takes the message.
typedef bool wire_kit_read(const struct channel_message *m);

// Every shorter payload, and one that is a byte longer, is refused; the whole one is taken.
static inline void wire_check_lengths(struct channel_message m, wire_kit_read *takes) {
    size_t whole = m.payload_length, taken = 0;
    CHECK(takes(&m));
    for (m.payload_length = 0; m.payload_length < whole; m.payload_length++)
        taken += takes(&m);
    m.payload_length = whole + 1;
    taken += takes(&m);
    CHECK_INT(taken, 0);
}

// Whether the message is taken with these bytes at `at` of its payload (or bulk), which is as it
// was behind the call.
static inline bool wire_takes_with(const struct channel_message *m, wire_kit_read *takes,
                                   unsigned char *bytes, size_t at, const void *with, size_t n) {
    unsigned char was[16];
    memcpy(was, bytes + at, n);
    memcpy(bytes + at, with, n);
    bool taken = takes(m);
    memcpy(bytes + at, was, n);
    return taken;
}

static inline bool wire_takes_u32(const struct channel_message *m, wire_kit_read *takes,
                                  unsigned char *bytes, size_t at, uint32_t with) {
    return wire_takes_with(m, takes, bytes, at, &with, sizeof with);
}
static inline bool wire_takes_u64(const struct channel_message *m, wire_kit_read *takes,
                                  unsigned char *bytes, size_t at, uint64_t with) {
    return wire_takes_with(m, takes, bytes, at, &with, sizeof with);
}
static inline bool wire_takes_f32(const struct channel_message *m, wire_kit_read *takes,
                                  unsigned char *bytes, size_t at, float with) {
    return wire_takes_with(m, takes, bytes, at, &with, sizeof with);
}

#endif
