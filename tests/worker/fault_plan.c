// See fault_plan.h.
#include "tests/worker/fault_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[FAULT_KINDS] = {
    [FAULT_NONE] = "none",
    [FAULT_EXIT_BEFORE_RECEIVE] = "exit-before-receive",
    [FAULT_EXIT_AFTER_RECEIVE] = "exit-after-receive",
    [FAULT_EXIT_BEFORE_SEND] = "exit-before-send",
    [FAULT_EXIT_AFTER_SEND] = "exit-after-send",
    [FAULT_KILL_BEFORE_RECEIVE] = "kill-before-receive",
    [FAULT_KILL_AFTER_RECEIVE] = "kill-after-receive",
    [FAULT_KILL_BEFORE_SEND] = "kill-before-send",
    [FAULT_KILL_AFTER_SEND] = "kill-after-send",
    [FAULT_HANG_BEFORE] = "hang-before",
    [FAULT_HANG_AFTER] = "hang-after",
    [FAULT_HANG_COMPUTE_BEFORE] = "hang-compute-before",
    [FAULT_HANG_COMPUTE_AFTER] = "hang-compute-after",
    [FAULT_SCRIBBLE] = "scribble",
    [FAULT_NAN] = "nan",
    [FAULT_NUMBERS] = "numbers",
    [FAULT_CHECKSUM] = "checksum",
    [FAULT_LIFE] = "life",
    [FAULT_SEQUENCE] = "sequence",
    [FAULT_SHORT] = "short",
    [FAULT_TRUNCATE] = "truncate",
    [FAULT_TWICE] = "twice",
    [FAULT_FLOOD] = "flood",
    [FAULT_SLOW_START] = "slow-start",
    [FAULT_START_FAILS] = "start-fails",
    [FAULT_MEMORY_START] = "memory-start",
    [FAULT_MEMORY_LOAD] = "memory-load",
};

const char *fault_kind_name(enum fault_kind k) { return names[k]; }

// ---- the words

static bool add_kinds(struct fault_plan *p, const char *name, size_t n) {
    bool all = n == 3 && memcmp(name, "all", n) == 0, found = false;
    bool work = n == 4 && memcmp(name, "work", n) == 0;
    bool start = n == 5 && memcmp(name, "start", n) == 0;
    for (int k = FAULT_NONE + 1; k < FAULT_KINDS; k++) {
        bool of_start = fault_kind_is_of_start((enum fault_kind)k);
        if (all || (of_start ? start : work) ||
            (strlen(names[k]) == n && memcmp(names[k], name, n) == 0))
            p->kinds[k] = found = true;
    }
    return found;
}

static bool add_all_kinds(struct fault_plan *p, const char *value, size_t n) {
    for (size_t at = 0, end; at <= n; at = end + 1) {
        for (end = at; end < n && value[end] != '+'; end++)
            ;
        if (!add_kinds(p, value + at, end - at))
            return false;
    }
    return true;
}

static bool read_number(const char *value, size_t n, double *out) {
    char copy[32], *end;
    if (n == 0 || n >= sizeof copy)
        return false;
    memcpy(copy, value, n);
    copy[n] = '\0';
    *out = strtod(copy, &end);
    return *end == '\0' && *out >= 0 && *out <= 9e15;
}

static bool read_pair(struct fault_plan *p, const char *key, size_t k, const char *value,
                      size_t n) {
#define IS(word) (k == sizeof word - 1 && memcmp(key, word, k) == 0)
    double number = 0;
    if (IS("kind") && n == 5 && memcmp(value, "probe", n) == 0)
        return p->probe = true;
    if (IS("kind") || IS("kinds")) {
        p->one = IS("kind");
        return add_all_kinds(p, value, n);
    }
    if (IS("where")) {
        p->everywhere = n == 3 && memcmp(value, "all", n) == 0;
        return p->everywhere || (n == 4 && memcmp(value, "main", n) == 0);
    }
    if (!read_number(value, n, &number))
        return false;
    if (IS("seed"))
        p->seed = (uint64_t)number;
    else if (IS("rate"))
        p->rate = number;
    else if (IS("start"))
        p->start = number;
    else if (IS("at"))
        p->at = (uint64_t)number;
    else if (IS("life"))
        p->life = (uint64_t)number;
    else if (IS("from"))
        p->from = (uint64_t)number;
    else if (IS("after"))
        p->after = (uint64_t)number;
    else if (IS("slow"))
        p->slow_ms = (unsigned)number;
    else
        return false;
    return true;
#undef IS
}

bool fault_plan_read(const char *spec, struct fault_plan *out, char *why, size_t room) {
    *out = (struct fault_plan){.seed = 1, .slow_ms = 500};
    for (const char *at = spec; *at;) {
        const char *end = strchr(at, ',') ? strchr(at, ',') : at + strlen(at);
        const char *is = memchr(at, '=', (size_t)(end - at));
        if (!is || !read_pair(out, at, (size_t)(is - at), is + 1, (size_t)(end - is - 1))) {
            snprintf(why, room, "%.*s", (int)(end - at), at);
            return false;
        }
        at = *end ? end + 1 : end;
    }
    bool any = out->probe;
    for (int k = 0; k < FAULT_KINDS; k++)
        any |= out->kinds[k];
    if (!any) // nothing is named: everything
        (void)add_kinds(out, "all", 3);
    return true;
}

// ---- chances

// A number of 64 bits from the seed, the life and the place in it (splitmix64's finisher).
static uint64_t roll(const struct fault_plan *p, uint64_t life, uint64_t nth) {
    uint64_t x = p->seed * 0x9e3779b97f4a7c15U + life * 0xbf58476d1ce4e5b9U + nth;
    for (int i = 0; i < 3; i++) {
        x += 0x9e3779b97f4a7c15U;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
        x ^= x >> 31;
    }
    return x;
}

static enum fault_kind pick(const struct fault_plan *p, bool of_start, uint64_t from) {
    enum fault_kind among[FAULT_KINDS];
    size_t n = 0;
    for (int k = FAULT_NONE + 1; k < FAULT_KINDS; k++)
        if (p->kinds[k] && fault_kind_is_of_start((enum fault_kind)k) == of_start)
            among[n++] = (enum fault_kind)k;
    return n ? among[from % n] : FAULT_NONE;
}

static bool is_of_life(const struct fault_plan *p, uint64_t life) {
    return life >= p->from && (!p->life || p->life == life);
}

static bool chance(double of, uint64_t roll) { return (double)(roll >> 11) * 0x1p-53 < of; }

enum fault_kind fault_plan_start(const struct fault_plan *p, uint64_t life) {
    if (!is_of_life(p, life))
        return FAULT_NONE;
    uint64_t r = roll(p, life, 0);
    return p->one || chance(p->start, r) ? pick(p, true, roll(p, life, r)) : FAULT_NONE;
}

enum fault_kind fault_plan_work(const struct fault_plan *p, uint64_t life, uint64_t nth,
                                uint64_t completed) {
    if (!is_of_life(p, life) || completed < p->after)
        return FAULT_NONE;
    uint64_t r = roll(p, life, nth);
    bool now = p->at ? nth == p->at : chance(p->rate, r);
    return now ? pick(p, false, roll(p, life, ~r)) : FAULT_NONE;
}
