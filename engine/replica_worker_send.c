// Work on its way to the worker. Whoever submits sends it himself: its bytes go into a block of the
// region and its message into the socket, without waiting. What does not go now waits in line, and
// goes when an answer has made room, or when the socket takes more.
#include "engine/replica_worker_internal.h"

#include "base/clock.h"

#include <stdio.h>

// ---- work that is over

void replica_worker_end_work(struct replica_worker *w, struct replica_work *work, enum err e,
                             bool exposed, const char *words) {
    work->err = e ? err_set(&work->msg, e, "%s", words) : ERR_OK;
    work->exposed = exposed;
    work->queued = false;
    replica_list_push(&w->ended, work);
    replica_worker_wake(w);
}

void replica_worker_forget_flight(struct replica_worker *w, struct worker_flight *f) {
    region_give(&w->space, f->offset);
    if (f->has_draw_block)
        region_give(&w->space, f->draw_offset);
    if (f->copy)
        f->copy->taken = false;
    *f = (struct worker_flight){0};
    w->flight_count--;
}

static struct worker_flight *flight_of(struct replica_worker *w, const struct replica_work *work) {
    for (size_t i = 0; i < WORKER_FLIGHTS; i++)
        if (w->flights[i].work == work)
            return &w->flights[i];
    return NULL;
}

// ---- messages

enum err replica_worker_send(struct replica_worker *w, struct channel_message *m) {
    struct errmsg msg;
    if (w->socket < 0 || w->losing)
        return ERR_LOST;
    m->life = w->health.life;
    enum err e = channel_send(w->socket, m, false, &msg);
    if (e == ERR_OVERLOADED) {
        w->blocked = true;
        replica_worker_wake(w);
        return e;
    }
    if (e == ERR_LOST) // what it has said before is read, and then its end
        replica_worker_wake(w);
    else if (e)
        replica_worker_lose(w, LOSS_PROTOCOL, "nothing can be sent to it: %s", msg.text);
    return e ? ERR_LOST : ERR_OK;
}

// Sends what a flight's bulk and w->payload hold, as a message of this type.
static enum err send_bulk(struct replica_worker *w, enum wire_type type, uint64_t sequence,
                          uint64_t offset, size_t length, const struct pack_writer *payload,
                          struct errmsg *msg) {
    struct channel_message m = {
        .type = (uint16_t)type,
        .sequence = sequence,
        .payload = w->payload,
        .payload_length = payload->length,
    };
    if (payload->failed)
        return err_set(msg, ERR_TOO_LARGE, "a piece of work has more than a message can say");
    if (length > 0) {
        m.bulk_offset = offset;
        m.bulk_length = length;
        m.bulk_checksum = channel_checksum(region_at(w->region, offset, length), length);
    }
    return replica_worker_send(w, &m);
}

// ---- a step's draw

// The largest block that there can be as long as the flight has its own.
static size_t room_beside(const struct replica_worker *w, const struct worker_flight *f) {
    size_t before = (size_t)f->offset,
           end = before + (f->block.bytes + REGION_ALIGN - 1) / REGION_ALIGN * REGION_ALIGN,
           behind = w->space.size - end;
    return before > behind ? before : behind;
}

// ERR_OVERLOADED: not now; ERR_TOO_LARGE: never; anything else has ended the life.
static enum err send_draw(struct replica_worker *w, struct worker_flight *f) {
    const struct step *s = replica_step_of(f->work)->step;
    struct wire_block block;
    if (f->copy) {
        replica_worker_copy_masks(f->copy, s);
        s = f->copy->step;
    }
    uint64_t offset = 0;
    const struct worker_place *p = replica_worker_find_place(w, replica_step_of(f->work)->place);
    enum err e = wire_size_draw(s, p->wire.vocab, &block, NULL);
    if (!e && block.bytes > room_beside(w, f))
        e = ERR_TOO_LARGE;
    if (!e && block.bytes > 0)
        e = region_take(&w->space, block.bytes, &offset);
    if (e)
        return e;
    struct pack_writer payload = pack_writer_of(w->payload, sizeof w->payload);
    unsigned char *bulk = block.bytes ? region_at(w->region, offset, block.bytes) : NULL;
    wire_write_draw(&payload, s, p->wire.vocab, bulk);
    e = send_bulk(w, WIRE_DRAW, f->sequence, offset, block.request, &payload, NULL);
    if (e && block.bytes > 0)
        region_give(&w->space, offset);
    if (e)
        return e;
    f->has_draw_block = block.bytes > 0;
    f->draw_offset = offset;
    f->drawn = true;
    replica_worker_clock_start(w, f, clock_now_us());
    return ERR_OK;
}

static enum err send_cancel(struct replica_worker *w, struct worker_flight *f) {
    struct channel_message m = {
        .type = WIRE_CANCEL, .sequence = f->sequence, .payload = w->payload};
    enum err e = replica_worker_send(w, &m);
    f->cancel_sent = !e;
    return e;
}

// What is wanted of flights and was not sent. False: the socket is full, or the region.
static bool send_wanted(struct replica_worker *w) {
    for (size_t i = 0; i < WORKER_FLIGHTS; i++) {
        struct worker_flight *f = &w->flights[i];
        enum err e = ERR_OK;
        if (!f->work || w->losing)
            continue;
        if (f->want_draw && !f->drawn)
            e = send_draw(w, f);
        if (e == ERR_OVERLOADED)
            return false;
        if (e == ERR_TOO_LARGE || (f->want_draw && f->drawn))
            f->want_draw = false;
        if (e == ERR_TOO_LARGE) // the worker has it, and ends it so
            f->too_large = f->want_cancel = true;
        if (f->want_cancel && !f->cancel_sent && send_cancel(w, f))
            return false;
    }
    return true;
}

// ---- sending

static struct worker_flight *free_flight(struct replica_worker *w) {
    for (size_t i = 0; i < WORKER_FLIGHTS; i++)
        if (!w->flights[i].work)
            return &w->flights[i];
    return NULL;
}

// A batch with the sentinel of its model, where that is known and it is time for one, and there is
// room: the worker's workspace takes so many tokens more than were asked for, or a whole text.
static bool batch_has_sentinel(const struct replica_worker *w, const struct worker_model *m,
                               const struct replica_batch *b, int64_t now) {
    size_t most = w->sized_tokens > m->wire.max_length ? w->sized_tokens : m->wire.max_length;
    return b != &w->canary_batch && replica_worker_batch_truth(m, b->normalize)->known &&
           b->tokens.tokens + SENTINEL_COUNT <= most &&
           replica_worker_sentinel_due(w, &m->entry, b->tokens.tokens, now);
}

static enum err send_encode(struct replica_worker *w, struct worker_flight *f,
                            const struct replica_batch *b, struct errmsg *msg) {
    struct worker_model *m = replica_worker_find_model(w, b->work.model);
    struct replica_batch with;
    if (!m || m->entry.there != w->health.life)
        return err_set(msg, ERR_INTERNAL, "a batch's model is not loaded");
    f->tokens = b->tokens.tokens;
    f->sentinel =
        batch_has_sentinel(w, m, b, f->sent_us) && replica_worker_copy_batch(w, m, b, &with);
    if (f->sentinel)
        b = &with;
    enum err e = wire_size_encode(b, m->wire.dim, &f->block, msg);
    if (!e)
        e = region_take(&w->space, f->block.bytes, &f->offset);
    if (e)
        return e;
    struct pack_writer payload = pack_writer_of(w->payload, sizeof w->payload);
    wire_write_encode(&payload, b, region_at(w->region, f->offset, f->block.request));
    e = send_bulk(w, WIRE_ENCODE, f->sequence, f->offset, f->block.request, &payload, msg);
    if (e)
        region_give(&w->space, f->offset);
    else if (f->sentinel)
        m->entry.checked_us = f->sent_us;
    return e;
}

// Sends what the flight stands for: the step, or its copy.
static enum err send_step_as(struct replica_worker *w, struct worker_flight *f,
                             const struct replica_step *s, struct errmsg *msg) {
    enum err e = wire_size_step(s, &f->block, msg);
    if (!e)
        e = region_take(&w->space, f->block.bytes, &f->offset);
    if (e)
        return e;
    f->drawn = !step_is_masked(s->step); // its release goes with it then
    struct pack_writer payload = pack_writer_of(w->payload, sizeof w->payload);
    wire_write_step(&payload, s, f->drawn, region_at(w->region, f->offset, f->block.request));
    e = send_bulk(w, WIRE_STEP, f->sequence, f->offset, f->block.request, &payload, msg);
    if (e)
        region_give(&w->space, f->offset);
    return e;
}

static enum err send_step(struct replica_worker *w, struct worker_flight *f, struct replica_step *s,
                          struct errmsg *msg) {
    struct worker_place *p = replica_worker_find_place(w, s->place);
    if (!p || p->entry.there != w->health.life)
        return err_set(msg, ERR_INTERNAL, "a step's model is not there");
    f->tokens = s->step->tokens;
    if (s != &w->canary_step && p->truth.known &&
        replica_worker_sentinel_due(w, &p->entry, f->tokens, f->sent_us))
        f->copy = replica_worker_copy_step(p, s->step);
    f->sentinel = f->copy != NULL;
    struct replica_step as = {.work = {.model = s->work.model, .share = s->work.share},
                              .place = s->place,
                              .prompt_part = s->prompt_part,
                              .step = f->copy ? f->copy->step : s->step};
    enum err e = send_step_as(w, f, &as, msg);
    if (e && f->copy)
        f->copy->taken = false;
    else if (f->copy)
        p->entry.checked_us = f->sent_us;
    f->want_draw = !f->drawn && s->released;
    if (f->want_draw)
        replica_worker_wake(w); // it waited in line, and its masks have come meanwhile
    return e;
}

enum err replica_worker_send_work(struct replica_worker *w, struct replica_work *work,
                                  struct errmsg *msg) {
    struct worker_flight *f = free_flight(w);
    if (!f)
        return ERR_OVERLOADED;
    *f = (struct worker_flight){.sequence = w->sequence + 1, .sent_us = clock_now_us()};
    enum err e = replica_is_step(work) ? send_step(w, f, replica_step_of(work), msg)
                                       : send_encode(w, f, replica_batch_of(work), msg);
    if (e) {
        *f = (struct worker_flight){0};
        return e;
    }
    w->sequence++;
    w->flight_count++;
    f->work = work;
    work->queued = false;
    atomic_store(&work->began_us, f->sent_us);
    replica_worker_clock_start(w, f, f->sent_us);
    replica_worker_clock_allow(w, f);
    return ERR_OK;
}

// ---- waiting in line

static enum worker_line line_of(const struct replica_work *work) {
    return replica_is_step(work)              ? LINE_STEPS
           : work->share == SHARE_INTERACTIVE ? LINE_URGENT
                                              : LINE_BULK;
}

static void push(struct replica_worker *w, struct replica_work *work) {
    work->queued = true;
    replica_list_push(&w->waiting[line_of(work)], work);
}

static void unlink_waiting(struct replica_worker *w, struct replica_work *work) {
    replica_list_remove(&w->waiting[line_of(work)], work);
    work->queued = false;
}

struct replica_work *replica_worker_first_waiting(const struct replica_worker *w) {
    for (int i = 0; i < LINE_COUNT; i++)
        if (w->waiting[i].head)
            return w->waiting[i].head;
    return NULL;
}

// A step whose place's cache came to be in another life.
static bool is_stale(const struct replica_worker *w, const struct replica_work *work) {
    return replica_is_step((struct replica_work *)work) &&
           replica_step_of((struct replica_work *)work)->life != w->health.life;
}

// Whether a quarantine has what its next piece needs, and nothing else in hand.
static bool quarantine_ready(struct replica_worker *w, struct replica_work *work) {
    if (w->flight_count > 0 || w->errand.kind != ERRAND_NONE)
        return false;
    const struct worker_entry *e = NULL;
    if (replica_is_step(work)) {
        const struct worker_place *p = replica_worker_find_place(w, replica_step_of(work)->place);
        e = p ? &p->entry : NULL;
    } else {
        const struct worker_model *m = replica_worker_find_model(w, work->model);
        e = m ? &m->entry : NULL;
    }
    // what is not known here is told so when it is sent
    return !e || (e->there == w->health.life && e->checked == w->health.life);
}

// The first of a line. False: it stays there.
static bool send_first(struct replica_worker *w, struct replica_list *l) {
    struct replica_work *work = l->head;
    struct errmsg msg;
    if (is_stale(w, work)) {
        unlink_waiting(w, work);
        replica_worker_end_work(w, work, ERR_LOST, false, "what its cache held is gone");
        return true;
    }
    if (w->phase != WORKER_UP || (w->options.quarantine && !quarantine_ready(w, work)))
        return false;
    enum err e = replica_worker_send_work(w, work, &msg);
    if (e == ERR_OVERLOADED || e == ERR_LOST)
        return false;
    unlink_waiting(w, work); // by its own pointers: a flight has none
    if (e)
        replica_worker_end_work(
            w, work, e, false,
            e == ERR_TOO_LARGE && !msg.text[0] ? "more than the shared memory takes" : msg.text);
    return true;
}

void replica_worker_send_waiting(struct replica_worker *w) {
    if (w->losing || (w->socket >= 0 && !send_wanted(w)))
        return;
    for (int i = 0; i < LINE_COUNT; i++)
        while (w->waiting[i].head && !w->losing && send_first(w, &w->waiting[i]))
            ;
}

// ---- as replica.h has it

static void submit(struct replica_worker *w, struct replica_work *work) {
    replica_reset_work(work);
    pthread_mutex_lock(&w->mutex);
    if (w->phase != WORKER_UP && !w->options.quarantine) {
        replica_worker_end_work(w, work, ERR_LOST, false, "the worker is down");
    } else {
        push(w, work);
        replica_worker_send_waiting(w);
        if (w->options.quarantine && work->queued)
            replica_worker_wake(w); // it may have to be started, or to load
    }
    pthread_mutex_unlock(&w->mutex);
}

void replica_worker_encode(struct replica *r, struct replica_batch *b) {
    submit(replica_worker_of(r), &b->work);
}

void replica_worker_step(struct replica *r, struct replica_step *s) {
    s->released = s->forwarded = false;
    submit(replica_worker_of(r), &s->work);
}

void replica_worker_draw(struct replica *r, struct replica_step *s) {
    struct replica_worker *w = replica_worker_of(r);
    pthread_mutex_lock(&w->mutex);
    s->released = true;
    struct worker_flight *f = flight_of(w, &s->work);
    if (f && !f->drawn) {
        f->want_draw = true;
        (void)send_wanted(w);
    }
    pthread_mutex_unlock(&w->mutex);
}

void replica_worker_cancel(struct replica *r, struct replica_work *work) {
    struct replica_worker *w = replica_worker_of(r);
    pthread_mutex_lock(&w->mutex);
    struct worker_flight *f = flight_of(w, work);
    atomic_store(&work->cancelled, true);
    if (f) {
        f->want_cancel = true;
        (void)send_wanted(w);
    } else if (work->queued) {
        unlink_waiting(w, work);
        replica_worker_end_work(w, work, ERR_CANCELLED, false, "cancelled");
    }
    pthread_mutex_unlock(&w->mutex);
}
