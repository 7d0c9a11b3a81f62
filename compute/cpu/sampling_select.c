// Choosing among candidates without sorting them. See sampling_internal.h.
#include "compute/cpu/sampling_internal.h"

static void swap(struct sampling_candidate *a, struct sampling_candidate *b) {
    struct sampling_candidate keep = *a;
    *a = *b;
    *b = keep;
}

// Puts those before the pivot, the middle of first, mid and last, in front; returns the pivot's
// place.
static size_t divide(struct sampling_candidate *c, size_t n) {
    struct sampling_candidate *mid = &c[n / 2], *last = &c[n - 1];
    if (candidate_before(*mid, c[0]))
        swap(mid, &c[0]);
    if (candidate_before(*last, c[0]))
        swap(last, &c[0]);
    if (candidate_before(*mid, *last))
        swap(mid, last);
    struct sampling_candidate pivot = *last;
    size_t front = 0;
    for (size_t i = 0; i + 1 < n; i++)
        if (candidate_before(c[i], pivot))
            swap(&c[i], &c[front++]);
    swap(&c[front], last);
    return front;
}

struct sampling_candidate sampling_nth(struct sampling_candidate *c, size_t n, size_t k) {
    while (n > 1) {
        size_t front = divide(c, n);
        if (k == front + 1)
            return c[front];
        if (k <= front) {
            n = front;
        } else {
            c += front + 1;
            n -= front + 1;
            k -= front + 1;
        }
    }
    return c[0];
}

struct sampling_candidate sampling_reach(struct sampling_candidate *c, size_t n, double mass) {
    while (n > 1) {
        size_t front = divide(c, n);
        double sum = 0;
        for (size_t i = 0; i < front; i++)
            sum += (double)c[i].w;
        if (front > 0 && sum >= mass) {
            n = front;
            continue;
        }
        mass -= sum + (double)c[front].w;
        if (mass <= 0 || front + 1 == n)
            return c[front];
        c += front + 1;
        n -= front + 1;
    }
    return c[0];
}
