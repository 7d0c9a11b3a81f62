// The worker's end of the line: its socket and its region, and how the process ends when something
// is wrong with either. Role: receives and sends messages of one life, in the order of calls; it
// knows nothing of what they mean. The parent is believed no more than it believes the worker: what
// breaks a rule ends the process with a line on stderr and a code of its own, since nothing that
// comes after it could be trusted.
// Thread rule: one thread receives; any thread sends, and may end the process.
#ifndef TRINE_WORKER_LINK_H
#define TRINE_WORKER_LINK_H

#include "channel/channel.h"
#include "channel/region.h"
#include "engine/wire.h"
#include "worker/hooks.h"

struct link {
    int socket;
    struct region *region;            // NULL before HELLO
    uint64_t life;                    // 0 before HELLO, whose life it is
    const struct worker_hooks *hooks; // NULL: none, as the product has it
    struct channel_buffer in;         // of the thread that receives
};

// Where the next message is in the buffer: its payload is gone with the next call. False: the
// socket is closed, or (wait false) there is none now; *closed tells. A message of another life, or
// one that breaks a rule, ends the process.
bool link_receive(struct link *l, bool wait, struct channel_message *out, bool *closed);
// Waits for a message until clock_now_us() is until_us.
void link_wait(const struct link *l, int64_t until_us);
// Sends it as this life's, with its bulk's checksum where bulk_length is not 0. wait false: where
// the socket has no room it is dropped. A closed socket drops it too: whoever receives will see
// that.
void link_send(struct link *l, struct channel_message *m, bool wait);

// Of the program, for its lines; kept. Before the first of them, from main.
void link_name(const char *program);
// Says why on stderr, and ends the process.
_Noreturn void link_end(enum wire_end how, const char *fmt, ...) PRINTF_LIKE(2, 3);
// How an error at the start ends it.
enum wire_end link_end_of(enum err e);

#endif
