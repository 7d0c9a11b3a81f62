// Any bytes as a tokenizer.json of byte-level BPE, and (behind a line of its own that says "text")
// any text for it: refused with words, or a tokenizer that works and keeps its own rules. A file of
// merges.txt's kind, when the bytes do not begin with a brace, goes through the reader of that.
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/token_stream.h"
#include "tokenizer/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char mark[] = "\ntext\n";

static void check_stream(const struct tokenizer *t, const struct encoding *e) {
    struct token_stream s;
    struct buf whole = {0}, parts = {0};
    token_stream_init(&s, t, false);
    for (size_t i = 0; i < e->len; i++) {
        size_t before = parts.len;
        if (token_stream_add(&s, e->ids[i], &parts, NULL) != ERR_OK ||
            !utf8_valid(parts.data ? parts.data + before : "", parts.len - before, NULL))
            abort();
    }
    token_stream_end(&s, &parts);
    if (tokenizer_decode(t, e->ids, e->len, false, &whole, NULL) != ERR_OK ||
        whole.len != parts.len || (whole.len && memcmp(whole.data, parts.data, whole.len) != 0))
        abort();
    buf_free(&whole);
    buf_free(&parts);
}

static void use(const struct tokenizer *t, struct text text) {
    struct tokenizer_scratch *s;
    struct encoding e = {0};
    struct buf out = {0};
    struct tokenizer_options o = {.add_special_tokens = true};
    if (tokenizer_scratch_new(t, &s) != ERR_OK)
        return;
    for (int again = 0; again < 2; again++) { // the second time from the cache
        if (tokenizer_encode(t, s, text, NULL, &o, &e, NULL) != ERR_OK)
            abort();
        for (size_t i = 0; i < e.len; i++)
            if (!tokenizer_piece(t, e.ids[i]) || (size_t)e.ids[i] >= tokenizer_vocab_size(t) ||
                e.spans[i].begin > e.spans[i].end || e.spans[i].end > text.len)
                abort();
    }
    check_stream(t, &e);
    tokenizer_describe(t, &out);
    buf_free(&out);
    encoding_free(&e);
    tokenizer_scratch_free(s);
}

static void from_merges(const char *bytes, size_t len) {
    static const char config[] = "{\"tokenizer_class\":\"Qwen2Tokenizer\",\"added_tokens_decoder\":"
                                 "{\"9\":{\"content\":\"<x>\",\"special\":true}}}";
    cJSON *root = NULL, *parsed = cJSON_Parse(config);
    cJSON *vocab = cJSON_Parse("{\"a\":0,\"b\":1,\"ab\":2,\"abab\":3}");
    struct tokenizer *t = NULL;
    if (vocab_merges_to_json(vocab, bytes, len, parsed, &root, NULL) == ERR_OK &&
        tokenizer_from_tree(root, NULL, 0, &t, NULL) == ERR_OK)
        use(t, (struct text){"abab<x>bab", 10});
    tokenizer_free(t);
    cJSON_Delete(root);
    cJSON_Delete(parsed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_init();
    // an exact-size copy, so that ASan sees a read past the end
    char *bytes = malloc(size ? size : 1);
    if (!bytes)
        return 0;
    memcpy(bytes, data, size);
    size_t json = size, text = size;
    for (size_t i = 0; i + sizeof mark - 1 <= size && json == size; i++)
        if (memcmp(bytes + i, mark, sizeof mark - 1) == 0) {
            json = i;
            text = i + sizeof mark - 1;
        }
    struct tokenizer *t = NULL;
    struct errmsg msg = {0};
    if (!size || bytes[0] != '{') {
        from_merges(bytes, size);
    } else {
        enum err e = tokenizer_load_json(bytes, json, "fuzz", NULL, 100000, &t, &msg);
        if (e == ERR_OK ? t == NULL : (t != NULL || strncmp(msg.text, "fuzz: ", 6) != 0))
            abort();
    }
    if (t && utf8_valid(bytes + text, size - text, NULL))
        use(t, (struct text){bytes + text, size - text});
    tokenizer_free(t);
    free(bytes);
    return 0;
}
