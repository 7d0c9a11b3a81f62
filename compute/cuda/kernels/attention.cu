// Attention over ragged sequences (kernels.h: gpu_launch_attention). Role: what memory it touches,
// and which kernel does it.
#include "compute/cuda/kernels/attention_mma.cuh"
#include "compute/cuda/kernels/attention_plain.cuh"

template <typename T> struct gpu_flash_type;
template <> struct gpu_flash_type<gpu_bf16> { static const enum gpu_type type = GPU_BF16; };
template <> struct gpu_flash_type<gpu_f16> { static const enum gpu_type type = GPU_F16; };

template <typename T, int HD, bool TERMS>
__global__ void __launch_bounds__(FLASH_THREADS, HD <= 64 ? 3 : 2)
    flash_kernel(const gpu_attention a) {
    GPU_SHARED(shared);
    const int seq = a.tiles[2 * (size_t)blockIdx.x], first = a.tiles[2 * (size_t)blockIdx.x + 1];
    const size_t start = (size_t)a.cu_seqlens[seq], head = blockIdx.y, row = start + (size_t)first;
    const int length = a.cu_seqlens[seq + 1] - (int)start, left = length - first;
    if (left <= 0)
        return;
    const size_t kv_col = head / (a.heads / a.kv_heads) * HD;
    const gpu_flash_rows<T> place = {(const T *)a.k.data + start * a.k.ld + kv_col,
                                     (const T *)a.v.data + start * a.v.ld + kv_col, a.k.ld, a.v.ld};
    const gpu_flash_job job = {(const T *)a.q.data + row * a.q.ld + head * HD,
                               (T *)a.out.data + row * a.out.ld + head * HD,
                               a.q.ld,
                               a.out.ld,
                               gpu_flash_type<T>::type,
                               left < FLASH_ROWS ? left : FLASH_ROWS,
                               first,
                               length,
                               a.causal,
                               a.window,
                               a.scale,
                               gpu_score_terms_of(a, head)};
    flash_tile<T, HD, TERMS>(shared, place, job);
}

template <typename T, int HD>
static void flash_launch(struct gpu_stream *s, const struct gpu_attention *a) {
    dim3 grid((unsigned)a->tile_count, (unsigned)a->heads);
    if (a->slopes || a->bias)
        GPU_LAUNCH(s, (flash_kernel<T, HD, true>), grid, dim3(FLASH_THREADS),
                   gpu_flash_shape<HD>::BYTES, *a);
    else
        GPU_LAUNCH(s, (flash_kernel<T, HD, false>), grid, dim3(FLASH_THREADS),
                   gpu_flash_shape<HD>::BYTES, *a);
}

template <typename T> static void flash_attention(struct gpu_stream *s, const gpu_attention *a) {
    switch (a->head_dim) {
    case 32:
        flash_launch<T, 32>(s, a);
        break;
    case 64:
        flash_launch<T, 64>(s, a);
        break;
    case 96:
        flash_launch<T, 96>(s, a);
        break;
    default:
        flash_launch<T, 128>(s, a);
    }
}

static bool rows_aligned(const struct gpu_mat *m) {
    return (uintptr_t)m->data % 16 == 0 && m->ld % 8 == 0;
}

void gpu_launch_attention(struct gpu_stream *s, const struct gpu_attention *a) {
    if (!a->tile_count)
        return;
    GPU_READS_MAT(s, a->q);
    GPU_READS_MAT(s, a->k);
    GPU_READS_MAT(s, a->v);
    GPU_WRITES_MAT(s, a->out);
    GPU_READS(s, a->cu_seqlens, (a->seqs + 1) * sizeof(int32_t));
    GPU_READS(s, a->tiles, 2 * a->tile_count * sizeof(int32_t));
    if (a->slopes)
        GPU_READS(s, a->slopes, a->heads * sizeof(float));
    if (a->bias)
        GPU_READS(s, a->bias, a->heads * (2 * a->bias_reach + 1) * sizeof(float));
    bool flash = flash_takes(a->q.type, a->head_dim) && rows_aligned(&a->q) &&
                 rows_aligned(&a->k) && rows_aligned(&a->v) && rows_aligned(&a->out);
    if (flash && a->q.type == GPU_BF16)
        flash_attention<gpu_bf16>(s, a);
    else if (flash)
        flash_attention<gpu_f16>(s, a);
    else
        GPU_BY_TYPE(a->q.type, plain_attention<T>(s, a));
}
