// See turns.h.
#include "engine/turns.h"

#include "base/mem.h"

#include <string.h>

enum err turns_init(struct turns *t, size_t cap) {
    *t = (struct turns){.cap = cap, .items = mem_calloc(cap, sizeof *t->items)};
    return t->items ? ERR_OK : ERR_NOMEM;
}

void turns_free(struct turns *t) { mem_free(t->items); }

void turns_begin(struct turns *t) {
    for (size_t i = 0; i < t->count; i++) {
        t->items[i].running = 0;
        t->items[i].prompts = false;
    }
}

struct turn *turns_find(const struct turns *t, uint64_t owner) {
    for (size_t i = 0; i < t->count; i++)
        if (t->items[i].owner == owner)
            return &t->items[i];
    return NULL;
}

// Owners that have left are still listed: the list may be full of them.
static void forget(struct turns *t) {
    size_t kept = 0;
    for (size_t i = 0; i < t->count; i++)
        if (t->items[i].running > 0)
            t->items[kept++] = t->items[i];
    t->count = kept;
}

void turns_count(struct turns *t, uint64_t owner, int weight, bool prompt) {
    struct turn *turn = turns_find(t, owner);
    if (!turn) {
        if (t->count == t->cap)
            forget(t);
        turn = &t->items[t->count++]; // at most one for each running sequence
        *turn = (struct turn){.owner = owner};
    }
    turn->weight = weight > 0 ? weight : 1;
    turn->running++;
    turn->prompts |= prompt;
}

void turns_end(struct turns *t) { forget(t); }

double turns_load(const struct turns *t, uint64_t owner, int weight) {
    const struct turn *turn = turns_find(t, owner);
    return turn ? (double)turn->running / (double)(weight > 0 ? weight : 1) : 0;
}

const struct turn *turns_greedy(const struct turns *t, uint64_t owner, int weight) {
    const struct turn *most = NULL, *own = turns_find(t, owner);
    double load = 0;
    for (size_t i = 0; i < t->count; i++) {
        const struct turn *o = &t->items[i];
        if (o != own && (!most || (double)o->running / o->weight > load)) {
            most = o;
            load = (double)o->running / o->weight;
        }
    }
    if (!most)
        return NULL;
    double would = ((double)(own ? own->running : 0) + 1) / (weight > 0 ? weight : 1);
    return ((double)most->running - 1) / most->weight >= would ? most : NULL;
}

void turns_grant_rows(struct turns *t) {
    double weights = 0;
    for (size_t i = 0; i < t->count; i++)
        weights += t->items[i].weight;
    for (size_t i = 0; i < t->count; i++) {
        double part = TURNS_ROWS * t->items[i].weight / weights;
        // what a part leaves over of a whole row is had in a later step
        t->items[i].rows += part > 1 ? part : 1;
        if (t->items[i].rows > part + 1)
            t->items[i].rows = part + 1;
    }
}

struct turn *turns_prompt_owner(struct turns *t) {
    size_t at = 0;
    while (at < t->count && t->items[at].owner != t->prompt_owner)
        at++;
    bool goes_on = at < t->count && t->items[at].prompts && t->prompt_left > 0;
    if (goes_on)
        return &t->items[at];
    // the next one behind it; one that has left leaves the turn to the first
    for (size_t i = 1; i <= t->count; i++) {
        struct turn *next = &t->items[at < t->count ? (at + i) % t->count : i - 1];
        if (!next->prompts)
            continue;
        t->prompt_owner = next->owner;
        t->prompt_left = (double)TURNS_PROMPT * next->weight;
        return next;
    }
    return NULL;
}

void turns_charge_prompt(struct turns *t, size_t tokens) { t->prompt_left -= (double)tokens; }
