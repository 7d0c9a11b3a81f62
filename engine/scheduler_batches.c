// See scheduler.h: from the lanes to the replicas. A batch is cut as late as it can be: when the
// replica has none of its lane. That is where a job comes to an empty lane, on its submitter's
// thread, or where the batch before it is done, on the replica's: so neither the device nor the job
// waits for the scheduler's thread, which hands the rows out (scheduler_deliver.c).
// What was in hand when a life ended goes apart: by the spare, one batch at a time, or without a
// spare by the main replica with nothing beside it. So what ends lives ends none of the others'.
#include "engine/scheduler_internal.h"

#include "base/clock.h"

enum { FLIGHTS = LANE_COUNT * LANE_FLIGHTS + 1 };

// ---- to a replica

// Fills a slot from the queue's jobs in turn with at most so many tokens: all of one model and
// normalisation, and where `single` of one job. A bulk job that gave some of its texts and has more
// goes to the end of its owner's, so that requests take turns. Mutex held. False: nothing to
// compute.
static bool cut(struct scheduler *s, struct lane_queue *queue, struct encode_slot *slot,
                bool single, size_t most) {
    int64_t now = clock_now_us();
    encode_slot_clear(slot);
    lane_queue_begin(queue);
    bool full = false;
    for (struct job *job; !full && (job = lane_queue_next(queue));) {
        size_t taken = job->taken, tokens = slot->tokens;
        if (job->err || atomic_load(&job->cancelled) || (taken == 0 && job_is_late(job, now))) {
            lane_queue_took(queue, job, 0, LANE_STAYS);
            s->sweep_at_us = 0; // it is to go soon
            scheduler_kick(s);
            continue;
        }
        while (job->taken < job->seqs && encode_slot_add(slot, job, job->taken, most))
            job->taken++;
        full = job->taken < job->seqs || single;
        enum lane_after after = LANE_LEAVES;
        if (job->taken < job->seqs)
            after = job->lane == LANE_BULK && job->taken > taken ? LANE_TO_END : LANE_STAYS;
        else
            job->listed = false;
        lane_queue_took(queue, job, slot->tokens - tokens, after);
    }
    return slot->seqs > 0;
}

static void on_done(struct replica_work *work);

// What of its slot fits a batch of its site, behind what was sent before. Mutex held.
static void send_part(struct batch_flight *f) {
    const struct encode_slot *slot = f->slot;
    size_t begin = f->part_end;
    f->part_end = encode_slot_fill(f->slot, begin, f->site->batch_tokens, &f->batch);
    f->batch.work.request_count = 0;
    for (size_t i = begin; i < f->part_end && f->batch.work.request_count < CRASH_IDS; i++)
        if (i == begin || slot->pieces[i].job != slot->pieces[i - 1].job)
            replica_name_request(&f->batch.work, slot->pieces[i].job->request_id);
    replica_encode(f->replica, &f->batch);
}

// It computes, or will, what is in its slot. Mutex held.
static void send(struct batch_flight *f, struct scheduler_site *site) {
    struct scheduler *s = f->s;
    const struct encode_slot *slot = f->slot;
    f->batch.work.share = f->lane == LANE_BULK ? SHARE_BULK : SHARE_INTERACTIVE;
    f->batch.work.done = on_done;
    f->batch.work.ctx = f;
    f->state = FLIGHT_OUT;
    f->told = false;
    f->site = site;
    f->replica = site->replica;
    if (f->lost) {
        s->stats.replayed_batches++;
        s->stats.replayed_tokens += slot->tokens;
    }
    if (site == &s->sites[SITE_SPARE])
        s->stats.fallbacks[s->cause]++;
    f->lost = false;
    f->part_end = 0;
    f->part_began_us = 0;
    send_part(f);
}

// The next part, where this one went well and there is one more. Mutex held.
static bool send_next_part(struct batch_flight *f) {
    struct replica_work *w = &f->batch.work;
    bool last = f->part_end == f->slot->seqs;
    if (f->part_began_us == 0)
        f->part_began_us = atomic_load(&w->began_us);
    if (!last && !w->err && f->told)
        w->err = err_set(&w->msg, ERR_CANCELLED, "cancelled");
    if (last || w->err) {
        atomic_store(&w->began_us, f->part_began_us);
        return false;
    }
    send_part(f);
    return true;
}

// ---- what was in hand when a life ended

// Whether the main replica has any of the batches. Mutex held.
static bool main_has_flights(struct scheduler *s) {
    for (size_t i = 0; i < scheduler_flight_count(); i++) {
        const struct batch_flight *f = scheduler_flight(s, i);
        if (f->state == FLIGHT_OUT && f->site == &s->sites[SITE_MAIN])
            return true;
    }
    return false;
}

// NULL: it waits. Mutex held.
static struct scheduler_site *where_apart(struct scheduler *s) {
    if (s->options.spare_kind != SPARE_NONE)
        return &s->sites[SITE_SPARE];
    return s->sites[SITE_MAIN].health.condition == REPLICA_UP ? &s->sites[SITE_MAIN] : NULL;
}

static bool cut_apart(struct scheduler *s, struct batch_flight *f, size_t most) {
    bool single = s->options.spare_kind != SPARE_CPU;
    f->lost = suspects_cut(&s->suspects, f->slot, single, most);
    if (!f->lost && !cut(s, &s->apart, f->slot, single, most))
        return false;
    f->lane = LANE_INTERACTIVE;
    for (size_t i = 0; i < f->slot->seqs; i++)
        if (f->slot->pieces[i].job->lane == LANE_BULK)
            f->lane = LANE_BULK;
    return true;
}

// A job that has died too often does not go back with what waits to be sent again.
static void take_apart(struct scheduler *s) {
    for (size_t i = 0; s->waiting > 0 && i < FLIGHTS; i++) {
        struct batch_flight *f = scheduler_flight(s, i);
        bool any = false;
        for (size_t k = 0; f->state == FLIGHT_WAITS && k < f->slot->seqs; k++)
            any = any || f->slot->pieces[k].job->deaths >= DEATHS_APART;
        if (!any || suspects_add(&s->suspects, f->slot)) // without memory it has to
            continue;
        s->waiting--;
        scheduler_release_flight(f);
    }
}

static void pump_apart(struct scheduler *s) {
    struct batch_flight *f = &s->lone;
    if (f->state != FLIGHT_FREE)
        return;
    bool any = s->suspects.count > 0 || lane_queue_count(&s->apart) > 0;
    struct scheduler_site *site = any ? where_apart(s) : NULL;
    bool alone = site == &s->sites[SITE_MAIN];
    atomic_store(&s->alone, alone);
    if (!site || (alone && (main_has_flights(s) || scheduler_has_steps(s))))
        return;
    if (cut_apart(s, f, site->batch_tokens))
        send(f, site);
    else
        atomic_store(&s->alone, false);
}

// ---- the lanes

// Until when one of its jobs can wait.
static int64_t earliest_deadline(const struct batch_flight *f) {
    int64_t earliest = INT64_MAX;
    for (size_t i = 0; i < f->slot->seqs; i++) {
        int64_t d = job_deadline(f->slot->pieces[i].job);
        earliest = d < earliest ? d : earliest;
    }
    return earliest;
}

// Whether the site may have one more of the lane's batches, and in which flight: one that is to be
// sent again, first the one that can wait least, else one that is free. NULL: it may not, or the
// rows of all are being handed out.
static struct batch_flight *next_flight(struct scheduler *s, enum lane lane,
                                        const struct scheduler_site *site) {
    struct batch_flight *is_free = NULL, *waits = NULL;
    size_t out = 0;
    for (size_t i = 0; i < s->flight_count[lane]; i++) {
        struct batch_flight *f = &s->flights[lane][i];
        out += f->state == FLIGHT_OUT && f->site == site;
        if (f->state == FLIGHT_FREE)
            is_free = f;
        if (f->state == FLIGHT_WAITS && (!waits || earliest_deadline(f) < earliest_deadline(waits)))
            waits = f;
    }
    if (out > (lane == LANE_BULK ? site->bulk_ahead : 0))
        return NULL;
    return waits ? waits : is_free;
}

// False: there is nothing more to send.
static bool pump_lane(struct scheduler *s, enum lane lane, struct scheduler_site *site) {
    if (lane_queue_count(&s->lanes[lane]) == 0 && s->waiting == 0)
        return false;
    struct batch_flight *f = next_flight(s, lane, site);
    if (!f)
        return false;
    if (f->state == FLIGHT_WAITS)
        s->waiting--;
    else if (!cut(s, &s->lanes[lane], f->slot, false, site->batch_tokens))
        return false;
    send(f, site);
    return true;
}

void scheduler_pump(struct scheduler *s) {
    // what was lost goes before what waits: the thread sorts it first
    if (s->stopping || !s->warmed || s->lost > 0)
        return;
    if (s->sites[SITE_MAIN].health.condition != REPLICA_UP && main_has_flights(s))
        return; // they come back at once, and are sorted first as well
    if (s->options.spare_kind != SPARE_NONE)
        take_apart(s);
    if (s->may_lose)
        pump_apart(s);
    struct scheduler_site *site = scheduler_where(s);
    if (!site || atomic_load_explicit(&s->alone, memory_order_relaxed))
        return;
    for (int lane = 0; lane < LANE_COUNT; lane++)
        while (pump_lane(s, (enum lane)lane, site))
            ;
}

void scheduler_go_alone(struct scheduler *s) {
    if (!atomic_load_explicit(&s->alone, memory_order_relaxed))
        return;
    pthread_mutex_lock(&s->mutex);
    scheduler_pump(s);
    pthread_mutex_unlock(&s->mutex);
}

// On the replica's thread.
static void on_done(struct replica_work *work) {
    struct batch_flight *f = work->ctx;
    struct scheduler *s = f->s;
    pthread_mutex_lock(&s->mutex);
    if (send_next_part(f)) {
        pthread_mutex_unlock(&s->mutex);
        return;
    }
    if (work->err == ERR_LOST) {
        s->lost++;
        if (f->site == &s->sites[SITE_MAIN])
            scheduler_look_at_main(s);
        f->life = f->site->health.life;
    }
    f->state = FLIGHT_BACK;
    f->next = NULL;
    *s->back_tail = f;
    s->back_tail = &f->next;
    scheduler_pump(s);
    scheduler_kick(s);
    pthread_mutex_unlock(&s->mutex);
}

// ---- all of them

size_t scheduler_flight_count(void) { return FLIGHTS; }

struct batch_flight *scheduler_flight(struct scheduler *s, size_t i) {
    return i < FLIGHTS - 1 ? &s->flights[i / LANE_FLIGHTS][i % LANE_FLIGHTS] : &s->lone;
}

void scheduler_call_back_flights(struct scheduler *s) {
    for (size_t i = 0; i < FLIGHTS; i++) {
        struct batch_flight *f = scheduler_flight(s, i);
        if (f->state != FLIGHT_OUT || f->told || (!s->stopping && f->replica == f->site->replica))
            continue;
        f->told = true;
        s->stats.moved += !s->stopping;
        replica_cancel(f->replica, &f->batch.work);
    }
}

static bool has_in_hand(const struct batch_flight *f, const struct replica *r) {
    return (f->state == FLIGHT_OUT || f->state == FLIGHT_BACK) && (!r || f->replica == r);
}

bool scheduler_has_flights_on(const struct scheduler *s, const struct replica *r) {
    for (int lane = 0; lane < LANE_COUNT; lane++)
        for (size_t i = 0; i < s->flight_count[lane]; i++)
            if (has_in_hand(&s->flights[lane][i], r))
                return true;
    return has_in_hand(&s->lone, r);
}

// ---- their memory

void scheduler_release_flight(struct batch_flight *f) {
    if (f->heir) {
        encode_slot_free(f->slot);
        f->slot = f->heir;
        f->heir = NULL;
    }
    f->state = FLIGHT_FREE;
}

static bool is_used(const struct scheduler *s, size_t i) {
    return i < FLIGHTS - 1 ? i % LANE_FLIGHTS < s->flight_count[i / LANE_FLIGHTS] : s->may_lose;
}

void scheduler_choose_flights(struct scheduler *s) {
    const struct scheduler_site *main = &s->sites[SITE_MAIN];
    // one of a process of its own, which may end, says so
    s->may_lose = s->options.spare_kind != SPARE_NONE || main->health.pid != 0 ||
                  main->health.condition != REPLICA_UP;
    s->flight_count[LANE_INTERACTIVE] = 2 + s->may_lose;
    s->flight_count[LANE_BULK] = 2 + s->may_lose + main->bulk_ahead;
}

static bool is_interactive(size_t i) { return i / LANE_FLIGHTS == LANE_INTERACTIVE; }

// Of the flight's slot, of all this room: an interactive batch is a short one, or one sequence.
static struct encode_room room_of(const struct scheduler *s, const struct encode_room *room,
                                  size_t i) {
    struct encode_room r = *room;
    size_t most = scheduler_batch_most(s);
    if (is_interactive(i) && most > INTERACTIVE_TOKENS && r.seqs == most)
        r.seqs = INTERACTIVE_TOKENS;
    return r;
}

size_t scheduler_flights_bytes(const struct scheduler *s) {
    size_t bytes = 0;
    for (size_t i = 0; i < FLIGHTS; i++) {
        struct encode_room lane = room_of(s, &s->room, i);
        bytes += is_used(s, i) ? encode_room_bytes(&lane) : 0;
    }
    return bytes;
}

enum err scheduler_make_room(struct scheduler *s, const struct encode_room *room) {
    struct encode_slot *made[FLIGHTS] = {0};
    size_t most = scheduler_batch_most(s);
    size_t few = most < INTERACTIVE_TOKENS ? most : INTERACTIVE_TOKENS;
    bool ok = true;
    for (size_t i = 0; i < FLIGHTS && ok; i++) {
        struct encode_room lane = room_of(s, room, i);
        if (is_used(s, i))
            ok = (made[i] = encode_slot_new(&lane, is_interactive(i) ? few : most)) != NULL;
    }
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < FLIGHTS; i++) {
        struct batch_flight *f = scheduler_flight(s, i);
        if (!ok || !made[i]) {
            encode_slot_free(made[i]);
            continue;
        }
        f->s = s;
        f->lane = is_interactive(i) ? LANE_INTERACTIVE : LANE_BULK;
        encode_slot_free(f->heir);
        f->heir = made[i];
        if (f->state == FLIGHT_FREE)
            scheduler_release_flight(f);
    }
    if (ok)
        s->room = *room;
    pthread_mutex_unlock(&s->mutex);
    return ok ? ERR_OK : ERR_NOMEM;
}

void scheduler_free_flights(struct scheduler *s) {
    for (size_t i = 0; i < FLIGHTS; i++) {
        struct batch_flight *f = scheduler_flight(s, i);
        encode_slot_free(f->slot);
        encode_slot_free(f->heir);
    }
    suspects_free(&s->suspects);
}
