// Rotary position embedding's numbers: frequencies from the config, then a step's cosines and
// sines. Role: host arithmetic only, rounded where transformers rounds (float32), so that angles at
// far positions agree: at position 100,000 one unit in the last place of a frequency is 0.006 rad.
// Source followed: transformers modeling_rope_utils.py; llama.cpp for a GGUF's factors.
// Thread rule: pure functions.
#ifndef TRINE_DECODER_ROPE_H
#define TRINE_DECODER_ROPE_H

#include "compute/device.h"
#include "weights/decoder_config.h"

// inv_freq [hd/2], and *scale, which multiplies every cosine and sine. `factors` [hd/2] divide the
// frequencies (rope_freqs.weight); NULL: ones.
void rope_frequencies(const struct rope_config *c, size_t head_dim, const float *factors,
                      float *inv_freq, float *scale);

// Row n of cos and sin [N, hd/2], which are host memory: those of positions[n]'s angles. On the
// device's threads.
void rope_rows(struct device *d, const float *inv_freq, float scale, const int32_t *positions,
               struct mat cos, struct mat sin);

#endif
