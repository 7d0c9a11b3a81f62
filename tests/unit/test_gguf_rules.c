// Rules for the keys of a GGUF file: what would change numbers is refused by name, what changes
// nothing passes, and every key is listed.
#include "tests/unit/test_gguf_kit.h"
#include "weights/config_rules.h"
#include "weights/gguf_rules.h"

static struct gguf *parse(struct kit *k, struct buf *file) {
    struct gguf *g = NULL;
    struct errmsg msg = {0};
    *file = kit_file(k);
    CHECK_OK(gguf_parse("m.gguf", file->data, file->len, file->len, &g, &msg), msg);
    return g;
}

static enum err check(struct kit *k, struct errmsg *msg) {
    struct buf file;
    struct gguf *g = parse(k, &file);
    enum err e = gguf_rules_check(g, config_rules_of_gguf(g), msg);
    gguf_close(g);
    buf_free(&file);
    return e;
}

static struct kit of(const char *arch) {
    struct kit k = {0};
    kit_text(&k, "general.architecture", arch);
    return k;
}

static void passes(struct kit *k) {
    struct errmsg msg = {0};
    CHECK_OK(check(k, &msg), msg);
}

static void refused(struct kit *k, const char *key) {
    struct errmsg msg = {0};
    char part[128];
    snprintf(part, sizeof part, "m.gguf: key '%s' changes the numbers", key);
    CHECK(check(k, &msg) == ERR_UNSUPPORTED);
    if (!CHECK(strstr(msg.text, part) != NULL))
        fprintf(stderr, "    %s\n", msg.text);
}

static void test_values(void) {
    struct kit k = of("llama");
    kit_f32(&k, "llama.logit_scale", 1);
    kit_f32(&k, "llama.final_logit_softcapping", 0);
    kit_u32(&k, "llama.nextn_predict_layers", 0);
    kit_bool(&k, "llama.use_parallel_residual", 0);
    kit_text(&k, "general.type", "model");
    kit_bool(&k, "tokenizer.ggml.add_sep_token", 0); // llama.cpp puts the separator all the same
    kit_f32(&k, "qwen2.logit_scale", 3);             // another architecture's: nobody's
    passes(&k);
    k = of("llama");
    kit_f32(&k, "llama.logit_scale", 0.5f);
    refused(&k, "llama.logit_scale");
    k = of("qwen2");
    kit_f32(&k, "qwen2.final_logit_softcapping", 30);
    refused(&k, "qwen2.final_logit_softcapping");
    k = of("qwen3");
    kit_u32(&k, "qwen3.nextn_predict_layers", 1);
    refused(&k, "qwen3.nextn_predict_layers");
    k = of("llama");
    kit_bool(&k, "llama.use_parallel_residual", 1);
    refused(&k, "llama.use_parallel_residual");
    k = of("llama");
    kit_text(&k, "general.type", "adapter");
    refused(&k, "general.type");
    k = of("bert");
    kit_f32(&k, "bert.attention.max_alibi_bias", 8);
    refused(&k, "bert.attention.max_alibi_bias");
    k = of("bert");
    kit_f32(&k, "bert.rope.freq_base", 1000);
    refused(&k, "bert.rope.freq_base");
    k = of("llama");
    kit_f32(&k, "llama.rope.freq_base", 1000); // which a decoder reads
    passes(&k);
    k = of("qwen2");
    kit_i32s(&k, "qwen2.rope.dimension_sections", (int32_t[]){16, 24, 24, 0}, 4);
    refused(&k, "qwen2.rope.dimension_sections");
    k = of("llama");
    kit_u32(&k, "general.sampling.mirostat", 2);
    refused(&k, "general.sampling.mirostat");
}

static void collect(void *ctx, const char *key, enum key_fate fate) {
    static const char letters[] = {
        [KEY_HONOURED] = '+', [KEY_NO_EFFECT] = '0', [KEY_REFUSED] = '!', [KEY_UNKNOWN] = '?'};
    buf_printf(ctx, "%c%s ", letters[fate], key);
}

static void test_walk(void) {
    struct kit k = of("llama");
    kit_u32(&k, "llama.block_count", 2);
    kit_f32(&k, "llama.logit_scale", 2);
    kit_f32(&k, "llama.residual_scale", 1);
    kit_u32(&k, "llama.vocab_size", 9);
    kit_u32(&k, "llama.wings", 2);
    kit_u32(&k, "block_count", 2);
    kit_text(&k, "general.name", "x");
    struct buf file, seen = {0};
    struct gguf *g = parse(&k, &file);
    gguf_rules_walk(g, config_rules_of_gguf(g), collect, &seen);
    CHECK_STR(seen.data,
              "?block_count +general.architecture 0general.name +llama.block_count "
              "!llama.logit_scale 0llama.residual_scale 0llama.vocab_size ?llama.wings ");
    gguf_close(g);
    buf_free(&file);
    buf_free(&seen);
}

int main(void) {
    test_values();
    test_walk();
    return check_done();
}
