// Attention over the paged cache on matrix units: tiles of 64 rows of a narrow cache. Role: where a
// key lies; the rest is attention_mma.cuh's.
#ifndef TRINE_COMPUTE_CUDA_PAGED_MMA_CUH
#define TRINE_COMPUTE_CUDA_PAGED_MMA_CUH

#include "compute/cuda/kernels/attention_mma.cuh"
#include "compute/cuda/kernels/paged_place.cuh"

// A kv head of a layer, by the sequence's blocks.
template <typename T> struct gpu_paged_rows {
    const T *k;   // of block 0
    size_t apart; // from a key to its value
    const int32_t *table;
    size_t block_values; // from block to block
    uint32_t block_tokens;
    int shift; // block_tokens is 2^shift; below 0: it is no power of 2
};
template <typename T, int HD>
static __device__ __forceinline__ const T *gpu_paged_key(const gpu_paged_rows<T> &at, int key) {
    const uint32_t position = (uint32_t)key;
    const uint32_t block = at.shift >= 0 ? position >> at.shift : position / at.block_tokens;
    return at.k + (size_t)at.table[block] * at.block_values +
           (size_t)(position - block * at.block_tokens) * HD;
}
template <typename T, int HD>
static __device__ __forceinline__ const T *flash_key(const gpu_paged_rows<T> &at, int key) {
    return gpu_paged_key<T, HD>(at, key);
}
template <typename T, int HD>
static __device__ __forceinline__ const T *flash_value(const gpu_paged_rows<T> &at, int key) {
    return gpu_paged_key<T, HD>(at, key) + at.apart;
}

// Grid: tiles, heads.
template <typename T, int HD>
__global__ void __launch_bounds__(FLASH_THREADS, HD <= 64 ? 3 : 2)
    flash_paged_kernel(const gpu_paged_attention a, int shift) {
    GPU_SHARED(shared);
    const size_t seq = (size_t)a.tiles[2 * (size_t)blockIdx.x], head = blockIdx.y;
    const size_t row = (size_t)a.tiles[2 * (size_t)blockIdx.x + 1];
    const int left = a.cu_seqlens[seq + 1] - (int)row, length = a.context_lens[seq];
    if (left <= 0)
        return;
    const size_t kv_head = head / (a.heads / a.kv.kv_heads);
    const size_t plane = gpu_kv_apart(a.kv);
    const gpu_paged_rows<T> place = {(const T *)a.kv.data + gpu_kv_at(a.kv, a.layer, kv_head, 0, 0),
                                     plane,
                                     a.block_tables + seq * a.table_stride,
                                     2 * plane * a.kv.layers,
                                     (uint32_t)a.kv.block_tokens,
                                     shift};
    const size_t size = a.q.type == GPU_F32 ? 4 : 2;
    const gpu_flash_job job = {(const unsigned char *)a.q.data + (row * a.q.ld + head * HD) * size,
                               (unsigned char *)a.out.data + (row * a.out.ld + head * HD) * size,
                               a.q.ld,
                               a.out.ld,
                               a.q.type,
                               left < FLASH_ROWS ? left : FLASH_ROWS,
                               length - left,
                               length,
                               1,
                               a.window,
                               a.scale,
                               {0.0F, NULL, 0}};
    flash_tile<T, HD, false>(shared, place, job);
}

template <typename T>
static void flash_paged(struct gpu_stream *s, const struct gpu_paged_attention *a) {
    int shift = 0;
    while ((size_t)1 << shift < a->kv.block_tokens)
        shift++;
    if ((size_t)1 << shift != a->kv.block_tokens)
        shift = -1;
    dim3 grid((unsigned)a->tile_count, (unsigned)a->heads);
    switch (a->kv.head_dim) {
    case 32:
        GPU_LAUNCH(s, (flash_paged_kernel<T, 32>), grid, dim3(FLASH_THREADS),
                   gpu_flash_shape<32>::BYTES, *a, shift);
        break;
    case 64:
        GPU_LAUNCH(s, (flash_paged_kernel<T, 64>), grid, dim3(FLASH_THREADS),
                   gpu_flash_shape<64>::BYTES, *a, shift);
        break;
    case 96:
        GPU_LAUNCH(s, (flash_paged_kernel<T, 96>), grid, dim3(FLASH_THREADS),
                   gpu_flash_shape<96>::BYTES, *a, shift);
        break;
    default:
        GPU_LAUNCH(s, (flash_paged_kernel<T, 128>), grid, dim3(FLASH_THREADS),
                   gpu_flash_shape<128>::BYTES, *a, shift);
    }
}

#endif
