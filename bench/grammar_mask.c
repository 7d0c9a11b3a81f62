// What a step under a grammar costs: texts drawn at random under the masks, the time of each mask
// and of each token taken. The first step of a grammar may make tables; a process makes those of
// JSON strings once.
//   grammar_mask VOCABULARY [TEXTS]
#include "base/buf.h"
#include "base/clock.h"
#include "bench/vocab_file.h"

#include <string.h>
#include <time.h>

enum { STEPS = 200 };

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

static void report(const char *name, double *us, size_t n, double first) {
    qsort(us, n, sizeof *us, by_value);
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += us[i];
    printf("%-12s %6zu steps  mean %7.1f  median %7.1f  p99 %7.1f  worst %8.1f us  (first %.1f)\n",
           name, n, sum / (double)n, us[n / 2], us[n * 99 / 100], us[n - 1], first);
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    json_init();
    size_t texts = argc > 2 ? (size_t)atoi(argv[2]) : 20;
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
        double compile_us = (double)(clock_now_us() - begin), accept_us = 0, first = 0;
        json_tree_free(tree);
        if (e) {
            fprintf(stderr, "%s: %s\n", cases[c].name, msg.text);
            return 1;
        }
        size_t n = 0, tokens = 0;
        for (size_t t = 0; t < texts; t++) {
            struct grammar_state *s = NULL;
            if (grammar_state_new(g, f.vocab, &s, &msg))
                return 1;
            for (size_t i = 0; i < STEPS && !grammar_must_end(s); i++) {
                bool constrained = false;
                struct timespec a, b;
                clock_gettime(CLOCK_MONOTONIC, &a);
                if (grammar_mask(s, mask, &constrained))
                    return 1;
                clock_gettime(CLOCK_MONOTONIC, &b);
                us[n] = (double)(b.tv_sec - a.tv_sec) * 1e6 + (double)(b.tv_nsec - a.tv_nsec) / 1e3;
                if (getenv("SLOW") && us[n] > atof(getenv("SLOW")))
                    printf("   step %zu of text %zu: %.1f us\n", i, t, us[n]);
                first = n == 0 ? us[0] : first;
                n++;
                int32_t id = pick(&f, mask, constrained);
                begin = clock_now_us();
                if (id < 0 || !grammar_accept(s, id))
                    return 1;
                accept_us += (double)(clock_now_us() - begin);
                tokens++;
            }
            grammar_state_free(s);
        }
        report(cases[c].name, us, n, first);
        printf("%12s compiled in %.0f us, a token taken in %.2f us\n", "", compile_us,
               accept_us / (double)tokens);
        grammar_free(g);
    }
    free(mask);
    free(us);
    vocab_file_close(&f);
    return 0;
}
