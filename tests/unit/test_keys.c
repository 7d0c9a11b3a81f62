// Key files: what is read, what is refused and how it is said, and which keys match.
#include "base/fault.h"
#include "base/file.h"
#include "service/keys.h"
#include "tests/check.h"
#include "tests/kit/scratch.h"

#include <stdlib.h>
#include <unistd.h>

// SHA-256 of "alpha" and of "beta", as sha256sum prints them.
#define ALPHA "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8"
#define BETA "f44e64e75f3948e9f73f8dfa94721c4ce8cbb4f265c4790c702b2d41cfbf2753"

static const char *path;

static enum err load(const char *text, struct keys **k, struct errmsg *msg) {
    struct errmsg write = {0};
    CHECK_OK(file_write_atomic(path, text, strlen(text), &write), write);
    return keys_load(path, k, msg);
}

static void check_refused(const char *text, const char *why) {
    struct keys *k = NULL;
    struct errmsg msg = {0};
    CHECK_INT(load(text, &k, &msg), ERR_INVALID);
    CHECK(!k && strstr(msg.text, why) && strstr(msg.text, path));
    CHECK(!strstr(msg.text, "secret"));
    keys_free(k);
}

static void test_match(void) {
    struct keys *k = NULL;
    struct errmsg msg = {0};
    CHECK_OK(load("# keys\r\n\na:" ALPHA "\r\nb:" BETA ":admin:7", &k, &msg), msg);
    const struct keys_key *a = keys_match(k, "alpha", 5), *b = keys_match(k, "beta", 4);
    CHECK(a && !a->admin && a->weight == 1);
    CHECK(b && b->admin && b->weight == 7);
    CHECK_STR(a ? a->name : NULL, "a");
    CHECK_STR(b ? b->name : NULL, "b");
    CHECK(a && b && a->line == 3 && b->line == 4);
    CHECK(a && b && a->owner && b->owner && a->owner != b->owner);
    CHECK(!keys_match(k, "alpha ", 6));
    CHECK(!keys_match(k, "alph", 4));
    CHECK(!keys_match(k, "", 0));
    CHECK(!keys_match(k, ALPHA, 64)); // the hash is not the key
    keys_free(k);
}

// What a key owns is by the key: two of one name are two owners, one under two names is one.
static void test_owner(void) {
    struct keys *k = NULL;
    struct errmsg msg = {0};
    CHECK_OK(load("app:" ALPHA "\napp:" BETA "\n", &k, &msg), msg);
    const struct keys_key *a = keys_match(k, "alpha", 5), *b = keys_match(k, "beta", 4);
    CHECK(a && b && a->owner != b->owner);
    uint64_t owner = a ? a->owner : 0;
    keys_free(k);
    CHECK_OK(load("other:" ALPHA "\n", &k, &msg), msg);
    a = keys_match(k, "alpha", 5);
    CHECK(a && a->owner == owner);
    keys_free(k);
}

static void test_refused(void) {
    check_refused("", "no key");
    check_refused("# nothing\n", "no key");
    check_refused("a:secret\n", "line 1: the second field");
    check_refused("\nsecret", "line 2: the second field");
    check_refused("a:" ALPHA "00\n", "64 hex");
    check_refused(":" ALPHA "\n", "the name");
    check_refused("a:" ALPHA ":secret\n", "the role");
    check_refused("a:" ALPHA ":user:0\n", "the weight");
    check_refused("a:" ALPHA ":user:1001\n", "the weight");
    check_refused("a:" ALPHA ":user:99999999999\n", "the weight");
    check_refused("a:" ALPHA ":user:1:secret\n", "four fields");
    check_refused("a:" ALPHA ":user:1\n#\nb:" BETA "\nb:" ALPHA ":admin\n",
                  "line 4: the same key as on line 1");
    // the hash is the key, however its digits are written
    check_refused("a:" BETA
                  "\na:F44E64E75F3948E9F73F8DFA94721C4CE8CBB4F265C4790C702B2D41CFBF2753\n",
                  "line 2: the same key as on line 1");
    struct keys *k = NULL;
    struct errmsg msg = {0};
    CHECK_INT(keys_load("tests/unit/no-such-file", &k, &msg), ERR_NOT_FOUND);
    CHECK(!k);
}

static void test_faults(void) {
    for (long n = 1;; n++) {
        struct keys *k = NULL;
        struct errmsg msg = {0};
        fault_arm(FAULT_ALLOC, n, false);
        enum err e = keys_load(path, &k, &msg);
        bool reached = fault_calls(FAULT_ALLOC) >= n;
        fault_disarm();
        if (!reached) {
            CHECK(n > 2 && e == ERR_OK);
            keys_free(k);
            break;
        }
        CHECK(e == ERR_NOMEM && !k);
    }
}

int main(void) {
    path = scratch_path("keys");
    test_match();
    test_owner();
    test_refused();
    struct keys *k = NULL;
    struct errmsg msg = {0};
    CHECK_OK(load("a:" ALPHA "\nb:" BETA "\n", &k, &msg), msg);
    keys_free(k);
    test_faults();
    return check_done();
}
