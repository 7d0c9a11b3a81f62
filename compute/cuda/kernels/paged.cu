// The paged cache: storing, and attention over it (kernels.h). Role: what memory a launch touches,
// and which kernel does it.
#include "compute/cuda/kernels/paged_mma.cuh"
#include "compute/cuda/kernels/paged_plain.cuh"

enum {
    KV_STORE_THREADS = 256,
    PAGED_ENOUGH =
        512, // blocks that keep a card busy: more, for contexts that are not there, cost time
};

// A block has a row: its key and value of all kv heads.
template <typename T> __global__ void kv_store_kernel(const gpu_kv_store a) {
    const size_t row = blockIdx.x, tokens = a.kv.block_tokens, head_dim = a.kv.head_dim;
    const int32_t slot = a.slots[row];
    if (slot < 0)
        return;
    const size_t block = (size_t)slot / tokens, offset = (size_t)slot % tokens;
    for (size_t col = threadIdx.x; col < a.kv.kv_heads * head_dim; col += KV_STORE_THREADS) {
        const size_t head = col / head_dim;
        T *key = (T *)a.kv.data + gpu_kv_at(a.kv, a.layer, head, block, offset) +
                 (col - head * head_dim);
        key[0] = gpu_narrow<T>(gpu_load_as(a.k.type, a.k.data, row * a.k.ld + col));
        key[gpu_kv_apart(a.kv)] =
            gpu_narrow<T>(gpu_load_as(a.v.type, a.v.data, row * a.v.ld + col));
    }
}

static size_t kv_bytes(const struct gpu_kv *kv) {
    return kv->blocks * kv->layers * 2 * kv->kv_heads * kv->block_tokens * kv->head_dim *
           gpu_type_size(kv->type);
}

void gpu_launch_kv_store(struct gpu_stream *s, const struct gpu_kv_store *a) {
    if (!a->k.rows)
        return;
    GPU_READS_MAT(s, a->k);
    GPU_READS_MAT(s, a->v);
    GPU_READS(s, a->slots, a->k.rows * sizeof(int32_t));
    GPU_WRITES_SOME(s, a->kv.data, kv_bytes(&a->kv));
    GPU_BY_TYPE(a->kv.type, GPU_LAUNCH(s, kv_store_kernel<T>, dim3((unsigned)a->k.rows),
                                       dim3(KV_STORE_THREADS), 0, *a));
}

size_t gpu_paged_partial_floats(size_t tile_count, size_t heads, size_t head_dim, size_t pieces) {
    return tile_count * heads * pieces * (head_dim + 2);
}

static size_t paged_partial_bytes(const struct gpu_paged_attention *a) {
    return sizeof(float) *
           gpu_paged_partial_floats(a->tile_count, a->heads, a->kv.head_dim, a->pieces);
}

// What both kinds of launch touch.
static void paged_touches(struct gpu_stream *s, const struct gpu_paged_attention *a) {
    GPU_WRITES_MAT(s, a->out);
    GPU_READS_SOME(s, a->kv.data, kv_bytes(&a->kv));
    GPU_READS(s, a->context_lens, a->seqs * sizeof(int32_t));
    GPU_READS_SOME(s, a->block_tables, a->seqs * a->table_stride * sizeof(int32_t));
    if (a->split) {
        GPU_READS_SOME(s, a->partial, paged_partial_bytes(a));
        GPU_WRITES_SOME(s, a->partial, paged_partial_bytes(a));
        GPU_READS(s, a->done, a->tile_count * a->heads * sizeof(uint32_t));
        GPU_WRITES_SOME(s, a->done, a->tile_count * a->heads * sizeof(uint32_t));
    }
}

template <typename C, int LANES, int STEPS>
static void paged_plain_launch(struct gpu_stream *s, const struct gpu_decode_attention *d,
                               size_t rows) {
    const struct gpu_paged_attention *a = &d->paged;
    size_t group = a->heads / a->kv.kv_heads;
    size_t parts = gpu_ceil_div(rows * group, PAGED_QUERIES);
    bool whole =
        (uintptr_t)a->kv.data % 16 == 0 && a->kv.head_dim * gpu_type_size(a->kv.type) % 16 == 0;
    size_t blocks = a->tile_count * a->kv.kv_heads * parts;
    size_t sharing = a->split ? gpu_ceil_div(PAGED_ENOUGH, blocks) : 1;
    if (sharing > a->pieces)
        sharing = a->pieces ? a->pieces : 1;
    dim3 grid((unsigned)a->tile_count, (unsigned)(a->kv.kv_heads * parts), (unsigned)sharing);
    GPU_LAUNCH(s, (gpu_paged_kernel<C, LANES, STEPS>), grid, dim3(PAGED_THREADS),
               sizeof(gpu_paged_shared<gpu_paged_shape<C, LANES, STEPS>>), *d, whole);
}

// rows: of a tile.
template <typename C>
static void paged_plain(struct gpu_stream *s, const struct gpu_decode_attention *d, size_t rows) {
    constexpr int LANES = 128 / (int)(16 / sizeof(C)); // of 128 values
    size_t head_dim = d->paged.kv.head_dim;
    if (head_dim <= 64)
        paged_plain_launch<C, LANES / 2, 1>(s, d, rows);
    else if (head_dim <= 128)
        paged_plain_launch<C, LANES, 1>(s, d, rows);
    else
        paged_plain_launch<C, 32, sizeof(C) / 2>(s, d, rows);
}

void gpu_launch_paged_attention(struct gpu_stream *s, const struct gpu_paged_attention *a) {
    if (!a->tile_count)
        return;
    paged_touches(s, a);
    GPU_READS_MAT(s, a->q);
    GPU_READS(s, a->cu_seqlens, (a->seqs + 1) * sizeof(int32_t));
    GPU_READS(s, a->tiles, 2 * a->tile_count * sizeof(int32_t));
    bool flash = a->tile_rows == GPU_PAGED_ROWS && flash_takes(a->kv.type, a->kv.head_dim) &&
                 (uintptr_t)a->kv.data % 16 == 0 && gpu_rows_aligned(a->q) &&
                 gpu_rows_aligned(a->out);
    if (flash && a->kv.type == GPU_BF16) {
        flash_paged<gpu_bf16>(s, a);
    } else if (flash) {
        flash_paged<gpu_f16>(s, a);
    } else {
        struct gpu_decode_attention d = {};
        d.paged = *a;
        GPU_BY_TYPE(a->kv.type, paged_plain<T>(s, &d, a->tile_rows));
    }
}

void gpu_launch_decode_attention(struct gpu_stream *s, const struct gpu_decode_attention *a) {
    const struct gpu_paged_attention *paged = &a->paged;
    if (!paged->tile_count)
        return;
    paged_touches(s, paged);
    GPU_WRITES_SOME(s, paged->kv.data, kv_bytes(&paged->kv));
    GPU_READS_MAT(s, a->qkv);
    GPU_READS_MAT(s, a->cos);
    GPU_READS_MAT(s, a->sin);
    GPU_READS(s, a->slots, paged->tile_count * sizeof(int32_t));
    if (a->q_norm)
        GPU_READS(s, a->q_norm, paged->kv.head_dim * sizeof(float));
    if (a->k_norm)
        GPU_READS(s, a->k_norm, paged->kv.head_dim * sizeof(float));
    GPU_BY_TYPE(paged->kv.type, paged_plain<T>(s, a, 1));
}
