// What the files of lossy_replica.h share: what it is, and what becomes of work. Thread rule: a
// function says whether it wants the mutex held.
#ifndef TRINE_TESTS_KIT_LOSSY_REPLICA_INTERNAL_H
#define TRINE_TESTS_KIT_LOSSY_REPLICA_INTERNAL_H

#include "tests/kit/lossy_replica.h"

#include <pthread.h>

enum { LOSSY_PLACES = 16, LOSSY_PIECES = 64 };

// What becomes of a life by a piece of work.
enum lossy_fate {
    FATE_LIVES,
    FATE_BEFORE, // it ends before the piece is sent
    FATE_AT_ONCE,
    FATE_SOON,
    FATE_LATE, // with the result, which is thrown away
    FATE_COUNT,
};

// A piece of work that is with it.
struct lossy_piece {
    struct lossy *l;
    struct replica_work *work; // NULL: the piece is free
    struct replica_step *step; // NULL: a batch
    void (*done)(struct replica_work *w);
    void (*computed)(struct replica_step *s);
    void *ctx;
    uint64_t place;
    enum lossy_fate fate;
    bool sent, lost, exposed;
    struct lossy_piece *next;
};

struct lossy_place {
    uint64_t number, inner; // number 0: free
    uint64_t model;
    struct step_engine_options options;
};

struct lossy {
    struct replica head;
    struct lossy_options options;
    pthread_t thread;
    pthread_mutex_t mutex; // guards what is below
    pthread_cond_t wake;
    struct lossy_piece pieces[LOSSY_PIECES];
    struct lossy_piece *with;         // sent, and not back
    struct lossy_piece *held, **tail; // that wait for a life
    struct lossy_piece *over;         // to be done with ERR_LOST
    struct lossy_place places[LOSSY_PLACES];
    uint64_t place_count;
    struct replica_health health;
    struct lossy_counts counts;
    uint64_t random;
    int per_thousand;
    int64_t lose_us, raise_us; // when; 0: not
    bool busy_life;            // it has had work
    bool changed, ending;      // changed: the watcher is to be told
    void (*watcher)(void *ctx);
    void *watcher_ctx;
    bool telling; // the thread is in the watcher's call
    pthread_cond_t told;
};

static inline struct lossy *lossy_of(struct replica *r) { return (struct lossy *)r; }

// ---- lossy_replica_work.c

// Its thread: ends what was lost, and begins lives. arg: the struct lossy.
void *lossy_run(void *arg);
// Ends the present life, if there is one; mutex held. down_us: negative: until it is told.
void lossy_end_life(struct lossy *l, enum replica_loss cause, int64_t down_us);
// The inner replica's number of a place of this one; mutex held. 0: there is none.
uint64_t lossy_inner_place(const struct lossy *l, uint64_t number);
void lossy_encode(struct replica *r, struct replica_batch *b);
void lossy_step(struct replica *r, struct replica_step *s);
void lossy_draw(struct replica *r, struct replica_step *s);
void lossy_cancel(struct replica *r, struct replica_work *w);

#endif
