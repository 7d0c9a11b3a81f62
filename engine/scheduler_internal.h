// What a struct scheduler is made of. Role: shared by the files of the scheduler:
//   scheduler.c          submission, admission, the ends of its life
//   scheduler_thread.c   the thread
//   scheduler_sites.c    where things are computed
//   scheduler_batches.c  from the lanes to a replica
//   scheduler_deliver.c  back, to the jobs or to be computed again
//   scheduler_steps.c    the generators' steps, to a replica and back
//   scheduler_loss.c     generations when a life ends, and the spare's generators
//   scheduler_models.c   models that come and go
//   scheduler_changes.c  what that changes in the thread's own things
// Two places can compute: the main one, where all goes, and a spare one for what the main one
// cannot have. Each is a site.
#ifndef TRINE_ENGINE_SCHEDULER_INTERNAL_H
#define TRINE_ENGINE_SCHEDULER_INTERNAL_H

#include "engine/admission.h"
#include "engine/encode_slots.h"
#include "engine/generators.h"
#include "engine/lane_queue.h"
#include "engine/scheduler.h"
#include "engine/shares.h"
#include "engine/spare.h"
#include "engine/suspects.h"

#include <pthread.h>

// One batch of a lane is with the replica, while another's rows are handed out; of bulk one more is
// there where the replica takes it ahead. Where lives end another one may be out at the other site.
enum { LANE_FLIGHTS = 4 };
// A job or text that was in hand when so many lives ended fails, and from so many on what is left
// of it is computed by the spare.
enum { DEATHS_MOST = 3, DEATHS_APART = 2 };

// Where things are computed.
enum scheduler_place { SITE_MAIN, SITE_SPARE, SITE_COUNT };

enum flight_state {
    FLIGHT_FREE,
    FLIGHT_OUT,
    FLIGHT_BACK,
    FLIGHT_WAITS, // it is to be sent again, before its lane's next batch is cut
};

// A batch, from its cut to the end of its delivery.
struct batch_flight {
    struct scheduler *s;
    enum lane lane;
    struct encode_slot *slot;
    struct encode_slot *heir; // with more room: takes the slot's place when it is free
    struct replica_batch batch;
    struct scheduler_site *site; // where it was sent,
    struct replica *replica;     // to which of its replicas
    // One that is larger than what its site takes goes there in parts, one after the other.
    size_t part_end;       // of the pieces, those that were sent
    int64_t part_began_us; // when the first part was begun; 0: there is one part so far
    enum flight_state state;
    bool told;                 // to end
    bool lost;                 // when it was out last, or what is in it
    uint64_t life;             // ERR_LOST: the one that ended
    struct batch_flight *next; // of those that are back
};

// A generator's step, from its beginning to its end.
struct step_flight {
    struct scheduler *s;
    struct step *step;
    struct replica_step work;
    struct replica *replica; // where it was sent
    bool released;           // its draw
    bool told;               // to end
    atomic_bool over;        // computed, and not yet drawn
    atomic_bool back;        // done
};

// Those of one generator, in turn.
struct step_line {
    struct scheduler_site *site; // whose it is
    struct generator *generator;
    struct replica *replica; // where the generator has its storage
    struct step_flight flights[1 + GENERATOR_AHEAD_MOST];
    size_t oldest, count; // changed by the thread, under the mutex
    bool sorts;           // of what waits there is to be decided where it goes. The thread's
};

// A model that jobs may be for.
struct scheduler_model {
    const struct model *model; // held
    size_t jobs;  // of it, in the scheduler, and generations on their way to its generator
    bool leaving; // no new ones
};

// A place that computes. The thread changes it, under the mutex, and may read it without, but for
// the replica.
struct scheduler_site {
    struct replica *replica; // NULL: there is no such place
    struct generators generators;
    struct step_line **lines; // [line_count], of the generators in turn
    size_t line_count;
    struct replica_health health; // the main one's, as it was seen last; guarded by the mutex
    size_t bulk_ahead;            // of its replica's facts
    size_t batch_tokens;          // of a batch there: what was asked for, or as it likes them best
    // How fast it encodes, in tokens a microsecond of its time, lately; 0: not known.
    double rate;
    uint64_t tokens; // that it has encoded; of these, and its time, `rate` has seen
    uint64_t measured_tokens;
    int64_t measured_used_us;
    struct replica_stats before; // what the replica had done before the first job
};

struct scheduler {
    struct scheduler_options options;
    pthread_t thread;
    pthread_mutex_t mutex; // guards everything below but what is marked
    pthread_cond_t wake;   // `kicked` was set
    pthread_cond_t ready;  // the warm-up ended, a model has no jobs any more, a replica no work
    pthread_cond_t empty;  // nothing is held and no generation runs
    bool kicked;           // there is something to look at
    struct scheduler_site sites[SITE_COUNT];
    struct scheduler_model *models; // [model_count]
    size_t model_count;
    // The thread changes these, under the mutex, and may read them without.
    struct memory_plans memory;       // of what is served; but for the workspaces of encoding,
    size_t step_workspaces;           // which the replica knows, and beside those of the steps
    struct scheduler_change *changes; // that wait for the thread, in order
    bool ended;                       // it makes none any more
    struct encode_room room;          // of the flights
    struct lane_queue lanes[LANE_COUNT];
    struct batch_flight flights[LANE_COUNT][LANE_FLIGHTS];
    size_t flight_count[LANE_COUNT]; // of these are used
    // What was in hand when a life ended: computed apart, one batch at a time, in this flight.
    bool may_lose; // there is such work: lives may end
    struct suspects suspects;
    struct lane_queue apart; // jobs of which all that is left is computed so
    struct batch_flight lone;
    unsigned lone_refused; // times in a row that it came back without having been computed
    atomic_bool alone; // read without the mutex: a suspect is, or will be, with the main replica:
                       // nothing else goes
    size_t lost;       // flights that are back with ERR_LOST, and not looked at
    size_t waiting;    // FLIGHT_WAITS
    enum replica_loss cause; // why the main replica was lost last
    int64_t measured_us;     // when the sites' rates were looked at last
    double generates_at; // prompts' rate of the spare, as a part of the main one's; 0: not known
    struct batch_flight *back, **back_tail; // those that are back, in turn
    struct admission admission;             // tokens reserved, or queued and not yet computed
    bool draining, stopping, warmed;
    enum err warm_err;
    struct errmsg warm_msg;
    struct scheduler_stats stats;
    int64_t sweep_at_us; // when queued jobs are looked over next; 0: soon
    // Read and written without the mutex.
    atomic_int_fast64_t heartbeat_us;

    // What brings models to the spare, and the generators that it has made and the thread has not
    // listed.
    struct spare *spare; // NULL: there is none
    struct scheduler_made *spare_made;
    bool sorting; // generations go from one site to another

    // The thread's own.
    bool quiet; // a change waits for the steps in flight: none are begun
};

// Gives tokens back; mutex held.
void scheduler_give_back(struct scheduler *s, size_t tokens, bool large);
// Ends a job that is in no lane and no batch; mutex held, done is called later.
void scheduler_job_end(struct scheduler *s, struct job *job, struct job_list *list);
// Has the thread look; mutex held.
void scheduler_kick(struct scheduler *s);
void scheduler_wake(void *scheduler); // the same, no mutex held
// Whether a generation is in any site's generators.
bool scheduler_generates(const struct scheduler *s);
// The generator of the main site, which accepts the model's generations; NULL: it does not
// generate. Mutex held, or the thread's.
struct generator *scheduler_generator_of(const struct scheduler *s, const struct model *m);
// NULL: it serves none such. Mutex held.
struct scheduler_model *scheduler_model_of(struct scheduler *s, uint64_t id);

// ---- scheduler_sites.c

// Where what is accepted is computed now; NULL: nowhere, it waits. Mutex held, as the next.
struct scheduler_site *scheduler_where(struct scheduler *s);
// Nothing can compute, and nothing will be for long: what is accepted ends with this error, which
// says why.
bool scheduler_is_unserved(const struct scheduler *s);
enum err scheduler_say_unserved(struct errmsg *msg);
// Reads the main replica's health, and acts on what has changed of it.
void scheduler_look_at_main(struct scheduler *s);
// Has itself told of changes of the main replica, or not any more. No mutex held.
void scheduler_watch_main(struct scheduler *s, bool on);
// Waits, from any thread, until the main replica is up. ERR_LOST, only where `or_spare`: it is not,
// and the spare computes all; ERR_UNAVAILABLE: it is given up, or the service stops. No mutex held.
enum err scheduler_wait_main(struct scheduler *s, bool or_spare, struct errmsg *msg) MUST_CHECK;
// The first forward of an encoder on the sites that compute all. ERR_LOST is none of its errors.
enum err scheduler_warm_encoder(struct scheduler *s, const struct model *m,
                                struct errmsg *msg) MUST_CHECK;
// What was done before the first job is not counted. Mutex held.
void scheduler_note_before(struct scheduler_site *site);
// How fast the sites are, now and then; the thread's.
void scheduler_measure(struct scheduler *s);

// ---- scheduler_batches.c

// The tokens of the largest batch of any site.
static inline size_t scheduler_batch_most(const struct scheduler *s) {
    size_t main = s->sites[SITE_MAIN].batch_tokens, spare = s->sites[SITE_SPARE].batch_tokens;
    return main > spare ? main : spare;
}
// Gives flights room for every model. ERR_NOMEM.
enum err scheduler_make_room(struct scheduler *s, const struct encode_room *room) MUST_CHECK;
void scheduler_choose_flights(struct scheduler *s); // before: how many there are
size_t scheduler_flights_bytes(const struct scheduler *s);
void scheduler_free_flights(struct scheduler *s);
// Cuts batches from the lanes, where none of theirs is with the replica, and submits them. Mutex
// held.
void scheduler_pump(struct scheduler *s);
// What waits until nothing else is with the main replica goes there now, if nothing is. The
// thread's.
void scheduler_go_alone(struct scheduler *s);
// Whether anything waits to be computed again. Mutex held.
static inline bool scheduler_has_lost(const struct scheduler *s) {
    return s->waiting > 0 || s->suspects.count > 0 || lane_queue_count(&s->apart) > 0;
}
// The flight has nothing in hand any more. Mutex held.
void scheduler_release_flight(struct batch_flight *f);
// All that there are, in a row: 0 to scheduler_flight_count - 1.
struct batch_flight *scheduler_flight(struct scheduler *s, size_t i);
size_t scheduler_flight_count(void);

// ---- scheduler_deliver.c

// Hands out what is back. The thread's.
void scheduler_deliver(struct scheduler *s);
// Ends queued jobs that are over, and tells flights to end that nobody waits for. The thread's.
void scheduler_sweep(struct scheduler *s);
// Ends all queued jobs. The thread's.
void scheduler_sweep_all(struct scheduler *s);
// Tells batches to end that are not where they ought to be; all of them where the service stops.
// Mutex held.
void scheduler_call_back_flights(struct scheduler *s);
// Whether a batch is with a replica, or back from it. Mutex held.
// r: with this one, or back from it; NULL: any.
bool scheduler_has_flights_on(const struct scheduler *s, const struct replica *r);
static inline bool scheduler_has_flights(const struct scheduler *s) {
    return scheduler_has_flights_on(s, NULL);
}

// ---- scheduler_steps.c

// Begins steps, releases draws and takes results. The thread's.
void scheduler_run_steps(struct scheduler *s);
// Tells steps to end that nobody waits for. The thread's.
void scheduler_look_over_steps(struct scheduler *s);
// As scheduler_call_back_flights.
void scheduler_call_back_steps(struct scheduler *s);
bool scheduler_has_steps(const struct scheduler *s); // that are with a replica
// Whether a generator is not yet on the replica that it ought to be on. Mutex held.
bool scheduler_steps_move(const struct scheduler *s);
enum err scheduler_make_lines(struct scheduler *s) MUST_CHECK; // ERR_NOMEM
void scheduler_free_lines(struct scheduler *s);
// One more generator of the site, or one less, that has no step in flight. The thread's, mutex
// held. ERR_NOMEM.
enum err scheduler_put_generator(struct scheduler_site *site, struct generator *g,
                                 struct errmsg *msg) MUST_CHECK;
void scheduler_take_generator(struct scheduler_site *site, const struct generator *g);
// From any thread that has the generator, which is on the site's replica, for itself.
enum err scheduler_warm_generator(struct scheduler *s, struct scheduler_site *site,
                                  struct generator *g, struct errmsg *msg) MUST_CHECK;
enum err scheduler_warm_generators(struct scheduler *s, struct errmsg *msg) MUST_CHECK;

struct step_flight *scheduler_nth_of(struct step_line *l, size_t i); // in flight, in turn
// NULL: the site has no generator of the model.
struct step_line *scheduler_line_of(const struct scheduler_site *site, const struct model *m);

// ---- scheduler_loss.c; the thread's, but where it says otherwise

// The spare's thread; before the scheduler's own, and behind it.
enum err scheduler_start_spare(struct scheduler *s, struct errmsg *msg) MUST_CHECK;
void scheduler_stop_spare(struct scheduler *s);
// Waits until all models that generate are on the spare, where that is wanted from the start.
enum err scheduler_warm_spare(struct scheduler *s, struct errmsg *msg) MUST_CHECK;
// Lists generators that came.
void scheduler_look_at_spare(struct scheduler *s);
// Frees the spare's generator of a model that is gone and barred (spare.h), where there is one.
void scheduler_take_spare_generator(struct scheduler *s, const struct model *m);
// All steps of the line are back, lost ones among them.
void scheduler_lose_line(struct scheduler *s, struct step_line *l);
// Brings the generator into the present life of its replica. False: no step is to be begun.
bool scheduler_line_lives(struct scheduler *s, struct step_line *l, const struct replica_health *h);
// Has generations that wait go where they are to be computed, or ends them.
void scheduler_sort_line(struct scheduler *s, struct step_line *l, const struct replica_health *h);

// ---- scheduler_changes.c

// What a change does, on the thread, no step in flight.
enum scheduler_change_kind {
    CHANGE_MAKE, // what a model that comes needs beside what is there; its generator is not listed
    CHANGE_LIST, // that one, which is warm
    CHANGE_DROP, // that one, which is not to be
    CHANGE_GONE, // a model that is leaving, when nothing of it is in hand
    CHANGE_BARE, // what the spare has made for it, which it is barred from making again
};
struct scheduler_change {
    enum scheduler_change_kind kind;
    const struct model *model;   // held by the one who waits
    struct generator *generator; // NULL: it encodes
    enum err err;
    struct errmsg msg;
    // scheduler_changes.c's
    bool made;
    struct scheduler_change *next;
};
// Has the thread make it and waits for that. ERR_UNAVAILABLE: it makes none any more. Any thread.
enum err scheduler_change(struct scheduler *s, struct scheduler_change *c) MUST_CHECK;
// Makes what can be made; the thread's, as the next: what waits is refused, and what comes.
void scheduler_make_changes(struct scheduler *s);
void scheduler_refuse_changes(struct scheduler *s);
// Of encoding: the replica's and the batches'. Mutex held, here and next.
size_t scheduler_workspace_bytes(struct scheduler *s);
// The same, in the plan of the memory where each lies; *encoding: of the replica's.
void scheduler_plan_workspaces(struct scheduler *s, struct memory_plans *plans, size_t *encoding);

// The thread, from the warm-up to the end of what is left.
void *scheduler_run(void *scheduler);
bool scheduler_is_stopping(void *scheduler);

#endif
