// GBNF: each feature by texts that it takes and refuses, errors by their words, hostile grammars
// within bounds of time, and masks that agree with the machine on every token.
#include "base/clock.h"
#include "base/fault.h"
#include "tests/unit/grammar_kit.h"

// Far above what a release build takes (0.2 s at most), for sanitizers on a busy machine.
#define HOSTILE_SECONDS 10.0

static struct grammar *gbnf(const char *text) {
    struct grammar *g = NULL;
    struct errmsg msg = {0};
    if (grammar_from_gbnf(text, strlen(text), &g, &msg))
        fprintf(stderr, "%s: %s\n", text, msg.text);
    return g;
}

// texts: each begins with what is expected of it, y, p or n.
static void takes(const char *grammar, const char *const *texts, size_t n) {
    struct grammar *g = gbnf(grammar);
    if (CHECK(g != NULL))
        for (size_t i = 0; i < n; i++) {
            char got = kit_takes(g, texts[i] + 1);
            if (!CHECK(got == texts[i][0]))
                fprintf(stderr, "    %s on \"%s\": %c\n", grammar, texts[i], got);
        }
    grammar_free(g);
}
#define TAKES(grammar, ...)                                                                        \
    do {                                                                                           \
        static const char *const texts_[] = {__VA_ARGS__};                                         \
        takes(grammar, texts_, sizeof texts_ / sizeof *texts_);                                    \
    } while (0)

static void test_features(void) {
    TAKES("root ::= \"abc\"", "yabc", "pab", "nabcd", "nb", "p");
    TAKES("root ::= \"\"", "y", "na");
    TAKES("root ::= \"a\" | \"bc\" | \"b\"", "ya", "yb", "ybc", "nab", "nc");
    TAKES("root ::= [a-cx] [^a-c]", "yaz", "yx\xC3\xA9", "naa", "ny");
    TAKES("root ::= [^]*", "y", "yab\"\xF0\x9F\x98\x80");
    TAKES("root ::= .", "ya", "y\xC3\xA9", "y\n", "p\xC3", "n\xFF", "nab");
    TAKES("root ::= \"\\x41\\u00e9\\U0001F600\\n\\t\\r\\\\\\\"\\[\\]\"",
          "yA\xC3\xA9\xF0\x9F\x98\x80\n\t\r\\\"[]");
    TAKES("root ::= [\\x41-\\x43\\]\\\\\\n-]", "yA", "yC", "y]", "y\\", "y\n", "y-", "nD");
    TAKES("root ::= \"a\"*", "y", "yaaaa", "naab");
    TAKES("root ::= \"a\"+ \"b\"?", "ya", "yaab", "p", "nb");
    TAKES("root ::= [0-9]{3}", "y123", "p12", "n1234");
    TAKES("root ::= [0-9]{2,}", "y12", "y12345", "p1");
    TAKES("root ::= [0-9]{2,3}", "y12", "y123", "p1", "n1234");
    TAKES("root ::= [0-9]{0,2}", "y", "y12", "n123");
    TAKES("root ::= (\"ab\" | \"c\" [d-f]){2} \"!\"", "yabab!", "ycdab!", "yabce!", "nab!");
    TAKES("root ::= a{2,3}\na ::= \"x\" a? \"y\"", "yxyxy", "yxxyyxyxy", "pxy", "nxyxyxyxy");
    TAKES(
        "# comment\nroot ::= # more\n  x | # and\n  \"b\" # end\n\nx ::= (\n \"a\" # in\n \"c\"\n)",
        "yac", "yb", "na ");
    TAKES("root ::= \"(\" root \")\" | \"x\"", "y((x))", "yx", "p((x)", "n)");
    TAKES("root ::= item (\", \" item)*\nitem ::= [a-z]+ | [0-9]+", "yab, 12, c", "pab, ", "nab,c");
    TAKES("root ::= my-rule_2 \r\nmy-rule_2 ::= \"a\"\r\n", "ya");
    TAKES("root ::= (\"a\"?)* \"b\"", "yb", "yaaab", "paa");
    TAKES("root ::= (x?){2,5}\nx ::= \"a\" x?", "y", "yaaaaaaa");
    TAKES("root ::= ((\"a\"{1,2}){2,3})+", "yaa", "yaaaaaaaaa", "pa");
    TAKES("root ::= [\xE3\x81\x81-\xE3\x82\x9F]+", "y\xE3\x81\x82\xE3\x81\x84", "n\xE3\x82\xA0",
          "na");
    TAKES("root ::= [^\\n]+ \"\\n\"", "yab\n", "n\n\n", "pa");
    // right recursion is no depth
    struct grammar *g = gbnf("root ::= \"a\" root | \"b\"");
    struct buf text = {0};
    for (int i = 0; i < 5000; i++)
        buf_putc(&text, 'a');
    buf_putc(&text, 'b');
    CHECK(g && kit_takes_by(g, text.data, text.len, false) == 'y');
    buf_free(&text);
    grammar_free(g);
}

static void refuses(const char *text, enum err code, const char *words) {
    struct grammar *g = (struct grammar *)1;
    struct errmsg msg = {0};
    CHECK_INT(grammar_from_gbnf(text, strlen(text), &g, &msg), code);
    CHECK(g == NULL);
    if (!CHECK(strstr(msg.text, words) != NULL))
        fprintf(stderr, "    %s: %s\n", text, msg.text);
}

static void test_errors(void) {
    refuses("", ERR_INVALID, "no rule \"root\"");
    refuses("root ::= a", ERR_INVALID, "line 1: the rule \"a\" is not defined");
    refuses("root ::= \"a\"\nx ::= \"b", ERR_INVALID, "line 2, rule \"x\"");
    refuses("root ::= \"a\"\nroot ::= \"b\"", ERR_INVALID, "defined twice");
    refuses("root ::= (\"a\"", ERR_INVALID, "closed by )");
    refuses("root ::= [a", ERR_INVALID, "ends in a literal or class");
    refuses("root ::= [b-a]", ERR_INVALID, "backwards");
    refuses("root ::= \"\\q\"", ERR_INVALID, "unknown escape");
    refuses("root ::= \"\\xg0\"", ERR_INVALID, "hexadecimal");
    refuses("root ::= \"\\ud800\"", ERR_INVALID, "code point");
    refuses("root ::= \"\xFF\"", ERR_INVALID, "UTF-8");
    refuses("root ::= \"a\"{3,2}", ERR_INVALID, "backwards");
    refuses("root ::= \"a\"{,2}", ERR_INVALID, "count");
    refuses("root ::= \"a\"{9999999999}", ERR_INVALID, "2^30");
    refuses("root = \"a\"", ERR_INVALID, "::=");
    refuses("root ::= \"a\" )", ERR_INVALID, "unexpected");
    refuses("root ::= <think>", ERR_UNSUPPORTED, "token literals");
    refuses("root ::= !<[5]>", ERR_UNSUPPORTED, "token literals");
    refuses("root ::= a\na ::= b \"x\"\nb ::= a | \"y\"", ERR_INVALID, "left-recursive");
    refuses("root ::= \"a\"? root \"b\" | \"c\"", ERR_INVALID, "left-recursive");
    refuses("root ::= (root)", ERR_INVALID, "left-recursive");
    refuses("root ::= \"a\" root", ERR_INVALID, "no text can ever match");
    refuses("root ::= []", ERR_INVALID, "no text can ever match");
}

// Random texts: at each step every token of the mask is taken by a copy and no other is.
static void walk(const char *grammar, uint64_t seed) {
    struct grammar *g = gbnf(grammar);
    struct grammar_vocab *v = kit_vocab();
    int32_t taken[24];
    for (int round = 0; g && round < 4; round++) {
        struct grammar_state *s = NULL;
        struct errmsg msg = {0};
        CHECK_OK(grammar_state_new(g, v, &s, &msg), msg);
        bool agree = true, some = true;
        for (int i = 0; s && i < 24 && agree && some; i++) {
            uint32_t mask[KIT_WORDS];
            bool constrained = false;
            CHECK_INT(grammar_mask(s, mask, &constrained), ERR_OK);
            int32_t chosen = -1, n = 0;
            for (int32_t id = 0; id < KIT_TOKENS; id++) {
                struct grammar_state *other = NULL;
                if (grammar_state_new(g, v, &other, &msg))
                    break;
                for (int k = 0; k < i; k++)
                    agree &= grammar_accept(other, taken[k]);
                agree &= grammar_accept(other, id) == kit_in(mask, id);
                grammar_state_free(other);
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                if (kit_in(mask, id) && (seed >> 33) % (uint64_t)++n == 0)
                    chosen = id;
            }
            some = chosen >= 0 && grammar_accept(s, chosen);
            taken[i] = chosen;
            if (chosen == KIT_END)
                break;
        }
        CHECK(agree);
        CHECK(some);
        grammar_state_free(s);
    }
    grammar_free(g);
}

static void test_masks(void) {
    walk("root ::= [a-z\xC3\xA9\", ]* \"!\"", 1);
    walk("root ::= (\"- \" [^\\n]{1,4} \"\\n\"){1,3}", 2);
    walk("root ::= x{2,4}\nx ::= \"[\" (x \", \")* \"]\" | [0-9]{1,2} | .", 3);
    walk("root ::= word (\" \" word){0,6} \".\"\nword ::= [a-zA-Z]+ | [0-9]{1,4}", 4);
    walk("root ::= ([a-c]+){2,9} [b-d]*", 5);
}

static void test_end(void) {
    struct grammar *g = gbnf("root ::= \"a\" \"b\"?");
    struct grammar_state *s = NULL;
    struct errmsg msg = {0};
    uint32_t mask[KIT_WORDS];
    bool constrained = false;
    CHECK_OK(grammar_state_new(g, kit_vocab(), &s, &msg), msg);
    CHECK(!grammar_may_end(s) && !grammar_must_end(s));
    CHECK(!grammar_accept(s, KIT_END) && !grammar_accept(s, KIT_CONTROL));
    CHECK(!grammar_accept(s, -1) && !grammar_accept(s, KIT_TOKENS));
    CHECK(!grammar_accept(s, 'b'));
    CHECK(grammar_accept(s, 'a'));
    CHECK(grammar_may_end(s) && !grammar_must_end(s));
    CHECK_INT(grammar_mask(s, mask, &constrained), ERR_OK);
    CHECK(kit_in(mask, KIT_END) && kit_in(mask, 'b') && !kit_in(mask, KIT_CONTROL));
    CHECK(grammar_accept(s, 'b'));
    CHECK(grammar_may_end(s) && grammar_must_end(s));
    CHECK(grammar_accept(s, KIT_END) && !grammar_accept(s, KIT_END));
    CHECK_INT(grammar_mask(s, mask, &constrained), ERR_OK);
    CHECK(constrained && !kit_in(mask, KIT_END));
    grammar_state_free(s);
    grammar_free(g);
    // a vocabulary that cannot go on says so
    struct grammar_token only = {"a", 1};
    struct grammar_vocab *v = NULL;
    CHECK_OK(grammar_vocab_new(&only, 1, NULL, 0, &v, &msg), msg);
    g = gbnf("root ::= \"ab\"");
    CHECK_OK(grammar_state_new(g, v, &s, &msg), msg);
    CHECK_INT(grammar_mask(s, mask, &constrained), ERR_OK);
    CHECK(grammar_accept(s, 0));
    CHECK_INT(grammar_mask(s, mask, &constrained), ERR_UNSUPPORTED);
    grammar_state_free(s);
    grammar_free(g);
    grammar_vocab_free(v);
}

// Compiled or refused, and 40 steps of it, within bounds.
static void hostile(const char *name, const char *text, size_t len) {
    int64_t begin = clock_now_us();
    struct grammar *g = NULL;
    struct grammar_state *s = NULL;
    struct errmsg msg = {0};
    enum err e = grammar_from_gbnf(text, len, &g, &msg);
    CHECK(e == ERR_OK || e == ERR_INVALID);
    if (!e && grammar_state_new(g, kit_vocab(), &s, &msg) == ERR_OK) {
        CHECK_OK(grammar_state_limit(s, 100, NULL, &msg), msg);
        for (int i = 0; i < 40; i++) {
            uint32_t mask[KIT_WORDS];
            bool constrained = false;
            int32_t id = 0;
            if (!CHECK(grammar_mask(s, mask, &constrained) == ERR_OK))
                break;
            while (id < KIT_END && !kit_in(mask, id))
                id++;
            if (!CHECK(grammar_accept(s, id)) || id == KIT_END)
                break;
        }
    }
    grammar_state_free(s);
    grammar_free(g);
    double seconds = (double)(clock_now_us() - begin) / 1e6;
    if (!CHECK(seconds < HOSTILE_SECONDS))
        fprintf(stderr, "    %s: %.2f s\n", name, seconds);
}

static void test_hostile(void) {
    static const char *const texts[] = {
        "root ::= .{1,100000000} [^a]{5,1000000} \"end\"",
        "root ::= ((((((((\"a\"?)*)*)*)*)*)*)*)* \"b\"",
        "root ::= ([a-z]+){2,1000000}",
        "root ::= (([a-z]+){1,1000}){1,1000} \".\"",
        "root ::= a a a a a a a a\na ::= b? b? b? b? b? b? b? b?\nb ::= c? c? c? c?\nc ::= [a-z]?",
        "root ::= s s s s s s | \"z\"\ns ::= \"(\" s s s s \")\" | [a-z]*",
        "root ::= x\nx ::= \"a\" x \"b\" x \"c\" | \"a\" x \"d\" | \"a\"",
        "root ::= [ab]{0,400} \"a\" [ab]{400}",
        "root ::= ([ab]? [ab]? [ab]? [ab]? [ab]? [ab]? [ab]? [ab]?){1000} \"a\"",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        hostile(texts[i], texts[i], strlen(texts[i]));
    // many alternatives, a chain of rules, doubling rules, deep groups
    struct buf b = {0};
    buf_puts(&b, "root ::= \"x\"");
    for (int i = 0; i < 20000; i++)
        buf_printf(&b, " | \"w%d\"", i * 7919 % 100003);
    hostile("alternatives", b.data, b.len);
    buf_reset(&b);
    buf_puts(&b, "root ::= r0\n");
    for (int i = 0; i < 20000; i++)
        buf_printf(&b, "r%d ::= r%d\n", i, i + 1);
    buf_puts(&b, "r20000 ::= \"a\"\n");
    hostile("chain", b.data, b.len);
    buf_reset(&b);
    buf_puts(&b, "root ::= r0\n");
    for (int i = 0; i < 60; i++)
        buf_printf(&b, "r%d ::= r%d r%d\n", i, i + 1, i + 1);
    buf_puts(&b, "r60 ::= \"a\"?\n");
    hostile("doubling", b.data, b.len);
    buf_reset(&b);
    buf_puts(&b, "root ::= ");
    for (int i = 0; i < 3000; i++)
        buf_putc(&b, '(');
    hostile("groups", b.data, b.len);
    buf_reset(&b);
    buf_puts(&b, "root ::= ");
    for (int i = 0; i < 60; i++)
        buf_puts(&b, "(\"ab\" | ");
    buf_puts(&b, "\"c\"");
    for (int i = 0; i < 60; i++)
        buf_puts(&b, "){0,30}");
    hostile("nested repetitions", b.data, b.len);
    buf_free(&b);
}

static void test_faults(void) {
    static const char text[] = "root ::= (a | b){2,9} [^x]{0,50} \"end\"\na ::= \"(\" a? \")\"\n"
                               "b ::= [a-z]+ \"-\" | c*\nc ::= \"c\" a";
    bool whole = false;
    for (long nth = 1; nth < 2000 && !whole; nth++) {
        struct grammar *g = NULL;
        struct grammar_state *s = NULL;
        struct errmsg msg = {0};
        fault_arm(FAULT_ALLOC, nth, false);
        enum err e = grammar_from_gbnf(text, sizeof text - 1, &g, &msg);
        if (!e)
            e = grammar_state_new(g, kit_vocab(), &s, &msg);
        for (int i = 0; i < 6 && !e; i++) {
            uint32_t mask[KIT_WORDS];
            bool constrained = false;
            e = grammar_mask(s, mask, &constrained);
            if (!e)
                (void)grammar_accept(s, '(');
        }
        whole = fault_calls(FAULT_ALLOC) < nth;
        fault_disarm();
        CHECK(e == ERR_OK || e == ERR_NOMEM);
        CHECK(!whole || e == ERR_OK);
        grammar_state_free(s);
        grammar_free(g);
    }
    CHECK(whole);
}

int main(void) {
    test_features();
    test_errors();
    test_masks();
    test_end();
    test_hostile();
    test_faults();
    grammar_vocab_free(kit_vocab());
    return check_done();
}
