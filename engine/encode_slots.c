// See encode_slots.h.
#include "engine/encode_slots.h"

#include "base/mem.h"

#include <string.h>

static void slot_free(struct encode_slots *e, struct encode_slot *slot) {
    e->device->ops->workspace_free(e->device, &slot->ws);
    mem_free(slot->ids);
    mem_free(slot->positions);
    mem_free(slot->type_ids);
    mem_free(slot->cu_seqlens);
    mem_free(slot->skip);
    mem_free(slot->pieces);
    mem_free(slot->rows);
    *slot = (struct encode_slot){0};
}

static enum err slot_init(struct encode_slots *e, struct encode_slot *slot, size_t workspace) {
    enum err err = e->device->ops->workspace_new(e->device, workspace, &slot->ws);
    if (err)
        return err;
    slot->ids = mem_calloc(e->max_tokens, sizeof *slot->ids);
    slot->positions = mem_calloc(e->max_tokens, sizeof *slot->positions);
    slot->type_ids = mem_calloc(e->max_tokens, sizeof *slot->type_ids);
    slot->cu_seqlens = mem_calloc(e->max_seqs + 1, sizeof *slot->cu_seqlens);
    slot->skip = mem_calloc(e->max_seqs, sizeof *slot->skip);
    slot->pieces = mem_calloc(e->max_seqs, sizeof *slot->pieces);
    size_t rows;
    if (!mem_mul_overflows(e->max_seqs, e->max_dim, &rows))
        slot->rows = mem_calloc(rows, sizeof *slot->rows);
    bool ok = slot->ids && slot->positions && slot->type_ids && slot->cu_seqlens && slot->skip &&
              slot->pieces && slot->rows;
    return ok ? ERR_OK : ERR_NOMEM;
}

enum err encode_slots_init(struct encode_slots *e, struct replica *r, struct model *const *models,
                           size_t n, size_t batch_tokens, struct errmsg *msg) {
    *e = (struct encode_slots){
        .replica = r, .device = replica_local_device(r), .max_tokens = batch_tokens};
    for (size_t i = 0; i < n; i++) {
        if (models[i]->task == TASK_GENERATE)
            continue;
        if (models[i]->max_length > e->max_tokens)
            e->max_tokens = models[i]->max_length;
        if (models[i]->dim > e->max_dim)
            e->max_dim = models[i]->dim;
    }
    e->max_seqs = batch_tokens; // a sequence has at least one token
    size_t workspace = 0;
    for (size_t i = 0; i < n; i++) {
        size_t most = models[i]->max_length > batch_tokens ? models[i]->max_length : batch_tokens;
        size_t bytes =
            replica_model_workspace_bytes(replica_local_find(r, models[i]->id), most, e->max_seqs);
        workspace = bytes > workspace ? bytes : workspace;
    }
    for (int i = 0; i < LANE_COUNT; i++) {
        if (slot_init(e, &e->items[i], workspace) != ERR_OK) {
            encode_slots_free(e);
            return err_set(msg, ERR_NOMEM,
                           "no memory for a workspace of %zu bytes; lower --max-batch-tokens",
                           workspace);
        }
        e->items[i].most_tokens = batch_tokens;
    }
    if (batch_tokens > INTERACTIVE_TOKENS)
        e->items[LANE_INTERACTIVE].most_tokens = INTERACTIVE_TOKENS;
    return ERR_OK;
}

void encode_slots_free(struct encode_slots *e) {
    for (int i = 0; i < LANE_COUNT; i++)
        slot_free(e, &e->items[i]);
}

size_t encode_slots_bytes(const struct encode_slots *e) {
    size_t bytes = 0;
    for (int i = 0; i < LANE_COUNT; i++)
        bytes += e->items[i].ws.size + e->max_seqs * e->max_dim * sizeof(float);
    return bytes;
}

void encode_slot_clear(struct encode_slot *slot) { slot->tokens = slot->seqs = 0; }

bool encode_slot_add(const struct encode_slots *e, struct encode_slot *slot, struct job *job,
                     size_t seq) {
    size_t begin = (size_t)job->cu_seqlens[seq], end = (size_t)job->cu_seqlens[seq + 1];
    size_t n = end - begin;
    if (slot->seqs && (slot->tokens + n > slot->most_tokens || slot->seqs == e->max_seqs))
        return false;
    memcpy(slot->ids + slot->tokens, job->ids + begin, n * sizeof *slot->ids);
    memcpy(slot->type_ids + slot->tokens, job->type_ids + begin, n * sizeof *slot->type_ids);
    for (size_t i = 0; i < n; i++)
        slot->positions[slot->tokens + i] = (int32_t)i;
    slot->skip[slot->seqs] = job->skip ? job->skip[seq] : 0;
    slot->pieces[slot->seqs] = (struct encode_piece){job, seq};
    slot->cu_seqlens[slot->seqs] = (int32_t)slot->tokens;
    slot->tokens += n;
    slot->seqs++;
    slot->cu_seqlens[slot->seqs] = (int32_t)slot->tokens;
    return true;
}

enum err encode_slot_run(struct encode_slots *e, struct encode_slot *slot,
                         const struct forward_hooks *hooks, struct errmsg *msg) {
    const struct job *first = slot->pieces[0].job;
    struct batch b = {.ids = slot->ids,
                      .positions = slot->positions,
                      .type_ids = slot->type_ids,
                      .cu_seqlens = slot->cu_seqlens,
                      .tokens = slot->tokens,
                      .seqs = slot->seqs};
    return replica_model_run(replica_local_find(e->replica, first->model->id), &b, slot->skip,
                             first->normalize, &slot->ws, hooks, slot->rows, msg);
}

enum err encode_slots_warm_up(struct encode_slots *e, const struct model *m, size_t tokens,
                              const struct forward_hooks *hooks, struct errmsg *msg) {
    struct encode_slot *slot = &e->items[LANE_INTERACTIVE];
    if (tokens > m->max_length)
        tokens = m->max_length;
    for (size_t i = 0; i < tokens; i++) {
        slot->ids[i] = (int32_t)(i % model_vocab(m));
        slot->type_ids[i] = 0;
        slot->positions[i] = (int32_t)i;
    }
    slot->cu_seqlens[0] = 0;
    slot->cu_seqlens[1] = (int32_t)tokens;
    slot->skip[0] = 0;
    struct batch b = {slot->ids, slot->positions, slot->type_ids, slot->cu_seqlens, tokens, 1};
    return replica_model_run(replica_local_find(e->replica, m->id), &b, slot->skip, true, &slot->ws,
                             hooks, slot->rows, msg);
}
