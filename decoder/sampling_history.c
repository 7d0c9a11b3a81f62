// What was said so far, and what the penalties make of it. See sampling.h.
#include "base/mem.h"
#include "decoder/sampling_internal.h"

struct sampling_history {
    size_t vocab, distinct;
    int32_t *ids;     // [vocab]: those seen, each once, in order of appearance
    uint32_t *counts; // [vocab]: 2 x times in the output, + 1 when seen at all
};

enum err sampling_history_new(const struct sampling *s, size_t vocab, const int32_t *prompt,
                              size_t n, struct sampling_history **out) {
    *out = NULL;
    if (s->repetition_penalty == 1.0F && s->presence_penalty == 0.0F &&
        s->frequency_penalty == 0.0F)
        return ERR_OK;
    struct sampling_history *h = mem_calloc(1, sizeof *h);
    if (!h)
        return ERR_NOMEM;
    h->vocab = vocab;
    h->ids = mem_calloc(vocab, sizeof *h->ids); // zeroed: pages that no token touches cost nothing
    h->counts = mem_calloc(vocab, sizeof *h->counts);
    if (!h->ids || !h->counts) {
        sampling_history_free(h);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < n; i++)
        if (prompt[i] >= 0 && (size_t)prompt[i] < vocab && h->counts[prompt[i]] == 0) {
            h->counts[prompt[i]] = 1;
            h->ids[h->distinct++] = prompt[i];
        }
    *out = h;
    return ERR_OK;
}

void sampling_history_free(struct sampling_history *h) {
    if (!h)
        return;
    mem_free(h->ids);
    mem_free(h->counts);
    mem_free(h);
}

void sampling_history_add(struct sampling_history *h, int32_t id) {
    if (!h || id < 0 || (size_t)id >= h->vocab)
        return;
    if (h->counts[id] == 0) {
        h->counts[id] = 1;
        h->ids[h->distinct++] = id;
    }
    h->counts[id] += 2;
}

void sampling_history_apply(const struct sampling_history *h, const struct sampling *s,
                            float *logits, size_t vocab) {
    for (size_t i = 0; h && i < h->distinct; i++) {
        size_t id = (size_t)h->ids[i];
        if (id >= vocab)
            continue;
        float v = logits[id];
        uint32_t times = h->counts[id] / 2;
        v = v < 0 ? v * s->repetition_penalty : v / s->repetition_penalty;
        if (times > 0)
            v -= s->presence_penalty + s->frequency_penalty * (float)times;
        logits[id] = v;
    }
}
