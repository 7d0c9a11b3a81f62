// Fibers: stacks of their own that take turns on one host thread. Role: what a block's threads run
// on (block.cpp). Under the address sanitizer it is told of every switch.
// Thread rule: a pool and its fibers belong to one host thread at a time.
#ifndef TRINE_TESTS_GPU_FIBERS_H
#define TRINE_TESTS_GPU_FIBERS_H

#include <stddef.h>

struct fiber {
    void *sp; // where it stopped
    void *stack;
    size_t stack_bytes;
    unsigned above; // bytes at the stack's end that are not used
    void *fake;     // the address sanitizer's
    struct fiber *next;
};

// Takes one of the pool, with a guard page below its stack; it begins in `main`, which never
// returns, when it is switched to first. Aborts where there is no memory: a test's machine has it.
struct fiber *fiber_new(void (*main)(void));
void fiber_free(struct fiber *f); // back to the pool, wherever it stopped

// Stops in `from` and goes on in `to`.
void fiber_switch(struct fiber *from, struct fiber *to);
// What a fiber's main does first.
void fiber_began(void);
// Makes `f` stand for the caller's own stack: the first `from` of a switch.
void fiber_of_caller(struct fiber *f);

#endif
