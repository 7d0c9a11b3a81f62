// Arrays: the prefix's items one by one, then a counted repetition of `items`.
#include "grammar/schema.h"

static uint32_t less(uint32_t count, size_t by) {
    return count == GRAMMAR_INF ? count : count > by ? count - (uint32_t)by : 0;
}

// Makes what comes behind at least one item: `,` and an item of the schema's `items`, min to max
// times, then `]`.
static uint32_t further_items(struct schema *s, const struct schema_at *at,
                              const struct schema_path *path, uint32_t min, uint32_t max,
                              uint32_t close) {
    struct grammar *g = s->j.g;
    if (max == 0)
        return close;
    uint32_t item = schema_call(s, at->key[SCHEMA_KEY_ITEMS], path, 1);
    uint32_t body = grammar_leaf_node(g, s->j.comma, 1, 1, item);
    return grammar_repeat(g, body, min, max, 1, close);
}

uint32_t schema_array(struct schema *s, const struct schema_at *at, uint32_t next) {
    struct grammar *g = s->j.g;
    uint32_t min = 0, max = GRAMMAR_INF;
    if (!schema_count(s, at, SCHEMA_KEY_MIN_ITEMS, &min) ||
        !schema_count(s, at, SCHEMA_KEY_MAX_ITEMS, &max))
        return 0;
    if (min > max)
        return schema_wrong(s, ERR_INVALID, at->path, "\"minItems\" is over \"maxItems\"");
    const struct json_node *prefix = at->key[SCHEMA_KEY_PREFIX_ITEMS];
    const struct json_node *items = at->key[SCHEMA_KEY_ITEMS];
    if (prefix && (prefix->kind != JSON_ARRAY || prefix->count == 0))
        return schema_wrong(s, ERR_INVALID, at->path, "\"prefixItems\" is not a list of schemas");
    size_t k = prefix ? prefix->count : 0;
    // no `items` behind a prefix: only as many more as minItems wants
    bool ends = (prefix && !items && min <= k) || (items && items->kind == JSON_FALSE);
    if (prefix && !items && min > k)
        max = min;
    s->levels++;
    uint32_t close = grammar_leaf_node(g, s->j.close_array, 1, 1, next);
    struct schema_path of_items = {.up = at->path, .key = "items", .len = 5};
    uint32_t start;
    if (k == 0) {
        uint32_t rest =
            further_items(s, at, &of_items, less(min, 1), ends ? 0 : less(max, 1), close);
        uint32_t alts[2] = {max && !ends ? schema_call(s, items, &of_items, rest) : 0, close};
        start = min ? alts[0] : max && !ends ? grammar_split(g, alts, 2) : close;
    } else {
        // behind the last item of the prefix; then the items before it, from the end
        uint32_t more_min = less(min, k), more_max = ends ? 0 : less(max, k);
        uint32_t behind =
            more_min > more_max ? 0 : further_items(s, at, &of_items, more_min, more_max, close);
        const struct json_node **list = expr_alloc(&s->j.arena, k, sizeof *list);
        if (!list)
            return grammar_fail(g, ERR_NOMEM, "out of memory");
        size_t n = 0;
        for (const struct json_node *m = prefix->child; m; m = m->next)
            list[n++] = m;
        struct schema_path of_prefix = {.up = at->path, .key = "prefixItems", .len = 11};
        for (size_t i = k; i-- > 0 && !g->err;) {
            struct schema_path index = {.up = &of_prefix, .index = i};
            uint32_t go = max > i ? schema_compile(s, list[i], &index, behind) : 0;
            if (i > 0)
                go = grammar_leaf_node(g, s->j.comma, 1, 1, go);
            uint32_t alts[2] = {go, close};
            behind = i < min ? go : grammar_split(g, alts, 2);
        }
        start = behind;
    }
    s->levels--;
    return grammar_leaf_node(g, s->j.open_array, 1, 1, start);
}
