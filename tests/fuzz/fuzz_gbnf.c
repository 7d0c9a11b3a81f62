// Any bytes as a grammar: it is refused with words, or it drives a text of 64 tokens in which every
// token of a mask is taken, none outside it is, and there is always one until the text ends.
#include "tests/fuzz/grammar_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    // an exact-size copy, so that ASan sees a read past the end
    char *text = malloc(size ? size : 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    struct errmsg msg = {0};
    struct grammar *g = NULL;
    enum err e = grammar_from_gbnf(text, size, &g, &msg);
    free(text);
    if (e ? g != NULL || !msg.text[0] : g == NULL)
        abort();
    if (!e) {
        for (int led = 0; led < 2; led++) {
            struct buf taken = grammar_walk(g, data, size, led);
            buf_free(&taken);
        }
    }
    grammar_free(g);
    return 0;
}
