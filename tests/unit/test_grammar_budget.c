// Texts led to their end within a number of tokens, and masks by tables: a vocabulary that is large
// enough for them, where every mask must agree with the machine.
#include "base/clock.h"
#include "base/fault.h"
#include "grammar/state.h"
#include "tests/unit/grammar_kit.h"

#define Q(...) #__VA_ARGS__

// Every byte, all words of two and three of the letters a to p, the kit's longer tokens, some that
// cut characters and escapes, an end token and a control token.
enum { LETTERS = 16, WORDS = LETTERS * LETTERS * (LETTERS + 1), ODD = 10 };
enum { LARGE_END = 256 + WORDS + KIT_LONGER + ODD, LARGE_CONTROL, LARGE_TOKENS };
enum { LARGE_WORDS = (LARGE_TOKENS + 31) / 32 };

static const char *const odd[ODD] = {
    "ab\\u00", "\\",       "ab\xF0", "\xE6\x97", "\xA5\xE6\x9C\xAC",
    "b\\n\"",  "aa\": \"", "\\ud8",  "p\"}",     "\xF0\x9F\x98\x80\xC3"};

static struct grammar_token large_tokens[LARGE_TOKENS];

static struct grammar_vocab *large_vocab(void) {
    static struct grammar_vocab *v;
    static char bytes[256], words[WORDS][4];
    if (v)
        return v;
    size_t n = 0;
    for (int i = 0; i < 256; i++) {
        bytes[i] = (char)i;
        large_tokens[n++] = (struct grammar_token){&bytes[i], 1};
    }
    for (int i = 0; i < WORDS; i++) {
        int k = i % (LETTERS * LETTERS), third = i / (LETTERS * LETTERS);
        words[i][0] = (char)('a' + k % LETTERS);
        words[i][1] = (char)('a' + k / LETTERS);
        words[i][2] = (char)(third ? 'a' + third - 1 : 0);
        large_tokens[n++] = (struct grammar_token){words[i], third ? 3 : 2};
    }
    for (int i = 0; i < KIT_LONGER; i++)
        large_tokens[n++] = (struct grammar_token){kit_longer[i], strlen(kit_longer[i])};
    for (int i = 0; i < ODD; i++)
        large_tokens[n++] = (struct grammar_token){odd[i], strlen(odd[i])};
    int32_t end = LARGE_END;
    struct errmsg msg = {0};
    CHECK_OK(grammar_vocab_new(large_tokens, LARGE_TOKENS, &end, 1, &v, &msg), msg);
    return v;
}

static struct grammar *gbnf(const char *text) {
    struct grammar *g = NULL;
    struct errmsg msg = {0};
    CHECK_OK(grammar_from_gbnf(text, strlen(text), &g, &msg), msg);
    return g;
}

static struct grammar *schema(const char *text) {
    struct grammar *g = NULL;
    struct errmsg msg = {0};
    CHECK_OK(kit_schema(text, NULL, &g, &msg), msg);
    return g;
}

static struct grammar *calls(bool parallel) {
    struct grammar_tool tools[] = {{"weather", 7, NULL}, {"now", 3, NULL}};
    struct grammar *g = NULL;
    struct errmsg msg = {0};
    CHECK_OK(grammar_from_tools(tools, 2, GRAMMAR_TOOLS_REQUIRED, parallel, NULL, &g, &msg), msg);
    return g;
}

static uint64_t seed = 1;

static uint32_t draw(void) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

static struct grammar_state *state(const struct grammar *g, const struct grammar_vocab *v,
                                   size_t limit) {
    struct grammar_state *s = NULL;
    struct errmsg msg = {0};
    CHECK_OK(grammar_state_new(g, v, &s, &msg), msg);
    if (limit)
        CHECK_OK(grammar_state_limit(s, limit, NULL, &msg), msg);
    return s;
}

// How a text that is to be led tries not to end.
enum adversary { ANY, OPENS, LAST, ADVERSARIES };

static int32_t pick(const struct grammar_token *tokens, int32_t n, const uint32_t *mask,
                    enum adversary how) {
    int32_t chosen = -1, opener = -1;
    uint32_t seen = 0, openers = 0;
    for (int32_t id = 0; id < n; id++) {
        if (!kit_in(mask, id))
            continue;
        if (how == LAST || draw() % ++seen == 0)
            chosen = id;
        if (tokens[id].len && strchr("[{(,", tokens[id].bytes[0]) && draw() % ++openers == 0)
            opener = id;
    }
    return how == OPENS && opener >= 0 ? opener : chosen;
}

// Tokens that the mask gives and that are none, or that are left out and may come.
static int disagreements(const struct grammar *g, const struct grammar_vocab *v,
                         const int32_t *taken, size_t n_taken, const uint32_t *mask, int32_t step) {
    int wrong = 0;
    for (int32_t id = (int32_t)(draw() % (uint32_t)step); id < LARGE_TOKENS; id += step) {
        struct grammar_state *again = state(g, v, 0);
        for (size_t i = 0; i < n_taken; i++)
            wrong += !grammar_accept(again, taken[i]);
        wrong += grammar_accept(again, id) != kit_in(mask, id);
        grammar_state_free(again);
    }
    return wrong;
}

static void agree(struct grammar *g) {
    struct grammar_vocab *v = large_vocab();
    for (int round = 0; g && round < 6; round++) {
        struct grammar_state *s = state(g, v, 0);
        int32_t taken[16];
        for (size_t i = 0; i < 16 && !grammar_must_end(s); i++) {
            uint32_t mask[LARGE_WORDS];
            bool constrained = false;
            CHECK_INT(grammar_mask(s, mask, &constrained), ERR_OK);
            CHECK_INT(disagreements(g, v, taken, i, mask, 29), 0);
            CHECK(!kit_in(mask, LARGE_CONTROL));
            taken[i] = pick(large_tokens, LARGE_TOKENS, mask, ANY);
            if (!CHECK(taken[i] >= 0 && grammar_accept(s, taken[i])))
                break;
        }
        grammar_state_free(s);
    }
    grammar_free(g);
}

static void test_tables(void) {
    agree(schema(Q({"type" : "string"})));
    agree(schema(Q({"type" : "string", "minLength" : 2, "maxLength" : 4})));
    agree(schema(Q({"type" : "object"})));
    agree(schema(Q({
        "properties" : {"ab" : {"const" : 1}, "abc" : {"type" : "string"}},
        "additionalProperties" : {"type" : "string", "maxLength" : 3}
    })));
    agree(schema(Q({"items" : {"type" : "string", "minLength" : 3}})));
    agree(gbnf("root ::= [a-z\xC3\xA9\xE6\x97\xA5\", ]* \"!\""));
    agree(gbnf("root ::= (\"- \" [^\\n]{1,4} \"\\n\"){1,3}"));
    agree(gbnf("root ::= word (\" \" word){0,6} \".\"\nword ::= [a-zA-Z]+ | [0-9]{1,4}"));
    agree(gbnf("root ::= ([a-p]{2,3} [q-z]?){2,9}"));
    // bytes that may both go on and leave
    agree(gbnf("root ::= [^\"\\n]* \"z\" | [^\"\\n]* \"y\" [0-9]"));
    agree(gbnf("root ::= [^\\n]+ \"ab\" [\\n\\\"]* \": \" .*"));
    agree(gbnf("root ::= ([^b]+ \"b\"? [a-p]{1,4})+ \"end\""));
    agree(gbnf("root ::= .* \"a\\n\" [^\xC3\xA9]{2,}"));
}

// A mask whose work was cut short still has every token of one byte that may come.
static void test_cut_short(void) {
    struct buf b = {0};
    buf_puts(&b, "root ::= ");
    for (int i = 0; i < 250; i++)
        buf_printf(&b, "%s([a-p]+ | \"%d\")* \"x%d\"", i ? " | " : "", i, i);
    struct grammar *g = gbnf(b.data);
    struct grammar_state *s = state(g, large_vocab(), 0);
    for (int i = 0; i < 3; i++) {
        uint32_t mask[LARGE_WORDS];
        bool constrained = false;
        CHECK_INT(grammar_mask(s, mask, &constrained), ERR_OK);
        for (int32_t id = 0; id < 256; id++) {
            struct grammar_state *again = state(g, large_vocab(), 0);
            for (int k = 0; k < i; k++)
                CHECK(grammar_accept(again, 'p'));
            CHECK(grammar_accept(again, id) == kit_in(mask, id));
            grammar_state_free(again);
        }
        CHECK(grammar_accept(s, 'p'));
    }
    grammar_state_free(s);
    grammar_free(g);
    buf_free(&b);
}

// A text under a limit, by the adversary. Every token of a mask must leave what the rule says; a
// text whose rest fitted at the start must end in time.
static void lead(const struct grammar *g, bool large, size_t limit, enum adversary how) {
    struct grammar_vocab *v = large ? large_vocab() : kit_vocab();
    int32_t n = large ? LARGE_TOKENS : KIT_TOKENS, end = large ? LARGE_END : KIT_END;
    struct grammar_state *s = state(g, v, limit);
    bool fitted = machine_tokens_left(&s->machine, s->now) < limit, ended = false;
    for (size_t i = 0; i < limit && !ended; i++) {
        uint32_t mask[LARGE_WORDS];
        bool constrained = false;
        CHECK_INT(grammar_mask(s, mask, &constrained), ERR_OK);
        uint32_t before = machine_tokens_left(&s->machine, s->now);
        int32_t id = pick(large ? large_tokens : kit_tokens(), n, mask, how);
        if (!CHECK(id >= 0 && grammar_accept(s, id)))
            break;
        ended = id == end;
        uint32_t after = ended ? 0 : machine_tokens_left(&s->machine, s->now);
        size_t room = limit - i - 1;
        CHECK(ended || after < room || after < before);
    }
    if (fitted && !CHECK(ended))
        fprintf(stderr, "    not ended within %zu tokens\n", limit);
    grammar_state_free(s);
}

static void led(struct grammar *g) {
    static const size_t limits[] = {1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144};
    for (size_t i = 0; g && i < sizeof limits / sizeof *limits; i++)
        for (int how = 0; how < ADVERSARIES; how++)
            for (int large = 0; large < 2; large++)
                lead(g, large, limits[i], (enum adversary)how);
    grammar_free(g);
}

static void test_led(void) {
    led(schema("{}"));
    led(schema(Q({"type" : "object"})));
    led(schema(Q({
        "type" : "object",
        "properties" : {
            "name" : {"type" : "string", "minLength" : 3},
            "list" : {"items" : {"type" : "integer", "minimum" : 1000}, "minItems" : 2},
            "kind" : {"enum" : [ "red", "blue", null, [ 1, 2 ] ]}
        },
        "required" : [ "name", "kind" ]
    })));
    led(schema(Q({
        "$ref" : "#/$defs/n",
        "$defs" : {
            "n" : {
                "type" : "object",
                "properties" : {
                    "value" : {"type" : "string", "maxLength" : 9},
                    "next" : {"anyOf" : [ {"$ref" : "#/$defs/n"}, {"type" : "null"} ]}
                },
                "required" : [ "value", "next" ]
            }
        }
    })));
    led(schema(Q({"items" : {"anyOf" : [ {"$ref" : "#"}, {"type" : "number"} ]}, "minItems" : 1})));
    led(calls(true));
    led(calls(false));
    led(gbnf("root ::= \"(\" root \")\" | \"x\" | [a-p]+ \"\\n\""));
    led(gbnf("root ::= x{2,400}\nx ::= \"[\" (x \", \")* \"]\" | [0-9]{1,20} | ."));
    led(gbnf("root ::= ([a-p]{4} \"\xF0\x9F\x98\x80\"){3,} \"end\""));
    led(gbnf("root ::= [^]*"));
}

static uint32_t left_of(struct grammar *g) {
    struct grammar_state *s = state(g, kit_vocab(), 100);
    uint32_t left = machine_tokens_left(&s->machine, s->now);
    grammar_state_free(s);
    grammar_free(g);
    return left;
}

// The count follows the model's own tokens along the way with the fewest bytes.
static void test_count(void) {
    CHECK_INT(left_of(gbnf("root ::= \"abc\"")), 1);
    CHECK_INT(left_of(gbnf("root ::= \"xabcab\"")), 3);
    CHECK_INT(left_of(gbnf("root ::= \"true\" | \"no\"")), 2); // fewer bytes, not fewer tokens
    CHECK_INT(left_of(gbnf("root ::= [x-z]{7}")), 7);
    CHECK_INT(left_of(gbnf("root ::= x{3,9} \"!\"\nx ::= \"abc\" | y x\ny ::= \"-\"")), 4);
    CHECK_INT(left_of(gbnf("root ::= \"a\"* | root2\nroot2 ::= \"b\"")), 0);
    CHECK_INT(left_of(gbnf("root ::= .{1000000000}")), 1000000000);
    CHECK_INT(left_of(gbnf("root ::= x{1000000}\nx ::= [a-z]{1000000}")), BUDGET_NEVER);
    CHECK_INT(left_of(schema(Q({"type" : "string"}))), 2);
    CHECK_INT(left_of(schema(Q({"type" : "integer", "minimum" : 10}))), 2);
    CHECK_INT(left_of(schema("{}")), 1);
}

static bool next_is(struct grammar_state *s, const char *only) {
    uint32_t mask[KIT_WORDS];
    bool constrained = false, same = true;
    CHECK_INT(grammar_mask(s, mask, &constrained), ERR_OK);
    for (int32_t id = 0; id < KIT_END; id++) {
        const char *bytes;
        size_t len;
        kit_token(id, &bytes, &len);
        same &= kit_in(mask, id) == (len == 1 && bytes[0] && strchr(only, bytes[0]));
    }
    return same;
}

static void test_rule(void) {
    // the end token is one of the tokens
    struct grammar *g = gbnf("root ::= \"x\"*");
    struct grammar_state *s = state(g, kit_vocab(), 3);
    CHECK(next_is(s, "x") && grammar_accept(s, 'x'));
    CHECK(next_is(s, "x") && grammar_accept(s, 'x'));
    CHECK(next_is(s, "") && grammar_accept(s, KIT_END));
    grammar_state_free(s);
    grammar_free(g);
    // too long from the start: every token shortens it, and it catches up
    g = gbnf("root ::= (\"x\"* \"yyyy\"){3} \"z\"* \"end\"");
    s = state(g, kit_vocab(), 10);
    CHECK(next_is(s, "y"));
    grammar_state_free(s);
    s = state(g, kit_vocab(), 18);
    CHECK(next_is(s, "xy") && grammar_accept(s, 'x'));
    CHECK(next_is(s, "xy") && grammar_accept(s, 'x'));
    CHECK(next_is(s, "y") && grammar_accept(s, 'y'));
    CHECK(grammar_accept(s, 'x') == false);
    grammar_state_free(s);
    grammar_free(g);
    // a vocabulary without the bytes of the way out: as free as without a limit
    struct grammar_token tokens[] = {{"a", 1}, {"ab", 2}, {"c", 1}, {"", 0}};
    int32_t end = 3;
    struct grammar_vocab *v = NULL;
    struct errmsg msg = {0};
    CHECK_OK(grammar_vocab_new(tokens, 4, &end, 1, &v, &msg), msg);
    g = gbnf("root ::= [ac]* \"b\"");
    s = state(g, v, 2);
    uint32_t mask;
    bool constrained = false;
    CHECK_INT(grammar_mask(s, &mask, &constrained), ERR_OK);
    CHECK_INT(mask, 7);
    grammar_state_free(s);
    grammar_free(g);
    grammar_vocab_free(v);
    // free text is not led, a call in it is
    struct grammar_tool tool = {"f", 1, NULL};
    CHECK_OK(grammar_from_tools(&tool, 1, GRAMMAR_TOOLS_AUTO, true, NULL, &g, &msg), msg);
    s = state(g, kit_vocab(), 40);
    CHECK(grammar_accept(s, 'I') && grammar_accept(s, ' '));
    uint32_t wide[KIT_WORDS];
    CHECK_INT(grammar_mask(s, wide, &constrained), ERR_OK);
    CHECK(!constrained);
    CHECK(grammar_accept(s, 256 + 15));
    int n = 3;
    for (int32_t id = 0; id != KIT_END && n < 100; n++) {
        CHECK_INT(grammar_mask(s, wide, &constrained), ERR_OK);
        id = pick(kit_tokens(), KIT_TOKENS, wide, OPENS);
        if (!CHECK(constrained && id >= 0 && grammar_accept(s, id)))
            break;
    }
    CHECK(n <= 40);
    grammar_state_free(s);
    grammar_free(g);
}

// Preparing costs what compiling does, for the largest grammars too.
static void test_large(void) {
    struct buf b = {0};
    buf_puts(&b, "root ::= r0 | \"x\"");
    for (int i = 0; i < 10000; i++)
        buf_printf(&b, " | \"word %d\"", i * 7919 % 100003);
    for (int i = 0; i < 10000; i++)
        buf_printf(&b, "\nr%d ::= \"a\" r%d \"b\" | \"number %d\"", i, i + 1, i);
    buf_puts(&b, "\nr10000 ::= \"c\"");
    struct grammar *g = gbnf(b.data);
    int64_t begin = clock_now_us();
    struct grammar_state *s = state(g, kit_vocab(), 50);
    CHECK_INT(machine_tokens_left(&s->machine, s->now), 1);
    // 0.1 s in a release build
    CHECK((double)(clock_now_us() - begin) / 1e6 < 10);
    grammar_state_free(s);
    grammar_free(g);
    buf_free(&b);
}

static void test_faults(void) {
    struct grammar *g = schema(Q({"items" : {"type" : "string"}}));
    bool whole = false;
    for (long nth = 1; nth < 200 && !whole; nth++) {
        struct grammar_state *s = NULL;
        struct errmsg msg = {0};
        uint32_t mask[KIT_WORDS];
        bool constrained;
        fault_arm(FAULT_ALLOC, nth, false);
        enum err e = grammar_state_new(g, kit_vocab(), &s, &msg);
        if (!e)
            e = grammar_state_limit(s, 30, NULL, &msg);
        if (!e)
            e = grammar_mask(s, mask, &constrained);
        whole = fault_calls(FAULT_ALLOC) < nth;
        fault_disarm();
        CHECK(e == (whole ? ERR_OK : ERR_NOMEM));
        grammar_state_free(s);
    }
    CHECK(whole);
    grammar_free(g);
}

// What is worked out for a limit once serves every state of the grammar, whichever goes first.
static void test_shared(void) {
    struct grammar *g = schema(Q({"items" : {"type" : "string"}}));
    struct errmsg msg = {0};
    uint32_t alone_mask[KIT_WORDS], shared_mask[KIT_WORDS];
    bool constrained;
    struct grammar_state *alone = state(g, kit_vocab(), 7), *first = state(g, kit_vocab(), 30);
    struct grammar_state *second = state(g, kit_vocab(), 0);
    fault_arm(FAULT_ALLOC, 1L << 30, false);
    CHECK_OK(grammar_state_limit(second, 7, first, &msg), msg);
    long sharing = fault_calls(FAULT_ALLOC);
    fault_disarm();
    CHECK(sharing == 0); // nothing is made again
    grammar_state_free(first);
    CHECK_OK(grammar_mask(alone, alone_mask, &constrained), msg);
    CHECK_OK(grammar_mask(second, shared_mask, &constrained), msg);
    CHECK(memcmp(alone_mask, shared_mask, sizeof alone_mask) == 0);
    grammar_state_free(second);
    grammar_state_free(alone);
    grammar_free(g);
}

int main(void) {
    test_tables();
    test_shared();
    test_cut_short();
    test_led();
    test_count();
    test_rule();
    test_large();
    test_faults();
    grammar_vocab_free(kit_vocab());
    grammar_vocab_free(large_vocab());
    return check_done();
}
