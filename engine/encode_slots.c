// See encode_slots.h.
#include "engine/encode_slots.h"

#include "base/mem.h"

#include <stdint.h>
#include <string.h>

struct encode_room encode_room_for(struct model *const *models, size_t n, size_t batch_tokens) {
    struct encode_room room = {.tokens = batch_tokens, .seqs = batch_tokens}; // one token each
    for (size_t i = 0; i < n; i++) {
        if (models[i]->task == TASK_GENERATE)
            continue;
        if (models[i]->max_length > room.tokens)
            room.tokens = models[i]->max_length;
        if (models[i]->dim > room.dim)
            room.dim = models[i]->dim;
    }
    return room;
}

size_t encode_room_bytes(const struct encode_room *room) {
    return room->seqs * room->dim * sizeof(float);
}

struct encode_slot *encode_slot_new(const struct encode_room *room, size_t most_tokens) {
    struct encode_slot *slot = mem_calloc(1, sizeof *slot);
    size_t rows;
    if (!slot)
        return NULL;
    slot->room = *room;
    slot->most_tokens = most_tokens;
    slot->ids = mem_calloc(room->tokens, sizeof *slot->ids);
    slot->positions = mem_calloc(room->tokens, sizeof *slot->positions);
    slot->type_ids = mem_calloc(room->tokens, sizeof *slot->type_ids);
    slot->cu_seqlens = mem_calloc(room->seqs + 1, sizeof *slot->cu_seqlens);
    slot->part_ends = mem_calloc(room->seqs + 1, sizeof *slot->part_ends);
    slot->skip = mem_calloc(room->seqs, sizeof *slot->skip);
    slot->pieces = mem_calloc(room->seqs, sizeof *slot->pieces);
    if (!mem_mul_overflows(room->seqs, room->dim, &rows))
        slot->rows = mem_calloc(rows, sizeof *slot->rows);
    if (slot->ids && slot->positions && slot->type_ids && slot->cu_seqlens && slot->part_ends &&
        slot->skip && slot->pieces && slot->rows)
        return slot;
    encode_slot_free(slot);
    return NULL;
}

void encode_slot_free(struct encode_slot *slot) {
    if (!slot)
        return;
    mem_free(slot->ids);
    mem_free(slot->positions);
    mem_free(slot->type_ids);
    mem_free(slot->cu_seqlens);
    mem_free(slot->part_ends);
    mem_free(slot->skip);
    mem_free(slot->pieces);
    mem_free(slot->rows);
    mem_free(slot);
}

void encode_slot_clear(struct encode_slot *slot) { slot->tokens = slot->seqs = 0; }

bool encode_slot_add(struct encode_slot *slot, struct job *job, size_t seq, size_t most) {
    size_t begin = (size_t)job->cu_seqlens[seq], end = (size_t)job->cu_seqlens[seq + 1];
    size_t n = end - begin;
    most = most < slot->most_tokens ? most : slot->most_tokens;
    if (slot->seqs && (slot->tokens + n > most || slot->seqs == slot->room.seqs))
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

void encode_slot_filter(struct encode_slot *slot, bool (*keep)(void *ctx, struct encode_piece *p),
                        void *ctx) {
    size_t n = slot->seqs;
    encode_slot_clear(slot);
    for (size_t i = 0; i < n; i++) { // what is added lies at i or before it
        struct encode_piece p = slot->pieces[i];
        if (keep(ctx, &p))
            (void)encode_slot_add(slot, p.job, p.seq, SIZE_MAX);
    }
}

size_t encode_slot_fill(struct encode_slot *slot, size_t begin, size_t most,
                        struct replica_batch *b) {
    const struct job *first = slot->pieces[begin].job;
    const int32_t *ends = slot->cu_seqlens;
    size_t end = begin + 1, at = (size_t)ends[begin];
    while (end < slot->seqs && (size_t)ends[end + 1] - at <= most)
        end++;
    for (size_t i = begin; begin > 0 && i <= end; i++)
        slot->part_ends[i - begin] = ends[i] - ends[begin];
    b->work.model = first->model->id;
    b->tokens = (struct batch){.ids = slot->ids + at,
                               .positions = slot->positions + at,
                               .type_ids = slot->type_ids + at,
                               .cu_seqlens = begin > 0 ? slot->part_ends : ends,
                               .tokens = (size_t)ends[end] - at,
                               .seqs = end - begin};
    b->skip = slot->skip + begin;
    b->normalize = first->normalize;
    b->rows = slot->rows + begin * first->model->dim;
    return end;
}
