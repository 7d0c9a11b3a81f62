// What a GGUF file's metadata says of its tokenizer: every known name of a split pattern with its
// settings, and the keys of BERT's normalizer. The patterns themselves are held by the goldens.
#include "base/json.h"
#include "tests/check.h"
#include "tests/unit/test_gguf_kit.h"
#include "tokenizer/tokenizer.h"

#define KEY(name) "tokenizer.ggml." name

static enum err load(struct kit *k, struct tokenizer **t, struct errmsg *msg) {
    struct buf file = kit_file(k);
    struct gguf *g = NULL;
    *t = NULL;
    enum err e = gguf_parse("t.gguf", file.data, file.len, file.len, &g, msg);
    if (!e)
        e = tokenizer_load_gguf(g, 0, t, msg);
    gguf_close(g);
    buf_free(&file);
    return e;
}

static void check_text(const struct tokenizer *t, const char *text, const char *want) {
    struct tokenizer_scratch *s = NULL;
    struct encoding e = {0};
    struct errmsg msg = {0};
    struct buf out = {0};
    struct tokenizer_options o = {.add_special_tokens = true};
    CHECK(!tokenizer_scratch_new(t, &s));
    CHECK_OK(tokenizer_encode(t, s, (struct text){text, strlen(text)}, NULL, &o, &e, &msg), msg);
    for (size_t i = 0; i < e.len; i++)
        buf_printf(&out, "%s%s", i ? " " : "", tokenizer_piece(t, e.ids[i]));
    CHECK_STR(out.data, want);
    buf_free(&out);
    encoding_free(&e);
    tokenizer_scratch_free(s);
}

#define DIGITS "Digits(individual 1), "

// As llama.cpp has it, but for the normalizers, which are those of the models' tokenizer.json.
static const struct {
    const char *names, *split;
    bool nfc, whole, bos;
} groups[] = {
    {"default a.x-4.0 exaone4 gigachat gpt-2 granite-docling jais mellum phi-2 trillion",
     "Split(GPT-2)", false, false, false},
    {"modern-bert mpt olmo", "Split(GPT-2)", true, false, false},
    {"codeshell exaone mellum2 minerva-7b refact smollm starcoder", DIGITS "Split(GPT-2)", false,
     false, false},
    {"command-r", DIGITS "Split(GPT-2)", true, false, false},
    {"qwen2 deepseek-r1-qwen f2llmv2 hunyuan kormo megrez stablelm2", "Split(Qwen2)", true, false,
     false},
    {"bailingmoe bailingmoe2 grok-2 llada-moe solar-open", "Split(Qwen2)", false, false, false},
    {"qwen35", "Split(Qwen3.5)", true, false, false},
    {"chatglm-bpe dbrx smaug-bpe", "Split(Llama-3/cl100k)", false, false, false},
    {"glm4 glm5", "Split(Llama-3/cl100k)", false, true, false},
    {"llama-bpe llama-v3 llama3 falcon-h1 falcon3 jina-v5-nano lfm2 midm-2.0 pixtral",
     "Split(Llama-3/cl100k)", false, true, true},
    {"gpt-4o kanana2 llama4 minimax-m2 talkie", "Split(o200k)", false, false, false},
    {"granite-embed-multi-97m", "Split(o200k)", false, true, false},
    {"tekken", "Split(Tekken)", false, true, true},
    {"seed-coder", "Split(Seed-Coder)", false, false, false},
};

static void check_name(const char *name, size_t g) {
    static const char *const tokens[] = {"a", "b", "ab", "<s>"}, *const merges[] = {"a b"};
    static const int32_t types[] = {1, 1, 1, 3};
    struct kit k = {0};
    struct tokenizer *t = NULL;
    struct errmsg msg = {0};
    struct buf out = {0};
    kit_text(&k, KEY("model"), "gpt2");
    kit_text(&k, KEY("pre"), name);
    kit_texts(&k, KEY("tokens"), tokens, 4);
    kit_i32s(&k, KEY("token_type"), types, 4);
    kit_texts(&k, KEY("merges"), merges, 1);
    kit_u32(&k, KEY("bos_token_id"), 3);
    CHECK_OK(load(&k, &t, &msg), msg);
    if (!t)
        return;
    tokenizer_describe(t, &out);
    char want[160];
    snprintf(want, sizeof want,
             "normalizer: %s\npre_tokenizer: %s, ByteLevel(add_prefix_space 0)\n",
             groups[g].nfc ? "NFC" : "none", groups[g].split);
    if (!CHECK(strncmp(out.data, want, strlen(want)) == 0))
        fprintf(stderr, "    %s: \"%s\" is not \"%s\"\n", name, out.data, want);
    CHECK((strstr(out.data, "ignore_merges 1") != NULL) == groups[g].whole);
    check_text(t, "ab", groups[g].bos ? "<s> ab" : "ab");
    buf_free(&out);
    tokenizer_free(t);
}

static void check_names(void) {
    size_t n = 0;
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
        char names[160], *rest = names;
        snprintf(names, sizeof names, "%s", groups[g].names);
        for (char *name; (name = strtok_r(rest, " ", &rest)); n++)
            check_name(name, g);
    }
    CHECK_INT(n, 56);
}

// Rows without a token, as converters pad a vocabulary.
static void check_padding(void) {
    static const char *const tokens[] = {"a", "b", "ab", "[PAD3]", "[PAD4]", "[PAD9]"};
    static const char *const merges[] = {"a b"};
    static const int32_t types[] = {1, 1, 1, 5, 1, 5}, ids[] = {2, 3, 0};
    struct kit k = {0};
    struct tokenizer *t = NULL;
    struct errmsg msg = {0};
    struct buf out = {0};
    kit_text(&k, KEY("model"), "gpt2");
    kit_texts(&k, KEY("tokens"), tokens, 6);
    kit_i32s(&k, KEY("token_type"), types, 6);
    kit_texts(&k, KEY("merges"), merges, 1);
    CHECK_OK(load(&k, &t, &msg), msg);
    if (!t)
        return;
    CHECK(!tokenizer_piece(t, 3) && tokenizer_piece(t, 4) && tokenizer_piece(t, 5));
    CHECK_INT(tokenizer_token_bytes(t, 3).len, 0);
    CHECK_OK(tokenizer_decode(t, ids, 3, false, &out, &msg), msg);
    CHECK_STR(out.data, "aba");
    buf_free(&out);
    tokenizer_free(t);
}

static const char *const words[] = {
    "[PAD]",         "[UNK]",    "[CLS]", "[SEP]",    "[MASK]", "\xE2\x96\x81M",
    "\xE2\x96\x81m", "\xC3\xBC", "u",     "\xC3\x9C", "U"};

// text "MÜ mü" with the keys; -1: no such key.
static void check_bert(int lower, int strip, const char *want) {
    static const int32_t types[] = {3, 3, 3, 3, 3, 1, 1, 1, 1, 1, 1};
    struct kit k = {0};
    struct tokenizer *t = NULL;
    struct errmsg msg = {0};
    kit_text(&k, KEY("model"), "bert");
    kit_texts(&k, KEY("tokens"), words, 11);
    kit_i32s(&k, KEY("token_type"), types, 11);
    if (lower >= 0)
        kit_bool(&k, KEY("normalizer.lowercase"), lower);
    if (strip >= 0)
        kit_bool(&k, KEY("normalizer.strip_accents"), strip);
    CHECK_OK(load(&k, &t, &msg), msg);
    if (t)
        check_text(t, "M\xC3\x9C m\xC3\xBC", want);
    tokenizer_free(t);
}

int main(void) {
    json_init();
    check_names();
    check_padding();
    check_bert(-1, -1, "[CLS] m ##u m ##u [SEP]");
    check_bert(1, -1, "[CLS] m ##u m ##u [SEP]");
    check_bert(1, 0, "[CLS] m ##\xC3\xBC m ##\xC3\xBC [SEP]");
    check_bert(-1, 0, "[CLS] m ##\xC3\xBC m ##\xC3\xBC [SEP]");
    check_bert(0, -1, "[CLS] M ##\xC3\x9C m ##\xC3\xBC [SEP]");
    check_bert(0, 1, "[CLS] M ##U m ##u [SEP]");
    check_bert(0, 0, "[CLS] M ##\xC3\x9C m ##\xC3\xBC [SEP]");
    return check_done();
}
