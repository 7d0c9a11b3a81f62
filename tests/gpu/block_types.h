// CUDA's vector types and narrow floats for a C++ compiler. Role: types and their conversions as
// nvcc has them; conversions to narrow round to nearest, ties to even, and keep NaN.
#ifndef TRINE_TESTS_GPU_BLOCK_TYPES_H
#define TRINE_TESTS_GPU_BLOCK_TYPES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BLOCK_VECTORS(T, name, a2, a4)                                                             \
    struct alignas(a2) name##2 {                                                                   \
        T x, y;                                                                                    \
    };                                                                                             \
    struct name##3 {                                                                               \
        T x, y, z;                                                                                 \
    };                                                                                             \
    struct alignas(a4) name##4 {                                                                   \
        T x, y, z, w;                                                                              \
    };                                                                                             \
    static inline name##2 make_##name##2(T x, T y) { return name##2 {x, y}; }                      \
    static inline name##3 make_##name##3(T x, T y, T z) { return name##3 {x, y, z}; }              \
    static inline name##4 make_##name##4(T x, T y, T z, T w) { return name##4 {x, y, z, w}; }
BLOCK_VECTORS(float, float, 8, 16)
BLOCK_VECTORS(int, int, 8, 16)
BLOCK_VECTORS(unsigned, uint, 8, 16)
BLOCK_VECTORS(short, short, 4, 8)
BLOCK_VECTORS(unsigned short, ushort, 4, 8)
BLOCK_VECTORS(signed char, char, 2, 4)
BLOCK_VECTORS(unsigned char, uchar, 2, 4)
BLOCK_VECTORS(double, double, 16, 16)
BLOCK_VECTORS(long long, longlong, 16, 16)
BLOCK_VECTORS(unsigned long long, ulonglong, 16, 16)
#undef BLOCK_VECTORS

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

static inline unsigned __float_as_uint(float x) {
    unsigned u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static inline float __uint_as_float(unsigned u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}
static inline int __float_as_int(float x) { return (int)__float_as_uint(x); }
static inline float __int_as_float(int i) { return __uint_as_float((unsigned)i); }

struct __nv_bfloat16 {
    uint16_t bits;
};
struct __half {
    uint16_t bits;
};
struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};
struct alignas(4) __half2 {
    __half x, y;
};

static inline float __bfloat162float(__nv_bfloat16 x) {
    return __uint_as_float((unsigned)x.bits << 16);
}
static inline __nv_bfloat16 __float2bfloat16_rn(float x) {
    unsigned u = __float_as_uint(x);
    if ((u & 0x7fffffffU) > 0x7f800000U)
        return __nv_bfloat16{0x7fff};
    return __nv_bfloat16{(uint16_t)((u + 0x7fffU + (u >> 16 & 1)) >> 16)};
}
static inline __nv_bfloat16 __float2bfloat16(float x) { return __float2bfloat16_rn(x); }

static inline float __half2float(__half h) {
    unsigned sign = (unsigned)(h.bits & 0x8000U) << 16, rest = h.bits & 0x7fffU;
    if (rest >= 0x7c00U) // infinity and NaN
        return __uint_as_float(sign | 0x7f800000U | (rest & 0x3ffU) << 13);
    // The exponent moves by 112; a product with 2^112 does it for subnormal numbers too.
    return __uint_as_float(sign | __float_as_uint(__uint_as_float(rest << 13) * 0x1p112F));
}
static inline __half __float2half_rn(float x) {
    unsigned u = __float_as_uint(x), sign = u >> 16 & 0x8000U, rest = u & 0x7fffffffU;
    if (rest > 0x7f800000U)
        return __half{0x7fff};
    if (rest >= 0x477ff000U) // 65520 and beyond: infinity
        return __half{(uint16_t)(sign | 0x7c00U)};
    if (rest < 0x38800000U) { // below 2^-14: in steps of 2^-24, which adding 0.5 rounds to
        unsigned steps = __float_as_uint(__uint_as_float(rest) + 0.5F) - __float_as_uint(0.5F);
        return __half{(uint16_t)(sign | steps)};
    }
    unsigned rounded = rest + 0xfffU + (rest >> 13 & 1);
    return __half{(uint16_t)(sign | ((rounded >> 13) - (112U << 10)))};
}
static inline __half __float2half(float x) { return __float2half_rn(x); }

static inline float2 __bfloat1622float2(__nv_bfloat162 v) {
    return float2{__bfloat162float(v.x), __bfloat162float(v.y)};
}
static inline float2 __half22float2(__half2 v) {
    return float2{__half2float(v.x), __half2float(v.y)};
}
static inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
    return __nv_bfloat162{__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}
static inline __half2 __floats2half2_rn(float x, float y) {
    return __half2{__float2half_rn(x), __float2half_rn(y)};
}
static inline __nv_bfloat162 __float22bfloat162_rn(float2 v) {
    return __floats2bfloat162_rn(v.x, v.y);
}
static inline __half2 __float22half2_rn(float2 v) { return __floats2half2_rn(v.x, v.y); }
static inline float __low2float(__half2 v) { return __half2float(v.x); }
static inline float __high2float(__half2 v) { return __half2float(v.y); }
static inline float __low2float(__nv_bfloat162 v) { return __bfloat162float(v.x); }
static inline float __high2float(__nv_bfloat162 v) { return __bfloat162float(v.y); }
static inline __half2 __halves2half2(__half x, __half y) { return __half2{x, y}; }
static inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) {
    return __nv_bfloat162{x, y};
}
static inline uint16_t __half_as_ushort(__half x) { return x.bits; }
static inline __half __ushort_as_half(uint16_t u) { return __half{u}; }
static inline uint16_t __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
static inline __nv_bfloat16 __ushort_as_bfloat16(uint16_t u) { return __nv_bfloat16{u}; }

#endif
