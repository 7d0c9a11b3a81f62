// Any bytes as a GGUF file: refused with a message, or every value and every byte of every tensor
// is there, and the configurations read from it lie within the ranges that the code after it counts
// on.
#include "base/mem.h"
#include "weights/decoder_config_internal.h"
#include "weights/generation_config_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

// A sanitizer sees a byte that is not there.
static void touch(const void *bytes, size_t n) {
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)bytes)[i]);
}

static void check_tensor(const struct tensor *t, size_t size) {
    must(t->rank >= 1 && t->rank <= TENSOR_MAX_RANK && t->name[0] && t->data);
    size_t row = t->shape[t->rank - 1], bytes = 0;
    must(row % dtype_block(t->dtype) == 0);
    must(!mem_mul_overflows(row / dtype_block(t->dtype), dtype_block_bytes(t->dtype), &bytes));
    for (int i = 0; i < t->rank - 1; i++)
        must(!mem_mul_overflows(bytes, t->shape[i], &bytes));
    must(t->offset <= size && bytes <= size - t->offset);
    touch(t->data, bytes);
}

static void read_arrays(const struct gguf *g) {
    struct gguf_array a;
    if (gguf_get_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &a, NULL) == ERR_OK)
        for (size_t i = 0; i < a.count; i++)
            touch(gguf_array_string(&a, i).bytes, gguf_array_string(&a, i).len);
    if (gguf_get_array(g, "tokenizer.ggml.token_type", GGUF_I32, &a, NULL) == ERR_OK)
        for (size_t i = 0; i < a.count; i++)
            touch(&(int64_t){gguf_array_int(&a, i)}, sizeof(int64_t));
}

static void read_configs(const struct gguf *g) {
    struct decoder_config c = {0};
    struct generation_config gen = {0};
    if (decoder_config_read_gguf(g, &c, NULL) == ERR_OK) {
        must(c.hidden && c.layers && c.heads && c.kv_heads && c.ffn && c.vocab && c.max_positions);
        must(c.heads % c.kv_heads == 0 && c.head_dim && c.head_dim % 2 == 0 && c.norm_eps > 0);
        must(c.rope.theta >= DECODER_MIN_THETA);
        must(c.rope.scaling == DECODER_ROPE_NONE || c.rope.factor >= 1);
    }
    if (generation_config_read_gguf(g, 64, &gen, NULL) == ERR_OK)
        for (size_t i = 0; i < gen.eos_count; i++)
            must(gen.eos_ids[i] >= 0 && gen.eos_ids[i] < 64);
    generation_config_free(&gen);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct gguf *g;
    struct errmsg msg = {0};
    enum err e = gguf_parse("x.gguf", (const char *)data, size, size, &g, &msg);
    if (e) {
        must(msg.code == e && strncmp(msg.text, "x.gguf: ", 8) == 0 && !g);
        return 0;
    }
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        struct tensor t = gguf_tensor_at(g, i);
        check_tensor(&t, size);
    }
    read_arrays(g);
    read_configs(g);
    gguf_close(g);
    return 0;
}
