// Rotary position embedding's frequencies, from the config; the device makes a step's cosines and
// sines of them (rope_table). Role: host arithmetic only, rounded where transformers rounds
// (float32), so that angles at far positions agree: at position 100,000 one unit in the last place
// of a frequency is 0.006 rad.
// Source followed: transformers modeling_rope_utils.py; llama.cpp for a GGUF's factors.
// Thread rule: pure functions.
#ifndef TRINE_DECODER_ROPE_H
#define TRINE_DECODER_ROPE_H

#include "weights/decoder_config.h"

#include <stddef.h>

// inv_freq [hd/2], and *scale, which multiplies every cosine and sine. `factors` [hd/2] divide the
// frequencies (rope_freqs.weight); NULL: ones.
void rope_frequencies(const struct decoder_rope *c, size_t head_dim, const float *factors,
                      float *inv_freq, float *scale);

#endif
