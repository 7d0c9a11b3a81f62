// Tries grammars by hand or from a script (tools/parity_grammar.py): reads commands, one a line,
// and answers each with one line.
//   grammar_walk VOCABULARY
//   S JSON   compile a schema         O  any object     G "GBNF as a JSON string"
//   T JSON   tools, as in a request, all required; Ta JSON: auto
//     -> ok | error CODE MESSAGE
//   W SEED LIMIT   a random text by masks -> end "text" | cut "text" | stuck "text" | wrong "text"
//   L SEED LIMIT   the same, led to an end within LIMIT tokens -> as W, or far "text": cut, and the
//                  shortest text was longer by the budget's count
//   A "text"       feeds the text as bytes and as longest tokens -> yes | no | partial | differ
#include "base/buf.h"
#include "base/json.h"
#include "bench/vocab_file.h"
#include "grammar/state.h"

#include <string.h>

struct session {
    struct vocab_file *f;
    struct grammar *g;
    uint32_t *mask;
    int32_t *allowed;
    uint64_t seed;
};

static uint64_t draw(struct session *s) {
    s->seed += 0x9E3779B97F4A7C15u;
    uint64_t z = s->seed;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static bool in_mask(const struct session *s, uint32_t id) {
    return s->mask[id / 32] >> (id % 32) & 1;
}

// A token of the mask: of a random first byte, so that what is rare in the vocabulary is tried too,
// and often of those that close something, so that texts end.
static int32_t pick(struct session *s, bool constrained) {
    bool closing = draw(s) % 4 == 0;
    size_t n = 0;
    unsigned byte = 0, kinds = 0;
    bool seen[256] = {false};
    for (uint32_t id = 0; id < s->f->n; id++) {
        if (constrained && !in_mask(s, id))
            continue;
        unsigned char c = s->f->tokens[id].len ? (unsigned char)s->f->tokens[id].bytes[0] : 0;
        if (closing && c && !strchr("\"]},:", c))
            continue;
        if (!seen[c] && draw(s) % ++kinds == 0)
            byte = c;
        seen[c] = true;
        s->allowed[n++] = (int32_t)id;
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        const struct grammar_token *t = &s->f->tokens[s->allowed[i]];
        if ((t->len ? (unsigned char)t->bytes[0] : 0) == byte)
            s->allowed[kept++] = s->allowed[i];
    }
    if (kept == 0)
        return -1;
    return s->allowed[draw(s) % kept];
}

static void walk(struct session *s, size_t limit, bool led) {
    struct grammar_state *st = NULL;
    struct errmsg msg = {0};
    struct buf text = {0}, line = {0};
    const char *how = "cut";
    if (grammar_state_new(s->g, s->f->vocab, &st, &msg) ||
        (led && grammar_state_limit(st, limit, NULL, &msg)))
        exit(1);
    if (led && !st->free_text && machine_tokens_left(&st->machine, st->now) >= limit)
        how = "far";
    for (size_t i = 0; i < limit; i++) {
        bool constrained = false;
        if (grammar_mask(st, s->mask, &constrained)) {
            how = "stuck";
            break;
        }
        int32_t id = pick(s, constrained);
        for (int tries = 0; id < 0 && tries < 50; tries++)
            id = pick(s, constrained);
        if (id < 0 || !grammar_accept(st, id)) {
            how = "wrong";
            break;
        }
        if (s->f->tokens[id].len == 0 && grammar_must_end(st)) {
            how = "end";
            break;
        }
        buf_append(&text, s->f->tokens[id].bytes, s->f->tokens[id].len);
    }
    buf_puts(&text, "");
    json_quote(&line, text.data, text.len);
    printf("%s %s\n", how, line.data);
    buf_free(&text);
    buf_free(&line);
    grammar_state_free(st);
}

// Feeds text by the token of each place that `longest` asks for; -1 no, 0 partial, 1 yes.
static int feed(struct session *s, const char *text, size_t len, bool longest) {
    struct grammar_state *st = NULL;
    struct errmsg msg = {0};
    if (grammar_state_new(s->g, s->f->vocab, &st, &msg))
        exit(1);
    int answer = 1;
    for (size_t i = 0; i < len && answer == 1;) {
        int32_t best = -1;
        size_t most = 0;
        for (uint32_t id = 0; id < s->f->n; id++) {
            const struct grammar_token *t = &s->f->tokens[id];
            bool fits = t->len && t->len <= len - i && memcmp(t->bytes, text + i, t->len) == 0;
            if (fits && (best < 0 || (longest ? t->len > most : t->len < most))) {
                best = (int32_t)id;
                most = t->len;
            }
        }
        bool constrained = false;
        if (best < 0 || grammar_mask(st, s->mask, &constrained)) {
            answer = -1;
            break;
        }
        bool masked = !constrained || in_mask(s, (uint32_t)best);
        if (!grammar_accept(st, best))
            answer = -1;
        if (masked != (answer == 1)) {
            answer = -2; // the mask and the machine must agree
            break;
        }
        i += most;
    }
    if (answer == 1 && !grammar_may_end(st))
        answer = 0;
    grammar_state_free(st);
    return answer;
}

static enum err compile(struct session *s, const char *what, struct errmsg *msg) {
    struct json_tree *tree = NULL;
    enum err e = ERR_OK;
    const char *json = strchr(what, ' ') ? strchr(what, ' ') + 1 : "null";
    grammar_free(s->g);
    s->g = NULL;
    if ((e = json_tree_parse(json, strlen(json), &json_limits_request, &tree, NULL, msg)))
        return e;
    const struct json_node *root = json_tree_root(tree);
    struct grammar_tool tools[64] = {{0}};
    size_t n = 0;
    switch (what[0]) {
    case 'S':
        e = grammar_from_schema(root, NULL, &s->g, msg);
        break;
    case 'O':
        e = grammar_json_object(&s->g, msg);
        break;
    case 'G':
        e = grammar_from_gbnf(root->text, root->len, &s->g, msg);
        break;
    default:
        for (const struct json_node *m = root->child; m && n < 64; m = m->next, n++) {
            const struct json_node *name = json_node_get(m, "name");
            tools[n] = (struct grammar_tool){name->text, name->len, json_node_get(m, "parameters")};
        }
        e = grammar_from_tools(tools, n,
                               what[1] == 'a' ? GRAMMAR_TOOLS_AUTO : GRAMMAR_TOOLS_REQUIRED, true,
                               NULL, &s->g, msg);
    }
    json_tree_free(tree);
    return e;
}

static void answer(struct session *s, const char *line) {
    struct errmsg msg = {0};
    struct json_tree *tree = NULL;
    size_t limit = 0;
    if ((line[0] == 'W' || line[0] == 'L') && s->g &&
        sscanf(line + 1, "%lu %zu", &s->seed, &limit) == 2) {
        walk(s, limit, line[0] == 'L');
    } else if (line[0] == 'A' && s->g && line[1] &&
               !json_tree_parse(line + 2, strlen(line + 2), &json_limits_request, &tree, NULL,
                                &msg)) {
        const struct json_node *t = json_tree_root(tree);
        int by_byte = feed(s, t->text, t->len, false), by_token = feed(s, t->text, t->len, true);
        puts(by_byte != by_token ? "differ"
             : by_byte == 1      ? "yes"
             : by_byte == 0      ? "partial"
             : by_byte == -1     ? "no"
                                 : "differ");
    } else if (strchr("SOGT", line[0])) {
        enum err e = compile(s, line, &msg);
        if (e)
            printf("error %s %s\n", err_name(e), msg.text);
        else
            puts("ok");
    } else {
        puts("?");
    }
    json_tree_free(tree);
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    json_init();
    struct vocab_file f = vocab_file_open(argv[1]);
    struct session s = {.f = &f};
    s.mask = calloc(grammar_mask_words(f.vocab), sizeof *s.mask);
    s.allowed = calloc((size_t)f.n + 1, sizeof *s.allowed);
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t n; s.mask && s.allowed && (n = getline(&line, &cap, stdin)) > 0;) {
        if (line[n - 1] == '\n')
            line[n - 1] = 0;
        answer(&s, line);
    }
    free(line);
    free(s.mask);
    free(s.allowed);
    grammar_free(s.g);
    vocab_file_close(&f);
    return 0;
}
