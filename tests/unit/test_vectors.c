// Rendering: every printed float reads back as the same bits, shortest among those that do; base64
// and quantised forms against known values.
#include "base/buf.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "service/api/vectors.h"
#include "tests/check.h"

#include <stdint.h>
#include <stdlib.h>

static uint32_t bits_of(float x) {
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

static float float_of(uint32_t b) {
    float x;
    memcpy(&x, &b, sizeof x);
    return x;
}

static uint64_t random_state = 0x9e3779b97f4a7c15;

static uint64_t next_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static bool json_float(const char *s, size_t n) {
    bool mark = false;
    for (size_t i = 0; i < n; i++)
        mark |= s[i] == '.' || s[i] == 'e';
    size_t at = s[0] == '-';
    bool digit = s[at] >= '0' && s[at] <= '9';
    bool leading_zero = s[at] == '0' && at + 1 < n && s[at + 1] >= '0' && s[at + 1] <= '9';
    return mark && digit && !leading_zero && s[n - 1] != '.';
}

static size_t significant_digits(const char *s) {
    size_t n = 0, zeros = 0;
    for (; *s && *s != 'e'; s++) {
        if (*s < '0' || *s > '9')
            continue;
        if (*s == '0') {
            zeros += n > 0;
        } else {
            n += zeros + 1;
            zeros = 0;
        }
    }
    return n;
}

// Prints, reads back, compares. True when all is well.
static bool survives(uint32_t bits) {
    char s[API_FLOAT_MAX + 1];
    size_t n = api_float_print(float_of(bits), s);
    if (n >= API_FLOAT_MAX)
        return false;
    s[n] = '\0';
    char *end;
    float back = strtof(s, &end);
    bool ok = bits_of(back) == bits && end == s + n && json_float(s, n);
    if (!ok)
        fprintf(stderr, "    %08x printed as %s reads back as %08x\n", bits, s, bits_of(back));
    return ok;
}

static void test_known(void) {
    static const struct {
        float x;
        const char *want;
    } cases[] = {
        {0.0f, "0.0"},
        {-0.0f, "-0.0"},
        {1.0f, "1.0"},
        {-1.0f, "-1.0"},
        {0.1f, "0.1"},
        {0.3f, "0.3"},
        {-0.25f, "-0.25"},
        {0.001f, "0.001"},
        {0.000123f, "0.000123"},
        {0.0000123f, "1.23e-5"},
        {123456.0f, "123456.0"},
        {16777216.0f, "16777216.0"},
        {1e9f, "1e9"},
        {1e10f, "1e10"},
        {3.4028235e38f, "3.4028235e38"},
        {1.1754944e-38f, "1.1754944e-38"},
        {1e-45f, "1e-45"},
        {0.030603994f, "0.030603994"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char s[API_FLOAT_MAX + 1];
        s[api_float_print(cases[i].x, s)] = '\0';
        CHECK_STR(s, cases[i].want);
    }
}

static void test_round_trip(size_t randoms) {
    size_t bad = 0;
    for (uint32_t e = 0; e < 255 && bad < 10; e++) { // every exponent: its ends and 2,000 between
        static const uint32_t ends[] = {0,        1,        2,        3,       0x3fffff,
                                        0x400000, 0x400001, 0x7ffffe, 0x7fffff};
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
            bad += !survives(e << 23 | ends[i]);
        for (int i = 0; i < 2000; i++)
            bad += !survives(e << 23 | (uint32_t)(next_random() & 0x807fffff));
    }
    CHECK_INT(bad, 0);
    bad = 0;
    for (size_t i = 0; i < randoms && bad < 10; i++) { // what vectors hold: 2^-20 to 1, both signs
        uint64_t r = next_random();
        uint32_t e = 107 + (uint32_t)(r >> 40) % 20;
        bad += !survives((uint32_t)(r & 0x807fffff) | e << 23);
    }
    CHECK_INT(bad, 0);
}

// No decimal with one digit less reads back as the same float.
static void test_shortest(void) {
    size_t bad = 0;
    for (int i = 0; i < 300000; i++) {
        uint32_t bits = (uint32_t)next_random() & 0x7fffffff;
        if (bits >= 0x7f800000)
            continue;
        char s[API_FLOAT_MAX + 1], shorter[40];
        float x = float_of(bits);
        s[api_float_print(x, s)] = '\0';
        size_t n = significant_digits(s);
        if (n < 2)
            continue;
        snprintf(shorter, sizeof shorter, "%.*e", (int)n - 2, (double)x);
        bad += bits_of(strtof(shorter, NULL)) == bits;
    }
    CHECK_INT(bad, 0);
}

static void test_base64(void) {
    static const struct {
        const char *in, *want;
    } cases[] = {{"", ""},
                 {"f", "Zg=="},
                 {"fo", "Zm8="},
                 {"foo", "Zm9v"},
                 {"foob", "Zm9vYg=="},
                 {"fooba", "Zm9vYmE="},
                 {"foobar", "Zm9vYmFy"},
                 {"foobarfoobar!", "Zm9vYmFyZm9vYmFyIQ=="}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = {0};
        api_base64_print(&b, cases[i].in, strlen(cases[i].in));
        CHECK_STR(b.data, cases[i].want);
        buf_free(&b);
    }
    // all bytes, against the definition: each letter is its six bits
    unsigned char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (unsigned char)i;
    struct buf b = {0};
    api_base64_print(&b, all, 255);
    size_t bad = 0;
    for (size_t i = 0; i < b.len; i++) {
        unsigned v = 0;
        for (size_t k = 0; k < 6; k++)
            v = v << 1 | (all[(6 * i + k) / 8] >> (7 - (6 * i + k) % 8) & 1);
        bad += b.data[i] != "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[v];
    }
    CHECK_INT(b.len, 340);
    CHECK_INT(bad, 0);
    buf_free(&b);
}

static void check_vector(const float *x, size_t n, enum api_vector form, const char *want) {
    struct buf b = {0};
    api_vector_print(&b, x, n, form);
    CHECK(!b.failed);
    CHECK_STR(b.data, want);
    buf_free(&b);
}

static void test_vectors(void) {
    const float x[] = {0.5f, -0.25f, 1.0f, -1.0f, 0.0f, 0.004f, -0.004f, 2.0f, 0.1f, -0.1f};
    check_vector(x, 3, API_VECTOR_FLOAT, "[0.5,-0.25,1.0]");
    check_vector(x, 0, API_VECTOR_FLOAT, "[]");
    check_vector(x, 1, API_VECTOR_BASE64, "\"AAAAPw==\"");
    check_vector(x, 10, API_VECTOR_INT8, "[64,-32,127,-127,0,1,-1,127,13,-13]");
    check_vector(x, 10, API_VECTOR_UINT8, "[192,96,255,1,128,129,127,255,141,115]");
    // 1 0 1 0 0 1 0 1 | 1 0 and six zero bits; np.packbits gives 165, 128
    check_vector(x, 10, API_VECTOR_UBINARY, "[165,128]");
    check_vector(x, 10, API_VECTOR_BINARY, "[37,0]");
    check_vector(x, 8, API_VECTOR_UBINARY, "[165]");

    enum api_vector form;
    for (int i = 0; i < API_VECTOR_FORMS; i++)
        CHECK(api_vector_parse(api_vector_name((enum api_vector)i), &form) && (int)form == i);
    CHECK(!api_vector_parse("Float", &form));

    struct buf b = {0};
    fault_arm(FAULT_ALLOC, 1, true);
    api_vector_print(&b, x, 10, API_VECTOR_FLOAT);
    api_vector_print(&b, x, 10, API_VECTOR_BASE64);
    fault_disarm();
    CHECK(b.failed && !b.data);
    buf_free(&b);
}

// Not a check of speed, only its figure: machines under load differ too much.
static void print_speed(void) {
    enum { N = 384 * 1024 };
    float *x = mem_calloc(N, sizeof *x);
    struct buf b = {0};
    if (!x || !buf_reserve(&b, N * 26)) {
        check_skip("no memory for the timing");
        mem_free(x);
        return;
    }
    for (size_t i = 0; i < N; i++)
        x[i] = (float)((double)(int64_t)next_random() / 9.3e18 * 0.15);
    for (int form = API_VECTOR_FLOAT; form <= API_VECTOR_INT8; form++) {
        int64_t best = INT64_MAX;
        for (int run = 0; run < 5; run++) {
            buf_reset(&b);
            int64_t start = clock_now_us();
            api_vector_print(&b, x, N, (enum api_vector)form);
            int64_t took = clock_now_us() - start;
            best = took < best ? took : best;
        }
        printf("%s: %.2f ns a float, %.2f bytes a float\n", api_vector_name((enum api_vector)form),
               (double)best * 1e3 / N, (double)b.len / N);
    }
    buf_free(&b);
    mem_free(x);
}

int main(int argc, char **argv) {
    test_known();
    test_round_trip(argc > 1 ? strtoull(argv[1], NULL, 10) : 20000000);
    test_shortest();
    test_base64();
    test_vectors();
    print_speed();
    return check_done();
}
