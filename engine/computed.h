// On which devices something was computed, by their names (replica_facts): what x-compute-type
// says. Role: a set that grows while an answer comes to be. The names are the replicas', which
// outlive what they compute.
// Thread rule: one thread adds, any may read meanwhile.
#ifndef TRINE_ENGINE_COMPUTED_H
#define TRINE_ENGINE_COMPUTED_H

#include <stdatomic.h>
#include <stddef.h>

enum {
    COMPUTED_MOST = 4,    // devices; an answer of more than two needs replicas of different kinds
    COMPUTED_BYTES = 100, // of their names
};

struct computed {
    _Atomic(const char *) by[COMPUTED_MOST]; // in the order in which they came to it
};

// Once each, whatever is added how often.
void computed_add(struct computed *c, const char *name);
// Adds what is in the other one.
void computed_join(struct computed *c, const struct computed *other);
// "cuda"; of several, in the order of the alphabet, "cpu, cuda"; none: otherwise's words.
const char *computed_words(const struct computed *c, const char *otherwise,
                           char out[COMPUTED_BYTES]);

#endif
