// See suspects.h. They are few, and come only when a device is lost: a sorted array.
#include "engine/suspects.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void suspects_free(struct suspects *q) {
    mem_free(q->pieces);
    *q = (struct suspects){0};
}

static int compare(const void *a, const void *b) {
    const struct encode_piece *x = a, *y = b;
    int64_t dx = job_deadline(x->job), dy = job_deadline(y->job);
    if (dx != dy)
        return dx < dy ? -1 : 1;
    if (x->job->submitted_us != y->job->submitted_us)
        return x->job->submitted_us < y->job->submitted_us ? -1 : 1;
    if (x->job != y->job) // of the same microsecond: a job's pieces stay together
        return (uintptr_t)x->job < (uintptr_t)y->job ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

enum err suspects_add(struct suspects *q, const struct encode_slot *slot) {
    size_t need = q->count + slot->seqs;
    if (need > q->room) {
        size_t room = need > 2 * q->room ? need : 2 * q->room;
        struct encode_piece *more = mem_realloc(q->pieces, room, sizeof *more);
        if (!more)
            return ERR_NOMEM;
        q->pieces = more;
        q->room = room;
    }
    memcpy(q->pieces + q->count, slot->pieces, slot->seqs * sizeof *q->pieces);
    q->count = need;
    qsort(q->pieces, q->count, sizeof *q->pieces, compare);
    return ERR_OK;
}

bool suspects_cut(struct suspects *q, struct encode_slot *slot, bool single, size_t most) {
    size_t left = 0;
    bool full = false;
    encode_slot_clear(slot);
    for (size_t i = 0; i < q->count; i++) {
        struct encode_piece p = q->pieces[i];
        const struct job *first = slot->seqs ? slot->pieces[0].job : p.job;
        bool fits = single ? p.job == first
                           : p.job->model == first->model && p.job->normalize == first->normalize;
        if (!full && fits && encode_slot_add(slot, p.job, p.seq, most))
            continue;
        full = full || fits; // what comes behind does not pass what did not fit
        q->pieces[left++] = p;
    }
    q->count = left;
    return slot->seqs > 0;
}

void suspects_filter(struct suspects *q, bool (*keep)(void *ctx, struct encode_piece *p),
                     void *ctx) {
    size_t left = 0;
    for (size_t i = 0; i < q->count; i++)
        if (keep(ctx, &q->pieces[i]))
            q->pieces[left++] = q->pieces[i];
    q->count = left;
}
