// The kernels of causal models on AVX-512: the shared bodies over lanes_avx512.h. See causal.h.
// Built with the set's own compiler flags; called only where the CPU has it.
#include "compute/cpu/lanes_avx512.h"

#include "compute/cpu/lanes_causal.h"
#include "compute/cpu/lanes_causal_rows.h"

const struct causal_kernels causal_avx512 = {
    .attention = causal_attention,
    .join = causal_join,
    .rms_norm = rms_norm,
    .rope = rope,
    .swiglu = swiglu,
    .to_f16 = to_f16,
};
