// GBNF, the grammar notation of llama.cpp (its grammars/README.md): rules `name ::= ...` over
// literals, classes of code points, `.`, groups, alternatives and repetitions. Token literals
// (<...>) are refused by name: a grammar here knows bytes only.
// A second rule of the same name is refused; names may hold `_` besides letters, digits and `-`.
#include "base/hex.h"
#include "base/utf8.h"
#include "grammar/expr.h"

#include <string.h>
#include <sys/random.h>

enum { NESTING_MAX = 100 };

struct gbnf_parser {
    struct grammar *g;
    struct expr_arena arena;
    const char *text;
    size_t len, at;
    uint32_t line;
    const char *rule; // being parsed
    int rule_len;
    unsigned depth;
    uint32_t *slots; // hash of a rule's name -> 1 + its index
    size_t n_slots;
    uint64_t seed;       // of that hash: names come from clients, and cannot be made to collide
    uint32_t *seen_line; // [rules] where a name was first met
    size_t cap_seen;
    const struct expr **bodies; // [rules]
    size_t cap_bodies;
};

struct items { // what a sequence or an alternative gathers
    const struct expr **list;
    size_t n, cap;
};

static void wrong(struct gbnf_parser *p, const char *what) {
    if (p->rule)
        grammar_fail(p->g, ERR_INVALID, "grammar, line %u, rule \"%.*s\": %s", p->line, p->rule_len,
                     p->rule, what);
    else
        grammar_fail(p->g, ERR_INVALID, "grammar, line %u: %s", p->line, what);
}

static int peek(const struct gbnf_parser *p) {
    return p->at < p->len ? (unsigned char)p->text[p->at] : -1;
}

static bool take(struct gbnf_parser *p, char c) {
    if (peek(p) != (unsigned char)c)
        return false;
    p->at++;
    return true;
}

static void skip_space(struct gbnf_parser *p, bool newlines) {
    for (;;) {
        int c = peek(p);
        if (c == '#') {
            while (peek(p) >= 0 && peek(p) != '\n' && peek(p) != '\r')
                p->at++;
        } else if (c == ' ' || c == '\t' || (newlines && (c == '\n' || c == '\r'))) {
            p->line += c == '\n';
            p->at++;
        } else {
            return;
        }
    }
}

static bool name_char(int c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

static size_t take_name(struct gbnf_parser *p, const char **name) {
    *name = p->text + p->at;
    size_t from = p->at;
    while (name_char(peek(p)))
        p->at++;
    return p->at - from;
}

static bool push_item(struct gbnf_parser *p, struct items *items, const struct expr *e) {
    if (!e) {
        grammar_fail(p->g, ERR_NOMEM, "out of memory");
        return false;
    }
    if (!grammar_grow(p->g, (void **)&items->list, &items->cap, items->n, 1, GRAMMAR_TEXT_MAX,
                      sizeof *items->list))
        return false;
    items->list[items->n++] = e;
    return true;
}

static size_t hash_name(uint64_t seed, const char *name, size_t len) {
    uint64_t h = seed ^ len;
    for (size_t i = 0; i < len; i++) {
        h = (h ^ (unsigned char)name[i]) * 0x9E3779B97F4A7C15u;
        h ^= h >> 29;
    }
    return (size_t)(h ^ (h >> 32));
}

// The index of the rule of this name; a new name makes a new rule.
static uint32_t rule_of(struct gbnf_parser *p, const char *name, size_t len) {
    struct grammar *g = p->g;
    size_t i = hash_name(p->seed, name, len) & (p->n_slots - 1);
    for (; p->slots[i]; i = (i + 1) & (p->n_slots - 1)) {
        const char *have = g->rules[p->slots[i] - 1].name;
        if (strlen(have) == len && memcmp(have, name, len) == 0)
            return p->slots[i] - 1;
    }
    uint32_t rule = grammar_rule_new(g, name, len);
    if (!grammar_grow(g, (void **)&p->seen_line, &p->cap_seen, rule, 1, GRAMMAR_TEXT_MAX,
                      sizeof *p->seen_line) ||
        !grammar_grow(g, (void **)&p->bodies, &p->cap_bodies, rule, 1, GRAMMAR_TEXT_MAX,
                      sizeof *p->bodies))
        return 0;
    p->seen_line[rule] = p->line;
    p->bodies[rule] = NULL;
    p->slots[i] = rule + 1;
    return rule;
}

static bool take_hex(struct gbnf_parser *p, int digits, uint32_t *cp) {
    uint32_t v = 0;
    for (int i = 0; i < digits; i++) {
        int c = peek(p), d = c < 0 ? -1 : hex_value((char)c);
        if (d < 0) {
            wrong(p, "an escape lacks hexadecimal digits");
            return false;
        }
        v = v * 16 + (uint32_t)d;
        p->at++;
    }
    if (v > 0x10FFFF || (v >= 0xD800 && v <= 0xDFFF)) {
        wrong(p, "an escape is not a code point");
        return false;
    }
    *cp = v;
    return true;
}

// Reads a code point of a literal or class, escapes included.
static bool take_char(struct gbnf_parser *p, uint32_t *cp) {
    if (take(p, '\\')) {
        int c = peek(p);
        p->at += c >= 0;
        switch (c) {
        case 'x':
            return take_hex(p, 2, cp);
        case 'u':
            return take_hex(p, 4, cp);
        case 'U':
            return take_hex(p, 8, cp);
        case 't':
            *cp = '\t';
            return true;
        case 'r':
            *cp = '\r';
            return true;
        case 'n':
            *cp = '\n';
            return true;
        case '\\':
        case '"':
        case '[':
        case ']':
        case '-':
        case '^':
            *cp = (uint32_t)c;
            return true;
        default:
            wrong(p,
                  "an unknown escape (known: \\x \\u \\U \\t \\r \\n \\\\ \\\" \\[ \\] \\- \\^)");
            return false;
        }
    }
    size_t n = utf8_decode(p->text + p->at, p->len - p->at, cp);
    if (n == 0) {
        wrong(p, p->at < p->len ? "not UTF-8" : "the text ends in a literal or class");
        return false;
    }
    p->line += *cp == '\n';
    p->at += n;
    return true;
}

static const struct expr *parse_literal(struct gbnf_parser *p) {
    size_t from = p->at, n = 0;
    // an escape is never shorter than what it stands for
    for (size_t end = from; end < p->len && p->text[end] != '"'; end++, n++)
        if (p->text[end] == '\\' && end + 1 < p->len)
            end++, n++;
    char *bytes = expr_alloc(&p->arena, n + 4, 1);
    if (!bytes)
        return NULL; // as memory runs out everywhere here: who asked for an item says so
    n = 0;
    while (!take(p, '"')) {
        uint32_t cp;
        if (!take_char(p, &cp))
            return NULL;
        n += utf8_encode(cp, bytes + n);
    }
    return expr_bytes(&p->arena, bytes, n);
}

static const struct expr *parse_class(struct gbnf_parser *p) {
    struct expr_range *ranges = NULL;
    size_t n = 0, cap = 0;
    bool negated = take(p, '^');
    const struct expr *e = NULL;
    while (!take(p, ']')) {
        uint32_t lo, hi;
        if (!take_char(p, &lo))
            goto end;
        hi = lo;
        if (peek(p) == '-' && p->at + 1 < p->len && p->text[p->at + 1] != ']') {
            p->at++;
            if (!take_char(p, &hi))
                goto end;
        }
        if (hi < lo) {
            wrong(p, "a range of a class runs backwards");
            goto end;
        }
        if (!grammar_grow(p->g, (void **)&ranges, &cap, n, 1, GRAMMAR_TEXT_MAX, sizeof *ranges))
            goto end;
        ranges[n++] = (struct expr_range){lo, hi};
    }
    e = expr_class(&p->arena, ranges, n, negated);
end:
    mem_free(ranges);
    return e;
}

static bool take_count(struct gbnf_parser *p, uint32_t *count) {
    if (!(peek(p) >= '0' && peek(p) <= '9')) {
        wrong(p, "a repetition lacks its count");
        return false;
    }
    uint64_t v = 0;
    for (; peek(p) >= '0' && peek(p) <= '9'; p->at++)
        v = v > GRAMMAR_COUNT_MAX ? v : v * 10 + (uint64_t)(peek(p) - '0');
    if (v > GRAMMAR_COUNT_MAX) {
        wrong(p, "a repetition's count is over 2^30");
        return false;
    }
    *count = (uint32_t)v;
    return true;
}

// Reads the repetitions behind an item.
static const struct expr *parse_suffix(struct gbnf_parser *p, const struct expr *e) {
    for (unsigned n = 0; !p->g->err; n++) {
        skip_space(p, p->depth > 0);
        uint32_t min = 0, max = GRAMMAR_INF;
        if (take(p, '+')) {
            min = 1;
        } else if (take(p, '?')) {
            max = 1;
        } else if (take(p, '{')) {
            skip_space(p, true);
            if (!take_count(p, &min))
                return NULL;
            max = min;
            skip_space(p, true);
            if (take(p, ',')) {
                skip_space(p, true);
                max = GRAMMAR_INF;
                if (peek(p) != '}' && !take_count(p, &max))
                    return NULL;
                skip_space(p, true);
            }
            if (!take(p, '}') || max < min) {
                wrong(p, max < min ? "a repetition's counts run backwards"
                                   : "a repetition is not closed by }");
                return NULL;
            }
        } else if (!take(p, '*')) {
            return e;
        }
        if (n == NESTING_MAX) {
            wrong(p, "too many repetitions of one item");
            return NULL;
        }
        e = max == 0 ? expr_bytes(&p->arena, "", 0) : expr_repeat(&p->arena, e, min, max);
        if (!e)
            grammar_fail(p->g, ERR_NOMEM, "out of memory");
    }
    return NULL;
}

static const struct expr *parse_alternatives(struct gbnf_parser *p);

static const struct expr *parse_item(struct gbnf_parser *p) {
    int c = peek(p);
    p->at++;
    if (c == '"')
        return parse_literal(p);
    if (c == '[')
        return parse_class(p);
    if (c == '.')
        return expr_class(&p->arena, NULL, 0, true);
    if (c == '(') {
        if (p->depth == NESTING_MAX) {
            wrong(p, "groups nest too deep (at most 100)");
            return NULL;
        }
        p->depth++;
        skip_space(p, true);
        const struct expr *e = parse_alternatives(p);
        p->depth--;
        if (e && !take(p, ')')) {
            wrong(p, "a group is not closed by )");
            return NULL;
        }
        return e;
    }
    p->at--;
    const char *name;
    size_t len = take_name(p, &name);
    return expr_rule(&p->arena, rule_of(p, name, len));
}

static const struct expr *parse_sequence(struct gbnf_parser *p) {
    struct items items = {0};
    const struct expr *e = NULL;
    for (;;) {
        skip_space(p, p->depth > 0);
        int c = peek(p);
        if (c == '<' || c == '!') {
            grammar_fail(p->g, ERR_UNSUPPORTED,
                         "grammar, line %u, rule \"%.*s\": token literals (<...>) are not "
                         "supported; write the text as a literal",
                         p->line, p->rule_len, p->rule);
            goto end;
        }
        if (c != '"' && c != '[' && c != '.' && c != '(' && !name_char(c))
            break;
        const struct expr *item = parse_item(p);
        if (item)
            item = parse_suffix(p, item);
        if (p->g->err || !push_item(p, &items, item))
            goto end;
    }
    e = expr_list(&p->arena, EXPR_SEQ, items.list, items.n);
end:
    mem_free(items.list);
    return e;
}

static const struct expr *parse_alternatives(struct gbnf_parser *p) {
    struct items items = {0};
    const struct expr *e = NULL;
    do {
        skip_space(p, true); // also behind |
        if (!push_item(p, &items, parse_sequence(p)))
            goto end;
    } while (take(p, '|'));
    e = expr_list(&p->arena, EXPR_ALT, items.list, items.n);
end:
    mem_free(items.list);
    return e;
}

static void parse_rule(struct gbnf_parser *p) {
    p->rule = NULL;
    const char *name;
    size_t len = take_name(p, &name);
    if (len == 0) {
        wrong(p, "a rule's name is expected here");
        return;
    }
    p->rule = name;
    p->rule_len = len > 100 ? 100 : (int)len;
    uint32_t line = p->line;
    skip_space(p, false);
    if (p->len - p->at < 3 || memcmp(p->text + p->at, "::=", 3) != 0) {
        wrong(p, "::= is expected behind the rule's name");
        return;
    }
    p->at += 3;
    uint32_t rule = rule_of(p, name, len);
    if (p->g->err)
        return;
    if (p->bodies[rule]) {
        wrong(p, "the rule is defined twice");
        return;
    }
    const struct expr *body = parse_alternatives(p);
    if (!body) {
        grammar_fail(p->g, ERR_NOMEM, "out of memory");
        return;
    }
    p->bodies[rule] = body;
    p->g->rules[rule].line = line;
    if (peek(p) >= 0 && peek(p) != '\n' && peek(p) != '\r')
        wrong(p, "unexpected text in the rule");
}

// Compiles every rule; *root is the start of the grammar.
static void compile_rules(struct gbnf_parser *p, uint32_t *root) {
    struct grammar *g = p->g;
    uint32_t start = GRAMMAR_NONE;
    for (uint32_t r = 0; p->bodies && r < g->n_rules && !g->err; r++) {
        if (!p->bodies[r])
            grammar_fail(g, ERR_INVALID, "grammar, line %u: the rule \"%.100s\" is not defined",
                         p->seen_line[r], g->rules[r].name);
        else if (strcmp(g->rules[r].name, "root") == 0)
            start = r;
    }
    if (start == GRAMMAR_NONE)
        grammar_fail(g, ERR_INVALID, "grammar: there is no rule \"root\"");
    for (uint32_t r = 0; p->bodies && r < g->n_rules && !g->err; r++) {
        g->rules[r].start = grammar_compile(g, &p->arena, p->bodies[r], 1);
        g->rules[r].end = (uint32_t)g->n_nodes;
    }
    *root = g->err ? 0 : grammar_call(g, start, 0, 1);
}

// Checks what can be seen only in the whole grammar.
static enum err check_rules(struct grammar *g, struct grammar **out, uint32_t root,
                            struct errmsg *msg) {
    uint32_t left = GRAMMAR_NONE;
    if (!g->err && !grammar_analyse(g, &left, msg)) {
        if (left != GRAMMAR_NONE)
            grammar_fail(g, ERR_INVALID,
                         "grammar, line %u: the rule \"%.100s\" is left-recursive (it calls "
                         "itself before it has matched anything)",
                         g->rules[left].line, g->rules[left].name);
        else if (g->nodes[root].need > GRAMMAR_DEPTH)
            grammar_fail(g, ERR_INVALID, "grammar: no text can ever match the rule \"root\"");
    } else if (!g->err) {
        g->err = ERR_NOMEM;
    }
    return grammar_finish(g, root, out, msg);
}

enum err grammar_from_gbnf(const char *text, size_t len, struct grammar **out, struct errmsg *msg) {
    *out = NULL;
    if (len > GRAMMAR_TEXT_MAX)
        return err_set(msg, ERR_INVALID, "the grammar is over %d bytes", GRAMMAR_TEXT_MAX);
    struct grammar *g = grammar_begin(msg);
    if (!g)
        return ERR_NOMEM;
    struct gbnf_parser p = {.g = g, .text = text, .len = len, .line = 1, .n_slots = 64};
    while (p.n_slots < len) // a name takes two bytes at least: the table is never full
        p.n_slots *= 2;
    if (getrandom(&p.seed, sizeof p.seed, GRND_NONBLOCK) != (ssize_t)sizeof p.seed)
        p.seed = (uintptr_t)&p; // before the kernel has entropy: the stack's address will do
    p.slots = mem_calloc(p.n_slots, sizeof *p.slots);
    if (!p.slots)
        grammar_fail(g, ERR_NOMEM, "out of memory");
    for (skip_space(&p, true); !g->err && p.at < p.len; skip_space(&p, true))
        parse_rule(&p);
    uint32_t root = 0;
    if (!g->err)
        compile_rules(&p, &root);
    expr_arena_free(&p.arena);
    mem_free(p.slots);
    mem_free(p.seen_line);
    mem_free(p.bodies);
    return check_rules(g, out, root, msg);
}
