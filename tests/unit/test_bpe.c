// Byte-level BPE beyond its goldens: what it refuses and in which words, what it answers about
// tokens, text given out piece by piece, GGUF metadata, memory that runs out at every allocation,
// and time that stays linear.
#include "base/fault.h"
#include "base/json.h"
#include "base/mem.h"
#include "tests/check.h"
#include "tokenizer/token_stream.h"
#include "tokenizer/tokenizer_internal.h"
#include "weights/gguf.h"

#include <time.h>

#define FOLDER "tests/golden/data/tokenizers_bpe/"

#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}"
#define MODEL(vocab, merges, more)                                                                 \
    "{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges more "}"
#define VOCAB "{\"a\":0,\"b\":1,\"ab\":2,\"!\":3}"
#define SPLIT(regex, behavior, more)                                                               \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"        \
    "\"" regex "\"},\"behavior\":\"" behavior "\"" more "},"                                       \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}"

static enum err load(const char *pre, const char *model, size_t vocab_size, struct tokenizer **t,
                     struct errmsg *msg) {
    struct buf b = {0};
    buf_printf(&b, "{\"pre_tokenizer\":%s,\"decoder\":{\"type\":\"ByteLevel\"},\"model\":%s}", pre,
               model);
    enum err e = b.failed ? ERR_NOMEM
                          : tokenizer_load_json(b.data, b.len, "t.json", NULL, vocab_size, t, msg);
    buf_free(&b);
    return e;
}

static void check_refusals(void) {
    static const struct {
        const char *pre, *model;
        size_t vocab_size;
        enum err code;
        const char *words;
    } cases[] = {
        {BYTE_LEVEL, MODEL(VOCAB, "[\"a b\",\"a c\"]", ""), 0, ERR_INVALID,
         "t.json: merge 1: token 'c' is not in the vocabulary"},
        {BYTE_LEVEL, MODEL(VOCAB, "[[\"b\",\"a\"]]", ""), 0, ERR_INVALID,
         "merge 0: token 'ba' is not in the vocabulary"},
        {BYTE_LEVEL, MODEL(VOCAB, "[[\"b\"]]", ""), 0, ERR_INVALID, "neither a string nor two"},
        {BYTE_LEVEL, MODEL(VOCAB, "[\"ab\"]", ""), 0, ERR_INVALID, "'ab' is not two tokens"},
        {BYTE_LEVEL, MODEL(VOCAB, "[\"a b b\"]", ""), 0, ERR_INVALID, "'a b b' is not two"},
        {BYTE_LEVEL, MODEL(VOCAB, "{}", ""), 0, ERR_INVALID, "'merges', an array"},
        {BYTE_LEVEL, MODEL(VOCAB, "[]", ""), 3, ERR_INVALID,
         "token '!' has id 3, but the model's vocabulary has 3"},
        {BYTE_LEVEL, MODEL("{\"a\":0,\"b\":0}", "[]", ""), 0, ERR_INVALID, "token 'b': id 0"},
        {BYTE_LEVEL, MODEL("{\"a\":0,\"b\":16777216}", "[]", ""), 0, ERR_INVALID, "token 'b'"},
        {BYTE_LEVEL, MODEL("{\"a\":0,\"a\":1}", "[]", ""), 0, ERR_INVALID, "key stands twice"},
        {BYTE_LEVEL, MODEL(VOCAB, "[]", ",\"dropout\":0.1"), 0, ERR_UNSUPPORTED, "'dropout' 0.1"},
        {BYTE_LEVEL, MODEL(VOCAB, "[]", ",\"continuing_subword_prefix\":\"##\""), 0,
         ERR_UNSUPPORTED, "'continuing_subword_prefix' '##'"},
        {BYTE_LEVEL, MODEL(VOCAB, "[]", ",\"end_of_word_suffix\":\"</w>\""), 0, ERR_UNSUPPORTED,
         "'end_of_word_suffix' '</w>'"},
        {BYTE_LEVEL, MODEL(VOCAB, "[]", ",\"byte_fallback\":true"), 0, ERR_UNSUPPORTED,
         "'byte_fallback' and 253 bytes"},
        {BYTE_LEVEL, MODEL(VOCAB, "[]", ",\"unk_token\":\"<unk>\""), 0, ERR_INVALID,
         "unk_token '<unk>'"},
        {"null", MODEL(VOCAB, "[]", ""), 0, ERR_UNSUPPORTED, "without the pre_tokenizer ByteLevel"},
        {"{\"type\":\"Whitespace\"}", MODEL(VOCAB, "[]", ""), 0, ERR_UNSUPPORTED, "ByteLevel"},
        {SPLIT("\\\\s+", "Isolated", ""), MODEL(VOCAB, "[]", ""), 0, ERR_UNSUPPORTED,
         "Split by the pattern \\s+ is not supported"},
        {SPLIT("\\\\s+", "Removed", ""), MODEL(VOCAB, "[]", ""), 0, ERR_UNSUPPORTED,
         "behavior 'Removed'"},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"},{\"type\":\"ByteLevel\","
         "\"add_prefix_space\":true}]}",
         MODEL(VOCAB, "[]", ""), 0, ERR_UNSUPPORTED, "add_prefix_space behind another"},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL ",{\"type\":\"Digits\"}]}",
         MODEL(VOCAB, "[]", ""), 0, ERR_UNSUPPORTED, "'Digits' behind ByteLevel"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tokenizer *t = NULL;
        struct errmsg msg = {0};
        CHECK_INT(load(cases[i].pre, cases[i].model, cases[i].vocab_size, &t, &msg), cases[i].code);
        if (!CHECK(strstr(msg.text, cases[i].words) != NULL))
            fprintf(stderr, "    case %zu: \"%s\" not in \"%s\"\n", i, cases[i].words, msg.text);
        CHECK(t == NULL);
        tokenizer_free(t);
    }
}

// A token longer than words are compared whole, and a text longer than spans count.
static void check_oversize(void) {
    struct tokenizer *t = NULL;
    struct tokenizer_scratch *s = NULL;
    struct encoding e = {0};
    struct errmsg msg = {0};
    struct buf model = {0};
    struct tokenizer_options o = {.add_special_tokens = true};
    buf_puts(&model,
             "{\"type\":\"BPE\",\"ignore_merges\":true,\"merges\":[],\"vocab\":{\"a\":0,\"");
    for (size_t i = 0; i <= BPE_WHOLE_MAX; i++)
        buf_putc(&model, 'a');
    buf_puts(&model, "\":1}}");
    if (!CHECK(!model.failed))
        return;
    CHECK_INT(load(BYTE_LEVEL, model.data, 0, &t, &msg), ERR_UNSUPPORTED);
    CHECK(strstr(msg.text, "'ignore_merges' and a token of 513 bytes") != NULL && !t);
    buf_free(&model);
    CHECK_OK(load(BYTE_LEVEL, MODEL(VOCAB, "[\"a b\"]", ""), 0, &t, &msg), msg);
    if (!t || !CHECK(!tokenizer_scratch_new(t, &s)))
        return;
    struct text text = {"ab", (size_t)UINT32_MAX + 1};
    CHECK_INT(tokenizer_encode(t, s, text, NULL, &o, &e, &msg), ERR_TOO_LARGE);
    CHECK(strstr(msg.text, "4 GiB") != NULL);
    encoding_free(&e);
    tokenizer_scratch_free(s);
    tokenizer_free(t);
}

static void check_answers(void) {
    struct tokenizer *t = NULL;
    struct errmsg msg = {0};
    struct buf out = {0};
    CHECK_OK(tokenizer_load(FOLDER "qwen2_added", 0, &t, &msg), msg);
    if (!t)
        return;
    int32_t end = tokenizer_token_id(t, "<|end|>", 7), tool = tokenizer_token_id(t, "<tool>", 6);
    int32_t space = tokenizer_token_id(t, "\xC4\xA0", 2);
    CHECK(end > 0 && tool > end && space >= 0);
    CHECK(tokenizer_token_is_special(t, end) && !tokenizer_token_is_special(t, tool));
    CHECK(!tokenizer_token_is_special(t, space) && !tokenizer_token_is_special(t, -1));
    CHECK_INT(tokenizer_token_id(t, "<|end", 5), -1);
    struct text bytes = tokenizer_token_bytes(t, space);
    CHECK(bytes.len == 1 && bytes.bytes[0] == ' ');
    bytes = tokenizer_token_bytes(t, tool);
    CHECK(bytes.len == 6 && memcmp(bytes.bytes, "<tool>", 6) == 0);
    CHECK_INT(tokenizer_token_bytes(t, (int32_t)tokenizer_vocab_size(t)).len, 0);
    CHECK_INT(tokenizer_token_bytes(t, -1).len, 0);
    tokenizer_describe(t, &out);
    CHECK(strstr(out.data, "pre_tokenizer: Split(Qwen2), ByteLevel(add_prefix_space 0)\n"
                           "model: byte-level BPE(") != NULL);
    buf_free(&out);
    tokenizer_free(t);
}

static int32_t byte_id(const struct tokenizer *t, unsigned char byte) {
    for (int32_t id = 0; (size_t)id < tokenizer_vocab_size(t); id++) {
        struct text b = tokenizer_token_bytes(t, id);
        if (b.len == 1 && (unsigned char)b.bytes[0] == byte)
            return id;
    }
    return -1;
}

// Bytes of U+1F600, then its beginning again and an end.
static void check_stream(void) {
    static const unsigned char bytes[] = {0xF0, 0x9F, 0x98, 0x80, 'a', 0xF0, 0x9F, 'b', 0xE2, 0x82};
    static const char *const after[] = {"",
                                        "",
                                        "",
                                        "\xF0\x9F\x98\x80",
                                        "a",
                                        "",
                                        "",
                                        "\xEF\xBF\xBD"
                                        "b",
                                        "",
                                        ""};
    struct tokenizer *t = NULL;
    struct token_stream s;
    struct errmsg msg = {0};
    struct buf out = {0};
    CHECK_OK(tokenizer_load(FOLDER "qwen2", 0, &t, &msg), msg);
    if (!t)
        return;
    token_stream_init(&s, t, true);
    for (size_t i = 0; i < sizeof bytes; i++) {
        buf_reset(&out);
        CHECK_OK(token_stream_add(&s, byte_id(t, bytes[i]), &out, &msg), msg);
        CHECK(out.len == strlen(after[i]) &&
              (!out.len || memcmp(out.data, after[i], out.len) == 0));
    }
    buf_reset(&out);
    CHECK_OK(token_stream_add(&s, 1 << 20, &out, &msg), msg);
    CHECK_INT(out.len, 0); // an id without a token is as if it were not there
    CHECK_OK(token_stream_add(&s, tokenizer_token_id(t, "<|end|>", 7), &out, &msg), msg);
    CHECK_INT(out.len, 0); // skipped, and what is pending stays
    token_stream_end(&s, &out);
    CHECK_STR(out.data, "\xEF\xBF\xBD");
    token_stream_end(&s, &out);
    CHECK_INT(out.len, 3);
    buf_free(&out);
    tokenizer_free(t);
}

// A GGUF header of string, string-array, integer and bool entries.
struct file {
    struct buf b;
    uint64_t entries;
};

static void put_u32(struct buf *b, uint32_t v) { buf_append(b, &v, sizeof v); }
static void put_u64(struct buf *b, uint64_t v) { buf_append(b, &v, sizeof v); }
static void put_string(struct buf *b, const char *s) {
    put_u64(b, strlen(s));
    buf_puts(b, s);
}
static void put_key(struct file *f, const char *key, uint32_t type) {
    struct buf full = {0};
    buf_printf(&full, "tokenizer.ggml.%s", key);
    f->b.failed |= full.failed;
    put_string(&f->b, full.data ? full.data : "");
    buf_free(&full);
    put_u32(&f->b, type);
    f->entries++;
}
static void put_strings(struct file *f, const char *key, const char *const *items, size_t n) {
    put_key(f, key, GGUF_ARRAY);
    put_u32(&f->b, GGUF_STRING);
    put_u64(&f->b, n);
    for (size_t i = 0; i < n; i++)
        put_string(&f->b, items[i]);
}
static void put_types(struct file *f, const char *types) {
    put_key(f, "token_type", GGUF_ARRAY);
    put_u32(&f->b, GGUF_I32);
    put_u64(&f->b, strlen(types));
    for (; *types; types++)
        put_u32(&f->b, (uint32_t)(*types - '0'));
}

struct gguf_case {
    const char *model, *pre, *types;
    const char *tokens[10], *merges[4];
    int add_bos, bos; // -1: no such key
    enum err code;
    const char *words; // of the refusal or the description
    const char *text, *pieces;
};

static enum err load_gguf(const struct gguf_case *c, struct tokenizer **t, struct errmsg *msg) {
    struct file f = {0};
    struct buf whole = {0};
    size_t tokens = 0, merges = 0;
    while (tokens < 10 && c->tokens[tokens])
        tokens++;
    while (merges < 4 && c->merges[merges])
        merges++;
    put_key(&f, "model", GGUF_STRING);
    put_string(&f.b, c->model);
    if (c->pre) {
        put_key(&f, "pre", GGUF_STRING);
        put_string(&f.b, c->pre);
    }
    put_strings(&f, "tokens", c->tokens, tokens);
    if (merges)
        put_strings(&f, "merges", c->merges, merges);
    if (c->types)
        put_types(&f, c->types);
    if (c->add_bos >= 0) {
        put_key(&f, "add_bos_token", GGUF_BOOL);
        buf_putc(&f.b, (char)c->add_bos);
    }
    if (c->bos >= 0) {
        put_key(&f, "bos_token_id", GGUF_U32);
        put_u32(&f.b, (uint32_t)c->bos);
    }
    buf_puts(&whole, "GGUF");
    put_u32(&whole, 3);
    put_u64(&whole, 0);
    put_u64(&whole, f.entries);
    buf_append(&whole, f.b.data, f.b.len);
    struct gguf *g = NULL;
    bool failed = f.b.failed || whole.failed;
    enum err e =
        failed ? ERR_NOMEM : gguf_parse("t.gguf", whole.data, whole.len, whole.len, &g, msg);
    if (!e)
        e = tokenizer_load_gguf(g, 0, t, msg);
    gguf_close(g);
    buf_free(&f.b);
    buf_free(&whole);
    return e;
}

static void check_pieces(const struct tokenizer *t, const char *text, const char *want) {
    struct tokenizer_scratch *s = NULL;
    struct encoding e = {0};
    struct errmsg msg = {0};
    struct buf out = {0};
    struct tokenizer_options o = {.add_special_tokens = true};
    CHECK(!tokenizer_scratch_new(t, &s));
    CHECK_OK(tokenizer_encode(t, s, (struct text){text, strlen(text)}, NULL, &o, &e, &msg), msg);
    for (size_t i = 0; i < e.len; i++)
        buf_printf(&out, "%s%s", i ? "|" : "", tokenizer_piece(t, e.ids[i]));
    CHECK_STR(out.data, want);
    buf_free(&out);
    encoding_free(&e);
    tokenizer_scratch_free(s);
}

static const struct gguf_case ggufs[] = {
    {"gpt2",
     "smollm",
     "113114",
     {"a", "b", "<s>", "ab", "1", "<u>"},
     {"a b"},
     0,
     2,
     ERR_OK,
     "Digits(individual 1), Split(GPT-2)",
     "ab<s>11<u>a",
     "ab|<s>|1|1|<u>|a"},
    {"gpt2",
     "qwen2",
     NULL,
     {"a", "b", "ab"},
     {"a b"},
     -1,
     -1,
     ERR_OK,
     "normalizer: NFC\npre_tokenizer: Split(Qwen2)",
     "abab",
     "ab|ab"},
    {"gpt2",
     "llama-bpe",
     "1131",
     {"a", "b", "<s>", "ab"},
     {"a b"},
     -1,
     2,
     ERR_OK,
     "ignore_merges 1",
     "ab<s>",
     "<s>|ab|<s>"},
    {"gpt2",
     "llama-bpe",
     "1131",
     {"a", "b", "<s>", "ab"},
     {"a b"},
     0,
     2,
     ERR_OK,
     "pre_tokenizer: Split(Llama-3/cl100k)",
     "ab",
     "ab"},
    {"gpt2", NULL, NULL, {"a", "b", "ab"}, {"a b"}, -1, -1, ERR_OK, "Split(GPT-2)", "ab", "ab"},
    {"gpt2",
     "llama-bpe",
     NULL,
     {"a", "b", "ab"},
     {"a b"},
     -1,
     -1,
     ERR_INVALID,
     "tokenizer.ggml.bos_token_id is missing",
     NULL,
     NULL},
    {"gpt2",
     "viking",
     NULL,
     {"a"},
     {"a a"},
     -1,
     -1,
     ERR_UNSUPPORTED,
     "t.gguf: tokenizer.ggml.pre 'viking'",
     NULL,
     NULL},
    {"llama",
     NULL,
     NULL,
     {"a"},
     {0},
     -1,
     -1,
     ERR_UNSUPPORTED,
     "tokenizer.ggml.model 'llama'",
     NULL,
     NULL},
    {"gpt2",
     "gpt-2",
     NULL,
     {"a", "b"},
     {"a b"},
     -1,
     -1,
     ERR_INVALID,
     "merge 0: token 'ab'",
     NULL,
     NULL},
    {"gpt2", "gpt-2", NULL, {"a", "b"}, {0}, -1, -1, ERR_INVALID, "merges is missing", NULL, NULL},
    {"gpt2",
     "gpt-2",
     NULL,
     {"a", "b", "a"},
     {"a b"},
     -1,
     -1,
     ERR_INVALID,
     "token 'a' is there twice, with ids 0 and 2",
     NULL,
     NULL},
    {"gpt2",
     "gpt-2",
     "11",
     {"a", "b", "ab"},
     {"a b"},
     -1,
     -1,
     ERR_INVALID,
     "token_type has 2 entries",
     NULL,
     NULL},
    {"gpt2",
     "gpt-2",
     NULL,
     {"a", "\xFF"},
     {"a b"},
     -1,
     -1,
     ERR_INVALID,
     "token 1 is not valid",
     NULL,
     NULL},
    {"bert",
     NULL,
     "33331111",
     {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "\xE2\x96\x81un", "able", "\xE2\x96\x81.",
      "\xE2\x96\x81[x]"},
     {0},
     -1,
     -1,
     ERR_OK,
     "BertNormalizer(clean_text 1",
     "UNable. [SEP]",
     "[CLS]|un|##able|.|[SEP]|[SEP]"},
};

static void check_gguf(void) {
    for (size_t i = 0; i < sizeof ggufs / sizeof ggufs[0]; i++) {
        const struct gguf_case *c = &ggufs[i];
        struct tokenizer *t = NULL;
        struct errmsg msg = {0};
        struct buf out = {0};
        enum err e = load_gguf(c, &t, &msg);
        if (!CHECK(e == c->code))
            fprintf(stderr, "    case %zu: %s\n", i, msg.text);
        if (t)
            tokenizer_describe(t, &out);
        if (!CHECK(strstr(t ? out.data : msg.text, c->words) != NULL))
            fprintf(stderr, "    case %zu: \"%s\" not in \"%s\"\n", i, c->words,
                    t ? out.data : msg.text);
        if (t && c->text)
            check_pieces(t, c->text, c->pieces);
        buf_free(&out);
        tokenizer_free(t);
    }
}

static enum err run_gguf(struct errmsg *msg) {
    struct tokenizer *t = NULL;
    enum err e = load_gguf(&ggufs[0], &t, msg);
    tokenizer_free(t);
    t = NULL;
    if (e)
        return e;
    e = load_gguf(&ggufs[sizeof ggufs / sizeof ggufs[0] - 1], &t, msg);
    tokenizer_free(t);
    return e;
}

// All that a request does, from the folder on; each allocation in turn fails.
static enum err run_folder(const char *folder, struct errmsg *msg) {
    static const char text[] = "Foo the cat <x> e\xcc\x81te 12 <|end|> \xe4\xbd\xa0\xe5\xa5\xbd "
                               "abababababababababababababababababababab thethethethe";
    struct tokenizer *t = NULL;
    struct tokenizer_scratch *s = NULL;
    struct encoding e = {0};
    struct buf out = {0};
    struct text pair = {text, sizeof text - 1};
    struct tokenizer_options o = {true, TRUNCATE_LONGEST_FIRST, TRUNCATE_LEFT, 40};
    enum err code = tokenizer_load(folder, 0, &t, msg);
    if (!code)
        code = tokenizer_scratch_new(t, &s);
    if (!code)
        code = tokenizer_encode(t, s, pair, &pair, &o, &e, msg);
    if (!code)
        code = tokenizer_decode(t, e.ids, e.len, false, &out, msg);
    buf_free(&out);
    encoding_free(&e);
    tokenizer_scratch_free(s);
    tokenizer_free(t);
    return code;
}

// folder NULL: the GGUF cases.
static void check_memory(const char *folder) {
    struct errmsg msg = {0};
    long nth = 1;
    for (; nth < 1000000; nth++) {
        fault_arm(FAULT_ALLOC, nth, false);
        enum err e = folder ? run_folder(folder, &msg) : run_gguf(&msg);
        bool reached = fault_calls(FAULT_ALLOC) >= nth;
        fault_disarm();
        if (!reached) {
            CHECK_OK(e, msg);
            break;
        }
        if (e != ERR_NOMEM)
            CHECK_INT(e, ERR_NOMEM);
        nth += folder && nth > 300 ? nth % 67 : 0; // the tree's nodes are all alike
    }
    CHECK(nth > 60 && nth < 1000000);
}

// A megabyte of each takes some tenths of a second at most; quadratic time would take minutes.
static void check_time(const char *folder, size_t bytes) {
    static const char *const pieces[] = {
        "a",
        " ",
        "\n",
        " \n",
        "\xF0\x9F\x98\x80",
        "\xE4\xBD\xA0",
        "e\xCC\x81",
        "ab",
        "1",
        "'s",
        "\xCC\x81",
        "A",
        "Aa",
        "\xCC\x81"
        "A",
        ".",
        "the ",
        "<|end|> ",
        "\xE4\xBD\xA0"
        "A",
        "\x04",
        "/",
        "\xC2\xA0",
    };
    struct tokenizer *t = NULL;
    struct tokenizer_scratch *s = NULL;
    struct encoding e = {0};
    struct buf b = {0};
    struct errmsg msg = {0};
    struct tokenizer_options o = {.add_special_tokens = true};
    CHECK_OK(tokenizer_load(folder, 0, &t, &msg), msg);
    if (!t || !CHECK(!tokenizer_scratch_new(t, &s)))
        return;
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        buf_reset(&b);
        while (b.len < bytes)
            buf_puts(&b, pieces[i]);
        clock_t start = clock(); // the CPU's time: a busy machine must not fail it
        CHECK_OK(tokenizer_encode(t, s, (struct text){b.data, b.len}, NULL, &o, &e, &msg), msg);
        double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        if (!CHECK(seconds < 5)) // ASan included
            fprintf(stderr, "    %s: %zu bytes of \"%s\" took %.1f s\n", folder, bytes, pieces[i],
                    seconds);
    }
    buf_free(&b);
    encoding_free(&e);
    tokenizer_scratch_free(s);
    tokenizer_free(t);
}

int main(void) {
    json_init();
    check_refusals();
    check_oversize();
    check_answers();
    check_stream();
    check_gguf();
    check_memory(NULL);
    check_memory(FOLDER "gpt2_prefix");
    check_memory(FOLDER "files_qwen2");
    check_time(FOLDER "qwen2_added", 1000000);
    check_time(FOLDER "o200k", 200000);
    check_time(FOLDER "smollm", 200000);
    return check_done();
}
