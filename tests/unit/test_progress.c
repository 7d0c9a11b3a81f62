// base/progress on a pipe, which is no terminal, and base/digest.
#include "base/digest.h"
#include "base/progress.h"
#include "tests/check.h"

#include <fcntl.h>
#include <unistd.h>

static int ends[2];

// What has been shown since the last call.
static const char *shown(void) {
    static char text[1000];
    ssize_t n = read(ends[0], text, sizeof text - 1);
    text[n < 0 ? 0 : n] = '\0';
    return text;
}

static void test_lines(void) {
    struct progress p;
    progress_begin(&p, ends[1], false);
    CHECK(!p.terminal && !progress_is_due(&p, 0.25)); // nothing is due at once
    CHECK(p.begun_at == 0.25);
    p.shown_us -= 10000000;
    CHECK(progress_is_due(&p, 0.5));
    progress_show(&p, NULL, -1, "%d texts", 7);
    CHECK_STR(shown(), "7 texts\n"); // the whole is not known: no bar, no time left
    CHECK(!progress_is_due(&p, 0.5));
    progress_show(&p, "a file", 1, "%d of %d", 4, 4);
    CHECK_STR(shown(), "a file: 100% 4 of 4\n");
    p.begun_us -= 3600 * (int64_t)1000000; // an hour for a quarter: two for the other half
    progress_show(&p, NULL, 0.5, "half");
    CHECK(strncmp(shown(), " 50% half, 2:00:", 16) == 0);
    progress_note(&p, "a %s", "note");
    CHECK_STR(shown(), "a note\n");
    progress_clear(&p);
    progress_leave(&p);
    CHECK_STR(shown(), ""); // there was no bar
}

// What is taken back moves the beginning, so that the time left is never below nothing.
static void test_taken_back(void) {
    struct progress p;
    progress_begin(&p, ends[1], false);
    CHECK(!progress_is_due(&p, -1) && p.begun_at < 0);
    CHECK(!progress_is_due(&p, 0.5) && p.begun_at == 0.5);
    CHECK(!progress_is_due(&p, 0.1) && p.begun_at == 0.1);
}

static void test_bar(void) {
    struct progress p;
    progress_begin(&p, ends[1], false);
    p.terminal = true;
    progress_show(&p, "name", 1, "all");
    CHECK_STR(shown(), "\r\033[Kname                 [########################] 100% all");
    progress_note(&p, "note");
    CHECK_STR(shown(), "\r\033[Knote\n");
    progress_show(&p, NULL, 0, "none");
    CHECK_STR(shown(), "\r\033[K[........................]   0% none");
    progress_leave(&p);
    CHECK_STR(shown(), "\n");
}

static void test_quiet(void) {
    struct progress p;
    progress_begin(&p, ends[1], true);
    p.shown_us -= 10000000;
    CHECK(!progress_is_due(&p, 0.5));
    progress_show(&p, NULL, 0.5, "half");
    progress_note(&p, "note");
    progress_leave(&p);
    CHECK_STR(shown(), "");
}

static void test_digest(void) {
    // FIPS 180-4's examples
    struct errmsg msg;
    struct digest *d;
    char hex[DIGEST_HEX_MAX];
    uint8_t bytes[DIGEST_SHA256_BYTES];
    CHECK_OK(digest_new(DIGEST_SHA1, &d, &msg), msg);
    CHECK(digest_feed(d, "a", 1) && digest_feed(d, "bc", 2) && digest_end(d, hex));
    CHECK_STR(hex, "a9993e364706816aba3e25717850c26c9cd0d89d");
    digest_free(d);
    CHECK_OK(digest_new(DIGEST_SHA256, &d, &msg), msg);
    CHECK(digest_feed(d, "abc", 3) && digest_end(d, hex));
    CHECK_STR(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    digest_free(d);
    digest_free(NULL);
    CHECK(digest_sha256("abc", 3, bytes) && bytes[0] == 0xba && bytes[31] == 0xad);
}

int main(void) {
    if (pipe(ends) != 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0)
        return 1;
    test_lines();
    test_taken_back();
    test_bar();
    test_quiet();
    test_digest();
    return check_done();
}
