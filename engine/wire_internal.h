// What wire*.c share; for them alone. Of payloads: how they begin and end. Of bulk: numbers
// of fixed records, and arrays of four bytes a number, little-endian as this machine's memory is.
// Thread rule: one owner.
#ifndef TRINE_ENGINE_WIRE_INTERNAL_H
#define TRINE_ENGINE_WIRE_INTERNAL_H

#include "engine/wire.h"

#include <string.h>

// ---- payloads

static inline struct pack_reader wire_reader_of(const struct channel_message *m) {
    return pack_reader_of(m->payload, m->payload_length);
}
// A payload that was read to its end; ERR_INVALID where something was missing, not of its form,
// left over, or (not sane) out of its range.
enum err wire_end_payload(const struct channel_message *m, const struct pack_reader *r, bool sane,
                          struct errmsg *msg) MUST_CHECK;
void wire_get_verdict(struct pack_reader *r, struct errmsg *out);
// The payload of BATCH_DONE and STEP_DONE.
struct wire_done;
enum err wire_get_done(const struct channel_message *m, int64_t sent_us, int64_t now_us,
                       struct wire_done *out, struct errmsg *msg) MUST_CHECK;

// ---- results of steps

enum { WIRE_RESULT_BYTES = 16 }; // of a part's numbers, before its results
// Whether a row's logprob goes back with it.
static inline bool wire_has_logprobs(const struct step_part *p) {
    return p->want_logprob || p->top > 0 || !p->draws;
}

// ---- bulk

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "bulk is the memory of its arrays");

// Within a record of known length.
static inline void wire_put_u32(unsigned char **p, uint32_t v) {
    memcpy(*p, &v, sizeof v);
    *p += sizeof v;
}
static inline void wire_put_u64(unsigned char **p, uint64_t v) {
    memcpy(*p, &v, sizeof v);
    *p += sizeof v;
}
static inline void wire_put_f32(unsigned char **p, float v) {
    memcpy(*p, &v, sizeof v);
    *p += sizeof v;
}
// n numbers of four bytes.
static inline void wire_put_array(unsigned char **p, const void *from, size_t n) {
    if (n)
        memcpy(*p, from, n * 4);
    *p += n * 4;
}
static inline uint32_t wire_get_u32(const unsigned char **p) {
    uint32_t v;
    memcpy(&v, *p, sizeof v);
    *p += sizeof v;
    return v;
}
static inline uint64_t wire_get_u64(const unsigned char **p) {
    uint64_t v;
    memcpy(&v, *p, sizeof v);
    *p += sizeof v;
    return v;
}
static inline float wire_get_f32(const unsigned char **p) {
    float v;
    memcpy(&v, *p, sizeof v);
    *p += sizeof v;
    return v;
}

// n numbers of four bytes where they lie in a bulk, which is aligned, and so are all of its arrays.
static inline const void *wire_take_array(struct pack_reader *r, size_t n) {
    return pack_get_bytes(r, n > pack_left(r) / 4 ? SIZE_MAX : n * 4);
}

// Whether all of n ids are in [0, below), below from 1 to 2^31. An id, or what it leaves below the
// last one, has its sign bit where it is not: added up so for vectors of several at once, for
// tables and texts are long.
static inline bool wire_ids_are_below(const int32_t *ids, size_t n, size_t below) {
    enum { LANES = 16 };
    uint32_t last = (uint32_t)(below - 1), odd[LANES] = {0}, all = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            odd[k] |= (uint32_t)ids[i + k] | (last - (uint32_t)ids[i + k]);
    for (; i < n; i++)
        all |= (uint32_t)ids[i] | (last - (uint32_t)ids[i]);
    for (size_t k = 0; k < LANES; k++)
        all |= odd[k];
    return !(all >> 31);
}

#endif
