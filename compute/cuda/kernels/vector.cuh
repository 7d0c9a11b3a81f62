// Runs of numbers between memory and registers: 16 bytes at a time where they lie so. Role: loads
// and stores of the kernels that work on rows; no arithmetic.
// A row is cut into runs of V values. WHOLE: all runs are whole and begin at 16-byte addresses (or
// at the run's own size where that is less); else they are moved value by value, the first `left`
// only. What lies where in registers is the same either way.
#ifndef TRINE_COMPUTE_CUDA_VECTOR_CUH
#define TRINE_COMPUTE_CUDA_VECTOR_CUH

#include "compute/cuda/kernels/dialect.cuh"

// Values in 16 bytes.
template <typename T> struct gpu_run { static constexpr int values = 16 / (int)sizeof(T); };

template <typename T, int N> struct alignas(sizeof(T) * N) gpu_pack { T v[N]; };

// v[i] = p[i]; 0 from `left` on.
template <int V, bool WHOLE, typename T>
static __device__ __forceinline__ void gpu_load(const T *p, size_t left, float *v) {
    if (WHOLE) {
        constexpr int N = V < gpu_run<T>::values ? V : gpu_run<T>::values;
#pragma unroll
        for (int from = 0; from < V; from += N) {
            gpu_pack<T, N> pack = *(const gpu_pack<T, N> *)(const void *)(p + from);
#pragma unroll
            for (int i = 0; i < N; i++)
                v[from + i] = gpu_widen(pack.v[i]);
        }
    } else {
#pragma unroll
        for (int i = 0; i < V; i++)
            v[i] = (size_t)i < left ? gpu_widen(p[i]) : 0.0F;
    }
}

// p[i] = v[i], for the first `left`.
template <int V, bool WHOLE, typename T>
static __device__ __forceinline__ void gpu_store(T *p, size_t left, const float *v) {
    if (WHOLE) {
        constexpr int N = V < gpu_run<T>::values ? V : gpu_run<T>::values;
#pragma unroll
        for (int from = 0; from < V; from += N) {
            gpu_pack<T, N> pack;
#pragma unroll
            for (int i = 0; i < N; i++)
                pack.v[i] = gpu_narrow<T>(v[from + i]);
            *(gpu_pack<T, N> *)(void *)(p + from) = pack;
        }
    } else {
#pragma unroll
        for (int i = 0; i < V; i++)
            if ((size_t)i < left)
                p[i] = gpu_narrow<T>(v[i]);
    }
}

// V values as they are stored: what is asked of memory now and looked at later, so that several
// loads are on their way at once. (What is widened at once is waited for.)
template <typename T, int V> struct gpu_kept {
    static constexpr int N = V < gpu_run<T>::values ? V : gpu_run<T>::values;
    gpu_pack<T, N> pack[V / N];

    __device__ __forceinline__ void fill(T x) {
#pragma unroll
        for (int i = 0; i < V; i++)
            pack[i / N].v[i % N] = x;
    }
    __device__ __forceinline__ void load(const T *p) {
#pragma unroll
        for (int i = 0; i < V / N; i++)
            pack[i] = *(const gpu_pack<T, N> *)(const void *)(p + i * N);
    }
    __device__ __forceinline__ float at(int i) const { return gpu_widen(pack[i / N].v[i % N]); }
};

// gpu_load and gpu_store where only the launch knows.
template <int V, typename T>
static __device__ __forceinline__ void gpu_load_if(bool whole, const T *p, size_t left, float *v) {
    if (whole)
        gpu_load<V, true>(p, left, v);
    else
        gpu_load<V, false>(p, left, v);
}
template <int V, typename T>
static __device__ __forceinline__ void gpu_store_if(bool whole, T *p, size_t left, const float *v) {
    if (whole)
        gpu_store<V, true>(p, left, v);
    else
        gpu_store<V, false>(p, left, v);
}

// Host side. Whether rows of m begin at 16-byte addresses, and whether `cols` of them are whole
// runs of `values`.
static inline bool gpu_rows_aligned(struct gpu_mat m) {
    return (uintptr_t)m.data % 16 == 0 && (m.rows <= 1 || m.ld * gpu_type_size(m.type) % 16 == 0);
}
static inline bool gpu_floats_aligned(const float *p) { return (uintptr_t)p % 16 == 0; }
static inline size_t gpu_ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

#endif
