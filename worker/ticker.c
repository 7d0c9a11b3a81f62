// See ticker.h.
#include "worker/ticker.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "engine/wire.h"

#include <stdatomic.h>

struct ticker {
    struct link *link;
    struct replica *replica;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool ending;                   // under the mutex
    atomic_bool asleep;            // written under the mutex
    atomic_int in_hand;            // pieces of work
    atomic_int_fast64_t worked_us; // when a piece last came or was done
};

static void tick(struct ticker *t) {
    unsigned char payload[256];
    struct pack_writer w = pack_writer_of(payload, sizeof payload);
    struct replica_stats s = replica_read_stats(t->replica);
    wire_write_progress(&w, &s);
    struct channel_message m = {
        .type = WIRE_PROGRESS, .payload = payload, .payload_length = w.length};
    link_send(t->link, &m, false); // who does not read it will get a later one
}

// First it says that it sleeps, then it looks: ticker_begin counts, then looks whether it sleeps.
static void sleep_until_work(struct ticker *t) {
    atomic_store(&t->asleep, true);
    while (!t->ending && atomic_load(&t->in_hand) == 0)
        pthread_cond_wait(&t->wake, &t->mutex);
    atomic_store(&t->asleep, false);
}

static void *run(void *arg) {
    struct ticker *t = arg;
    pthread_mutex_lock(&t->mutex);
    while (!t->ending) {
        int64_t next = clock_now_us() + TICKER_US;
        while (!t->ending && thread_cond_wait_until(&t->wake, &t->mutex, next))
            ;
        if (t->ending)
            break;
        if (atomic_load(&t->in_hand) > 0) {
            pthread_mutex_unlock(&t->mutex);
            tick(t);
            pthread_mutex_lock(&t->mutex);
        } else if (clock_now_us() - atomic_load(&t->worked_us) > TICKER_LINGERS_US) {
            sleep_until_work(t);
        }
    }
    pthread_mutex_unlock(&t->mutex);
    return NULL;
}

void ticker_begin(struct ticker *t) {
    atomic_fetch_add(&t->in_hand, 1);
    atomic_store(&t->worked_us, clock_now_us());
    if (!atomic_load(&t->asleep))
        return;
    pthread_mutex_lock(&t->mutex);
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->mutex);
}

void ticker_end(struct ticker *t) {
    atomic_store(&t->worked_us, clock_now_us());
    atomic_fetch_sub(&t->in_hand, 1);
}

enum err ticker_new(struct link *link, struct replica *replica, struct ticker **out,
                    struct errmsg *msg) {
    *out = NULL;
    struct ticker *t = mem_calloc(1, sizeof *t);
    if (!t || thread_cond_init(&t->wake)) {
        mem_free(t);
        return err_set(msg, ERR_NOMEM, "no memory for the ticker");
    }
    t->link = link;
    t->replica = replica;
    pthread_mutex_init(&t->mutex, NULL);
    struct thread_options o = {.name = "ticker", .stack_bytes = 256 << 10};
    enum err e = thread_start(&t->thread, &o, run, t, msg);
    if (e) {
        pthread_cond_destroy(&t->wake);
        pthread_mutex_destroy(&t->mutex);
        mem_free(t);
        return e;
    }
    *out = t;
    return ERR_OK;
}

void ticker_free(struct ticker *t) {
    if (!t)
        return;
    pthread_mutex_lock(&t->mutex);
    t->ending = true;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->mutex);
    pthread_join(t->thread, NULL);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->mutex);
    mem_free(t);
}
