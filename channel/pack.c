// See pack.h.
#include "channel/pack.h"

#include <string.h>

static void put(struct pack_writer *w, const void *p, size_t n) {
    if (w->failed || n > w->capacity - w->length) {
        w->failed = true;
        return;
    }
    if (n)
        memcpy(w->bytes + w->length, p, n);
    w->length += n;
}

static void put_number(struct pack_writer *w, uint64_t v, size_t n) {
    unsigned char bytes[8];
    for (size_t i = 0; i < n; i++)
        bytes[i] = (unsigned char)(v >> 8 * i);
    put(w, bytes, n);
}

void pack_put_u32(struct pack_writer *w, uint32_t v) { put_number(w, v, 4); }
void pack_put_u64(struct pack_writer *w, uint64_t v) { put_number(w, v, 8); }
void pack_put_i32(struct pack_writer *w, int32_t v) { put_number(w, (uint32_t)v, 4); }
void pack_put_i64(struct pack_writer *w, int64_t v) { put_number(w, (uint64_t)v, 8); }
void pack_put_bool(struct pack_writer *w, bool v) { put_number(w, v, 1); }

void pack_put_f32(struct pack_writer *w, float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_number(w, bits, 4);
}

void pack_put_f64(struct pack_writer *w, double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_number(w, bits, 8);
}

void pack_put_bytes(struct pack_writer *w, const void *p, size_t n) { put(w, p, n); }

void pack_put_string(struct pack_writer *w, const char *s) {
    size_t n = strlen(s);
    if (n > UINT32_MAX) {
        w->failed = true;
        return;
    }
    pack_put_u32(w, (uint32_t)n);
    put(w, s, n);
}

const unsigned char *pack_get_bytes(struct pack_reader *r, size_t n) {
    if (r->failed || n > r->length - r->at) {
        r->failed = true;
        return NULL;
    }
    const unsigned char *p = r->bytes + r->at;
    r->at += n;
    return p;
}

static uint64_t get_number(struct pack_reader *r, size_t n) {
    const unsigned char *p = pack_get_bytes(r, n);
    uint64_t v = 0;
    for (size_t i = 0; p && i < n; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

uint32_t pack_get_u32(struct pack_reader *r) { return (uint32_t)get_number(r, 4); }
uint64_t pack_get_u64(struct pack_reader *r) { return get_number(r, 8); }
int32_t pack_get_i32(struct pack_reader *r) { return (int32_t)(uint32_t)get_number(r, 4); }
int64_t pack_get_i64(struct pack_reader *r) { return (int64_t)get_number(r, 8); }

float pack_get_f32(struct pack_reader *r) {
    uint32_t bits = pack_get_u32(r);
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

double pack_get_f64(struct pack_reader *r) {
    uint64_t bits = pack_get_u64(r);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

bool pack_get_bool(struct pack_reader *r) {
    uint64_t v = get_number(r, 1);
    if (v > 1)
        r->failed = true;
    return v == 1;
}

void pack_get_string(struct pack_reader *r, char *to, size_t room) {
    if (room)
        to[0] = '\0';
    size_t n = pack_get_u32(r);
    const unsigned char *p = pack_get_bytes(r, n);
    if (!p)
        return;
    if (n >= room || memchr(p, '\0', n)) {
        r->failed = true;
        return;
    }
    memcpy(to, p, n);
    to[n] = '\0';
}

uint32_t pack_get_below(struct pack_reader *r, uint32_t count) {
    uint32_t v = pack_get_u32(r);
    if (v < count)
        return v;
    r->failed = true;
    return 0;
}
