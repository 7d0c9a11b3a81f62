// Any UTF-8 through tiny tokenizers: spans lie in the text and in order, lengths add up, the ASCII
// path gives what the general one gives, and texts encoded apart assemble to the same.
// The first byte chooses the tokenizer, the second and third the truncation; a line feed parts two
// texts of a pair.
#include "base/json.h"
#include "base/utf8.h"
#include "tokenizer/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TOKEN(id, content, flags) "{\"id\":" id ",\"content\":\"" content "\"," flags "}"
#define FLAGS(single, left, right, normalized, special)                                            \
    "\"single_word\":" single ",\"lstrip\":" left ",\"rstrip\":" right                             \
    ",\"normalized\":" normalized ",\"special\":" special
#define PLAIN FLAGS("false", "false", "false", "false", "true")
#define TAIL                                                                                       \
    "\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"[CLS]\",1],\"sep\":[\"[SEP]\",2]}" \
    ",\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\","                                  \
    "\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":20,\"vocab\":{"             \
    "\"[UNK]\":0,\"[CLS]\":1,\"[SEP]\":2,\"a\":3,\"b\":4,\"##a\":5,\"##b\":6,\"ab\":7,"            \
    "\"##ba\":8,\".\":9,\"e\":10,\"##\xc3\xa9\":11,\"\xc3\xa9\":12,\"\xe4\xbd\xa0\":13,"           \
    "\"##\xcc\x81\":14,\"\xea\xb0\x80\":15,\"##e\":16,\"[\":17,\" \":18,\"## \":19}}}"
#define BERT(lower, accents)                                                                       \
    "\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,"                             \
    "\"handle_chinese_chars\":true,\"strip_accents\":" accents ",\"lowercase\":" lower "},"
#define PRE(name) "\"pre_tokenizer\":{\"type\":\"" name "\"},"

static const char *const sources[] = {
    "{" BERT("true", "null")
        PRE("BertPreTokenizer") "\"added_tokens\":[" TOKEN("1", "[CLS]", PLAIN) "," TOKEN(
            "20", "<x>",
            FLAGS("false", "true", "true", "false",
                  "false")) "," TOKEN("21", "bb",
                                      FLAGS("true", "false", "false", "false", "false")) "]," TAIL,
    "{" BERT("false", "false") PRE("BertPreTokenizer") TAIL,
    "{" BERT("true", "null") PRE("BertPreTokenizer") "\"added_tokens\":[" TOKEN(
        "20", "Foo",
        FLAGS("false", "true", "false", "true",
              "false")) "," TOKEN("21", "\xc3\xa9",
                                  FLAGS("false", "false", "true", "true", "false")) "]," TAIL,
    "{\"normalizer\":{\"type\":\"NFC\"}," PRE("WhitespaceSplit") TAIL,
    "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKD\"},"
    "{\"type\":\"StripAccents\"},{\"type\":\"Lowercase\"}]}," PRE("Whitespace") TAIL,
    "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},{\"type\":"
    "\"Strip\","
    "\"strip_left\":true,\"strip_right\":true},{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"}"
    ","
    "\"content\":\"\xc3\xa9"
    "b\"}]}," TAIL,
};
enum { SOURCES = sizeof sources / sizeof sources[0] };

struct twin {
    struct tokenizer *fast, *general; // the same file, the second without the ASCII path
    struct tokenizer_scratch *fast_scratch, *general_scratch;
};

static struct twin twins[SOURCES];

static void start(void) {
    json_init();
    for (size_t i = 0; i < SOURCES; i++) {
        struct twin *w = &twins[i];
        size_t len = strlen(sources[i]);
        if (tokenizer_load_json(sources[i], len, "fuzz", NULL, 0, &w->fast, NULL) != ERR_OK ||
            tokenizer_load_json(sources[i], len, "fuzz", NULL, 0, &w->general, NULL) != ERR_OK)
            abort();
        w->general->ascii_fast = false;
        if (tokenizer_scratch_new(w->fast, &w->fast_scratch) != ERR_OK ||
            tokenizer_scratch_new(w->general, &w->general_scratch) != ERR_OK)
            abort();
    }
}

static void must_be_same(const struct encoding *a, const struct encoding *b) {
    if (a->len != b->len || a->full_len != b->full_len || a->truncated != b->truncated)
        abort();
    for (size_t i = 0; i < a->len; i++)
        if (a->ids[i] != b->ids[i] || a->type_ids[i] != b->type_ids[i] ||
            a->spans[i].begin != b->spans[i].begin || a->spans[i].end != b->spans[i].end ||
            a->special[i] != b->special[i])
            abort();
}

static void must_be_sound(const struct tokenizer *t, const struct encoding *e,
                          const struct tokenizer_options *o, struct text a, const struct text *b) {
    size_t specials = 0;
    uint32_t last[2] = {0, 0};
    for (size_t i = 0; i < e->len; i++) {
        struct token_span s = e->spans[i];
        int which = e->type_ids[i];
        size_t len = which ? (b ? b->len : 0) : a.len;
        specials += e->special[i];
        if (!tokenizer_piece(t, e->ids[i]) || which < 0 || which > 1)
            abort();
        if (e->special[i] ? s.begin || s.end
                          : s.begin >= s.end || s.end > len || s.begin < last[which])
            abort();
        last[which] = e->special[i] ? last[which] : s.begin;
    }
    if (specials != (o->add_special_tokens ? tokenizer_special_count(t, b != NULL) : 0))
        abort();
    if (e->len > e->full_len || e->truncated != (e->len < e->full_len))
        abort();
    if (o->truncate != TRUNCATE_NONE && e->len > o->max_length)
        abort();
}

static void check(const struct twin *w, struct text a, const struct text *b,
                  const struct tokenizer_options *o) {
    struct encoding fast = {0}, general = {0}, first = {0}, second = {0}, joined = {0};
    struct tokenizer_options bare = {0};
    enum err e = tokenizer_encode(w->fast, w->fast_scratch, a, b, o, &fast, NULL);
    if (tokenizer_encode(w->general, w->general_scratch, a, b, o, &general, NULL) != e)
        abort();
    if (tokenizer_encode(w->fast, w->fast_scratch, a, NULL, &bare, &first, NULL) != ERR_OK ||
        (b && tokenizer_encode(w->fast, w->fast_scratch, *b, NULL, &bare, &second, NULL) != ERR_OK))
        abort();
    if (tokenizer_assemble(w->fast, &first, b ? &second : NULL, o, &joined, NULL) != e)
        abort();
    if (e == ERR_OK) {
        must_be_sound(w->fast, &fast, o, a, b);
        must_be_same(&fast, &general);
        must_be_same(&fast, &joined);
    } else if (e != ERR_INVALID || o->truncate == TRUNCATE_NONE) {
        abort();
    }
    encoding_free(&fast);
    encoding_free(&general);
    encoding_free(&first);
    encoding_free(&second);
    encoding_free(&joined);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!twins[0].fast)
        start();
    if (size < 3)
        return 0;
    struct tokenizer_options o = {
        .add_special_tokens = !(data[1] & 1),
        .truncate = (enum truncate_strategy)(data[1] >> 1 & 3),
        .side = data[1] & 8 ? TRUNCATE_LEFT : TRUNCATE_RIGHT,
        .max_length = data[2] % 32,
    };
    size_t len = size - 3, bad = len;
    // an exact-size copy, so that ASan sees a read past the end
    char *text = malloc(len ? len : 1);
    if (!text)
        return 0;
    memcpy(text, data + 3, len);
    if (!utf8_valid(text, len, &bad))
        len = bad;
    const char *cut = memchr(text, '\n', len);
    struct text a = {text, cut ? (size_t)(cut - text) : len};
    struct text b = {cut ? cut + 1 : NULL, cut ? len - a.len - 1 : 0};
    check(&twins[data[0] % SOURCES], a, cut ? &b : NULL, &o);
    free(text);
    return 0;
}
