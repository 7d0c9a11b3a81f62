// Function calls as Qwen2.5's template asks the model to write them. When the model may choose,
// text is free until it contains the opening tag (as one token or several), and the grammar begins
// right behind the tag. Otherwise the text is calls and nothing else, or (when the answer has a
// form) an answer in that form and nothing else.
#include "grammar/schema.h"

#include "base/json_text.h"

#define OPEN_TAG "<tool_call>"

static void visit(uint32_t node, bool *seen, uint32_t *stack, size_t *n) {
    if (seen[node])
        return;
    seen[node] = true;
    stack[(*n)++] = node;
}

// Whether every text from the node on begins with a brace: of JSON that means an object.
static bool begins_objects(const struct grammar *g, uint32_t node, bool *seen, uint32_t *stack) {
    size_t n = 0;
    visit(node, seen, stack, &n);
    while (n > 0) {
        const struct grammar_node *at = &g->nodes[stack[--n]];
        switch ((enum grammar_kind)at->kind) {
        case GRAMMAR_FAIL:
            continue;
        case GRAMMAR_LEAF: {
            const struct grammar_dfa_state *first = &g->states[at->at];
            for (uint16_t i = 0; i < first->n; i++)
                if (g->edges[first->first + i].lo != '{' || g->edges[first->first + i].hi != '{')
                    return false;
            if (at->min == 0 || first->accept)
                return false; // no value begins so
            continue;
        }
        case GRAMMAR_CALL:
            visit(g->rules[at->at].start, seen, stack, &n);
            continue;
        case GRAMMAR_SPLIT:
            for (uint32_t i = 0; i < at->min; i++)
                visit(g->alts[at->at + i], seen, stack, &n);
            continue;
        case GRAMMAR_REPEAT:
            if (at->min == 0)
                return false;
            visit(at->at, seen, stack, &n);
            continue;
        case GRAMMAR_RET:
        case GRAMMAR_KEY:
        case GRAMMAR_MORE:
            return false;
        }
    }
    return true;
}

// Makes the nodes of a call's arguments. Whatever the grammar accepts as a call must be readable as
// one, and a call's arguments are an object.
static uint32_t arguments(struct schema *s, const struct json_node *parameters, uint32_t next) {
    struct grammar *g = s->j.g;
    uint32_t node = schema_build(s, parameters, 1, next);
    schema_end(s);
    if (g->err)
        return 0;
    uint32_t *stack = mem_alloc(g->n_nodes, sizeof *stack);
    bool *seen = mem_calloc(g->n_nodes, sizeof *seen);
    if (!stack || !seen)
        grammar_fail(g, ERR_NOMEM, "out of memory");
    else if (!begins_objects(g, node, seen, stack))
        grammar_fail(g, ERR_INVALID,
                     "a function's parameters must be a schema of objects (\"type\": \"object\"), "
                     "and this one allows other values");
    mem_free(stack);
    mem_free(seen);
    return g->err ? 0 : node;
}

enum err grammar_check_parameters(const struct json_node *schema, struct errmsg *msg) {
    struct schema s = {0};
    struct grammar *out = NULL;
    json_rules_begin(&s.j, msg);
    if (!s.j.g)
        return ERR_NOMEM;
    uint32_t root = arguments(&s, schema, 1);
    json_rules_end(&s.j);
    enum err e = grammar_finish(s.j.g, root, &out, msg);
    if (!e && out->nodes[root].need > GRAMMAR_DEPTH)
        e = err_set(msg, ERR_INVALID, "JSON schema: no value satisfies it");
    grammar_free(out);
    return e;
}

static uint32_t one_call(struct schema *s, const struct grammar_tool *tool, size_t index,
                         uint32_t next, struct errmsg *msg) {
    struct json_rules *j = &s->j;
    struct grammar *g = j->g;
    next = grammar_leaf_node(g, j->close_object, 1, 1, next);
    if (tool->parameters) {
        next = arguments(s, tool->parameters, next);
        if (g->err) {
            g->err = err_prefix(msg, g->err, "tools[%zu] (\"%.*s\")", index,
                                tool->name_len > 64 ? 64 : (int)tool->name_len, tool->name);
            return 0;
        }
    } else {
        next = json_rules_any(j, JSON_ANY_OBJECT, 1, next);
    }
    struct buf name = {0};
    json_quote(&name, tool->name, tool->name_len);
    struct expr_arena *a = &j->arena;
    const struct expr *parts[] = {
        expr_text(a, "{\"name\""),
        json_rules_spaced(j, ":"),
        name.failed ? NULL : expr_bytes(a, name.data, name.len),
        json_rules_spaced(j, ","),
        expr_text(a, "\"arguments\""),
        json_rules_spaced(j, ":"),
    };
    buf_free(&name);
    return json_rules_expr(j, expr_list(a, EXPR_SEQ, parts, 6), next);
}

// Makes nodes for the calls, from behind the first opening tag.
static uint32_t calls(struct schema *s, const struct grammar_tool *tools, size_t n, bool parallel,
                      uint32_t *again, struct errmsg *msg) {
    struct grammar *g = s->j.g;
    uint32_t after = 1, more = 0;
    if (parallel) {
        after = grammar_split_open(g, 2);
        grammar_split_set(g, after, 0, 1);
    }
    uint32_t close = json_rules_text(&s->j, "\n</tool_call>", after);
    uint32_t choice = grammar_split_open(g, n);
    for (size_t i = 0; i < n && !g->err; i++) {
        uint32_t call = one_call(s, &tools[i], i, close, msg);
        grammar_split_set(g, choice, i, call);
    }
    uint32_t start = json_rules_text(&s->j, "\n", choice);
    *again = json_rules_text(&s->j, OPEN_TAG, start);
    if (parallel) {
        more = json_rules_text(&s->j, "\n", *again);
        grammar_split_set(g, after, 1, more);
    }
    return start;
}

// Makes nodes for an answer in its form.
static uint32_t answer_nodes(struct schema *s, const struct grammar_answer *answer) {
    if (!answer->schema)
        return json_rules_any(&s->j, JSON_ANY_OBJECT, 0, 1);
    uint32_t node = schema_build(s, answer->schema, 0, 1);
    schema_end(s);
    return node;
}

enum err grammar_from_tools(const struct grammar_tool *tools, size_t n,
                            enum grammar_tool_choice choice, bool parallel,
                            const struct grammar_answer *answer, struct grammar **out,
                            struct errmsg *msg) {
    *out = NULL;
    struct schema s = {0};
    json_rules_begin(&s.j, msg);
    if (!s.j.g)
        return ERR_NOMEM;
    struct grammar *g = s.j.g;
    uint32_t tagged = 0;
    uint32_t behind_tag = calls(&s, tools, n, parallel, &tagged, msg);
    bool free_text = choice == GRAMMAR_TOOLS_AUTO && !answer;
    uint32_t root = free_text ? behind_tag : tagged;
    if (choice == GRAMMAR_TOOLS_AUTO && answer && !g->err) {
        uint32_t either[2] = {tagged, answer_nodes(&s, answer)};
        root = g->err ? 0 : grammar_split(g, either, 2);
    }
    if (free_text) {
        g->marker = OPEN_TAG;
        g->marker_len = sizeof OPEN_TAG - 1;
    }
    json_rules_end(&s.j);
    enum err e = grammar_finish(g, root, out, msg);
    if (!e && (*out)->nodes[root].need > GRAMMAR_DEPTH) {
        grammar_free(*out);
        *out = NULL;
        e = err_set(msg, ERR_INVALID, "tools: no call satisfies their parameters' schemas");
    }
    return e;
}
