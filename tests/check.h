// A test program's checks: they count, print what failed, and make the exit code tell the truth.
// A program ends with `return check_done();`, which prints "N passed, N failed[, N skipped]".
// Unless told otherwise, one CHECK is one count. Thread rule: main thread only.
#ifndef TRINE_TESTS_CHECK_H
#define TRINE_TESTS_CHECK_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int check_passed, check_failed, check_skipped;

static inline bool check_one(bool ok, const char *file, int line, const char *what) {
    if (ok) {
        check_passed++;
    } else {
        check_failed++;
        fprintf(stderr, "%s:%d: FAILED: %s\n", file, line, what);
    }
    return ok;
}

#define CHECK(cond) check_one((cond), __FILE__, __LINE__, #cond)

#define CHECK_STR(got, want)                                                                       \
    do {                                                                                           \
        const char *g_ = (got), *w_ = (want);                                                      \
        if (!check_one(g_ && strcmp(g_, w_) == 0, __FILE__, __LINE__, #got " == " #want))          \
            fprintf(stderr, "    got  \"%s\"\n    want \"%s\"\n", g_ ? g_ : "(null)", w_);         \
    } while (0)

#define CHECK_INT(got, want)                                                                       \
    do {                                                                                           \
        long long g_ = (long long)(got), w_ = (long long)(want);                                   \
        if (!check_one(g_ == w_, __FILE__, __LINE__, #got " == " #want))                           \
            fprintf(stderr, "    got %lld, want %lld\n", g_, w_);                                  \
    } while (0)

// An enum err that must be ERR_OK; prints the message when it is not. msg is a struct errmsg.
#define CHECK_OK(expr, msg)                                                                        \
    do {                                                                                           \
        enum err e_ = (expr);                                                                      \
        if (!check_one(e_ == ERR_OK, __FILE__, __LINE__, #expr))                                   \
            fprintf(stderr, "    %s: %s\n", err_name(e_), (msg).text);                             \
    } while (0)

// An enum err that must be this one, with these words in its message, which is one line.
#define CHECK_ERROR(expr, want, msg, words)                                                        \
    do {                                                                                           \
        enum err e_ = (expr), w_ = (want);                                                         \
        bool code_ = check_one(e_ == w_, __FILE__, __LINE__, #expr " is " #want);                  \
        bool said_ = check_one(strstr((msg).text, (words)) != NULL, __FILE__, __LINE__, (words));  \
        check_one(!strchr((msg).text, '\n'), __FILE__, __LINE__, "one line");                      \
        if (!code_ || !said_)                                                                      \
            fprintf(stderr, "    %s: %s\n", err_name(e_), (msg).text);                             \
    } while (0)

// |got - want| <= atol + rtol * |want| for all n floats, NaN never; state the tolerance's reason
// beside the call.
static inline bool check_near(const float *got, const float *want, size_t n, double atol,
                              double rtol, const char *file, int line, const char *what) {
    size_t bad = 0, worst = 0;
    double most = -1;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        bool ok = d <= atol + rtol * fabs((double)want[i]);
        if (!ok)
            bad++;
        if (d > most || !isfinite(d)) {
            most = d;
            worst = i;
        }
    }
    check_one(bad == 0, file, line, what);
    if (bad)
        fprintf(stderr, "    %zu of %zu off, worst at %zu: got %.9g want %.9g\n", bad, n, worst,
                (double)got[worst], (double)want[worst]);
    return bad == 0;
}
#define CHECK_NEAR(got, want, n, atol, rtol)                                                       \
    check_near((got), (want), (n), (atol), (rtol), __FILE__, __LINE__, #got " near " #want)

static inline void check_skip(const char *why) {
    check_skipped++;
    fprintf(stderr, "skipped: %s\n", why);
}

static inline int check_done(void) {
    if (check_skipped)
        printf("%d passed, %d failed, %d skipped\n", check_passed, check_failed, check_skipped);
    else
        printf("%d passed, %d failed\n", check_passed, check_failed);
    return check_failed || !check_passed ? 1 : 0;
}

#endif
