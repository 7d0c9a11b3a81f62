// What penalties make of a row. See sampling_internal.h.
#include "compute/cpu/sampling_internal.h"

static float penalized(const struct sampling *s, float v, uint32_t times) {
    v = v < 0 ? v * s->repetition_penalty : v / s->repetition_penalty;
    if (times > 0)
        v -= s->presence_penalty + s->frequency_penalty * (float)times;
    return v;
}

static uint32_t times_in(const int32_t *ids, size_t n, int32_t id) {
    uint32_t times = 0;
    for (size_t i = 0; i < n; i++)
        times += ids[i] == id;
    return times;
}

void sampling_penalize(const struct sampling_row *row, float *logits) {
    const struct sampling_history *h = row->history;
    const int32_t *more = row->more; // a few drafts
    size_t n = row->more_count;
    if (!h)
        return;
    for (size_t i = 0; i < h->distinct; i++) {
        int32_t id = h->ids[i];
        if ((size_t)id < row->vocab)
            logits[id] =
                penalized(row->sampling, logits[id], h->counts[id] / 2 + times_in(more, n, id));
    }
    for (size_t i = 0; i < n; i++)
        if (more[i] >= 0 && (size_t)more[i] < row->vocab && (size_t)more[i] < h->vocab &&
            h->counts[more[i]] == 0 && times_in(more, i, more[i]) == 0)
            logits[more[i]] = penalized(row->sampling, logits[more[i]], times_in(more, n, more[i]));
}
