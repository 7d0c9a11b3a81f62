// Which keys a query of a ragged sequence sees, and what is added to its scores. Role: the rule
// that both attention kernels (attention_plain.cuh, attention_mma.cuh) follow; positions are
// counted within the sequence.
#ifndef TRINE_COMPUTE_CUDA_ATTENTION_RULE_CUH
#define TRINE_COMPUTE_CUDA_ATTENTION_RULE_CUH

#include "compute/cuda/kernels/dialect.cuh"

// Keys [from, to) of a query.
struct gpu_seen {
    int from, to;
};

// Both ends grow with the position, so that a tile sees from its first row's to its last row's.
static __device__ __forceinline__ gpu_seen gpu_seen_by(int position, int length, int causal,
                                                       size_t window) {
    gpu_seen seen = {0, causal ? position + 1 : length};
    const size_t reach = causal ? window - 1 : window / 2;
    if (window && reach < (size_t)length) {
        const int back = (int)reach;
        seen.from = position > back ? position - back : 0;
        if (!causal && position + back + 1 < length)
            seen.to = position + back + 1;
    }
    return seen;
}

// What is added to the score of a key at j seen from i.
struct gpu_score_terms {
    float slope;       // 0: none
    const float *bias; // of distance 0; NULL: none
    int reach;
};

static __device__ __forceinline__ gpu_score_terms gpu_score_terms_of(const gpu_attention &a,
                                                                     size_t head) {
    gpu_score_terms terms = {a.slopes ? a.slopes[head] : 0.0F, NULL, (int)a.bias_reach};
    if (a.bias)
        terms.bias = a.bias + head * (2 * a.bias_reach + 1) + a.bias_reach;
    return terms;
}

static __device__ __forceinline__ float gpu_score_with(float score, const gpu_score_terms &terms,
                                                       int i, int j) {
    int distance = j - i;
    score = fmaf(-terms.slope, (float)(distance < 0 ? -distance : distance), score);
    if (terms.bias) {
        int at = distance < -terms.reach ? -terms.reach : distance;
        score += terms.bias[at > terms.reach ? terms.reach : at];
    }
    return score;
}

#endif
