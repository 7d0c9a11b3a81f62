// Writes a model of a real shape with random weights: config.json and model.safetensors (bf16), for
// benches on machines to which no real one is brought. The numbers come from a counter, so that the
// same shape is the same file everywhere: value i of a file is spread evenly over +-limit by the
// i-th state of splitmix64; scales are 1, shifts and biases are small.
// Usage: random_model SHAPE FOLDER      (SHAPE: one of the table below; FOLDER exists)
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct shape {
    const char *name;
    bool decoder;
    size_t hidden, layers, heads, kv_heads, ffn, vocab, positions;
    bool tied;
    double rope_theta;
};

static const struct shape shapes[] = {
    {"bge-small", false, 384, 12, 12, 12, 1536, 30522, 512, true, 0},
    {"bge-base", false, 768, 12, 12, 12, 3072, 30522, 512, true, 0},
    {"bge-large", false, 1024, 24, 16, 16, 4096, 30522, 512, true, 0},
    {"qwen2.5-0.5b", true, 896, 24, 14, 2, 4864, 151936, 32768, true, 1e6},
    {"qwen2.5-1.5b", true, 1536, 28, 12, 2, 8960, 151936, 32768, true, 1e6},
    {"qwen2.5-7b", true, 3584, 28, 28, 4, 18944, 152064, 32768, false, 1e6},
    {"tiny-bert", false, 64, 2, 2, 2, 128, 200, 512, true, 0},
    {"tiny-qwen2", true, 64, 2, 4, 2, 96, 200, 2048, true, 1e4},
};

enum { NAME_MOST = 96, VALUES_AT_ONCE = 1 << 18 };

struct writer {
    FILE *out;
    bool header;     // names and places are written, not the numbers
    uint64_t offset; // of the next tensor
    uint64_t state;
    bool first;
};

static void die(const char *what) {
    fprintf(stderr, "random_model: %s\n", what);
    exit(1);
}

static uint64_t next(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

static uint16_t bf16_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Numbers about `middle`, at most `limit` from it: 256 levels, of which a table has the bf16 form.
static void write_numbers(struct writer *w, size_t n, float middle, float limit) {
    static uint16_t values[VALUES_AT_ONCE];
    uint16_t level[256];
    for (int i = 0; i < 256; i++)
        level[i] = bf16_of(middle + limit * ((float)i - 127.5F) / 127.5F);
    while (n > 0) {
        size_t some = n < VALUES_AT_ONCE ? n : VALUES_AT_ONCE;
        for (size_t i = 0; i < some; i += 8) {
            uint64_t bits = next(&w->state);
            for (size_t k = 0; k < 8 && i + k < some; k++)
                values[i + k] = level[bits >> (8 * k) & 255];
        }
        if (fwrite(values, sizeof *values, some, w->out) != some)
            die("cannot write the weights");
        n -= some;
    }
}

// cols 0: a vector.
static void tensor(struct writer *w, const char *name, size_t rows, size_t cols, float middle,
                   float limit) {
    size_t n = rows * (cols ? cols : 1);
    if (!w->header) {
        write_numbers(w, n, middle, limit);
        return;
    }
    fprintf(w->out, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[%zu", w->first ? "" : ",", name, rows);
    if (cols)
        fprintf(w->out, ",%zu", cols);
    fprintf(w->out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", w->offset, w->offset + 2 * n);
    w->offset += 2 * n;
    w->first = false;
}

static void linear(struct writer *w, const char *prefix, const char *name, size_t out, size_t in,
                   bool bias) {
    char full[NAME_MOST];
    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    tensor(w, full, out, in, 0, 0.04F);
    snprintf(full, sizeof full, "%s%s.bias", prefix, name);
    if (bias)
        tensor(w, full, out, 0, 0, 0.01F);
}

static void norm(struct writer *w, const char *prefix, const char *name, size_t width, bool shift) {
    char full[NAME_MOST];
    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    tensor(w, full, width, 0, 1, 0.01F);
    snprintf(full, sizeof full, "%s%s.bias", prefix, name);
    if (shift)
        tensor(w, full, width, 0, 0, 0.01F);
}

static void encoder_tensors(struct writer *w, const struct shape *s) {
    char layer[NAME_MOST / 2];
    size_t D = s->hidden;
    tensor(w, "embeddings.word_embeddings.weight", s->vocab, D, 0, 0.04F);
    tensor(w, "embeddings.position_embeddings.weight", s->positions, D, 0, 0.04F);
    tensor(w, "embeddings.token_type_embeddings.weight", 2, D, 0, 0.04F);
    norm(w, "embeddings.", "LayerNorm", D, true);
    for (size_t i = 0; i < s->layers; i++) {
        snprintf(layer, sizeof layer, "encoder.layer.%zu.", i);
        linear(w, layer, "attention.self.query", D, D, true);
        linear(w, layer, "attention.self.key", D, D, true);
        linear(w, layer, "attention.self.value", D, D, true);
        linear(w, layer, "attention.output.dense", D, D, true);
        norm(w, layer, "attention.output.LayerNorm", D, true);
        linear(w, layer, "intermediate.dense", s->ffn, D, true);
        linear(w, layer, "output.dense", D, s->ffn, true);
        norm(w, layer, "output.LayerNorm", D, true);
    }
}

static void decoder_tensors(struct writer *w, const struct shape *s) {
    char layer[NAME_MOST / 2];
    size_t D = s->hidden, q = D, kv = D / s->heads * s->kv_heads;
    tensor(w, "model.embed_tokens.weight", s->vocab, D, 0, 0.04F);
    for (size_t i = 0; i < s->layers; i++) {
        snprintf(layer, sizeof layer, "model.layers.%zu.", i);
        norm(w, layer, "input_layernorm", D, false);
        linear(w, layer, "self_attn.q_proj", q, D, true);
        linear(w, layer, "self_attn.k_proj", kv, D, true);
        linear(w, layer, "self_attn.v_proj", kv, D, true);
        linear(w, layer, "self_attn.o_proj", D, q, false);
        norm(w, layer, "post_attention_layernorm", D, false);
        linear(w, layer, "mlp.gate_proj", s->ffn, D, false);
        linear(w, layer, "mlp.up_proj", s->ffn, D, false);
        linear(w, layer, "mlp.down_proj", D, s->ffn, false);
    }
    norm(w, "model.", "norm", D, false);
    if (!s->tied)
        tensor(w, "lm_head.weight", s->vocab, D, 0, 0.04F);
}

static void tensors(struct writer *w, const struct shape *s) {
    w->first = true;
    w->offset = 0;
    if (s->decoder)
        decoder_tensors(w, s);
    else
        encoder_tensors(w, s);
}

static FILE *create(const char *folder, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (!f)
        die("cannot create a file in the folder");
    return f;
}

static void finish(FILE *f) {
    if (fclose(f) != 0)
        die("cannot write");
}

static void write_weights(const struct shape *s, const char *folder) {
    static char header[1 << 20];
    struct writer w = {.header = true};
    w.out = fmemopen(header, sizeof header, "w");
    if (!w.out)
        die("no memory");
    fputc('{', w.out);
    tensors(&w, s);
    fputc('}', w.out);
    size_t n = (size_t)ftell(w.out);
    for (; n % 8; n++)
        fputc(' ', w.out);
    finish(w.out);
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)n >> (8 * i));
    w = (struct writer){.out = create(folder, "model.safetensors"), .state = 1};
    if (fwrite(length, 1, 8, w.out) != 8 || fwrite(header, 1, n, w.out) != n)
        die("cannot write");
    tensors(&w, s);
    finish(w.out);
}

static void write_config(const struct shape *s, const char *folder) {
    FILE *f = create(folder, "config.json");
    fprintf(f, "{\"architectures\":[\"%s\"],\"model_type\":\"%s\",\"hidden_size\":%zu,",
            s->decoder ? "Qwen2ForCausalLM" : "BertModel", s->decoder ? "qwen2" : "bert",
            s->hidden);
    fprintf(f, "\"num_hidden_layers\":%zu,\"num_attention_heads\":%zu,\"intermediate_size\":%zu,",
            s->layers, s->heads, s->ffn);
    fprintf(f, "\"vocab_size\":%zu,\"max_position_embeddings\":%zu,", s->vocab, s->positions);
    if (s->decoder)
        fprintf(f,
                "\"num_key_value_heads\":%zu,\"hidden_act\":\"silu\",\"rms_norm_eps\":1e-06,"
                "\"rope_theta\":%.1f,\"tie_word_embeddings\":%s}\n",
                s->kv_heads, s->rope_theta, s->tied ? "true" : "false");
    else
        fprintf(f, "\"hidden_act\":\"gelu\",\"layer_norm_eps\":1e-12,\"type_vocab_size\":2,"
                   "\"pad_token_id\":0}\n");
    finish(f);
}

int main(int argc, char **argv) {
    const struct shape *s = NULL;
    for (size_t i = 0; argc == 3 && i < sizeof shapes / sizeof *shapes; i++)
        if (strcmp(argv[1], shapes[i].name) == 0)
            s = &shapes[i];
    if (!s) {
        fprintf(stderr, "usage: random_model SHAPE FOLDER\nshapes:");
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            fprintf(stderr, " %s", shapes[i].name);
        fprintf(stderr, "\n");
        return 2;
    }
    write_config(s, argv[2]);
    write_weights(s, argv[2]);
    return 0;
}
