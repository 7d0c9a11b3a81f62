// See model_config_internal.h: an encoder's keys. What an architecture has beside BERT's is a table
// here, names of its tensors in encoder/bind.c.
#include "weights/config_keys.h"
#include "weights/gguf_rules.h"
#include "weights/model_config_internal.h"

#define WITH_HEAD KEY_WHEN(struct model_config, classification)

// transformers activations.py ACT2CLS; gelu_fast and gelu_accurate are the tanh form spelled anew.
static const struct key_choice activations[] = {
    {"gelu", ACTIVATION_GELU},
    {"gelu_python", ACTIVATION_GELU},
    {"gelu_new", ACTIVATION_GELU_TANH},
    {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH},
    {"gelu_python_tanh", ACTIVATION_GELU_TANH},
    {"gelu_fast", ACTIVATION_GELU_TANH},
    {"gelu_accurate", ACTIVATION_GELU_TANH},
    {"relu", ACTIVATION_RELU},
    {"silu", ACTIVATION_SILU},
    {"swish", ACTIVATION_SILU},
    {"tanh", ACTIVATION_TANH},
    {NULL, 0},
};

static const struct key_choice problem_types[] = {
    {"multi_label_classification", MODEL_SCORES_SIGMOID},
    {"single_label_classification", MODEL_SCORES_SOFTMAX},
    {"regression", MODEL_SCORES_LOGITS},
    {NULL, 0},
};

// What sentence-transformers keeps in the config of a CrossEncoder.
static const struct key_rule cross_encoder_list[] = {
    {.name = "activation_fn", .fate = KEY_HONOURED}, // trine rerank --native
    {.name = "version", .fate = KEY_NO_EFFECT},
};
static const struct key_rules cross_encoder = {KEY_RULES(cross_encoder_list)};

static const struct key_rule encoder_list[] = {
    {.name = "vocab_size", KEY_COUNT(struct model_config, vocab, MODEL_MAX_VOCAB, 30522)},
    {.name = "max_position_embeddings",
     KEY_COUNT(struct model_config, max_positions, MODEL_MAX_POSITIONS, 512)},
    {.name = "num_labels",
     KEY_COUNT(struct model_config, labels, MODEL_MAX_LABELS, 0),
     .when = WITH_HEAD},
    {.name = "id2label", KEY_NODE(struct model_said, id2label), .when = WITH_HEAD},
    {.name = "problem_type",
     KEY_CHOICE(struct model_config, scores, problem_types, MODEL_SCORES_SOFTMAX),
     .when = WITH_HEAD},
    {.name = "sentence_transformers", .fate = KEY_HONOURED, .inner = &cross_encoder},
    {.name = "sbert_ce_default_activation_function", .fate = KEY_HONOURED},
    {.name = "label2id", .fate = KEY_NO_EFFECT}, // id2label the other way round
    {.name = "_num_labels", .fate = KEY_NO_EFFECT},
    {.name = "tie_word_embeddings", .fate = KEY_NO_EFFECT}, // of the heads of pretraining
    {.name = "prefix", .fate = KEY_NO_EFFECT},
    {.name = "eos_token_id", .fate = KEY_NO_EFFECT},
    {.name = "is_decoder", .fate = KEY_REFUSED, .neutral = "false"},
    {.name = "is_causal", .fate = KEY_REFUSED, .neutral = "false"},
    {.name = "alibi_starting_size", .fate = KEY_REFUSED, .neutral = "0"},
    {.name = "rope_*", .fate = KEY_REFUSED},
    {.name = "rotary_*", .fate = KEY_REFUSED, .neutral = "0|false"},
    {.name = "embedding_size", .fate = KEY_REFUSED}, // ELECTRA's and ALBERT's factors
    {.name = "num_hidden_groups", .fate = KEY_REFUSED},
    {.name = "adapters", .fate = KEY_REFUSED, .neutral = "{}"},
};
static const struct key_rules encoder = {KEY_RULES(encoder_list), &config_keys_common};

static const struct key_rule bert_list[] = {
    {.name = "hidden_size", KEY_COUNT(struct model_config, hidden, MODEL_MAX_HIDDEN, 768)},
    {.name = "num_hidden_layers", KEY_COUNT(struct model_config, layers, MODEL_MAX_LAYERS, 12)},
    {.name = "num_attention_heads", KEY_COUNT(struct model_config, heads, MODEL_MAX_HIDDEN, 12)},
    {.name = "intermediate_size", KEY_COUNT(struct model_config, ffn, MODEL_MAX_FFN, 3072)},
    {.name = "type_vocab_size", KEY_COUNT(struct model_config, type_vocab, MODEL_MAX_TYPES, 2)},
    {.name = "layer_norm_eps", KEY_FLOAT(struct model_config, norm_eps, 1e-30, 0.1, 1e-12)},
    {.name = "hidden_act",
     KEY_CHOICE(struct model_config, activation, activations, ACTIVATION_GELU)},
    {.name = "hidden_dropout_prob", .fate = KEY_NO_EFFECT},
    {.name = "attention_probs_dropout_prob", .fate = KEY_NO_EFFECT},
    {.name = "classifier_dropout", .fate = KEY_NO_EFFECT},
    {.name = "directionality", .fate = KEY_NO_EFFECT}, // Google's multilingual BERT has these
    {.name = "pooler_*", .fate = KEY_NO_EFFECT},
    {.name = "position_embedding_type", .fate = KEY_REFUSED, .neutral = "\"absolute\""},
};
static const struct key_rules bert = {KEY_RULES(bert_list), &encoder};

// The shapes have both spellings. The epsilon of norms is fixed in its code.
static const struct key_rule distilbert_list[] = {
    {.name = "dim",
     .other = "hidden_size",
     KEY_COUNT(struct model_config, hidden, MODEL_MAX_HIDDEN, 768)},
    {.name = "n_layers",
     .other = "num_hidden_layers",
     KEY_COUNT(struct model_config, layers, MODEL_MAX_LAYERS, 6)},
    {.name = "n_heads",
     .other = "num_attention_heads",
     KEY_COUNT(struct model_config, heads, MODEL_MAX_HIDDEN, 12)},
    {.name = "hidden_dim", KEY_COUNT(struct model_config, ffn, MODEL_MAX_FFN, 3072)},
    {.name = "activation",
     KEY_CHOICE(struct model_config, activation, activations, ACTIVATION_GELU)},
    {.name = "dropout", .fate = KEY_NO_EFFECT},
    {.name = "attention_dropout", .fate = KEY_NO_EFFECT},
    {.name = "qa_dropout", .fate = KEY_NO_EFFECT},
    {.name = "seq_classif_dropout", .fate = KEY_NO_EFFECT},
    {.name = "sinusoidal_pos_embds",
     .fate = KEY_NO_EFFECT}, // how the table was made; it is a tensor
};
static const struct key_rules distilbert = {KEY_RULES(distilbert_list), &encoder};

const struct key_rules *model_config_keys(enum model_arch arch) {
    static const struct key_rules *const all[] = {
        [MODEL_ARCH_BERT] = &bert, [MODEL_ARCH_DISTILBERT] = &distilbert};
    return all[arch];
}

// ---- GGUF ----

static const struct key_rule gguf_list[] = {
    GGUF_SHAPES(struct model_config, MODEL_MAX_HIDDEN, MODEL_MAX_LAYERS, MODEL_MAX_FFN,
                MODEL_MAX_POSITIONS),
    {.name = "attention.causal", KEY_EXPECT(false, "a causal encoder is not supported")},
    {.name = "attention.layer_norm_epsilon",
     KEY_FLOAT(struct model_config, norm_eps, 1e-30, 0.1, 1e-12)},
    {.name = "attention.head_count_kv", .fate = KEY_NO_EFFECT}, // BERT has as many as heads
    {.name = "pooling_type", .fate = KEY_HONOURED},             // pooling/modules_gguf.c
    {.name = "rope.*", .fate = KEY_REFUSED},
};
const struct key_rules model_config_gguf_keys = {KEY_RULES(gguf_list), &gguf_arch_keys};
