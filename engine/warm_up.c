// See warm_up.h.
#include "engine/warm_up.h"

#include "base/mem.h"
#include "engine/replica_wait.h"

enum err warm_up_encoder(struct replica *r, const struct model *m, bool (*ends)(void *ctx),
                         void *ctx, struct errmsg *msg) {
    int32_t ids[WARM_UP_TOKENS], positions[WARM_UP_TOKENS], types[WARM_UP_TOKENS] = {0};
    size_t n = m->max_length < WARM_UP_TOKENS ? m->max_length : WARM_UP_TOKENS;
    for (size_t i = 0; i < n; i++) {
        ids[i] = (int32_t)(i % model_vocab(m));
        positions[i] = (int32_t)i;
    }
    const int32_t cu_seqlens[2] = {0, (int32_t)n}, skip[1] = {0};
    struct replica_wait w;
    float *row = mem_calloc(m->dim, sizeof *row);
    enum err e = row ? replica_wait_begin(&w) : ERR_NOMEM;
    if (e) {
        mem_free(row);
        return err_set(msg, e, "no memory to warm model '%s' up", m->name);
    }
    struct replica_batch b = {
        .work = {.model = m->id, .share = SHARE_INTERACTIVE, .done = replica_wait_done, .ctx = &w},
        .tokens = {ids, positions, types, cu_seqlens, n, 1},
        .skip = skip,
        .normalize = true,
        .rows = row,
    };
    replica_encode(r, &b);
    e = replica_wait_end(&w, r, &b.work, ends, ctx, msg);
    mem_free(row);
    return e;
}
