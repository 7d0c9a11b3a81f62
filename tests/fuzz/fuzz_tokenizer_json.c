// Any bytes as a tokenizer.json, or (when they do not begin with a brace) as a vocab.txt: refused
// with words, or a tokenizer that works and keeps its own rules.
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "tokenizer/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct tokenizer *t) {
    static const char text[] = "The caf\xc3\xa9 [CLS] un\xcc\x81 a.b \xe4\xbd\xa0 <x>  Foo ab";
    struct text whole = {text, sizeof text - 1}, part = {text, 14};
    struct tokenizer_scratch *s;
    struct encoding e = {0};
    struct buf out = {0};
    struct tokenizer_options o = {true, TRUNCATE_LONGEST_FIRST, TRUNCATE_RIGHT, 24};
    if (tokenizer_scratch_new(t, &s) != ERR_OK)
        return;
    enum err code = tokenizer_encode(t, s, whole, &part, &o, &e, NULL);
    if (code != ERR_OK && tokenizer_special_count(t, true) <= o.max_length)
        abort();
    if (code == ERR_OK && e.len > o.max_length)
        abort();
    for (size_t i = 0; code == ERR_OK && i < e.len; i++)
        if (!tokenizer_piece(t, e.ids[i]) || (size_t)e.ids[i] >= tokenizer_vocab_size(t) ||
            e.spans[i].begin > e.spans[i].end || e.spans[i].end > whole.len)
            abort();
    if (code == ERR_OK && tokenizer_decode(t, e.ids, e.len, false, &out, NULL) != ERR_OK)
        abort();
    tokenizer_describe(t, &out);
    buf_free(&out);
    encoding_free(&e);
    tokenizer_scratch_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_init();
    // an exact-size copy, so that ASan sees a read past the end
    char *bytes = malloc(size ? size : 1);
    if (!bytes)
        return 0;
    memcpy(bytes, data, size);
    struct tokenizer *t = NULL;
    struct errmsg msg = {0};
    if (size && bytes[0] == '{') {
        enum err e = tokenizer_load_json(bytes, size, "fuzz", NULL, 1000, &t, &msg);
        if (e == ERR_OK ? t == NULL : (t != NULL || strncmp(msg.text, "fuzz: ", 6) != 0))
            abort();
    } else {
        cJSON *root = NULL;
        enum err e = vocab_txt_to_json(bytes, size, NULL, &root, &msg);
        char *json = e == ERR_OK ? cJSON_PrintUnformatted(root) : NULL;
        if (json && tokenizer_load_json(json, strlen(json), "fuzz", NULL, 0, &t, &msg) != ERR_OK)
            t = NULL;
        mem_free(json);
        cJSON_Delete(root);
    }
    if (t)
        use(t);
    tokenizer_free(t);
    free(bytes);
    return 0;
}
