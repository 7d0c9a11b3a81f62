// What a step under a grammar costs: texts drawn at random under the masks, the CPU time of each
// mask and of each token taken; then the same with texts that must end within LED tokens. The first
// step of a grammar may make tables; a process makes those of JSON strings once.
// Of how many masks come within the work that a step gives one, and what giving up costs:
//   grammar_mask VOCABULARY [TEXTS [WORK]]
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "bench/vocab_file.h"

#include <string.h>
#include <time.h>

enum { STEPS = 200, LED = 100, WORK = 8192 };

static const struct {
    const char *name, *schema, *gbnf; // neither: any object
} cases[] = {
    {"object",
     "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":"
     "\"integer\",\"minimum\":0,\"maximum\":120},\"city\":{\"type\":\"string\",\"maxLength\":40},"
     "\"tags\":{\"type\":\"array\",\"items\":{\"type\":\"string\",\"minLength\":2,\"maxLength\":12}"
     ",\"minItems\":1,\"maxItems\":5},\"kind\":{\"enum\":[\"person\",\"company\"]}},\"required\":["
     "\"name\",\"age\",\"city\",\"tags\",\"kind\"]}",
     NULL},
    {"any object", NULL, NULL},
    {"recursive",
     "{\"$ref\":\"#/$defs/"
     "n\",\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":"
     "\"string\"},\"c\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/"
     "n\"}}},\"required\":[\"v\","
     "\"c\"]}}}",
     NULL},
    {"words", NULL, "root ::= word (\" \" word){0,60} \".\"\nword ::= [a-zA-Z]+ | [0-9]{1,4}"},
    {"lines", NULL, "root ::= (\"- \" [^\\n]+ \"\\n\"){1,40}"},
};

static uint64_t seed = 1;

static uint64_t draw(void) {
    seed += 0x9E3779B97F4A7C15u;
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static int by_value(const void *x, const void *y) {
    const double *a = x, *b = y;
    return *a < *b ? -1 : *a > *b;
}

static int32_t pick(const struct vocab_file *f, const uint32_t *mask, bool constrained) {
    // now and then what closes a string, an array or an object, so that texts have all parts
    bool closing = draw() % 6 == 0;
    for (int round = 0; round < 2; round++, closing = false) {
        int32_t chosen = -1;
        uint64_t n = 0;
        for (uint32_t id = 0; id < f->n; id++) {
            if (constrained && !(mask[id / 32] >> (id % 32) & 1))
                continue;
            if (closing && (f->tokens[id].len == 0 || !strchr("\"]},", f->tokens[id].bytes[0])))
                continue;
            if (draw() % ++n == 0)
                chosen = (int32_t)id;
        }
        if (chosen >= 0)
            return chosen;
    }
    return -1;
}

struct costs {
    double *us; // [n] of each mask
    size_t n, tokens, ended;
    size_t within, beyond;
    double accept_us, limit_us, first, vain_us, vain_worst;
};

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

// Whether the mask comes within the work.
static void try_within(struct grammar_state *s, size_t most, uint32_t *mask, struct costs *k) {
    struct grammar_work work = {.most = most};
    bool constrained;
    double begin = now_us();
    enum err e = grammar_mask_within(s, &work, mask, &constrained);
    double us = now_us() - begin;
    k->within += e == ERR_OK;
    if (e == ERR_OK)
        return;
    k->beyond++;
    k->vain_us += us;
    k->vain_worst = us > k->vain_worst ? us : k->vain_worst;
}

static bool measure(const struct grammar *g, const struct vocab_file *f, size_t texts, bool led,
                    size_t most, uint32_t *mask, struct costs *k) {
    struct errmsg msg;
    for (size_t t = 0; t < texts; t++) {
        struct grammar_state *s = NULL;
        if (grammar_state_new(g, f->vocab, &s, &msg))
            return false;
        double begin = now_us();
        if (led && grammar_state_limit(s, LED, NULL, &msg))
            return false;
        k->limit_us += now_us() - begin;
        for (size_t i = 0; i < STEPS && !grammar_must_end(s); i++) {
            bool constrained = false;
            try_within(s, most, mask, k);
            begin = now_us();
            if (grammar_mask(s, mask, &constrained))
                return false;
            k->us[k->n] = now_us() - begin;
            k->first = k->n == 0 ? k->us[0] : k->first;
            k->n++;
            int32_t id = pick(f, mask, constrained);
            begin = now_us();
            if (id < 0 || !grammar_accept(s, id))
                return false;
            k->accept_us += now_us() - begin;
            k->tokens++;
        }
        k->ended += grammar_must_end(s);
        grammar_state_free(s);
    }
    return true;
}

static void report(const char *name, struct costs *k) {
    qsort(k->us, k->n, sizeof *k->us, by_value);
    double sum = 0;
    for (size_t i = 0; i < k->n; i++)
        sum += k->us[i];
    printf("%-12s %6zu steps  mean %7.1f  median %7.1f  p99 %7.1f  worst %8.1f us  (first %.1f)\n",
           name, k->n, sum / (double)k->n, k->us[k->n / 2], k->us[k->n * 99 / 100], k->us[k->n - 1],
           k->first);
    printf("%12s %zu of %zu within the work of a step", "", k->within, k->n);
    if (k->beyond)
        printf(", giving up %.1f us, %.1f at worst", k->vain_us / (double)k->beyond, k->vain_worst);
    printf("\n");
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    json_init();
    size_t texts = argc > 2 ? (size_t)atoi(argv[2]) : 20;
    size_t most = argc > 3 ? (size_t)atoi(argv[3]) : WORK;
    int64_t begin = clock_now_us();
    struct vocab_file f = vocab_file_open(argv[1]);
    printf("%u tokens, vocabulary made in %.1f ms\n", f.n, (double)(clock_now_us() - begin) / 1000);
    uint32_t *mask = calloc(grammar_mask_words(f.vocab), sizeof *mask);
    double *us = calloc(texts * STEPS, sizeof *us);
    for (size_t c = 0; mask && us && c < sizeof cases / sizeof *cases; c++) {
        struct grammar *g = NULL;
        struct json_tree *tree = NULL;
        struct errmsg msg = {0};
        enum err e = ERR_OK;
        begin = clock_now_us();
        if (cases[c].schema) {
            e = json_tree_parse(cases[c].schema, strlen(cases[c].schema), &json_limits_request,
                                &tree, NULL, &msg);
            if (!e)
                e = grammar_from_schema(json_tree_root(tree), NULL, &g, &msg);
        } else if (cases[c].gbnf) {
            e = grammar_from_gbnf(cases[c].gbnf, strlen(cases[c].gbnf), &g, &msg);
        } else {
            e = grammar_json_object(&g, &msg);
        }
        double compile_us = (double)(clock_now_us() - begin);
        json_tree_free(tree);
        if (e) {
            fprintf(stderr, "%s: %s\n", cases[c].name, msg.text);
            return 1;
        }
        for (int led = 0; led < 2; led++) {
            struct costs k = {.us = us};
            if (!measure(g, &f, texts, led, most, mask, &k))
                return 1;
            report(led ? "  led" : cases[c].name, &k);
            if (!led)
                printf("%12s compiled in %.0f us, a token taken in %.2f us\n", "", compile_us,
                       k.accept_us / (double)k.tokens);
            else
                printf("%12s prepared in %.0f us a text, %zu of %zu texts ended\n", "",
                       k.limit_us / (double)texts, k.ended, texts);
        }
        grammar_free(g);
    }
    free(mask);
    free(us);
    vocab_file_close(&f);
    return 0;
}
