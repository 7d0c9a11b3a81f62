// Independent chains of one instruction, for what probes its peak; included after a lanes_*.h.
#ifndef TRINE_COMPUTE_CPU_LANES_CHAINS_H
#define TRINE_COMPUTE_CPU_LANES_CHAINS_H

#include <stddef.h>

// As many as a tile of the matrix product has, about.
enum { CHAINS = 2 * TILE_ROWS - 4 };

// *total = the sum, by `add`, of CHAINS vectors of type V: each begins as `first` (an expression of
// i) and is replaced `rounds` times by `step` (an expression of s, what it was).
#define RUN_CHAINS(V, rounds, first, step, add, total)                                             \
    do {                                                                                           \
        V sum[CHAINS];                                                                             \
        _Pragma("GCC unroll 24") for (int i = 0; i < CHAINS; i++) sum[i] = first;                  \
        for (size_t r = 0; r < (rounds); r++) {                                                    \
            _Pragma("GCC unroll 24") for (int i = 0; i < CHAINS; i++) {                            \
                V s = sum[i];                                                                      \
                s = step;                                                                          \
                __asm__ volatile("" : "+v"(s)); /* each round's work must be done */               \
                sum[i] = s;                                                                        \
            }                                                                                      \
        }                                                                                          \
        _Pragma("GCC unroll 24") for (int i = 1; i < CHAINS; i++) sum[0] = add(sum[0], sum[i]);    \
        *(total) = sum[0];                                                                         \
    } while (0)

#endif
