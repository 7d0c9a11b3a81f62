// Tensor views: what a file holds (struct tensor) and what a forward pass moves (struct mat).
// Role: types only, no ownership, no arithmetic.
// Legend, used everywhere: N tokens, S sequences, L layers, D hidden, H heads, Hk kv heads,
// hd head dim, F ffn, V vocab.
#ifndef TRINE_COMPUTE_TENSOR_H
#define TRINE_COMPUTE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The second group holds GGUF's block types: dtype_block values at a time in dtype_block_bytes.
enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_I64,
    DTYPE_I32,
    DTYPE_U8,

    DTYPE_Q4_0,
    DTYPE_Q4_1,
    DTYPE_Q5_0,
    DTYPE_Q5_1,
    DTYPE_Q8_0,
    DTYPE_Q2_K,
    DTYPE_Q3_K,
    DTYPE_Q4_K,
    DTYPE_Q5_K,
    DTYPE_Q6_K,
    DTYPE_IQ4_NL,
    DTYPE_COUNT,
};

enum { TENSOR_MAX_RANK = 4 };

struct file; // base/file.h

// A tensor in memory or in an open file, row-major (outermost dimension first, GGUF's too), any
// alignment. Without either: absent.
struct tensor {
    const char *name; // borrowed from the file's index
    const void *data; // NULL: in the file
    enum dtype dtype;
    int rank;
    size_t shape[TENSOR_MAX_RANK];
    const struct file *file; // borrowed
    size_t offset;           // of the first value in the file
};

static inline bool tensor_present(const struct tensor *t) { return t->data || t->file; }

// Activations in device memory, which only the device's operations touch: rows x cols, row r begins
// r * ld values behind data. ld >= cols; workspaces choose it (mat_ld). Of a dtype other than f32
// data is the address of its first value all the same, and no float is there.
struct mat {
    float *data;
    size_t rows, cols, ld;
    enum dtype dtype; // DTYPE_F32; where a device computes in narrow floats DTYPE_BF16, DTYPE_F16
};

// Values in a block: 1 for plain types, 32 or 256 for block types. A row is whole blocks.
size_t dtype_block(enum dtype t);
size_t dtype_block_bytes(enum dtype t);
static inline bool dtype_is_block(enum dtype t) { return t >= DTYPE_Q4_0 && t < DTYPE_COUNT; }

// Bytes of one value of a plain type; a block type has none (0).
static inline size_t dtype_size(enum dtype t) {
    switch (t) {
    case DTYPE_F32:
    case DTYPE_I32:
        return 4;
    case DTYPE_F16:
    case DTYPE_BF16:
        return 2;
    case DTYPE_I64:
        return 8;
    case DTYPE_U8:
        return 1;
    default:
        return 0;
    }
}

const char *dtype_name(enum dtype t); // "f32"

// A row stride for `cols` values. Floats: whole cache lines, an odd number of them, so that the
// rows of a tile spread over all cache sets whatever the model's width. Narrow ones, which only a
// GPU has: whole runs of 128 bytes.
static inline size_t mat_ld(size_t cols, enum dtype dtype) {
    if (dtype != DTYPE_F32)
        return (cols + 63) / 64 * 64;
    size_t lines = (cols + 15) / 16;
    return (lines | 1) * 16;
}

// m from its value `from` on.
static inline struct mat mat_behind(struct mat m, size_t from, size_t rows, size_t cols) {
    m.data = (float *)(void *)((char *)m.data + from * dtype_size(m.dtype));
    m.rows = rows;
    m.cols = cols;
    return m;
}
// Columns [from, from + cols) of m.
static inline struct mat mat_cols(struct mat m, size_t from, size_t cols) {
    return mat_behind(m, from, m.rows, cols);
}
// Rows [from, from + rows) of m.
static inline struct mat mat_rows(struct mat m, size_t from, size_t rows) {
    return mat_behind(m, from * m.ld, rows, m.cols);
}

#endif
