// Any bytes as a decoder's config.json: refused with a message, or what comes out lies within the
// ranges that the code after it counts on.
#include "weights/decoder_config_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
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
    const struct rope_config *r = &c.rope;
    must(r->theta >= DECODER_MIN_THETA && r->theta <= DECODER_MAX_THETA);
    must(r->scaling == ROPE_SCALING_NONE || (r->factor >= 1 && r->factor <= DECODER_MAX_FACTOR));
    if (r->scaling == ROPE_SCALING_LLAMA3)
        must(r->low_freq_factor > 0 && r->high_freq_factor > r->low_freq_factor);
    if (r->scaling == ROPE_SCALING_YARN)
        must(r->beta_fast > 0 && r->beta_slow > 0 && r->original_max_positions);
    return 0;
}
