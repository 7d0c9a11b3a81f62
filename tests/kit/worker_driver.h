// Drives a worker's process by hand, as its parent does but without any of its patience: starts it
// on one socket and one region, sends what a test says, waits for the answer. For tests of the
// program alone: no deadlines, no sentinels, no second life. What fails is counted by the caller.
// Thread rule: one thread.
#ifndef TRINE_TESTS_KIT_WORKER_DRIVER_H
#define TRINE_TESTS_KIT_WORKER_DRIVER_H

#include "channel/channel.h"
#include "channel/region.h"
#include "channel/region_space.h"
#include "engine/model.h"
#include "engine/wire_work.h"

#include <sys/types.h>

enum { DRIVER_LIFE = 7 };

struct worker_driver {
    pid_t pid;
    int socket, words; // words: its stderr is read here
    struct region *region;
    struct region_space space;
    uint64_t sequence; // of the last request
    struct channel_buffer in;
    struct channel_message last; // what was received last that was not PROGRESS
    struct replica_stats progress;
    size_t progresses; // received
};

// The program beside this test's own: build/trine-worker, build/asan/trine-worker.
void driver_find_program(const char *name, char *to, size_t room);

// Starts a program with its socket, a region of so many bytes, and `faults` (NULL: none) as
// TRINE_WORKER_FAULTS.
bool driver_start(struct worker_driver *d, const char *program, size_t region_bytes,
                  const char *faults);
// HELLO and READY. False: no READY came; then last says what did.
bool driver_greet(struct worker_driver *d, size_t threads, struct wire_ready *out);
// Closes the socket and waits for its end; *words: what it said on stderr (mem_free). Returns the
// wait status.
int driver_end(struct worker_driver *d, char **words);
// The same without closing anything: it ends by itself, or is killed by a test.
int driver_wait(struct worker_driver *d, char **words);

// Sends a request of this type; returns its sequence. Payload as `w` has it, bulk as said.
uint64_t driver_send(struct worker_driver *d, uint16_t type, const struct pack_writer *w,
                     const int *fds, size_t fd_count);
// Waits for the next message but PROGRESS, which is read. False: closed, or not a frame.
bool driver_receive(struct worker_driver *d);
// Sends, and waits for the ANSWER. values may be NULL.
enum err driver_ask(struct worker_driver *d, uint16_t type, const struct pack_writer *w,
                    uint64_t values[WIRE_VALUES], struct errmsg *msg);

// FILES and LOAD of a model as its files are now: all that lies in its folder.
enum err driver_load(struct worker_driver *d, const struct model *m, struct errmsg *msg);

// A batch that is out.
struct driver_batch {
    uint64_t sequence, offset;
    struct wire_block block;
    int64_t sent_us;
};
void driver_send_batch(struct worker_driver *d, const struct replica_batch *b, size_t dim,
                       struct driver_batch *out);
// Reads what has come (last) as its answer: rows into b->rows, its verdict is returned.
// ERR_INVALID: it is something else.
enum err driver_read_batch(struct worker_driver *d, struct replica_batch *b,
                           const struct driver_batch *out, struct errmsg *msg);

// A step that is out, and its draw.
struct driver_step {
    uint64_t sequence, offset, masks; // masks: their block; UINT64_MAX: none
    struct wire_block block;
    int64_t sent_us;
};
void driver_send_step(struct worker_driver *d, const struct replica_step *s, bool draw,
                      struct driver_step *out);
void driver_send_draw(struct worker_driver *d, const struct replica_step *s, size_t vocab,
                      struct driver_step *out);
enum err driver_read_step(struct worker_driver *d, struct replica_step *s, size_t vocab,
                          const struct driver_step *out, struct errmsg *msg);

#endif
