// Which tokens may be drawn in a step. See generator.h and masks.h.
#include "engine/generator_internal.h"

void generator_ask_mask(struct generator *g, struct sequence *s) {
    if (s->mask && atomic_load(&s->mask->at) == MASK_DUE)
        masks_submit(g->options.masks, s->mask);
}

// Whether the part's rows still are of one whose mask matters.
static struct sequence *masked(const struct step_part *p) {
    return p->masked && generator_counts(p) ? p->ctx : NULL;
}

// Tries those that are due with a step's little work, and gives to the threads what takes more.
static void try_masks(struct generator *g, const struct step *step, uint64_t work) {
    for (size_t i = 0; i < step->seqs; i++) {
        struct sequence *s = masked(&step->parts[i]);
        if (!s || atomic_load(&s->mask->at) != MASK_DUE)
            continue;
        mask_job_try(s->mask, work);
        s->slow = !mask_job_ready(s->mask);
        generator_ask_mask(g, s);
    }
}

// The masks of the part's rows: the one that is there, and those behind the drafts.
static void put_masks(struct step_part *p, struct mask_job *mask, const int32_t *drafts,
                      uint64_t work) {
    if (mask->err)
        return; // the part is late, and its sequence ends with that
    size_t ahead = p->wanted > 1 ? mask_job_look_ahead(mask, drafts, p->wanted - 1, work) : 0;
    for (size_t i = 0; i <= ahead; i++)
        p->masks[i] = mask_job_row(mask, i);
    p->mask_count = ahead + 1;
}

bool generator_fill_masks(struct generator *g, struct step *step, bool over) {
    struct flight *f = generator_oldest(g);
    if (!f || f->step != step)
        return false; // what goes before it says what may follow
    size_t masks = 0;
    for (size_t i = 0; i < step->seqs; i++)
        masks += masked(&step->parts[i]) != NULL;
    uint64_t work = masks_work_of_step(masks);
    if (!f->masks_tried)
        try_masks(g, step, work);
    f->masks_tried = true;
    bool all = true;
    for (size_t i = 0; i < step->seqs; i++) {
        struct step_part *p = &step->parts[i];
        const struct sequence *s = masked(p);
        if (!s || p->mask_count > 0)
            continue;
        if (mask_job_ready(s->mask))
            put_masks(p, s->mask, step->ids + step->cu_seqlens[i] + 1, work);
        else
            all = false;
    }
    return all || over;
}
