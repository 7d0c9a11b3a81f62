// See weights.h: a GGUF file's tensors under the names that Hugging Face gives them, so that models
// bind by one set of names. What has no such name keeps its own.
// Source followed: gguf-py's tensor_mapping.py in ggml-org/llama.cpp.
#include "base/mem.h"
#include "weights/gguf_keys.h"
#include "weights/weights_internal.h"

#include <stdio.h>
#include <string.h>

// The part of a name before ".weight" or ".bias"; of a layer's, what follows "blk.<number>.".
struct rename {
    const char *from, *to;
};

static const struct rename decoder_names[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
};
static const struct rename decoder_layer[] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};
static const struct rename bert_names[] = {
    {"token_embd", "embeddings.word_embeddings"},
    {"position_embd", "embeddings.position_embeddings"},
    {"token_types", "embeddings.token_type_embeddings"},
    {"token_embd_norm", "embeddings.LayerNorm"},
};
static const struct rename bert_layer[] = {
    {"attn_q", "attention.self.query"},
    {"attn_k", "attention.self.key"},
    {"attn_v", "attention.self.value"},
    {"attn_output", "attention.output.dense"},
    {"attn_output_norm", "attention.output.LayerNorm"},
    {"ffn_up", "intermediate.dense"},
    {"ffn_down", "output.dense"},
    {"layer_output_norm", "output.LayerNorm"},
};

struct naming {
    const char *architecture;
    const struct rename *names, *layer;
    size_t name_count, layer_count;
    const char *layer_prefix; // before the number
    bool rope_interleaved;    // the converter permutes the rows of q and k
};

#define COUNT(list) (sizeof(list) / sizeof *(list))
#define DECODER                                                                                    \
    decoder_names, decoder_layer, COUNT(decoder_names), COUNT(decoder_layer), "model.layers."

static const struct naming namings[] = {
    {"qwen2", DECODER, false},
    {"qwen3", DECODER, false},
    {"llama", DECODER, true},
    {"bert", bert_names, bert_layer, COUNT(bert_names), COUNT(bert_layer), "encoder.layer.", false},
};

static const char *find(const struct rename *list, size_t n, const char *stem, size_t len) {
    for (size_t i = 0; i < n; i++)
        if (strlen(list[i].from) == len && memcmp(list[i].from, stem, len) == 0)
            return list[i].to;
    return NULL;
}

// As snprintf.
static int translate(const struct naming *n, const char *name, char *to, size_t size) {
    const char *dot = strrchr(name, '.');
    if (!dot || (strcmp(dot, ".weight") != 0 && strcmp(dot, ".bias") != 0))
        return snprintf(to, size, "%s", name);
    if (strncmp(name, "blk.", 4) != 0) {
        const char *stem = find(n->names, n->name_count, name, (size_t)(dot - name));
        return stem ? snprintf(to, size, "%s%s", stem, dot) : snprintf(to, size, "%s", name);
    }
    const char *number = name + 4;
    size_t digits = strspn(number, "0123456789");
    const char *rest = number + digits + 1, *stem = NULL;
    if (digits > 0 && number[digits] == '.' && rest < dot)
        stem = find(n->layer, n->layer_count, rest, (size_t)(dot - rest));
    return stem ? snprintf(to, size, "%s%.*s.%s%s", n->layer_prefix, (int)digits, number, stem, dot)
                : snprintf(to, size, "%s", name);
}

static enum err choose_naming(const struct gguf *g, const struct naming **out, struct errmsg *msg) {
    const char *names[COUNT(namings)];
    struct gguf_keys k = {.g = g, .arch = "", .msg = msg};
    for (size_t i = 0; i < COUNT(namings); i++)
        names[i] = namings[i].architecture;
    *out = &namings[gguf_keys_choose(&k, names, COUNT(namings), "qwen2, qwen3, llama, bert are")];
    return k.failed;
}

enum err weights_list_gguf(struct weights *w, struct errmsg *msg) {
    const struct naming *n = NULL;
    enum err e = choose_naming(w->gguf, &n, msg);
    if (e)
        return e;
    w->rope_interleaved = n->rope_interleaved;
    size_t bytes = 0;
    for (size_t i = 0; i < w->count; i++)
        bytes += (size_t)translate(n, gguf_tensor_at(w->gguf, i).name, NULL, 0) + 1;
    w->names = mem_alloc(bytes, 1);
    if (!w->names)
        return err_set(msg, ERR_NOMEM, "%s: no memory for the names of %zu tensors", w->path,
                       w->count);
    char *at = w->names;
    for (size_t i = 0; i < w->count; i++) {
        struct tensor t = gguf_tensor_at(w->gguf, i);
        int len = translate(n, t.name, at, (size_t)(w->names + bytes - at));
        t.name = at;
        at += len + 1;
        w->entries[i] = (struct weights_entry){t, &w->shards[0], false};
    }
    return ERR_OK;
}
