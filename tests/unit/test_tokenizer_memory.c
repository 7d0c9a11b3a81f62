// What a scratch holds goes back to a bound after a large text, whatever made it large: the bytes,
// the alignment of what was normalized, marks held back, tokens, a word's pieces.
#include "base/buf.h"
#include "base/json.h"
#include "tests/check.h"
#include "tests/unit/heap_bytes.h"
#include "tokenizer/tokenizer.h"

#include <stdio.h>
#include <string.h>

enum {
    LARGE = 1 << 20, // bytes of a text: alignment alone is eight times that
    BOUND = 5 << 20,
};

static const char *const folders[] = {
    "tests/golden/data/tokenizers/uncased",
    "tests/golden/data/tokenizers/nfkd",
    "tests/golden/data/tokenizers_bpe/gpt2_prefix",
    "tests/golden/data/tokenizers_bpe/qwen2_added",
};

// Words; marks in one row, which are sorted; characters that grow; added tokens; one word.
static const char *const pieces[] = {"the cat ", "\xCC\x81\xCC\xA3", "\xC3\xA9\xE4\xBD\xA0 ",
                                     "<x>ab<y>", "abab"};

static enum err encode(const struct tokenizer *t, struct tokenizer_scratch *s, const char *bytes,
                       size_t len, struct encoding *out) {
    struct errmsg msg = {0};
    struct text text = {bytes, len}, pair = {"a", 1};
    struct tokenizer_options o = {.add_special_tokens = true};
    enum err e = tokenizer_encode(t, s, text, &pair, &o, out, &msg);
    CHECK_OK(e, msg);
    return e;
}

static void check_folder(const char *folder) {
    static const char small[] = "Hello the cat e\xCC\x81 <x> \xE4\xBD\xA0 12";
    struct tokenizer *t = NULL;
    struct tokenizer_scratch *s = NULL;
    struct encoding before = {0}, after = {0};
    struct errmsg msg = {0};
    struct buf b = {0};
    CHECK_OK(tokenizer_load(folder, 0, &t, &msg), msg);
    if (!t || !CHECK(!tokenizer_scratch_new(t, &s)))
        return;
    if (encode(t, s, small, sizeof small - 1, &before))
        return;
    size_t start = heap_bytes();
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        struct encoding large = {0};
        buf_reset(&b);
        while (b.len < LARGE)
            buf_puts(&b, pieces[i]);
        size_t text = b.cap;
        (void)encode(t, s, b.data, b.len, &large);
        CHECK(large.len > 0);
        encoding_free(&large);
        size_t now = heap_bytes() - text;
        if (!CHECK(now < start + BOUND))
            fprintf(stderr, "    %s: %zu bytes more after \"%s\"\n", folder, now - start,
                    pieces[i]);
    }
    (void)encode(t, s, small, sizeof small - 1, &after);
    CHECK(before.len == after.len &&
          memcmp(before.ids, after.ids, after.len * sizeof *after.ids) == 0 &&
          memcmp(before.spans, after.spans, after.len * sizeof *after.spans) == 0);
    buf_free(&b);
    encoding_free(&before);
    encoding_free(&after);
    tokenizer_scratch_free(s);
    tokenizer_free(t);
}

// A bound for whoever keeps an encoding of their own.
static void check_trim(void) {
    struct encoding e = {0};
    struct buf b = {0};
    encoding_trim(&e, 0);
    buf_trim(&b, 0);
    CHECK(e.cap == 0 && b.cap == 0);
    buf_puts(&b, "abc");
    buf_trim(&b, b.cap);
    CHECK(b.data && b.len == 3);
    buf_trim(&b, b.cap - 1);
    CHECK(!b.data && b.cap == 0 && b.len == 0);
}

int main(void) {
    json_init();
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        check_folder(folders[i]);
    check_trim();
    return check_done();
}
