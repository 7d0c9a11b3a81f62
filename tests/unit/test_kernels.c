// The vector kernels' functions over the whole range of floats, what they do with NaN and Inf, and
// the conversions of weights, every value of the half types.
#include "compute/cpu/kernels.h"
#include "tests/check.h"

#include <float.h>
#include <stdint.h>
#include <stdlib.h>

static float from_bits(uint32_t bits) {
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static double reference(enum activation f, double x) {
    switch (f) {
    case ACTIVATION_NONE:
        break;
    case ACTIVATION_GELU:
        return 0.5 * x * erfc(-x * 0.70710678118654752440);
    case ACTIVATION_GELU_TANH: {
        double u = 0.79788456080286535588 * (x + 0.044715 * x * x * x);
        return x / (1 + exp(-2 * u));
    }
    case ACTIVATION_RELU:
        return x > 0 ? x : 0;
    case ACTIVATION_TANH:
        return tanh(x);
    case ACTIVATION_SILU:
        return x / (1 + exp(-x));
    }
    return x;
}

// What each function may be off, beside half an ulp of the result's own: absolute and relative.
struct bound {
    enum activation f;
    double absolute, relative;
};

// Every `step`th float of both signs, with all exponents.
static void scan(const struct cpu_kernels *k, const struct bound *b, uint32_t step) {
    enum { BATCH = 1024 };
    static float x[BATCH], y[BATCH];
    double worst = 0;
    float at = 0;
    size_t n = 0, nans = 0, seen = 0;
    for (uint64_t bits = 0; bits < 0x100000000U; bits += step) {
        float v = from_bits((uint32_t)bits);
        if (isfinite(v))
            x[n++] = v;
        if (n < BATCH && bits + step < 0x100000000U)
            continue;
        memcpy(y, x, sizeof y);
        k->activate(b->f, y, n);
        for (size_t i = 0; i < n; i++) {
            double want = reference(b->f, (double)x[i]);
            double off = fabs((double)y[i] - want) / (b->absolute + b->relative * fabs(want));
            if (isnan(y[i]))
                nans++;
            if (off > worst) {
                worst = off;
                at = x[i];
            }
        }
        seen += n;
        n = 0;
    }
    if (!CHECK(worst <= 1) || !CHECK(nans == 0))
        fprintf(stderr, "    %s activation %d: %.2f times the bound at %.9g, %zu NaN of %zu\n",
                k->name, (int)b->f, worst, (double)at, nans, seen);
}

static void test_functions(const struct cpu_kernels *k) {
    // 1.2e-7 is 2^-23, an ulp. gelu: 4e-8 is the table's own error and its cut at 5.8. The tanh
    // form's exponent is a rounded cubic: its relative error grows with it, where the value is
    // small. tanh is made from 1 - 2 / (e^2x + 1) above 0.625. silu is 0 where e^-x overflows.
    static const struct bound bounds[] = {
        {ACTIVATION_GELU, 4e-8, 1.2e-7}, {ACTIVATION_GELU_TANH, 1e-7, 3e-7},
        {ACTIVATION_RELU, 1e-45, 0},     {ACTIVATION_TANH, 1e-38, 3e-7},
        {ACTIVATION_SILU, 1e-36, 4e-7},
    };
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        scan(k, &bounds[i], 4093); // a million floats: all exponents, mantissas spread
        float odd[] = {NAN, -NAN, 1, -1, 0, -0.0F, FLT_MAX, -FLT_MAX, FLT_MIN, 1e-45F};
        enum { N = sizeof odd / sizeof *odd };
        k->activate(bounds[i].f, odd, N);
        CHECK(isnan(odd[0]) && isnan(odd[1]));
        for (size_t j = 2; j < N; j++)
            CHECK(!isnan(odd[j]));
    }
}

// softmax over two keys, the second score 0 or so: out = e^x / (e^x + 1) for x of all sizes.
static void test_softmax(const struct cpu_kernels *k, float *scratch) {
    double worst = 0;
    for (int i = -20000; i <= 20000; i++) {
        float q = 1, keys[2] = {(float)i * 0.01F, 0}, values[2] = {1, 0}, out = 0;
        struct kernel_attention_share s = {.q = &q, .k = keys, .v = values, .out = &out, .ldq = 1};
        s.ldk = s.ldv = s.ldo = 1;
        s.queries = 1, s.keys = 2, s.head_dim = 1, s.scale = 1, s.scratch = scratch;
        k->attention(&s);
        double want = 1 / (1 + exp(-(double)keys[0]));
        // the weight's own error: 1.5 ulp and |x| 2^-24 from rounding x times log2 e
        double off = fabs((double)out - want) /
                     (want * (2e-7 + 1e-7 * fabs(fmin((double)keys[0], 0))) + 1e-38);
        worst = off > worst ? off : worst;
    }
    if (!CHECK(worst <= 1))
        fprintf(stderr, "    %s softmax: %.2f times the bound\n", k->name, worst);
}

// One NaN in a row's input makes that row NaN, and no other.
static void test_nan(const struct cpu_kernels *k, float *scratch) {
    enum { ROWS = 15, D = 37, OUT = 41, KEYS = 200 };
    static float x[KEYS * D], w[64 * D], bias[64], y[KEYS * OUT], out[KEYS * D];
    for (size_t place = 0; place < D; place += 9) {
        for (size_t i = 0; i < ROWS * D; i++)
            x[i] = 1;
        for (size_t i = 0; i < sizeof w / sizeof *w; i++)
            w[i] = 0.5F;
        x[7 * D + place] = NAN;
        struct kernel_linear_share s = {
            .x = x, .ldx = D, .rows = ROWS, .k = D, .panels = w, .bias = bias};
        s.cols = OUT, s.y = y, s.ldy = OUT;
        for (int f = ACTIVATION_NONE; f <= ACTIVATION_SILU; f++) {
            s.f = (enum activation)f;
            k->linear(&s);
            bool own_row_only = true;
            for (size_t r = 0; r < ROWS; r++)
                for (size_t j = 0; j < OUT; j++)
                    own_row_only = own_row_only && isnan(y[r * OUT + j]) == (r == 7);
            CHECK(own_row_only);
        }
        k->layer_norm(x + 7 * D, bias, bias, 1e-5F, out, D);
        CHECK(isnan(out[0]) && isnan(out[D - 1]));
        memcpy(out, x + 7 * D, D * sizeof *out);
        k->l2_normalize(out, D);
        CHECK(isnan(out[0]) && isnan(out[D - 1]));
        for (int mode = POOL_MEAN; mode <= POOL_MEAN_SQRT; mode++) {
            if (mode == POOL_LAST)
                continue;
            k->pool((enum pool_mode)mode, x, D, ROWS, out, D);
            for (size_t j = 0; j < D; j++)
                CHECK(isnan(out[j]) == (j == place));
        }
    }
    // Attention: a NaN query spoils its own row, a NaN key all rows, a NaN value its column.
    for (size_t key = 0; key < KEYS; key += 67)
        for (int which = 0; which < 3; which++) {
            static float q[KEYS * D], kk[KEYS * D], v[KEYS * D];
            for (size_t i = 0; i < sizeof q / sizeof *q; i++)
                q[i] = kk[i] = v[i] = (float)(i % 7) * 0.1F;
            (which == 0 ? q : which == 1 ? kk : v)[(which ? key : 9) * D + 5] = NAN;
            struct kernel_attention_share s = {
                .q = q, .k = kk, .v = v, .out = out, .ldq = D, .ldk = D};
            s.ldv = s.ldo = D, s.queries = 100, s.keys = KEYS, s.head_dim = D, s.scale = 0.1F;
            s.scratch = scratch;
            k->attention(&s);
            bool ok = true;
            for (size_t r = 0; r < 100; r++)
                for (size_t j = 0; j < D; j++)
                    ok = ok && isnan(out[r * D + j]) ==
                                   (which == 1 || (which == 0 && r == 9) || (which == 2 && j == 5));
            CHECK(ok);
        }
}

static void test_convert(const struct cpu_kernels *k) {
    enum { ALL = 1 << 16 };
    static uint16_t halves[ALL];
    static float got[ALL], want[ALL];
    size_t finite[2] = {0, 0};
    enum dtype types[] = {DTYPE_F16, DTYPE_BF16};
    for (int t = 0; t < 2; t++) {
        for (size_t i = 0; i < ALL; i++) {
            uint16_t h = (uint16_t)i;
            double sign = h & 0x8000 ? -1 : 1;
            int e = t ? h >> 7 & 255 : h >> 10 & 31, m = t ? h & 127 : h & 1023;
            bool special = e == (t ? 255 : 31);
            int bias = t ? 127 : 15, digits = t ? 7 : 10;
            if (special)
                continue;
            double v = e ? ldexp(1 + ldexp(m, -digits), e - bias) : ldexp(m, 1 - bias - digits);
            halves[finite[t]] = h;
            want[finite[t]++] = (float)(sign * v);
        }
        CHECK(k->convert(types[t], halves, got, finite[t]) == finite[t]);
        CHECK(memcmp(got, want, finite[t] * sizeof *got) == 0);
        // each special value is found, wherever it stands
        bool found = true;
        for (size_t n = 1; n < 80; n += 13)
            for (size_t at = 0; at < n; at++)
                for (int s = 0; s < 4; s++) {
                    static const uint16_t special[2][4] = {{0x7c00, 0xfc00, 0x7e00, 0x7c01},
                                                           {0x7f80, 0xff80, 0x7fc0, 0x7f81}};
                    uint16_t keep = halves[at];
                    halves[at] = special[t][s];
                    found = found && k->convert(types[t], halves, got, n) == at;
                    halves[at] = keep;
                }
        CHECK(found);
    }
    static char unaligned[1 + 4 * 100];
    for (size_t n = 0; n < 100; n++) {
        for (size_t i = 0; i < n; i++)
            want[i] = (float)i * 1e-40F; // subnormal values too
        memcpy(unaligned + 1, want, n * sizeof *want);
        got[n] = 77;
        CHECK(k->convert(DTYPE_F32, unaligned + 1, got, n) == n);
        CHECK(memcmp(got, want, n * sizeof *want) == 0 && got[n] == 77.0F);
    }
}

int main(void) {
    float *scratch = aligned_alloc(64, KERNEL_SCRATCH * sizeof *scratch);
    if (!scratch)
        return 1;
    const struct cpu_kernels *sets[3] = {&kernels_generic};
    int count = 1;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        sets[count++] = &kernels_avx2;
    else
        check_skip("no AVX2");
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        sets[count++] = &kernels_avx512;
    else
        check_skip("no AVX-512");
#endif
    for (int i = 0; i < count; i++) {
        if (sets[i] != &kernels_generic) // the C library's own functions are not ours to test
            test_functions(sets[i]);
        test_softmax(sets[i], scratch);
        test_nan(sets[i], scratch);
        test_convert(sets[i]);
    }
    free(scratch);
    return check_done();
}
