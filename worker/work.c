// See work.h.
#include "worker/work.h"

#include "base/mem.h"

#include <string.h>

enum {
    LIFE = 1,           // of the replica in this process: its one
    WORDS_BYTES = 1024, // of a payload that tells how a piece ended
};

// Memory that grows, for copies of bulk.
struct bulk_copy {
    unsigned char *bytes;
    size_t room;
};

// A piece of work.
struct piece {
    struct work *all;
    bool used, draws; // draws: its draw was released
    bool lacks_masks; // there was no memory for them: it ends without a draw
    bool is_step;
    uint64_t sequence;
    struct bulk_copy bulk, masks;
    uint64_t answer_at; // in the region
    size_t answer_bytes;
    struct replica_batch batch;
    struct replica_step step;
    uint64_t model;             // of a batch: taken; 0: not
    struct tables_place *place; // of a step
    size_t step_at;
};

struct work {
    struct link *link;
    struct tables *tables;
    struct replica *replica;
    struct ticker *ticker;
    size_t high; // no piece from here on was ever used
    struct piece pieces[WORK_MOST];
};

static _Noreturn void refuse(const struct channel_message *m, const struct errmsg *msg) {
    link_end(WIRE_END_BROKEN_RULE, "%s %llu: %s", wire_type_name(m->type),
             (unsigned long long)m->sequence, msg->text);
}

// ---- pieces

static struct piece *find(struct work *w, uint64_t sequence) {
    for (size_t i = 0; i < w->high; i++)
        if (w->pieces[i].used && w->pieces[i].sequence == sequence)
            return &w->pieces[i];
    return NULL;
}

static struct piece *take(struct work *w, const struct channel_message *m, bool is_step) {
    size_t i = 0;
    if (find(w, m->sequence))
        link_end(WIRE_END_BROKEN_RULE, "%s: there is a piece of work %llu already",
                 wire_type_name(m->type), (unsigned long long)m->sequence);
    while (i < w->high && w->pieces[i].used)
        i++;
    if (i == WORK_MOST)
        link_end(WIRE_END_BROKEN_RULE, "more than %d pieces of work at once", WORK_MOST);
    w->high = i < w->high ? w->high : i + 1;
    struct piece *p = &w->pieces[i];
    struct bulk_copy bulk = p->bulk, masks = p->masks;
    memset(p, 0, sizeof *p);
    p->all = w;
    p->used = true;
    p->is_step = is_step;
    p->sequence = m->sequence;
    p->bulk = bulk;
    p->masks = masks;
    return p;
}

static void let_go(struct piece *p) {
    if (p->place)
        tables_give_step(p->all->tables, p->place, p->step_at);
    if (p->model)
        tables_give_model(p->all->tables, p->model);
    p->used = false;
}

static struct replica_work *work_of(struct piece *p) {
    return p->is_step ? &p->step.work : &p->batch.work;
}

// Copies a message's bulk out. ERR_NOMEM; a wrong checksum or place ends the process.
static enum err copy_out(struct work *w, const struct channel_message *m, struct bulk_copy *to,
                         struct errmsg *msg) {
    const struct region *r = w->link->region;
    if (m->bulk_length == 0)
        return ERR_OK;
    if (!region_at(r, m->bulk_offset, m->bulk_length)) // before there is memory for it
        link_end(WIRE_END_BROKEN_RULE, "%s %llu: its bulk is not in the region",
                 wire_type_name(m->type), (unsigned long long)m->sequence);
    if (m->bulk_length > to->room) {
        mem_free(to->bytes);
        to->room = 0;
        to->bytes = mem_alloc_aligned((size_t)m->bulk_length, 1);
        if (!to->bytes)
            return err_set(msg, ERR_NOMEM, "the worker has no memory for a batch of %llu bytes",
                           (unsigned long long)m->bulk_length);
        to->room = (size_t)m->bulk_length;
    }
    struct errmsg why = {0};
    if (region_copy_out(r, m->bulk_offset, m->bulk_length, m->bulk_checksum, to->bytes, &why))
        refuse(m, &why);
    return ERR_OK;
}

static void set_answer(struct piece *p, const struct channel_message *m, size_t bytes) {
    const struct region *r = p->all->link->region;
    struct errmsg msg = {0};
    p->answer_bytes = bytes;
    if (wire_place_answer(m, bytes, region_size(r), &p->answer_at, &msg))
        refuse(m, &msg);
}

static void *answer_of(const struct piece *p) {
    return region_base(p->all->link->region) + p->answer_at;
}

// ---- batches

static void send_batch_done(struct piece *p, enum err e, const struct errmsg *words,
                            int64_t began_us) {
    unsigned char payload[WORDS_BYTES];
    struct pack_writer w = pack_writer_of(payload, sizeof payload);
    const struct worker_hooks *h = p->all->link->hooks;
    struct channel_message m = {
        .type = WIRE_BATCH_DONE, .sequence = p->sequence, .payload = payload};
    wire_write_batch_done(&w, e, words, began_us);
    m.payload_length = w.length;
    if (!e) {
        if (h && h->rows)
            h->rows(p->sequence, answer_of(p), p->answer_bytes / sizeof(float));
        m.bulk_offset = p->answer_at;
        m.bulk_length = p->answer_bytes;
    }
    let_go(p);
    link_send(p->all->link, &m, true);
}

static void batch_done(struct replica_work *work) {
    struct piece *p = work->ctx;
    ticker_end(p->all->ticker);
    send_batch_done(p, work->err, &work->msg, atomic_load(&work->began_us));
}

static void take_batch(struct work *w, const struct channel_message *m) {
    struct piece *p = take(w, m, false);
    struct errmsg msg = {0};
    struct wire_model model;
    bool known = tables_take_model(w->tables, wire_subject(m->payload, m->payload_length), &model);
    struct wire_batch_limits limits = {0};
    if (known) {
        p->model = model.model;
        limits = tables_limits(w->tables, &model);
    }
    enum err e = copy_out(w, m, &p->bulk, &msg);
    if (e) {
        send_batch_done(p, e, &msg, 0);
        return;
    }
    size_t answer;
    if (wire_read_encode(m, p->bulk.bytes, known ? &model : NULL, &limits, &p->batch, &answer,
                         &msg))
        refuse(m, &msg);
    set_answer(p, m, answer);
    p->batch.rows = answer_of(p);
    p->batch.work.ctx = p;
    p->batch.work.done = batch_done;
    ticker_begin(w->ticker);
    replica_encode(w->replica, &p->batch);
}

// ---- steps

static void send_step_done(struct piece *p, enum err e, const struct errmsg *words,
                           int64_t began_us) {
    unsigned char payload[WORDS_BYTES];
    struct pack_writer w = pack_writer_of(payload, sizeof payload);
    const struct worker_hooks *h = p->all->link->hooks;
    struct step nothing = {0}; // of a step that could not be read
    struct step *s = p->step.step ? p->step.step : &nothing;
    struct channel_message m = {
        .type = WIRE_STEP_DONE, .sequence = p->sequence, .payload = payload};
    if (!e && h && h->drawn)
        h->drawn(p->sequence, s);
    size_t bytes = wire_write_step_done(&w, s, e, words, began_us, e ? NULL : answer_of(p));
    m.payload_length = w.length;
    if (bytes) {
        m.bulk_offset = p->answer_at;
        m.bulk_length = bytes;
    }
    let_go(p);
    link_send(p->all->link, &m, true);
}

static void step_done(struct replica_work *work) {
    struct piece *p = work->ctx;
    struct errmsg words = work->msg;
    enum err e = work->err;
    ticker_end(p->all->ticker);
    if (p->lacks_masks && e == ERR_CANCELLED) // by this process, not by its parent
        e = err_set(&words, ERR_NOMEM, "the worker has no memory for a step's masks");
    send_step_done(p, e, &words, atomic_load(&work->began_us));
}

static void step_computed(struct replica_step *s) {
    const struct piece *p = s->work.ctx;
    struct channel_message m = {.type = WIRE_STEP_COMPUTED, .sequence = p->sequence};
    link_send(p->all->link, &m, true);
}

static void release(struct piece *p) {
    p->draws = true;
    replica_draw_step(p->all->replica, &p->step);
}

static void take_step(struct work *w, const struct channel_message *m) {
    struct piece *p = take(w, m, true);
    struct errmsg msg = {0};
    p->place = tables_find_place(w->tables, wire_subject(m->payload, m->payload_length));
    enum err e = ERR_OK;
    if (p->place)
        e = tables_take_step(w->tables, p->place, &p->step_at, &msg);
    if (e) {
        p->place = NULL; // nothing of it was taken
        if (e == ERR_INVALID)
            refuse(m, &msg);
    }
    if (!e)
        e = copy_out(w, m, &p->bulk, &msg);
    if (e) {
        send_step_done(p, e, &msg, 0);
        return;
    }
    bool draw;
    size_t answer;
    if (wire_read_step(m, p->bulk.bytes, p->place ? &p->place->wire : NULL,
                       p->place ? p->place->steps[p->step_at] : NULL, &p->step, &draw, &answer,
                       &msg))
        refuse(m, &msg);
    set_answer(p, m, answer);
    p->step.place = p->place->local;
    p->step.life = LIFE;
    p->step.computed = step_computed;
    p->step.work.ctx = p;
    p->step.work.done = step_done;
    ticker_begin(w->ticker);
    replica_submit_step(w->replica, &p->step);
    if (draw)
        release(p);
}

// Of a step that has ended by itself meanwhile there is nothing to draw.
static void take_draw(struct work *w, const struct channel_message *m) {
    struct piece *p = find(w, m->sequence);
    struct errmsg msg = {0};
    if (!p)
        return;
    if (!p->is_step || p->draws)
        link_end(WIRE_END_BROKEN_RULE, "DRAW %llu: of no step, or a second one",
                 (unsigned long long)m->sequence);
    // without memory for its masks the whole step is given back: nothing is drawn without them
    if (copy_out(w, m, &p->masks, &msg)) {
        p->lacks_masks = true;
        replica_cancel(w->replica, &p->step.work);
        return;
    }
    if (wire_read_draw(m, p->masks.bytes, p->place->wire.vocab, p->step.step, &msg))
        refuse(m, &msg);
    release(p);
}

// ---- what comes

void work_take(struct work *w, const struct channel_message *m) {
    struct piece *p;
    switch (m->type) {
    case WIRE_ENCODE:
        take_batch(w, m);
        break;
    case WIRE_STEP:
        take_step(w, m);
        break;
    case WIRE_DRAW:
        take_draw(w, m);
        break;
    default: // CANCEL; of what is done meanwhile nothing is left to end
        p = find(w, m->sequence);
        if (p)
            replica_cancel(w->replica, work_of(p));
        break;
    }
}

bool work_is_in_hand(const struct work *w) {
    for (size_t i = 0; i < w->high; i++)
        if (w->pieces[i].used)
            return true;
    return false;
}

void work_cancel_all(struct work *w) {
    for (size_t i = 0; i < w->high; i++)
        if (w->pieces[i].used)
            replica_cancel(w->replica, work_of(&w->pieces[i]));
}

enum err work_new(struct link *link, struct tables *tables, struct work **out, struct errmsg *msg) {
    struct work *w = *out = mem_calloc(1, sizeof *w);
    if (!w)
        return err_set(msg, ERR_NOMEM, "no memory for what is in hand");
    w->link = link;
    w->tables = tables;
    return ERR_OK;
}

void work_attach(struct work *w, struct replica *replica, struct ticker *ticker) {
    w->replica = replica;
    w->ticker = ticker;
}

void work_free(struct work *w) {
    if (!w)
        return;
    for (size_t i = 0; i < w->high; i++) {
        mem_free(w->pieces[i].bulk.bytes);
        mem_free(w->pieces[i].masks.bytes);
    }
    mem_free(w);
}
