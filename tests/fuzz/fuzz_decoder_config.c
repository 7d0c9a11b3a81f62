// Any bytes as a decoder's config.json: refused with a message, or what comes out lies within the
// ranges that the code after it counts on. Then as generation_config.json and the files beside it,
// each a member of the object by its name without ".json", or the object itself.
#include "weights/decoder_config_internal.h"
#include "weights/generation_config_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

static bool between(float v, float min, float max) { return isnan(v) || (v >= min && v <= max); }

static cJSON *member(cJSON *root, const char *name) {
    cJSON *m = cJSON_GetObjectItemCaseSensitive(root, name);
    return cJSON_IsObject(m) ? m : root;
}

static void read_generation(const char *text, size_t size) {
    cJSON *root = NULL;
    if (json_parse(text, size, &json_limits_file, &root, NULL, NULL) || !cJSON_IsObject(root)) {
        cJSON_Delete(root);
        return;
    }
    struct errmsg msg = {0};
    struct generation_sources s = {.folder = "no-such-folder",
                                   .vocab = 64,
                                   .generation = member(root, "generation_config"),
                                   .config = member(root, "config"),
                                   .tokenizer_config = member(root, "tokenizer_config"),
                                   .special_tokens = member(root, "special_tokens_map"),
                                   .msg = &msg};
    struct generation_config c = generation_config_empty();
    enum err e = generation_config_read_sources(&s, &c);
    must(!e || (msg.code == e && strncmp(msg.text, "no-such-folder/", 15) == 0));
    for (size_t i = 0; i < c.eos_count; i++) {
        must(c.eos_ids[i] >= 0 && c.eos_ids[i] < 64);
        for (size_t j = 0; j < i; j++)
            must(c.eos_ids[i] != c.eos_ids[j]);
    }
    must(between(c.temperature, 0, 1000) && between(c.top_p, 0, 1) && between(c.min_p, 0, 1));
    must(between(c.repetition_penalty, 1e-3F, 1e3F) && (e || c.top_k >= -1));
    must(!c.chat_template || strlen(c.chat_template) == c.chat_template_len);
    must(!c.tool_template || strlen(c.tool_template) == c.tool_template_len);
    generation_config_free(&c);
    cJSON_Delete(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_init();
    read_generation((const char *)data, size);
    struct decoder_config c;
    struct errmsg msg = {0};
    enum err e = decoder_config_parse("c", (const char *)data, size, &c, &msg);
    if (e) {
        must(msg.code == e && strncmp(msg.text, "c: ", 3) == 0);
        return 0;
    }
    must(c.hidden && c.layers && c.heads && c.kv_heads && c.ffn && c.vocab && c.max_positions);
    must(c.heads % c.kv_heads == 0 && c.norm_eps > 0 && c.architecture[0]);
    must(c.head_dim && c.head_dim % 2 == 0 && c.head_dim <= DECODER_MAX_HEAD_DIM);
    must(c.max_positions <= DECODER_MAX_POSITIONS);
    must(c.window_from < c.layers && (c.window || !c.window_from));
    const struct decoder_rope *r = &c.rope;
    must(r->theta >= DECODER_MIN_THETA && r->theta <= DECODER_MAX_THETA);
    must(r->scaling == DECODER_ROPE_NONE || (r->factor >= 1 && r->factor <= DECODER_MAX_FACTOR));
    if (r->scaling == DECODER_ROPE_LLAMA3)
        must(r->low_freq_factor > 0 && r->high_freq_factor > r->low_freq_factor);
    if (r->scaling == DECODER_ROPE_YARN)
        must(r->beta_fast > 0 && r->beta_slow > 0 && r->original_max_positions);
    return 0;
}
