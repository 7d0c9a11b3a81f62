// Counts the bytes of a pull and shows how far it is. Role: the counting; base/progress.h draws.
// Thread rule: one owner.
#ifndef TRINE_HUB_COUNT_H
#define TRINE_HUB_COUNT_H

#include "base/progress.h"

struct hub_count {
    struct progress progress;
    const char *name;     // the file in progress, borrowed
    uint64_t total, done; // bytes; done counts what was here before
    uint64_t begun_with;  // done at the begin: the rate leaves it out
};

void hub_count_init(struct hub_count *c, int fd, bool quiet);
// total and done as known when the first byte is asked for.
void hub_count_begin(struct hub_count *c, uint64_t total, uint64_t done);
void hub_count_file(struct hub_count *c, const char *name);
void hub_count_add(struct hub_count *c, uint64_t bytes);
void hub_count_take_back(struct hub_count *c, uint64_t bytes); // they must come again
// Shows the state when it is time to. Call it a few times a second, also when nothing arrives.
void hub_count_tick(struct hub_count *c);
// Shows the last state and leaves it on the screen.
void hub_count_end(struct hub_count *c);

#endif
