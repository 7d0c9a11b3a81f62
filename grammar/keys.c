// The keys of an object that its schema does not name. They lie on the stack above the object's
// frame, byte by byte; each is closed by MACHINE_KEY_END, except the one that is being written.
#include "grammar/machine.h"

#include <string.h>

// What takes about as long as a step of the machine.
enum { KEY_BYTES_A_STEP = 8, NAMES_A_STEP = 4 };

// Finds, from the end of a closed key, its last byte, its length and what lies below it. False when
// there is no further key.
static bool next_key(const struct machine *r, uint32_t *at, uint32_t *last, size_t *len) {
    if (!machine_is_data(r, *at))
        return false;
    *last = *at = r->frames[*at].parent;
    for (*len = 0; machine_is_data(r, *at) && r->frames[*at].pc != MACHINE_KEY_END; ++*len)
        *at = r->frames[*at].parent;
    return true;
}

// The length of the key that is being written, and what lies below it.
static size_t open_key(const struct machine *r, uint32_t top, uint32_t *below) {
    size_t len = 0;
    for (; machine_is_data(r, top) && r->frames[top].pc != MACHINE_KEY_END; len++)
        top = r->frames[top].parent;
    *below = top;
    return len;
}

// Writes the bytes of the key that ends at `at`.
static void copy_key(const struct machine *r, uint32_t at, size_t len, char *out) {
    for (; len > 0; at = r->frames[at].parent)
        out[--len] = (char)(r->frames[at].pc - MACHINE_DATA);
}

bool machine_key_is_fresh(struct machine *r, uint32_t set, uint32_t top) {
    const struct grammar *g = r->g;
    uint32_t below, last;
    size_t len = open_key(r, top, &below), other;
    r->extra += len / KEY_BYTES_A_STEP;
    while (next_key(r, &below, &last, &other)) {
        r->extra += 1 + other / KEY_BYTES_A_STEP;
        uint32_t a = top, b = last;
        size_t same = 0;
        for (; other == len && same < len && r->frames[a].pc == r->frames[b].pc; same++) {
            a = r->frames[a].parent;
            b = r->frames[b].parent;
        }
        if (other == len && same == len)
            return false;
    }
    char key[GRAMMAR_KEY_CHARS_MAX * 4];
    if (set == GRAMMAR_NONE || len > sizeof key)
        return true;
    copy_key(r, top, len, key);
    r->extra += g->name_sets[set][1] / NAMES_A_STEP;
    for (uint32_t k = 0; k < g->name_sets[set][1]; k++) {
        struct grammar_name name = g->names[g->name_sets[set][0] + k];
        if (name.len == len && memcmp(key, g->name_bytes + name.at, len) == 0)
            return false;
    }
    return true;
}

static void offer(struct machine_keys *out, const char *key, size_t len, const char *name,
                  size_t name_len) {
    if (name_len >= len && memcmp(key, name, len) == 0)
        out->list[out->n++] = (struct machine_key){name + len, name_len - len};
}

bool machine_keys_ahead(struct machine *r, struct machine_item item, struct machine_keys *out) {
    const struct grammar *g = r->g;
    uint32_t set = g->nodes[item.pc].names, below, at, last;
    size_t len = open_key(r, item.top, &below), keys = 0, bytes = len, n;
    for (at = below; next_key(r, &at, &last, &n); keys++)
        bytes += n;
    size_t names = set == GRAMMAR_NONE ? 0 : g->name_sets[set][1];
    r->extra += bytes / KEY_BYTES_A_STEP + names / NAMES_A_STEP;
    *out = (struct machine_keys){.list = mem_alloc(keys + names, sizeof *out->list),
                                 .bytes = mem_alloc(bytes, 1)};
    if (!out->list || !out->bytes) {
        machine_keys_free(out);
        r->nomem = true;
        return false;
    }
    copy_key(r, item.top, len, out->bytes);
    char *to = out->bytes + len;
    for (at = below; next_key(r, &at, &last, &n); to += n) {
        copy_key(r, last, n, to);
        offer(out, out->bytes, len, to, n);
    }
    for (size_t k = 0; k < names; k++) {
        struct grammar_name name = g->names[g->name_sets[set][0] + k];
        offer(out, out->bytes, len, g->name_bytes + name.at, name.len);
    }
    return true;
}

void machine_keys_free(struct machine_keys *k) {
    mem_free(k->list);
    mem_free(k->bytes);
    *k = (struct machine_keys){0};
}
