// The device's time between kinds of work. Role: an account of who had the device while whom it
// kept waiting, and from it who comes next; it computes nothing and asks no clock.
// Work comes in the order of enum share: interactive encoding first, bulk last. Beside that each
// kind has a least part of the time for as long as it has work. While one that waits has had less
// than its part it is due, and comes before all that are not; of several, the one whose part is
// longest in coming. The first in order of those that wait is never due: it has what the others are
// not due, which is its part at least. So a kind that is alone has the whole device, and
// interactive work meets others only as much as they are due. A kind without work saves up nothing.
// What is owed is bounded: two seconds of the device to one that waits; and one that had too much
// at once, as by a piece of twenty seconds, pays for a tenth of a second of it. So the parts hold
// over windows that are long beside the pieces, and of pieces that are longer than a tenth of a
// second a kind may have more. Thread rule: one owner.
#ifndef TRINE_ENGINE_SHARES_H
#define TRINE_ENGINE_SHARES_H

#include <stdint.h>

enum share {
    SHARE_INTERACTIVE, // encoding of at most 512 tokens a request
    SHARE_DECODE,      // the steps' part for sequences that decode
    SHARE_PREFILL,     // the steps' part for prompts
    SHARE_BULK,        // encoding of more
    SHARE_COUNT,
};
#define SHARE_BIT(share) (1U << (share))

// The least parts, in percent. Steps carry chunks of prompts that add at most four fifths of their
// decoding part (generator.h), and 28 to 22 is that; a tenth is bulk's; the rest is interactive's.
// (Seen here for tests.)
extern const int share_percent[SHARE_COUNT];

struct shares {                   // zero: nothing is owed
    int64_t due[SHARE_COUNT];     // hundredths of microseconds
    int64_t used_us[SHARE_COUNT]; // in all
};

// The next one of those that wait (SHARE_BITs); SHARE_COUNT: none does.
enum share shares_next(const struct shares *s, unsigned waiting);
// `ran` has had the device for `us`, while these had work (`ran` counts whether named or not).
void shares_book(struct shares *s, enum share ran, unsigned waiting, int64_t us);
// There was no work at all: nobody owes anybody.
void shares_forget(struct shares *s);

#endif
