// Attention over ragged sequences (kernels.h: gpu_launch_attention). Role: what memory it touches,
// and which kernel does it.
#include "compute/cuda/kernels/attention_plain.cuh"

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
    GPU_BY_TYPE(a->q.type, plain_attention<T>(s, a));
}
