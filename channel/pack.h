// Bytes of a payload, little-endian: written into a caller's buffer, read from a received one.
// Both are bounded and have a sticky failure: put or get everything, then ask once. What is read
// past a failure is zero. Thread rule: one owner.
#ifndef TRINE_CHANNEL_PACK_H
#define TRINE_CHANNEL_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pack_writer {
    unsigned char *bytes; // the caller's
    size_t capacity, length;
    bool failed; // something did not fit; all from there on is missing
};

struct pack_reader {
    const unsigned char *bytes; // the caller's
    size_t length, at;
    bool failed; // something was not there, or not of its form
};

static inline struct pack_writer pack_writer_of(unsigned char *bytes, size_t capacity) {
    return (struct pack_writer){.bytes = bytes, .capacity = capacity};
}
static inline struct pack_reader pack_reader_of(const unsigned char *bytes, size_t length) {
    return (struct pack_reader){.bytes = bytes, .length = length};
}

void pack_put_u32(struct pack_writer *w, uint32_t v);
void pack_put_u64(struct pack_writer *w, uint64_t v);
void pack_put_i32(struct pack_writer *w, int32_t v);
void pack_put_i64(struct pack_writer *w, int64_t v);
void pack_put_f32(struct pack_writer *w, float v); // its bits: a NaN stays the NaN that it is
void pack_put_f64(struct pack_writer *w, double v);
void pack_put_bool(struct pack_writer *w, bool v);
void pack_put_bytes(struct pack_writer *w, const void *p, size_t n); // plain: the reader knows n
void pack_put_string(struct pack_writer *w, const char *s); // its length (u32), then its bytes

uint32_t pack_get_u32(struct pack_reader *r);
uint64_t pack_get_u64(struct pack_reader *r);
int32_t pack_get_i32(struct pack_reader *r);
int64_t pack_get_i64(struct pack_reader *r);
float pack_get_f32(struct pack_reader *r);
double pack_get_f64(struct pack_reader *r);
bool pack_get_bool(struct pack_reader *r); // a byte other than 0 and 1 is a failure
// n bytes where they lie, NULL (and a failure) where there are fewer.
const unsigned char *pack_get_bytes(struct pack_reader *r, size_t n);
// A string with its NUL into `to`. A failure, and "", where it has a NUL inside, or where it and a
// NUL do not fit in room bytes.
void pack_get_string(struct pack_reader *r, char *to, size_t room);
// A number below `count`, of an enum for instance: others are a failure, and read as 0.
uint32_t pack_get_below(struct pack_reader *r, uint32_t count);
// Bytes that are left: an array of n things of at least b bytes each needs n <= left / b.
static inline size_t pack_left(const struct pack_reader *r) {
    return r->failed ? 0 : r->length - r->at;
}
// Whether nothing failed and nothing is left: how every payload must end.
static inline bool pack_done(const struct pack_reader *r) {
    return !r->failed && r->at == r->length;
}

#endif
