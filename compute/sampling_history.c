// What was said so far. See sampling.h.
#include "base/mem.h"
#include "compute/sampling.h"

enum err sampling_history_init(struct sampling_history *h, size_t vocab) {
    *h = (struct sampling_history){.vocab = vocab};
    h->ids = mem_calloc(vocab, sizeof *h->ids); // zeroed: pages that no token touches cost nothing
    h->counts = mem_calloc(vocab, sizeof *h->counts);
    if (h->ids && h->counts)
        return ERR_OK;
    sampling_history_free(h);
    return ERR_NOMEM;
}

void sampling_history_free(struct sampling_history *h) {
    mem_free(h->ids);
    mem_free(h->counts);
    *h = (struct sampling_history){0};
}

static bool see(struct sampling_history *h, int32_t id) {
    if (id < 0 || (size_t)id >= h->vocab)
        return false;
    if (h->counts[id] == 0) {
        h->counts[id] = 1;
        h->ids[h->distinct++] = id;
    }
    return true;
}

void sampling_history_begin(struct sampling_history *h, const int32_t *prompt, size_t n) {
    for (size_t i = 0; i < h->distinct; i++)
        h->counts[h->ids[i]] = 0;
    h->distinct = 0;
    for (size_t i = 0; i < n; i++)
        (void)see(h, prompt[i]);
}

void sampling_history_add(struct sampling_history *h, int32_t id) {
    if (see(h, id))
        h->counts[id] += 2;
}
