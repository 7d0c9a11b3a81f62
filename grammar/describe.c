// Says in words where a text stands in a grammar. See grammar.h.
#include "base/buf.h"
#include "grammar/state.h"

#include <stdio.h>

enum { SHOWN = 4 }; // bytes that are asked for

// The named rule that a node was compiled from; NULL: none.
static const char *rule_of(const struct grammar *g, uint32_t pc) {
    for (size_t i = 0; i < g->n_rules; i++)
        if (pc < g->rules[i].end)
            return g->rules[i].name;
    return NULL;
}

static void put_byte(struct buf *out, unsigned byte) {
    if (byte > 0x20 && byte < 0x7F)
        buf_printf(out, "'%c'", (char)byte);
    else
        buf_printf(out, "0x%02X", byte);
}

void grammar_state_describe(const struct grammar_state *s, char *out, size_t size) {
    struct buf text = {0};
    uint32_t first[8];
    unsigned n = 0, shown = 0;
    machine_first(&s->machine, s->now, first);
    for (unsigned b = 0; b < 256; b++)
        n += first[b / 32] >> (b % 32) & 1;
    if (s->free_text || n == 0) {
        snprintf(out, size, "it may only end here");
        return;
    }
    const char *rule = rule_of(s->g, s->machine.items[s->now.first].pc);
    if (rule)
        buf_printf(&text, "its rule \"%.60s\" asks for ", rule);
    else
        buf_puts(&text, "it asks for ");
    buf_puts(&text, n > 1 ? "one of the bytes " : "the byte ");
    for (unsigned b = 0; b < 256 && shown < SHOWN; b++) {
        if (!(first[b / 32] >> (b % 32) & 1))
            continue;
        buf_puts(&text, shown++ ? ", " : "");
        put_byte(&text, b);
    }
    if (n > shown)
        buf_printf(&text, " and %u more", n - shown);
    buf_puts(&text, "");
    snprintf(out, size, "%s", text.failed ? "no memory to say where" : text.data);
    buf_free(&text);
}
