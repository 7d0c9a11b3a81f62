// See program.h.
#include "grammar/program.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { FAIL_NODE = 0, RET_NODE = 1 };

bool grammar_grow(struct grammar *g, void **array, size_t *cap, size_t n, size_t more, size_t most,
                  size_t size) {
    if (g->err)
        return false;
    if (more > most || n > most - more) {
        grammar_fail(g, ERR_INVALID, "the grammar is too large");
        return false;
    }
    if (n + more <= *cap)
        return true;
    size_t want = *cap ? *cap * 2 : 64;
    if (want < n + more)
        want = n + more;
    void *p = mem_realloc(*array, want, size);
    if (!p) {
        grammar_fail(g, ERR_NOMEM, "out of memory");
        return false;
    }
    *array = p;
    *cap = want;
    return true;
}

uint32_t grammar_fail(struct grammar *g, enum err code, const char *fmt, ...) {
    if (!g->err) {
        char text[400];
        va_list args;
        va_start(args, fmt);
        vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        g->err = err_set(g->msg, code, "%s", text);
    }
    return FAIL_NODE;
}

static uint32_t add(struct grammar *g, struct grammar_node node) {
    if (!grammar_grow(g, (void **)&g->nodes, &g->cap_nodes, g->n_nodes, 1, GRAMMAR_NODES_MAX,
                      sizeof *g->nodes))
        return FAIL_NODE;
    g->nodes[g->n_nodes] = node;
    return (uint32_t)g->n_nodes++;
}

struct grammar *grammar_begin(struct errmsg *msg) {
    struct grammar *g = mem_calloc(1, sizeof *g);
    if (!g) {
        (void)err_set(msg, ERR_NOMEM, "out of memory");
        return NULL;
    }
    g->msg = msg;
    (void)add(g, (struct grammar_node){.kind = GRAMMAR_FAIL});
    (void)add(g, (struct grammar_node){.kind = GRAMMAR_RET});
    return g;
}

void grammar_free(struct grammar *g) {
    if (!g)
        return;
    for (size_t i = 0; i < g->n_rules; i++)
        mem_free(g->rules[i].name);
    mem_free(g->nodes);
    mem_free(g->states);
    mem_free(g->edges);
    mem_free(g->alts);
    mem_free(g->rules);
    mem_free(g->names);
    mem_free(g->name_sets);
    mem_free(g->name_bytes);
    mem_free(g);
}

uint32_t grammar_leaf_node(struct grammar *g, struct grammar_leaf leaf, uint32_t min, uint32_t max,
                           uint32_t next) {
    if (max == 0 || (leaf.start == GRAMMAR_NONE && (leaf.nullable || min == 0)))
        return next;
    if (leaf.start == GRAMMAR_NONE)
        return FAIL_NODE;
    return add(g, (struct grammar_node){.kind = GRAMMAR_LEAF,
                                        .flags = leaf.prefix_free ? GRAMMAR_PREFIX_FREE : 0,
                                        .next = next,
                                        .at = leaf.start,
                                        .min = leaf.nullable ? 0 : min,
                                        .max = max,
                                        .names = GRAMMAR_NONE});
}

uint32_t grammar_key_node(struct grammar *g, struct grammar_leaf key_char, uint32_t names,
                          uint32_t next) {
    return add(g, (struct grammar_node){.kind = GRAMMAR_KEY,
                                        .flags = GRAMMAR_PREFIX_FREE,
                                        .next = next,
                                        .at = key_char.start,
                                        .min = 1,
                                        .max = GRAMMAR_KEY_CHARS_MAX,
                                        .names = names});
}

uint32_t grammar_call(struct grammar *g, uint32_t rule, uint32_t cost, uint32_t next) {
    if (cost > GRAMMAR_DEPTH)
        cost = GRAMMAR_DEPTH + 1; // never fits
    return add(g, (struct grammar_node){
                      .kind = GRAMMAR_CALL, .cost = (uint16_t)cost, .next = next, .at = rule});
}

uint32_t grammar_split_open(struct grammar *g, size_t n) {
    if (!grammar_grow(g, (void **)&g->alts, &g->cap_alts, g->n_alts, n, GRAMMAR_EDGES_MAX,
                      sizeof *g->alts))
        return FAIL_NODE;
    uint32_t first = (uint32_t)g->n_alts;
    for (size_t i = 0; i < n; i++)
        g->alts[g->n_alts++] = FAIL_NODE;
    return add(g, (struct grammar_node){.kind = GRAMMAR_SPLIT, .at = first, .min = (uint32_t)n});
}

void grammar_split_set(struct grammar *g, uint32_t split, size_t i, uint32_t alt) {
    if (!g->err)
        g->alts[g->nodes[split].at + i] = alt;
}

uint32_t grammar_split(struct grammar *g, const uint32_t *alts, size_t n) {
    if (n == 1)
        return alts[0];
    uint32_t split = grammar_split_open(g, n);
    for (size_t i = 0; i < n; i++)
        grammar_split_set(g, split, i, alts[i]);
    return split;
}

uint32_t grammar_repeat(struct grammar *g, uint32_t body, uint32_t min, uint32_t max, uint32_t cost,
                        uint32_t next) {
    if (max == 0)
        return next;
    return add(g, (struct grammar_node){.kind = GRAMMAR_REPEAT,
                                        .cost = (uint16_t)cost,
                                        .next = next,
                                        .at = body,
                                        .min = min,
                                        .max = max});
}

uint32_t grammar_more(struct grammar *g, uint32_t next) {
    return add(g, (struct grammar_node){.kind = GRAMMAR_MORE, .next = next});
}

uint32_t grammar_rule_new(struct grammar *g, const char *name, size_t len) {
    if (!grammar_grow(g, (void **)&g->rules, &g->cap_rules, g->n_rules, 1, GRAMMAR_NODES_MAX,
                      sizeof *g->rules))
        return 0;
    char *copy = NULL;
    if (name && !(copy = mem_strndup(name, len))) {
        grammar_fail(g, ERR_NOMEM, "out of memory");
        return 0;
    }
    g->rules[g->n_rules] = (struct grammar_rule){.start = FAIL_NODE, .name = copy};
    return (uint32_t)g->n_rules++;
}

uint32_t grammar_name_set(struct grammar *g) {
    if (!grammar_grow(g, (void **)&g->name_sets, &g->cap_name_sets, g->n_name_sets, 1,
                      GRAMMAR_NODES_MAX, sizeof *g->name_sets))
        return GRAMMAR_NONE;
    g->name_sets[g->n_name_sets][0] = (uint32_t)g->n_names;
    g->name_sets[g->n_name_sets][1] = 0;
    return (uint32_t)g->n_name_sets++;
}

void grammar_name_add(struct grammar *g, const char *name, size_t len) {
    if (!grammar_grow(g, (void **)&g->names, &g->cap_names, g->n_names, 1, GRAMMAR_NODES_MAX,
                      sizeof *g->names) ||
        !grammar_grow(g, (void **)&g->name_bytes, &g->cap_name_bytes, g->n_name_bytes, len + 1,
                      (size_t)64 << 20, 1))
        return;
    g->names[g->n_names++] = (struct grammar_name){(uint32_t)g->n_name_bytes, (uint32_t)len};
    memcpy(g->name_bytes + g->n_name_bytes, name, len);
    g->n_name_bytes += len;
    g->name_sets[g->n_name_sets - 1][1]++;
}

enum err grammar_finish(struct grammar *g, uint32_t root, struct grammar **out,
                        struct errmsg *msg) {
    *out = NULL;
    g->root = root;
    uint32_t left = GRAMMAR_NONE;
    if (!g->err)
        g->err = grammar_analyse(g, &left, msg);
    enum err e = g->err;
    g->msg = NULL;
    if (e) {
        grammar_free(g);
        return e;
    }
    *out = g;
    return ERR_OK;
}
