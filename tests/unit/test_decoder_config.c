// Configurations of decoders and encoders: config.json in both spellings, GGUF metadata, and what
// is refused by name (FAULTS 50, 54).
#include "base/fault.h"
#include "base/json.h"
#include "tests/unit/test_gguf_kit.h"
#include "weights/decoder_config.h"
#include "weights/model_config.h"

static struct decoder_config good(const char *text) {
    struct errmsg msg = {0};
    struct decoder_config c;
    CHECK_OK(decoder_config_parse("c", text, strlen(text), &c, &msg), msg);
    return c;
}

static void refused(const char *text, enum err want, const char *part) {
    struct errmsg msg = {0};
    struct decoder_config c;
    CHECK_ERROR(decoder_config_parse("c", text, strlen(text), &c, &msg), want, msg, part);
    CHECK(strncmp(msg.text, "c: ", 3) == 0);
}

#define Q2 "{\"architectures\":[\"Qwen2ForCausalLM\"],"
#define Q3 "{\"architectures\":[\"Qwen3ForCausalLM\"],"
#define LL "{\"architectures\":[\"LlamaForCausalLM\"],"
#define MI "{\"architectures\":[\"MistralForCausalLM\"],"

static void test_shapes(void) {
    struct decoder_config c =
        good(Q2 "\"hidden_size\":896,\"num_hidden_layers\":24,\"num_attention_heads\":14,"
                "\"num_key_value_heads\":2,\"intermediate_size\":4864,\"vocab_size\":151936,"
                "\"max_position_embeddings\":32768,\"rms_norm_eps\":1e-06,\"rope_theta\":1000000.0,"
                "\"rope_scaling\":null,\"tie_word_embeddings\":true,\"torch_dtype\":\"bfloat16\","
                "\"sliding_window\":32768,\"use_sliding_window\":false,\"max_window_layers\":21}");
    CHECK(c.arch == DECODER_ARCH_QWEN2 && c.causal_lm && c.hidden == 896 && c.layers == 24);
    CHECK(c.heads == 14 && c.kv_heads == 2 && c.head_dim == 64 && c.ffn == 4864);
    CHECK(c.vocab == 151936 && c.max_positions == 32768 && c.rope.theta == 1e6 && c.tied);
    CHECK(c.qkv_bias && !c.o_bias && !c.mlp_bias && !c.qk_norm && c.window == 0);
    CHECK(c.norm_eps == 1e-6f && c.rope.scaling == DECODER_ROPE_NONE);
    CHECK_STR(c.architecture, "Qwen2ForCausalLM");

    c = good("{\"architectures\":[\"Qwen3Model\"]}");
    CHECK(c.arch == DECODER_ARCH_QWEN3 && !c.causal_lm && c.head_dim == 128 && c.qk_norm);
    CHECK(!c.qkv_bias && !c.tied && c.kv_heads == 32 && c.rope.theta == 1e4);
    c = good(Q3 "\"attention_bias\":true,\"head_dim\":64}");
    CHECK(c.qkv_bias && c.o_bias && !c.mlp_bias && c.head_dim == 64);
    c = good(LL "\"attention_bias\":true,\"mlp_bias\":true}");
    CHECK(c.qkv_bias && c.o_bias && c.mlp_bias && c.kv_heads == 32 && c.max_positions == 2048);
    c = good(LL "\"head_dim\":null,\"num_key_value_heads\":null,\"pretraining_tp\":1}");
    CHECK(c.head_dim == 128 && c.kv_heads == 32);
    c = good(MI "\"num_key_value_heads\":null}");
    CHECK_INT(c.kv_heads, 32);
    c = good("{\"model_type\":\"mistral\"}");
    CHECK(c.arch == DECODER_ARCH_MISTRAL && c.causal_lm && c.kv_heads == 8);

    refused("{\"architectures\":[\"Phi3ForCausalLM\"]}", ERR_UNSUPPORTED,
            "architecture 'Phi3ForCausalLM' is not supported (Qwen2ForCausalLM,");
    refused(LL "\"model_type\":\"gemma\"}", ERR_UNSUPPORTED,
            "model_type 'gemma' contradicts the architecture 'LlamaForCausalLM', which is of");
    refused(Q3 "\"model_type\":\"llama\"}", ERR_UNSUPPORTED, "which is of 'qwen3'");
    refused("{\"architectures\":[\"Qwen2Model\"],\"model_type\":\"qwen3\"}", ERR_UNSUPPORTED,
            "contradicts the architecture 'Qwen2Model', which is of 'qwen2'");
    c = good(MI "\"model_type\":\"mistral\"}");
    CHECK_INT(c.arch, DECODER_ARCH_MISTRAL);
    refused("{\"model_type\":\"phi3\"}", ERR_UNSUPPORTED, "model_type 'phi3' is not supported");
    refused("{}", ERR_INVALID, "neither 'architectures' nor 'model_type'");
    refused("[]", ERR_INVALID, "not a JSON object");
    refused("{", ERR_INVALID, "");
    refused(Q2 "\"hidden_size\":0}", ERR_INVALID, "'hidden_size'");
    refused(Q2 "\"num_hidden_layers\":5000}", ERR_INVALID, "'num_hidden_layers'");
    refused(Q2 "\"num_attention_heads\":1.5}", ERR_INVALID, "'num_attention_heads'");
    refused(Q2 "\"hidden_size\":4097}", ERR_INVALID, "32 attention heads do not divide the hidden");
    refused(Q2 "\"num_key_value_heads\":5}", ERR_INVALID, "5 key/value heads do not divide 32");
    refused(Q2 "\"head_dim\":63}", ERR_INVALID, "a head's size is 63");
    refused(Q2 "\"hidden_act\":\"gelu\"}", ERR_UNSUPPORTED, "hidden_act 'gelu'");
    refused(Q2 "\"quantization_config\":{}}", ERR_UNSUPPORTED, "'quantization_config'");
    refused(Q2 "\"is_causal\":false}", ERR_UNSUPPORTED, "'is_causal'");
    refused(Q2 "\"rms_norm_eps\":0}", ERR_INVALID, "'rms_norm_eps'");
}

static void test_windows(void) {
    struct decoder_config c =
        good(Q2 "\"num_hidden_layers\":4,\"use_sliding_window\":true,\"sliding_window\":100,"
                "\"max_window_layers\":3}");
    CHECK(c.window == 100 && c.window_from == 3);
    c = good(Q2 "\"num_hidden_layers\":4,\"use_sliding_window\":true,\"sliding_window\":100,"
                "\"max_window_layers\":4}");
    CHECK(c.window == 0 && c.window_from == 0);
    c = good(Q2 "\"num_hidden_layers\":3,\"use_sliding_window\":true,\"sliding_window\":100,"
                "\"max_window_layers\":0,\"layer_types\":[\"full_attention\",\"full_attention\","
                "\"sliding_attention\"]}");
    CHECK(c.window == 100 && c.window_from == 2);
    c = good(Q3 "\"num_hidden_layers\":1,\"layer_types\":[\"full_attention\"]}");
    CHECK_INT(c.window, 0);
    c = good(MI "\"sliding_window\":null}");
    CHECK_INT(c.window, 0);
    c = good(MI "\"sliding_window\":19}");
    CHECK(c.window == 19 && c.window_from == 0);
    c = good(MI "\"num_hidden_layers\":2,\"sliding_window\":19,\"layer_types\":[\"full_attention\","
                "\"full_attention\"]}");
    CHECK_INT(c.window, 0);
    c = good(MI "\"num_hidden_layers\":2,\"sliding_window\":19,\"layer_types\":[\"full_attention\","
                "\"sliding_attention\"]}");
    CHECK(c.window == 19 && c.window_from == 1);
    refused(MI
            "\"num_hidden_layers\":2,\"layer_types\":[\"sliding_attention\",\"full_attention\"]}",
            ERR_UNSUPPORTED, "full_attention behind sliding_attention");
    refused(MI "\"num_hidden_layers\":1,\"sliding_window\":null,\"layer_types\":"
               "[\"sliding_attention\"]}",
            ERR_INVALID, "no 'sliding_window' is used");
    c = good("{\"architectures\":[\"MistralModel\"]}");
    CHECK(c.window == 4096 && !c.causal_lm);
    c = good(LL "\"sliding_window\":5}");
    CHECK_INT(c.window, 0);
    refused(Q2 "\"num_hidden_layers\":2,\"layer_types\":[\"full_attention\"]}", ERR_INVALID,
            "'layer_types' must be an array of 2 strings");
    refused(Q2 "\"num_hidden_layers\":1,\"layer_types\":[\"linear_attention\"]}", ERR_UNSUPPORTED,
            "layer_types[0] 'linear_attention'");
    refused(Q2 "\"num_hidden_layers\":1,\"layer_types\":[\"sliding_attention\"]}", ERR_INVALID,
            "no 'sliding_window' is used");
    refused(Q2 "\"num_hidden_layers\":2,\"use_sliding_window\":true,\"layer_types\":"
               "[\"sliding_attention\",\"full_attention\"]}",
            ERR_UNSUPPORTED, "full_attention behind sliding_attention");
    refused(MI "\"sliding_window\":0}", ERR_INVALID, "'sliding_window'");
}

static void test_rope(void) {
    // the same in the spelling of transformers 5 and of 4
    static const char *const llama3[] = {
        LL "\"max_position_embeddings\":131072,\"rope_parameters\":{\"rope_type\":\"llama3\","
           "\"rope_theta\":500000.0,\"factor\":8.0,\"low_freq_factor\":1.0,"
           "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":8192}}",
        LL "\"max_position_embeddings\":131072,\"rope_theta\":500000.0,\"rope_scaling\":{"
           "\"type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
           "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":8192}}"};
    for (size_t i = 0; i < 2; i++) {
        struct decoder_config c = good(llama3[i]);
        CHECK(c.rope.scaling == DECODER_ROPE_LLAMA3 && c.rope.theta == 5e5 && c.rope.factor == 8);
        CHECK(c.rope.low_freq_factor == 1 && c.rope.high_freq_factor == 4);
        CHECK(c.rope.original_max_positions == 8192 && c.max_positions == 131072);
    }
    struct decoder_config c =
        good(Q2 "\"rope_theta\":2e6,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0,"
                "\"original_max_position_embeddings\":32768}}");
    CHECK(c.rope.scaling == DECODER_ROPE_YARN && c.rope.theta == 2e6 && c.rope.factor == 4);
    CHECK(c.rope.beta_fast == 32 && c.rope.beta_slow == 1 && c.rope.truncate);
    CHECK(c.rope.attention_factor == 0 && c.rope.mscale == 0 && c.max_positions == 131072);
    c = good(Q2 "\"max_position_embeddings\":4096,\"rope_parameters\":{\"rope_type\":\"yarn\","
                "\"factor\":null,\"rope_theta\":1e4,\"beta_fast\":16,\"truncate\":false,"
                "\"mscale\":0.7,\"mscale_all_dim\":1.0,\"attention_factor\":1.2,"
                "\"original_max_position_embeddings\":1024}}");
    CHECK(c.rope.factor == 4 && c.rope.beta_fast == 16 && !c.rope.truncate);
    CHECK(c.rope.mscale == 0.7 && c.rope.attention_factor == 1.2 && c.max_positions == 4096);
    c = good(LL "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}}");
    CHECK(c.rope.scaling == DECODER_ROPE_LINEAR && c.rope.factor == 2.5);
    c = good(LL "\"rope_scaling\":{},\"rope_parameters\":{\"rope_theta\":77}}");
    CHECK(c.rope.theta == 77 && c.rope.scaling == DECODER_ROPE_NONE);

    static const char *const kinds[] = {"dynamic", "longrope", "su", "mrope", "proportional"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char text[160], part[80];
        snprintf(text, sizeof text, LL "\"rope_scaling\":{\"rope_type\":\"%s\",\"factor\":2}}",
                 kinds[i]);
        snprintf(part, sizeof part, "rope type '%s' is not supported (default, linear", kinds[i]);
        refused(text, ERR_UNSUPPORTED, part);
    }
    refused(LL "\"rope_scaling\":{\"type\":\"linear\"}}", ERR_INVALID, "'factor' of rope scaling");
    refused(LL "\"rope_scaling\":{\"type\":\"linear\",\"factor\":0.5}}", ERR_INVALID, "'factor'");
    refused(LL "\"rope_scaling\":7}", ERR_INVALID, "must be objects");
    refused(LL "\"rope_scaling\":{\"type\":\"llama3\",\"factor\":2}}", ERR_INVALID,
            "'low_freq_factor' (0) must be there");
    refused(LL "\"rope_scaling\":{\"type\":\"llama3\",\"factor\":2,\"low_freq_factor\":4,"
               "\"high_freq_factor\":4}}",
            ERR_INVALID, "must be there and below 'high_freq_factor' (4)");
    refused(LL "\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1e4}}}", ERR_UNSUPPORTED,
            "by layer type ('full_attention')");
    refused(LL "\"partial_rotary_factor\":0.5,\"rope_parameters\":{\"rope_theta\":1e4}}",
            ERR_UNSUPPORTED, "partial_rotary_factor 0.5");
    refused(LL "\"rope_theta\":1}", ERR_INVALID, "'rope_theta'");
}

static void add_shapes(struct kit *k, const char *arch) {
    char key[80];
    static const struct {
        const char *name;
        uint32_t value;
    } counts[] = {{"embedding_length", 64},
                  {"block_count", 2},
                  {"feed_forward_length", 96},
                  {"attention.head_count", 4},
                  {"context_length", 128}};
    kit_text(k, "general.architecture", arch);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        snprintf(key, sizeof key, "%s.%s", arch, counts[i].name);
        kit_u32(k, key, counts[i].value);
    }
    kit_tensor(k, "token_embd.weight", 5, 64, 8, 5 * 68);
}

static enum err load(struct kit *k, struct temp_folder *t, struct decoder_config *c,
                     struct errmsg *msg) {
    kit_write(k, t, "m.gguf");
    return decoder_config_load(temp_path(t, "m.gguf"), c, msg);
}

static void test_gguf(struct temp_folder *t) {
    struct errmsg msg = {0};
    struct decoder_config c;
    struct kit k = {0};
    add_shapes(&k, "qwen2");
    kit_f32(&k, "qwen2.attention.layer_norm_rms_epsilon", 1e-6f);
    kit_u32(&k, "qwen2.attention.head_count_kv", 2);
    kit_f32(&k, "qwen2.rope.freq_base", 1e6f);
    kit_text(&k, "qwen2.rope.scaling.type", "yarn");
    kit_f32(&k, "qwen2.rope.scaling.factor", 4);
    kit_u32(&k, "qwen2.rope.scaling.original_context_length", 64);
    kit_tensor(&k, "blk.0.attn_q.bias", 0, 64, 0, 256);
    CHECK_OK(load(&k, t, &c, &msg), msg);
    CHECK(c.arch == DECODER_ARCH_QWEN2 && c.causal_lm && c.hidden == 64 && c.layers == 2);
    CHECK(c.heads == 4 && c.kv_heads == 2 && c.head_dim == 16 && c.ffn == 96 && c.vocab == 5);
    CHECK(c.tied && c.qkv_bias && !c.o_bias && c.norm_eps == 1e-6f && c.rope.theta == 1e6);
    CHECK(c.rope.scaling == DECODER_ROPE_YARN && c.max_positions == 256 && c.rope.truncate);
    CHECK(decoder_config_is_decoder(temp_path(t, "m.gguf")));

    add_shapes(&k, "llama");
    kit_f32(&k, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    kit_u32(&k, "llama.attention.key_length", 24);
    kit_u32(&k, "llama.attention.value_length", 24);
    kit_u32(&k, "llama.rope.dimension_count", 24);
    kit_f32(&k, "llama.rope.scaling.factor", 2);
    kit_tensor(&k, "output.weight", 5, 64, 8, 340);
    CHECK_OK(load(&k, t, &c, &msg), msg);
    CHECK(c.head_dim == 24 && !c.tied && c.kv_heads == 4 && c.rope.theta == 1e4);
    CHECK(c.rope.scaling == DECODER_ROPE_LINEAR && c.rope.factor == 2 && !c.qkv_bias);

    add_shapes(&k, "qwen3");
    kit_f32(&k, "qwen3.attention.layer_norm_rms_epsilon", 1e-6f);
    kit_u32(&k, "qwen3.pooling_type", 3);
    CHECK_OK(load(&k, t, &c, &msg), msg);
    CHECK(!c.causal_lm && c.qk_norm);

    add_shapes(&k, "qwen3");
    CHECK_ERROR(load(&k, t, &c, &msg), ERR_INVALID, msg,
                "key 'qwen3.attention.layer_norm_rms_epsilon' is missing");
    add_shapes(&k, "llama");
    kit_f32(&k, "llama.attention.layer_norm_rms_epsilon", 1e-6f);
    kit_u32(&k, "llama.expert_count", 8);
    CHECK_ERROR(load(&k, t, &c, &msg), ERR_UNSUPPORTED, msg, "a mixture of experts");
    add_shapes(&k, "llama");
    kit_f32(&k, "llama.attention.layer_norm_rms_epsilon", 1e-6f);
    kit_u32(&k, "llama.rope.dimension_count", 8);
    CHECK_ERROR(load(&k, t, &c, &msg), ERR_UNSUPPORTED, msg, "rope.dimension_count 8 differ");
    add_shapes(&k, "qwen2");
    kit_f32(&k, "qwen2.attention.layer_norm_rms_epsilon", 1e-6f);
    kit_text(&k, "qwen2.rope.scaling.type", "longrope");
    CHECK_ERROR(load(&k, t, &c, &msg), ERR_UNSUPPORTED, msg, "'longrope' is not supported (none");
    add_shapes(&k, "qwen2");
    kit_f32(&k, "qwen2.attention.layer_norm_rms_epsilon", 1e-6f);
    kit_bool(&k, "qwen2.attention.causal", 0);
    CHECK_ERROR(load(&k, t, &c, &msg), ERR_UNSUPPORTED, msg, "not causal");
    add_shapes(&k, "gemma3");
    CHECK_ERROR(load(&k, t, &c, &msg), ERR_UNSUPPORTED, msg,
                "architecture 'gemma3' is not supported (qwen2, qwen3, llama are");
    CHECK(!decoder_config_is_decoder(temp_path(t, "m.gguf")));
    kit_text(&k, "general.architecture", "llama");
    CHECK_ERROR(load(&k, t, &c, &msg), ERR_INVALID, msg, "'llama.embedding_length' is missing");
}

static void test_bert_gguf(struct temp_folder *t) {
    struct errmsg msg = {0};
    struct model_config c;
    struct kit k = {0};
    add_shapes(&k, "bert");
    kit_f32(&k, "bert.attention.layer_norm_epsilon", 1e-12f);
    kit_bool(&k, "bert.attention.causal", 0);
    kit_tensor(&k, "token_types.weight", 2, 64, 0, 512);
    kit_write(&k, t, "b.gguf");
    CHECK_OK(model_config_load(temp_path(t, "b.gguf"), &c, &msg), msg);
    CHECK(c.arch == MODEL_ARCH_BERT && !c.classification && c.hidden == 64 && c.layers == 2);
    CHECK(c.heads == 4 && c.ffn == 96 && c.vocab == 5 && c.max_positions == 128);
    CHECK(c.type_vocab == 2 && c.activation == ACTIVATION_GELU && c.norm_eps == 1e-12f);
    model_config_free(&c);
    CHECK(!decoder_config_is_decoder(temp_path(t, "b.gguf")));
    add_shapes(&k, "bert");
    kit_write(&k, t, "b.gguf");
    CHECK_ERROR(model_config_load(temp_path(t, "b.gguf"), &c, &msg), ERR_INVALID, msg,
                "tensor 'token_types.weight' of two dimensions is missing");
    add_shapes(&k, "nomic-bert");
    kit_write(&k, t, "b.gguf");
    CHECK_ERROR(model_config_load(temp_path(t, "b.gguf"), &c, &msg), ERR_UNSUPPORTED, msg,
                "architecture 'nomic-bert' is not supported (bert is");
}

static void test_folder(struct temp_folder *t) {
    struct errmsg msg = {0};
    struct decoder_config c;
    CHECK_ERROR(decoder_config_load(t->path, &c, &msg), ERR_NOT_FOUND, msg, "/config.json: ");
    CHECK(!decoder_config_is_decoder(t->path) && !decoder_config_is_decoder("build/none"));
    temp_text(t, "config.json", "{\"architectures\":[\"BertModel\"]}");
    CHECK(!decoder_config_is_decoder(t->path));
    temp_text(t, "config.json", "{\"architectures\":[\"Phi3ForCausalLM\"]}");
    CHECK(decoder_config_is_decoder(t->path));
    temp_text(t, "config.json", LL "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}");
    CHECK(decoder_config_is_decoder(t->path));
    for (long n = 1;; n++) {
        fault_arm(FAULT_ALLOC, n, false);
        enum err e = decoder_config_load(t->path, &c, &msg);
        bool reached = fault_calls(FAULT_ALLOC) >= n;
        fault_disarm();
        if (!reached) {
            CHECK_OK(e, msg);
            break;
        }
        CHECK_INT(e, ERR_NOMEM);
    }
}

int main(void) {
    json_init();
    struct temp_folder t = temp_new();
    test_shapes();
    test_windows();
    test_rope();
    test_gguf(&t);
    test_bert_gguf(&t);
    test_folder(&t);
    temp_free(&t);
    return check_done();
}
