// exp, tanh and the activations on one vector, and the sizes that products share; included after a
// lanes_*.h. Accuracy, checked by tests/unit/test_kernels.c: exp 1.5 ulp, gelu 4e-8 + 1 ulp, tanh
// and the others 3 ulp or 2e-7. A finite input never gives NaN; NaN gives NaN.
#ifndef TRINE_COMPUTE_CPU_LANES_MATH_H
#define TRINE_COMPUTE_CPU_LANES_MATH_H

#include "compute/device.h"

enum { PANEL = 2 * LANES, LINE = 64 }; // outputs in a panel of floats, bytes in a cache line

// e^x = 2^n e^r with |r| <= ln 2 / 2, ln 2 in two parts, e^r by a polynomial made for that range.
INLINE VF v_exp(VF x) {
    x = v_max(v_all(-110.0F), x); // this order keeps a NaN
    x = v_min(v_all(90.0F), x);
    VF n = v_round(v_mul(x, v_all(1.44269504088896341F)));
    VF r = v_fnma(n, v_all(0.693359375F), x);
    r = v_fnma(n, v_all(-2.12194440e-4F), r);
    VF p = v_all(0.00139411085F);
    p = v_fma(p, r, v_all(0.00837512594F));
    p = v_fma(p, r, v_all(0.0416663513F));
    p = v_fma(p, r, v_all(0.166664153F));
    p = v_fma(p, r, v_all(0.5F));
    p = v_fma(p, r, v_all(1.0F));
    p = v_fma(p, r, v_all(1.0F));
    return v_scale2(p, n);
}

// 2^x for x <= 0; 0 from -150 on. One rounding of x less than v_exp has, so for use where x was
// computed anyway.
INLINE VF v_exp2(VF x) {
    x = v_max(v_all(-200.0F), x); // this order keeps a NaN
    VF n = v_round(x), r = v_sub(x, n);
    VF p = v_all(0.000154531634F);
    p = v_fma(p, r, v_all(0.00133908633F));
    p = v_fma(p, r, v_all(0.00961808302F));
    p = v_fma(p, r, v_all(0.0555035695F));
    p = v_fma(p, r, v_all(0.240226507F));
    p = v_fma(p, r, v_all(0.693147182F));
    p = v_fma(p, r, v_all(1.0F));
    return v_scale2(p, n);
}

// x/2 (1 + erf(x / sqrt 2)) = max(x, 0) - h(|x|): see gelu_table.h. No cancellation where x < 0.
INLINE VF v_gelu(VF x) {
    VF t = v_min(v_all(6.0F), v_abs(x)); // this order keeps a NaN
    VF magic = v_all(12582912.0F);       // 1.5 2^23: the sum's low bits are the nearest integer
    VF at = v_fma(t, v_all(2.5F), magic);
    VF r = v_fms(t, v_all(2.5F), v_sub(at, magic));
    VF h = v_gelu_coefficient(5, at);
    h = v_fma(h, r, v_gelu_coefficient(4, at));
    h = v_fma(h, r, v_gelu_coefficient(3, at));
    h = v_fma(h, r, v_gelu_coefficient(2, at));
    h = v_fma(h, r, v_gelu_coefficient(1, at));
    h = v_fma(h, r, v_gelu_coefficient(0, at));
    return v_sub(v_max(v_zero(), x), h);
}

// x / (1 + e^-u)
INLINE VF v_gated(VF x, VF u) { return v_div(x, v_add(v_all(1.0F), v_exp(v_sub(v_zero(), u)))); }

// x/2 (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
INLINE VF v_gelu_tanh(VF x) {
    VF cube = v_fma(v_mul(x, x), v_all(2.0F * 0.79788456080286536F * 0.044715F),
                    v_all(2.0F * 0.79788456080286536F));
    return v_gated(x, v_mul(x, cube));
}

INLINE VF v_tanh(VF x) {
    VF a = v_abs(x), z = v_mul(x, x);
    VF p = v_all(-0.00609671418F);
    p = v_fma(p, z, v_all(0.0209971797F));
    p = v_fma(p, z, v_all(-0.0538509078F));
    p = v_fma(p, z, v_all(0.133327693F));
    p = v_fma(p, z, v_all(-0.333333284F));
    VF small = v_fma(v_mul(x, z), p, x);
    VF e = v_exp(v_add(a, a));
    VF large = v_sub(v_all(1.0F), v_div(v_all(2.0F), v_add(e, v_all(1.0F))));
    return v_pick(v_less(a, v_all(0.625F)), small, v_sign_of(large, x));
}

INLINE VF v_activate(enum activation f, VF x) {
    switch (f) {
    case ACTIVATION_NONE:
        break;
    case ACTIVATION_GELU:
        return v_gelu(x);
    case ACTIVATION_GELU_TANH:
        return v_gelu_tanh(x);
    case ACTIVATION_RELU:
        return v_max(v_zero(), x);
    case ACTIVATION_TANH:
        return v_tanh(x);
    case ACTIVATION_SILU:
        return v_gated(x, x);
    }
    return x;
}

#endif
