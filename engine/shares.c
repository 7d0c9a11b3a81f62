// See shares.h. Due time is booked as it passes: one that waits is owed its part of what another
// is given, and pays the others' parts of what it is given while it is due. What it has beyond
// that, because nobody else was due, costs it nothing.
#include "engine/shares.h"

const int share_percent[SHARE_COUNT] = {
    [SHARE_INTERACTIVE] = 40,
    [SHARE_DECODE] = 28,
    [SHARE_PREFILL] = 22,
    [SHARE_BULK] = 10,
};

// More than this is never owed: two seconds of the device. Whoever had too much, because a piece of
// its work took long (or the machine stood still), is not made to pay for more than a short while:
// a stream would stop for it.
static const int64_t MOST = (int64_t)100 * 2000000, LEAST = (int64_t)-100 * 100000;

enum share shares_next(const struct shares *s, unsigned waiting) {
    enum share first = SHARE_COUNT;
    for (int i = SHARE_COUNT - 1; i >= 0; i--)
        if (waiting & SHARE_BIT(i))
            first = (enum share)i;
    // Of those that are due the one that has waited longest for its part. The first one takes what
    // is left over: it need not be due.
    enum share next = first;
    int64_t longest = 0;
    for (int i = 0; i < SHARE_COUNT; i++) {
        int64_t due = s->due[i] / share_percent[i];
        if (i != (int)first && waiting & SHARE_BIT(i) && s->due[i] > 0 && due >= longest) {
            longest = due + 1;
            next = (enum share)i;
        }
    }
    return next;
}

void shares_book(struct shares *s, enum share ran, unsigned waiting, int64_t us) {
    s->used_us[ran] += us;
    for (int i = 0; i < SHARE_COUNT; i++) {
        int64_t due = s->due[i], all = us * 100, part = us * share_percent[i];
        if (i == (int)ran)
            due -= due > 0 ? all - part : 0;
        else if (waiting & SHARE_BIT(i))
            due += part;
        else // what it has had too much of it pays back while it has no work
            due = due + all < 0 ? due + all : 0;
        s->due[i] = due > MOST ? MOST : due < LEAST ? LEAST : due;
    }
}

void shares_forget(struct shares *s) {
    for (int i = 0; i < SHARE_COUNT; i++)
        s->due[i] = 0;
}
