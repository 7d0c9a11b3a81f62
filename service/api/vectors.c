// See render.h.
#include "service/api/vectors.h"

#include <math.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "vectors go out as they lie in memory");

// POW10[k - POW10_FIRST] = ceil(10^k * 2^(63 - floor(log2 10^k))): 64 significant bits.
enum { POW10_FIRST = -31 };
static const uint64_t POW10[] = {
    0x81ceb32c4b43fcf5, 0xa2425ff75e14fc32, 0xcad2f7f5359a3b3f, 0xfd87b5f28300ca0e,
    0x9e74d1b791e07e49, 0xc612062576589ddb, 0xf79687aed3eec552, 0x9abe14cd44753b53,
    0xc16d9a0095928a28, 0xf1c90080baf72cb2, 0x971da05074da7bef, 0xbce5086492111aeb,
    0xec1e4a7db69561a6, 0x9392ee8e921d5d08, 0xb877aa3236a4b44a, 0xe69594bec44de15c,
    0x901d7cf73ab0acda, 0xb424dc35095cd810, 0xe12e13424bb40e14, 0x8cbccc096f5088cc,
    0xafebff0bcb24aaff, 0xdbe6fecebdedd5bf, 0x89705f4136b4a598, 0xabcc77118461cefd,
    0xd6bf94d5e57a42bd, 0x8637bd05af6c69b6, 0xa7c5ac471b478424, 0xd1b71758e219652c,
    0x83126e978d4fdf3c, 0xa3d70a3d70a3d70b, 0xcccccccccccccccd, 0x8000000000000000,
    0xa000000000000000, 0xc800000000000000, 0xfa00000000000000, 0x9c40000000000000,
    0xc350000000000000, 0xf424000000000000, 0x9896800000000000, 0xbebc200000000000,
    0xee6b280000000000, 0x9502f90000000000, 0xba43b74000000000, 0xe8d4a51000000000,
    0x9184e72a00000000, 0xb5e620f480000000, 0xe35fa931a0000000, 0x8e1bc9bf04000000,
    0xb1a2bc2ec5000000, 0xde0b6b3a76400000, 0x8ac7230489e80000, 0xad78ebc5ac620000,
    0xd8d726b7177a8000, 0x878678326eac9000, 0xa968163f0a57b400, 0xd3c21bcecceda100,
    0x84595161401484a0, 0xa56fa5b99019a5c8, 0xcecb8f27f4200f3a, 0x813f3978f8940985,
    0xa18f07d736b90be6, 0xc9f2c9cd04674edf, 0xfc6f7c4045812297, 0x9dc5ada82b70b59e,
    0xc5371912364ce306, 0xf684df56c3e01bc7, 0x9a130b963a6c115d, 0xc097ce7bc90715b4,
    0xf0bdc21abb48db21, 0x96769950b50d88f5, 0xbc143fa4e250eb32, 0xeb194f8e1ae525fe,
    0x92efd1b8d0cf37bf, 0xb7abc627050305ae, 0xe596b7b0c643c71a, 0x8f7e32ce7bea5c70,
    0xb35dbf821ae4f38c,
};

static const char PAIRS[] = "00010203040506070809101112131415161718192021222324252627282930313233"
                            "34353637383940414243444546474849505152535455565758596061626364656667"
                            "6869707172737475767778798081828384858687888990919293949596979899";

static const uint32_t POWERS[] = {1,      10,      100,      1000,      10000,
                                  100000, 1000000, 10000000, 100000000, 1000000000};

struct decimal {
    uint32_t digits; // below 10^9 for what is not an integer
    int exponent;    // value = digits * 10^exponent
};

static int floor_log10_pow2(int e) { return (e * 1262611) >> 22; }
// floor(log10(3/4 * 2^e)): a power of two's lower neighbour is half as far away as its upper one.
static int floor_log10_three_quarters_pow2(int e) { return (e * 1262611 - 524031) >> 22; }
static int floor_log2_pow10(int e) { return (e * 1741647) >> 19; }

// The upper 32 bits of g * c / 2^64, with the lowest one set when anything above the error of g
// was cut off: enough to compare with the bounds exactly.
static uint32_t round_to_odd(uint64_t g, uint32_t c) {
    unsigned __int128 p = (unsigned __int128)g * c;
    uint32_t high = (uint32_t)(p >> 64), low = (uint32_t)(p >> 32);
    return high | (low > 1);
}

// The shortest decimal within the rounding interval of significand * 2^q, the closest of those.
// Which of the candidates it is cannot be foreseen, so they are selected, not branched to.
static struct decimal shortest(uint32_t fraction, uint32_t biased) {
    uint32_t c = biased ? fraction | (UINT32_C(1) << 23) : fraction;
    int q = (biased ? (int)biased : 1) - 150;
    if (q <= 0 && q > -24 && (c & ((UINT32_C(1) << -q) - 1)) == 0)
        return (struct decimal){c >> -q, 0}; // an integer below 2^24

    bool odd = c & 1; // an even significand's interval takes its ends in
    bool near_below = fraction == 0 && biased > 1;
    int k = near_below ? floor_log10_three_quarters_pow2(q) : floor_log10_pow2(q);
    int h = q + floor_log2_pow10(-k) + 1;
    uint64_t g = POW10[-k - POW10_FIRST];
    uint32_t low = round_to_odd(g, (4 * c - 2 + near_below) << h) + odd;
    uint32_t mid = round_to_odd(g, (4 * c) << h);
    uint32_t high = round_to_odd(g, (4 * c + 2) << h) - odd;

    uint32_t s = mid / 4, tens = s / 10;
    bool ten_down = low <= 40 * tens, ten_up = 40 * tens + 40 <= high;
    bool one_digit_less = (s >= 10) & (ten_down != ten_up);
    bool down = low <= 4 * s, up = 4 * s + 4 <= high;
    uint32_t half = 4 * s + 2;
    bool nearer_up = (mid > half) | ((mid == half) & (s & 1));
    uint32_t ones = s + ((down != up) & up) + ((down == up) & nearer_up);
    uint32_t pick = 0 - (uint32_t)one_digit_less; // all ones or none
    return (struct decimal){((tens + ten_up) & pick) | (ones & ~pick), k + one_digit_less};
}

static int digit_count(uint32_t v) { // v > 0
    int n = (32 - __builtin_clz(v)) * 1233 >> 12;
    return n + (v >= POWERS[n]);
}

// The eight decimal digits of v < 10^8, one a byte, the first in the lowest.
static uint64_t eight_digits(uint32_t v) {
    uint64_t x = v / 10000 | (uint64_t)(v % 10000) << 32;
    uint64_t hundreds = x * 10486 >> 20 & UINT64_C(0x0000007f0000007f);
    x = hundreds | (x - hundreds * 100) << 16;
    uint64_t tens = x * 103 >> 10 & UINT64_C(0x000f000f000f000f);
    return tens | (x - tens * 10) << 8;
}

// v's n digits to out.
static void put_digits(char *out, uint32_t v, int n) {
    while (n >= 2) {
        n -= 2;
        memcpy(out + n, PAIRS + 2 * (v % 100), 2);
        v /= 100;
    }
    if (n)
        *out = (char)('0' + v);
}

static size_t put_exponent(char *p, int e) {
    size_t n = 0;
    p[n++] = 'e';
    if (e < 0) {
        p[n++] = '-';
        e = -e;
    }
    int digits = e >= 10 ? 2 : 1;
    put_digits(p + n, (uint32_t)e, digits);
    return n + (size_t)digits;
}

size_t api_float_print(float x, char out[API_FLOAT_MAX]) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    char *p = out;
    *p = '-';
    p += bits >> 31;
    bits &= 0x7fffffff;
    if (bits == 0) {
        memcpy(p, "0.0", 3);
        return (size_t)(p - out) + 3;
    }
    struct decimal d = shortest(bits & 0x7fffff, bits >> 23);
    int count = digit_count(d.digits);
    int point = count + d.exponent;               // the value is 0.DIGITS * 10^point
    uint32_t nine = d.digits * POWERS[9 - count]; // nine digits, with zeros behind
    uint64_t rest = eight_digits(nine % 100000000);
    uint64_t text = rest + UINT64_C(0x3030303030303030);
    char first = (char)('0' + nine / 100000000);
    int n = rest ? 9 - __builtin_clzll(rest) / 8 : 1; // without the zeros behind
    if (point <= 0 && point > -4) {                   // what vectors hold
        memcpy(p, "0.00000", 7);
        p += 2 - point;
        p[0] = first;
        memcpy(p + 1, &text, sizeof text);
        return (size_t)(p - out) + (size_t)n;
    }
    char digits[16] = "0000000000000000";
    digits[0] = first;
    memcpy(digits + 1, &text, sizeof text);
    if (point > 0 && point <= 9) {
        memcpy(p, digits, (size_t)point);
        p += point;
        *p++ = '.';
        int behind = n > point ? n - point : 1;
        memcpy(p, digits + point, (size_t)behind);
        return (size_t)(p - out) + (size_t)behind;
    }
    // d.ddde-12: a point or an exponent is what tells a float from an integer
    *p++ = digits[0];
    if (n > 1) {
        *p++ = '.';
        memcpy(p, digits + 1, (size_t)n - 1);
        p += n - 1;
    }
    return (size_t)(p - out) + put_exponent(p, point - 1);
}

void api_base64_print(struct buf *out, const void *bytes, size_t n) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (n > SIZE_MAX / 2 || !buf_reserve(out, (n + 2) / 3 * 4)) {
        out->failed = true;
        return;
    }
    const unsigned char *in = bytes;
    char *p = out->data + out->len;
    size_t i = 0;
    for (; i + 8 <= n; i += 6) { // eight bytes are read for six used
        uint64_t v;
        memcpy(&v, in + i, sizeof v);
        v = __builtin_bswap64(v);
        p[0] = letters[v >> 58];
        p[1] = letters[v >> 52 & 63];
        p[2] = letters[v >> 46 & 63];
        p[3] = letters[v >> 40 & 63];
        p[4] = letters[v >> 34 & 63];
        p[5] = letters[v >> 28 & 63];
        p[6] = letters[v >> 22 & 63];
        p[7] = letters[v >> 16 & 63];
        p += 8;
    }
    for (; i < n; i += 3) {
        size_t left = n - i;
        uint32_t v = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                     (left > 2 ? in[i + 2] : 0);
        *p++ = letters[v >> 18];
        *p++ = letters[v >> 12 & 63];
        *p++ = left > 1 ? letters[v >> 6 & 63] : '=';
        *p++ = left > 2 ? letters[v & 63] : '=';
    }
    out->len = (size_t)(p - out->data);
    out->data[out->len] = '\0';
}

static const char *const form_names[API_VECTOR_FORMS] = {"float", "base64", "int8",
                                                         "uint8", "binary", "ubinary"};

const char *api_vector_name(enum api_vector form) { return form_names[form]; }

bool api_vector_parse(const char *name, enum api_vector *form) {
    for (int i = 0; i < API_VECTOR_FORMS; i++) {
        if (strcmp(name, form_names[i]) == 0) {
            *form = (enum api_vector)i;
            return true;
        }
    }
    return false;
}

static char *put_small_int(char *p, int v) {
    if (v < 0) {
        *p++ = '-';
        v = -v;
    }
    int n = v >= 100 ? 3 : v >= 10 ? 2 : 1;
    put_digits(p, (uint32_t)v, n);
    return p + n;
}

static int quantize8(float x) {
    float scaled = rintf(x * 127.0f);
    return scaled > 127.0f ? 127 : scaled < -127.0f ? -127 : (int)scaled;
}

static int pack8(const float *x, size_t n) {
    int byte = 0;
    for (size_t i = 0; i < 8; i++)
        byte = byte << 1 | (i < n && x[i] > 0.0f);
    return byte;
}

// Components that one number of a quantised form stands for, and that number.
static size_t components(enum api_vector form) {
    return form == API_VECTOR_BINARY || form == API_VECTOR_UBINARY ? 8 : 1;
}

static int quantized(const float *x, size_t n, enum api_vector form) {
    switch (form) {
    case API_VECTOR_INT8:
        return quantize8(*x);
    case API_VECTOR_UINT8:
        return quantize8(*x) + 128;
    case API_VECTOR_BINARY:
        return pack8(x, n) - 128;
    default:
        return pack8(x, n);
    }
}

void api_vector_print(struct buf *out, const float *x, size_t n, enum api_vector form) {
    if (form == API_VECTOR_BASE64) {
        buf_putc(out, '"');
        api_base64_print(out, x, n * sizeof *x);
        buf_putc(out, '"');
        return;
    }
    size_t most = form == API_VECTOR_FLOAT ? API_FLOAT_MAX + 1 : 5;
    if (n > SIZE_MAX / (most + 1) || !buf_reserve(out, n * most + 2)) {
        out->failed = true;
        return;
    }
    char *p = out->data + out->len;
    *p++ = '[';
    size_t step = components(form);
    for (size_t i = 0; i < n; i += step) {
        if (form == API_VECTOR_FLOAT)
            p += api_float_print(x[i], p);
        else
            p = put_small_int(p, quantized(x + i, n - i, form));
        *p++ = ',';
    }
    p[n ? -1 : 0] = ']'; // over the last comma
    p += n ? 0 : 1;
    out->len = (size_t)(p - out->data);
    *p = '\0';
}

void api_vector_print_packed(struct buf *out, const float *x, size_t n, enum api_vector form) {
    if (form == API_VECTOR_FLOAT || form == API_VECTOR_BASE64) {
        api_vector_print(out, x, n, API_VECTOR_BASE64);
        return;
    }
    unsigned char bytes[192]; // whole groups of three, so that only the last one is padded
    size_t have = 0, step = components(form);
    buf_putc(out, '"');
    for (size_t i = 0; i < n; i += step) {
        bytes[have++] = (unsigned char)quantized(x + i, n - i, form);
        if (have == sizeof bytes) {
            api_base64_print(out, bytes, have);
            have = 0;
        }
    }
    api_base64_print(out, bytes, have);
    buf_putc(out, '"');
}
