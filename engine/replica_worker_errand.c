// What a worker is told once: hello, the models and places that it is to have, sizes, questions;
// and the canaries that its numbers are known by. One errand at a time. Which comes next follows
// from what is missing in this life, so a life that begins, a model that is added and a place that
// is closed need no lists of things to do.
#include "engine/replica_worker_internal.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

enum {
    HELLO_US = 30000000,
    ANSWER_US = 60000000,
    LOAD_US = 120000000, // and what its files take
    LOAD_BYTES_US = 10,  // bytes of files a microsecond, at the slowest
    // Where it is known what such a request takes: so many times that, and so many watchdogs.
    ANSWER_TIMES = 20,
    ANSWER_WATCHDOGS = 5,
};

// ---- what is missing

// What a quarantine's next piece of work needs; all is wanted of another.
struct wanted {
    bool all;
    uint64_t model, place; // 0: none
};

static struct wanted what_is_wanted(const struct replica_worker *w) {
    struct wanted n = {.all = !w->options.quarantine};
    struct replica_work *first = n.all ? NULL : replica_worker_first_waiting(w);
    if (first) {
        n.model = first->model;
        n.place = replica_is_step(first) ? replica_step_of(first)->place : 0;
    }
    return n;
}

static bool set_errand(struct replica_worker *w, enum worker_errand_kind kind, uint64_t subject) {
    w->errand = (struct worker_errand){.kind = kind, .subject = subject};
    return true;
}

// What leaves, and what a quarantine has for others than the next piece.
static bool choose_leaving(struct replica_worker *w, const struct wanted *n) {
    uint64_t life = w->health.life;
    bool brings = !n->all && n->model;
    for (struct worker_place *p = w->places, *next; p; p = next) {
        next = p->next;
        bool leaves = p->entry.standing == WORKER_LEAVES;
        if (leaves && p->entry.there != life)
            replica_worker_drop_place(w, p);
        else if (p->entry.there == life && (leaves || (brings && p->wire.model != n->model)))
            return set_errand(w, ERRAND_CLOSE, p->wire.place);
    }
    for (struct worker_model *m = w->models, *next; m; m = next) {
        next = m->next;
        bool leaves = m->entry.standing == WORKER_LEAVES;
        if (leaves && m->entry.there != life)
            replica_worker_drop_model(w, m);
        else if (m->entry.there == life && (leaves || (brings && m->wire.model != n->model)))
            return set_errand(w, ERRAND_UNLOAD, m->wire.model);
    }
    return false;
}

static bool comes(const struct worker_entry *e) {
    return e->standing == WORKER_JOINS || e->standing == WORKER_STANDS;
}

static bool choose_model(struct replica_worker *w, const struct worker_model *m) {
    uint64_t life = w->health.life;
    if (m->entry.there != life) {
        bool files = (m->files_life == life ? m->files_sent : 0) < file_set_count(m->load.files);
        return set_errand(w, files ? ERRAND_FILES : ERRAND_LOAD, m->wire.model);
    }
    if (m->entry.checked == life)
        return false;
    (void)set_errand(w, ERRAND_CHECK_MODEL, m->wire.model);
    w->errand.normalize = m->checked_raw == life;
    return true;
}

static bool choose_place(struct replica_worker *w, const struct worker_place *p) {
    uint64_t life = w->health.life;
    const struct worker_model *m = replica_worker_find_model(w, p->wire.model);
    if (!m || m->entry.there != life || p->entry.checked == life)
        return false;
    return set_errand(w, p->entry.there != life ? ERRAND_OPEN : ERRAND_CHECK_PLACE, p->wire.place);
}

// A model whose files have been told, and not that it is to be loaded: nothing comes in between,
// whatever is wanted now.
static struct worker_model *half_told(struct replica_worker *w) {
    struct worker_model *m = w->models;
    while (m && !(m->files_life == w->health.life && m->files_sent > 0 &&
                  m->entry.there != w->health.life))
        m = m->next;
    return m;
}

static bool choose(struct replica_worker *w) {
    struct wanted n = what_is_wanted(w);
    const struct worker_model *half = half_told(w);
    if (half)
        return choose_model(w, half);
    if (choose_leaving(w, &n))
        return true;
    if (!n.all && !n.model)
        return false;
    size_t tokens = replica_worker_tokens(w);
    if (w->sized != w->health.life || w->sized_tokens != tokens) {
        (void)set_errand(w, ERRAND_SIZE, 0);
        w->errand.tokens = tokens;
        return true;
    }
    for (const struct worker_model *m = w->models; m; m = m->next)
        if (comes(&m->entry) && (n.all || m->wire.model == n.model) && choose_model(w, m))
            return true;
    for (const struct worker_place *p = w->places; p; p = p->next)
        if (comes(&p->entry) && (n.all || p->wire.place == n.place) && choose_place(w, p))
            return true;
    return w->query && !w->query->done && set_errand(w, ERRAND_ASK, w->query->q.model);
}

// ---- sending

static void give_up(struct replica_worker *w, const struct errmsg *msg);

// Descriptors are borrowed by the message.
static void write_errand(struct replica_worker *w, struct pack_writer *p,
                         struct channel_message *m) {
    struct worker_errand *e = &w->errand;
    const struct worker_model *model;
    switch (e->kind) {
    case ERRAND_HELLO:
        m->type = WIRE_HELLO;
        wire_write_hello(p, &(struct wire_hello){.threads = (size_t)w->options.threads,
                                                 .region_bytes = region_size(w->region)});
        break;
    case ERRAND_CLOSE:
        m->type = WIRE_CLOSE_STEPS;
        wire_write_close_steps(p, e->subject);
        break;
    case ERRAND_UNLOAD:
        m->type = WIRE_UNLOAD;
        wire_write_unload(p, e->subject);
        break;
    case ERRAND_SIZE:
        m->type = WIRE_SIZE_BATCHES;
        wire_write_size_batches(p, e->tokens);
        break;
    case ERRAND_FILES:
        m->type = WIRE_FILES;
        model = replica_worker_find_model(w, e->subject);
        e->files = replica_worker_load_write_files(
            &model->load, e->subject, model->files_life == w->health.life ? model->files_sent : 0,
            p, m);
        break;
    case ERRAND_LOAD:
        m->type = WIRE_LOAD;
        model = replica_worker_find_model(w, e->subject);
        pack_put_bytes(p, model->load.bytes, model->load.length);
        break;
    case ERRAND_OPEN:
        m->type = WIRE_OPEN_STEPS;
        wire_write_open_steps(p, &replica_worker_find_place(w, e->subject)->wire);
        break;
    default: // ERRAND_ASK
        m->type = WIRE_SIZE_STEPS;
        wire_write_size_steps(p, &w->query->q);
        break;
    }
}

// The longest that requests like this one have taken before: of a model's load its own.
static int64_t *taken_by(struct replica_worker *w) {
    struct worker_model *m;
    switch (w->errand.kind) {
    case ERRAND_HELLO:
        return &w->hello_us;
    case ERRAND_LOAD:
        m = replica_worker_find_model(w, w->errand.subject);
        return m ? &m->load_us : &w->answer_us;
    default:
        return &w->answer_us;
    }
}

// What is allowed where nothing is known.
static int64_t longest_for(struct replica_worker *w) {
    switch (w->errand.kind) {
    case ERRAND_HELLO:
        return HELLO_US;
    case ERRAND_LOAD:
        return LOAD_US +
               (int64_t)(replica_worker_find_model(w, w->errand.subject)->load.file_bytes /
                         LOAD_BYTES_US);
    default:
        return ANSWER_US;
    }
}

// A worker that hangs while it is brought up again must not keep all that waits for minutes: what
// a request took in a life before this one says what it may take.
static int64_t time_for(struct replica_worker *w) {
    int64_t longest = longest_for(w), taken = *taken_by(w);
    if (taken == 0 || taken > longest / ANSWER_TIMES)
        return longest;
    int64_t us = ANSWER_TIMES * taken, least = ANSWER_WATCHDOGS * w->options.watchdog_us;
    us = us > least ? us : least;
    return us < longest ? us : longest;
}

// False: it does not go now.
static bool send_errand(struct replica_worker *w) {
    struct errmsg msg;
    if (w->errand.kind == ERRAND_CHECK_MODEL || w->errand.kind == ERRAND_CHECK_PLACE) {
        enum err e = replica_worker_send_canary(w, &msg);
        if (e && e != ERR_OVERLOADED && e != ERR_LOST)
            give_up(w, &msg);
        if (!e)
            w->errand.sequence = w->sequence;
        return !e;
    }
    struct pack_writer p = pack_writer_of(w->payload, sizeof w->payload);
    struct channel_message m = {.sequence = w->sequence + 1, .payload = w->payload};
    write_errand(w, &p, &m);
    m.payload_length = p.length;
    if (p.failed) {
        err_set(&msg, ERR_TOO_LARGE, "more than a message can say");
        give_up(w, &msg);
        return false;
    }
    if (replica_worker_send(w, &m))
        return false;
    w->errand.sequence = ++w->sequence;
    w->errand.sent_us = clock_now_us();
    w->errand.until_us = w->errand.sent_us + time_for(w);
    return true;
}

bool replica_worker_run_errands(struct replica_worker *w) {
    for (;;) {
        if (w->losing || w->errand.sequence)
            return false;
        if (w->options.quarantine && w->flight_count > 0) // one thing at a time
            return false;
        if (w->errand.kind == ERRAND_HELLO) // before anything else
            return (void)send_errand(w), false;
        w->errand = (struct worker_errand){0};
        if (!choose(w))
            return true;
        if (send_errand(w))
            return false;
        if (w->errand.kind != ERRAND_NONE) { // another time: it is chosen again
            w->errand = (struct worker_errand){0};
            return false;
        }
    }
}

// ---- how it ended

static struct worker_entry *entry_of(struct replica_worker *w) {
    struct worker_model *m = NULL;
    struct worker_place *p = NULL;
    switch (w->errand.kind) {
    case ERRAND_FILES:
    case ERRAND_LOAD:
    case ERRAND_CHECK_MODEL:
    case ERRAND_UNLOAD:
        m = replica_worker_find_model(w, w->errand.subject);
        return m ? &m->entry : NULL;
    case ERRAND_OPEN:
    case ERRAND_CHECK_PLACE:
    case ERRAND_CLOSE:
        p = replica_worker_find_place(w, w->errand.subject);
        return p ? &p->entry : NULL;
    default:
        return NULL;
    }
}

static void over(struct replica_worker *w) {
    w->errand = (struct worker_errand){0};
    pthread_cond_broadcast(&w->news);
}

// It cannot be done: whoever asked for it is told; what had been done in lives before loses this
// one.
static void give_up(struct replica_worker *w, const struct errmsg *msg) {
    struct worker_entry *e = entry_of(w);
    bool memory = msg->code == ERR_NOMEM || msg->code == ERR_TOO_LARGE;
    struct worker_model *m = replica_worker_find_model(w, w->errand.subject);
    if (m && (w->errand.kind == ERRAND_FILES || w->errand.kind == ERRAND_LOAD))
        m->files_life = 0; // the worker has forgotten them
    if (w->errand.kind == ERRAND_ASK && w->query) {
        w->query->msg = *msg;
        w->query->done = true;
    } else if (w->errand.kind == ERRAND_SIZE && w->sizing) {
        replica_worker_refuse_size(w, msg);
    } else if (e && e->standing == WORKER_JOINS) {
        e->standing = WORKER_FAILED;
        e->why = *msg;
    } else if (!e || e->standing != WORKER_LEAVES) {
        replica_worker_lose(w, memory ? LOSS_MEMORY : LOSS_START, "%s", msg->text);
    }
    over(w);
}

static void stands(struct replica_worker *w, struct worker_entry *e) {
    e->checked = w->health.life;
    if (e->standing == WORKER_JOINS)
        e->standing = WORKER_STANDS;
}

// It was done.
static void settle(struct replica_worker *w, const uint64_t values[WIRE_VALUES]) {
    uint64_t life = w->health.life;
    struct worker_model *m = replica_worker_find_model(w, w->errand.subject);
    struct worker_place *p = replica_worker_find_place(w, w->errand.subject);
    switch (w->errand.kind) {
    case ERRAND_CLOSE:
        if (p && p->entry.standing == WORKER_LEAVES)
            replica_worker_drop_place(w, p);
        else if (p)
            p->entry.there = p->entry.checked = 0;
        break;
    case ERRAND_UNLOAD:
        if (m && m->entry.standing == WORKER_LEAVES)
            replica_worker_drop_model(w, m);
        else if (m)
            m->entry.there = m->entry.checked = m->checked_raw = m->files_life = 0;
        break;
    case ERRAND_SIZE:
        w->sized = life;
        w->sized_tokens = w->errand.tokens;
        w->workspace_bytes = (size_t)values[0];
        break;
    case ERRAND_FILES:
        if (m) {
            m->files_sent = (m->files_life == life ? m->files_sent : 0) + w->errand.files;
            m->files_life = life;
        }
        break;
    case ERRAND_LOAD:
        if (m) {
            m->entry.there = life;
            m->files_life = 0;
            m->entry.checked_us = 0;
            m->weight_bytes = (size_t)values[0];
            if (m->wire.task == TASK_GENERATE) // its places have canaries
                stands(w, &m->entry);
        }
        break;
    case ERRAND_OPEN:
        if (p) {
            p->entry.there = life;
            p->entry.checked_us = 0;
            p->step_bytes = (size_t)values[0];
        }
        break;
    default: // ERRAND_ASK
        if (w->query) {
            w->query->sizes = (struct replica_step_sizes){.block_bytes = (size_t)values[0],
                                                          .workspace_bytes = (size_t)values[1]};
            w->query->done = true;
        }
        break;
    }
    over(w);
}

static void take_ready(struct replica_worker *w, const struct channel_message *m) {
    struct wire_ready ready;
    struct errmsg msg;
    if (wire_read_ready(m, &ready, &msg)) {
        replica_worker_lose(w, msg.code == ERR_UNSUPPORTED ? LOSS_START : LOSS_PROTOCOL, "%s",
                            msg.text);
        return;
    }
    if (ready.verdict.code) { // at the first start that is its maker's answer
        if (!w->has_facts) {
            w->hopeless = true;
            w->start_msg = ready.verdict;
        }
        replica_worker_lose(w, LOSS_START, "%s", ready.verdict.text);
        return;
    }
    struct replica_facts *f = &w->head.facts;
    if (w->has_facts && (strcmp(f->name, ready.facts.name) != 0 ||
                         f->kv_block_tokens != ready.facts.kv_block_tokens)) {
        replica_worker_lose(w, LOSS_START, "it has another device than the one before it (%s)",
                            ready.facts.name);
        return;
    }
    if (!w->has_facts) {
        *f = ready.facts;
        int fits = (int)(sizeof f->describe - sizeof "worker: ");
        snprintf(f->describe, sizeof f->describe, "worker: %.*s", fits, ready.facts.describe);
        f->steps_ahead = 1; // of any device: there is a process in between
        f->bulk_ahead = 1;
        w->has_facts = true;
        const struct replica *r = w->options.reference;
        w->same_device = !r || strcmp(replica_facts(r)->name, f->name) == 0;
    }
    over(w);
}

// The type of the request that an errand is.
static enum wire_type type_of(enum worker_errand_kind kind) {
    switch (kind) {
    case ERRAND_CLOSE:
        return WIRE_CLOSE_STEPS;
    case ERRAND_UNLOAD:
        return WIRE_UNLOAD;
    case ERRAND_SIZE:
        return WIRE_SIZE_BATCHES;
    case ERRAND_FILES:
        return WIRE_FILES;
    case ERRAND_LOAD:
        return WIRE_LOAD;
    case ERRAND_OPEN:
        return WIRE_OPEN_STEPS;
    default:
        return WIRE_SIZE_STEPS;
    }
}

void replica_worker_errand_answered(struct replica_worker *w, const struct channel_message *m) {
    struct worker_errand *e = &w->errand;
    struct wire_answer answer;
    struct errmsg msg;
    bool ready = m->type == WIRE_READY,
         checks = e->kind == ERRAND_CHECK_MODEL || e->kind == ERRAND_CHECK_PLACE;
    if (!e->sequence || e->sequence != m->sequence || checks ||
        ready != (e->kind == ERRAND_HELLO)) {
        replica_worker_lose(w, LOSS_PROTOCOL, "%s to a request that was not made (%llu)",
                            wire_type_name(m->type), (unsigned long long)m->sequence);
        return;
    }
    int64_t took = clock_now_us() - e->sent_us, *taken = taken_by(w);
    *taken = took > *taken ? took : *taken;
    if (ready) {
        take_ready(w, m);
    } else if (wire_read_answer(m, type_of(e->kind), &answer, &msg)) {
        replica_worker_lose(w, LOSS_PROTOCOL, "an answer: %s", msg.text);
    } else if (answer.verdict.code) {
        give_up(w, &answer.verdict);
    } else {
        settle(w, answer.values);
    }
}

// Of the model that the errand is about.
static const char *name_of(struct replica_worker *w) {
    const struct worker_place *p = w->errand.kind == ERRAND_CHECK_PLACE
                                       ? replica_worker_find_place(w, w->errand.subject)
                                       : NULL;
    const struct worker_model *m =
        replica_worker_find_model(w, p ? p->wire.model : w->errand.subject);
    return m ? m->name : "?";
}

void replica_worker_errand_late(struct replica_worker *w) {
    const struct worker_errand *e = &w->errand;
    int64_t ms = (e->until_us - e->sent_us) / 1000;
    bool whole = ms % 1000 == 0;
    long long n = whole ? ms / 1000 : ms;
    const char *unit = whole ? "s" : "ms";
    if (e->kind == ERRAND_HELLO)
        replica_worker_lose(w, LOSS_HANG, "it did not say what it is within %lld %s", n, unit);
    else if (e->kind == ERRAND_LOAD)
        replica_worker_lose(w, LOSS_HANG, "model '%s' was not loaded within %lld %s", name_of(w), n,
                            unit);
    else
        replica_worker_lose(w, LOSS_HANG, "%s was not answered within %lld %s",
                            wire_type_name((uint16_t)type_of(e->kind)), n, unit);
}

void replica_worker_errand_checked(struct replica_worker *w, enum err e, const struct errmsg *msg,
                                   bool right) {
    struct worker_entry *entry = entry_of(w);
    struct worker_model *m = replica_worker_find_model(w, w->errand.subject);
    if (!entry) { // it was taken away meanwhile
    } else if (e) {
        give_up(w, msg);
        return;
    } else if (!right) {
        replica_worker_lose(w, LOSS_NUMBERS,
                            "the canary of model '%s' has other numbers than it must have",
                            name_of(w));
    } else if (w->errand.kind == ERRAND_CHECK_MODEL && m && m->wire.task == TASK_EMBED &&
               !w->errand.normalize) {
        m->checked_raw = w->health.life;
    } else {
        stands(w, entry);
    }
    over(w);
}
