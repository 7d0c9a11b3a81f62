// GGUF files made in memory, field by field, so that each can be wrong on purpose.
#ifndef TRINE_TESTS_UNIT_TEST_GGUF_KIT_H
#define TRINE_TESTS_UNIT_TEST_GGUF_KIT_H

#include "base/buf.h"
#include "tests/unit/test_weights_files.h"
#include "weights/gguf.h"

struct kit {
    struct buf keys, tensors;
    uint64_t key_count, tensor_count;
    size_t data; // bytes of it so far, padded to 32
    uint32_t version;
};

static inline void kit_int(struct buf *b, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++)
        buf_putc(b, (char)(v >> (8 * i) & 255));
}

static inline void kit_string(struct buf *b, const char *s) {
    kit_int(b, strlen(s), 8);
    buf_puts(b, s);
}

// The key and its type; the value is appended to keys by the caller.
static inline struct buf *kit_key(struct kit *k, const char *key, uint32_t type) {
    kit_string(&k->keys, key);
    kit_int(&k->keys, type, 4);
    k->key_count++;
    return &k->keys;
}

static inline void kit_u32(struct kit *k, const char *key, uint32_t v) {
    kit_int(kit_key(k, key, GGUF_U32), v, 4);
}

static inline void kit_f32(struct kit *k, const char *key, float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    kit_int(kit_key(k, key, GGUF_F32), bits, 4);
}

static inline void kit_bool(struct kit *k, const char *key, int v) {
    kit_int(kit_key(k, key, GGUF_BOOL), (uint64_t)v, 1);
}

static inline void kit_text(struct kit *k, const char *key, const char *s) {
    kit_string(kit_key(k, key, GGUF_STRING), s);
}

static inline void kit_texts(struct kit *k, const char *key, const char *const *list, size_t n) {
    struct buf *b = kit_key(k, key, GGUF_ARRAY);
    kit_int(b, GGUF_STRING, 4);
    kit_int(b, n, 8);
    for (size_t i = 0; i < n; i++)
        kit_string(b, list[i]);
}

static inline void kit_i32s(struct kit *k, const char *key, const int32_t *list, size_t n) {
    struct buf *b = kit_key(k, key, GGUF_ARRAY);
    kit_int(b, GGUF_I32, 4);
    kit_int(b, n, 8);
    for (size_t i = 0; i < n; i++)
        kit_int(b, (uint32_t)list[i], 4);
}

// One line of the tensor list, whatever it says. dims innermost first.
static inline void kit_line(struct kit *k, const char *name, uint32_t rank, const uint64_t *dims,
                            uint32_t type, uint64_t offset) {
    kit_string(&k->tensors, name);
    kit_int(&k->tensors, rank, 4);
    for (uint32_t i = 0; i < rank; i++)
        kit_int(&k->tensors, dims[i], 8);
    kit_int(&k->tensors, type, 4);
    kit_int(&k->tensors, offset, 8);
    k->tensor_count++;
}

// A tensor of `bytes` behind the ones before it.
static inline void kit_tensor(struct kit *k, const char *name, uint64_t rows, uint64_t cols,
                              uint32_t type, size_t bytes) {
    uint64_t dims[2] = {cols, rows};
    kit_line(k, name, rows ? 2 : 1, dims, type, k->data);
    k->data += (bytes + 31) / 32 * 32;
}

// The file; the kit is empty again. The caller's (buf_free).
static inline struct buf kit_file(struct kit *k) {
    struct buf b = {0};
    buf_puts(&b, "GGUF");
    kit_int(&b, k->version ? k->version : 3, 4);
    kit_int(&b, k->tensor_count, 8);
    kit_int(&b, k->key_count, 8);
    buf_append(&b, k->keys.data, k->keys.len);
    buf_append(&b, k->tensors.data, k->tensors.len);
    while (b.len % 32)
        buf_putc(&b, '\0');
    for (size_t i = 0; i < k->data; i++)
        buf_putc(&b, (char)(i * 7));
    buf_free(&k->keys);
    buf_free(&k->tensors);
    *k = (struct kit){0};
    temp_must(!b.failed, "a GGUF file");
    return b;
}

static inline void kit_write(struct kit *k, const struct temp_folder *t, const char *name) {
    struct buf b = kit_file(k);
    temp_write(t, name, b.data, b.len);
    buf_free(&b);
}

#endif
