// JSON schemas and tools: each keyword by texts that are taken and refused (by bytes and by longer
// tokens), refusals by their words, random texts checked as JSON, and failing allocations.
#include "base/clock.h"
#include "base/fault.h"
#include "tests/unit/grammar_kit.h"

#define Q(...) #__VA_ARGS__

// texts: each begins with what is expected of it, y, p or n.
static void takes(const char *schema, const char *const *texts, size_t n) {
    struct grammar *g = NULL;
    struct errmsg msg = {0};
    CHECK_OK(kit_schema(schema, NULL, &g, &msg), msg);
    for (size_t i = 0; g && i < n; i++) {
        char got = kit_takes(g, texts[i] + 1);
        if (!CHECK(got == texts[i][0]))
            fprintf(stderr, "    %s on %s: %c\n", schema, texts[i], got);
    }
    grammar_free(g);
}
#define TAKES(schema, ...)                                                                         \
    do {                                                                                           \
        static const char *const texts_[] = {__VA_ARGS__};                                         \
        takes(schema, texts_, sizeof texts_ / sizeof *texts_);                                     \
    } while (0)

static void test_types(void) {
    TAKES(Q({"type" : "null"}), "ynull", "nnil", "pnul");
    TAKES(Q({"type" : "boolean"}), "ytrue", "yfalse", "n1");
    TAKES(Q({"type" : "string"}), "y\"\"", "y\"a\\n\\\"\\u0041\\uD83D\\ude00\xC3\xA9/\x7F\"",
          "n\"\n\"", "n\"\\u0000\"", "n\"\\ud83d\"", "n\"\\ude00\"", "n\"\\ud83d\\u0041\"",
          "n\"\\x\"", "n\"\xFF", "n\"\xED\xA0\x80", "na", "p\"ab", "n \"");
    TAKES(Q({"type" : "number"}), "y0", "y-0", "y1.5", "y-12e5", "y1E+10", "n01", "p1.", "n.5",
          "n+1", "p1e", "y1152921504606846977", "n1e100");
    TAKES(Q({"type" : "integer"}), "y0", "y-7", "y9223372036854775807", "n9223372036854775808",
          "y-9223372036854775808", "n1.0", "n-0", "n007", "n1e3");
    TAKES(Q({"type" : [ "integer", "null" ]}), "y1", "ynull", "ntrue");
    TAKES("{}", "y1", "ynull", "y\"a\"", "y[]", "y[1, {\"a\":[true,false]}]", "y{\"a\": {}}",
          "n[1 ,2]", "n[ 1]", "n[1,  2]", "n{\"a\":1,\"a\":2}", "y{\"a\":1,\"b\":{\"a\":1}}",
          "n{\"\":1}", "n{\"a\\n\":1}", "n[1,]", "n{\"a\":1,}");
    TAKES("true", "y1.5e3", "y[[[]]]");
    TAKES(Q({
              "title" : "t",
              "description" : "d",
              "default" : 1,
              "examples" : [],
              "$schema" : "s",
              "$id" : "i",
              "$defs" : {}
          }),
          "y1");
}

static void test_strings(void) {
    TAKES(Q({"type" : "string", "minLength" : 2, "maxLength" : 3}), "n\"\"", "n\"a\"", "y\"ab\"",
          "y\"a\xF0\x9F\x98\x80\"", "y\"\\ud83d\\ude00\\n\\u00e9\"", "n\"abcd", "y\"\xC3\xA9gh\"");
    TAKES(Q({"type" : "string", "maxLength" : 0}), "y\"\"", "n\"a");
    TAKES(Q({"minLength" : 1}), "y\"a\"", "n\"\"", "n1");
    TAKES(Q({"type" : "string", "minLength" : 2.0, "maxLength" : 99999999999}), "y\"ab\"");
    TAKES(Q({"type" : "integer", "minLength" : 5}), "y1"); // of another type: no matter
    TAKES(Q({"const" : "a\"\n\u00e9"}), "y\"a\\\"\\n\xC3\xA9\"", "n\"a\"");
}

static void test_integers(void) {
    TAKES(Q({"type" : "integer", "minimum" : 0, "maximum" : 120}), "y0", "y9", "y120", "n121",
          "n-1", "y99", "n200", "n1000", "n-0");
    TAKES(Q({"type" : "integer", "minimum" : -12, "maximum" : 7}), "y-12", "n-13", "y-2", "y7",
          "n8", "y0", "n-20");
    TAKES(Q({"type" : "integer", "minimum" : 9007199254740993}), "p9007199254740992",
          "y9007199254740993", "y10000000000000000");
    TAKES(
        Q({"type" : "integer", "minimum" : 18446744073709551616, "maximum" : 18446744073709551617}),
        "y18446744073709551616", "y18446744073709551617", "n18446744073709551618",
        "n18446744073709551615");
    TAKES(Q({"type" : "integer", "minimum" : 1.2, "maximum" : 3.9}), "n1", "y2", "y3", "n4");
    TAKES(Q({"type" : "integer", "minimum" : -3.9, "maximum" : -1.2}), "n-4", "y-3", "y-2", "n-1");
    TAKES(Q({"type" : "integer", "minimum" : 12e2, "maximum" : 0.13e4}), "n1199", "y1200", "y1300",
          "n1301");
    TAKES(Q({"type" : "integer", "minimum" : -1e300, "maximum" : 5}), "y-99", "y5", "n6");
    TAKES(Q({"type" : "integer", "minimum" : -0.5, "maximum" : 0.5}), "y0", "n1", "n-");
    // every bound within a range, exactly
    int wrong = 0;
    for (int lo = -30; lo <= 130; lo += 7)
        for (int hi = lo; hi <= 130; hi += 11) {
            char schema[96], text[16];
            snprintf(schema, sizeof schema, "{\"type\":\"integer\",\"minimum\":%d,\"maximum\":%d}",
                     lo, hi);
            struct grammar *g = NULL;
            struct errmsg msg = {0};
            CHECK_OK(kit_schema(schema, NULL, &g, &msg), msg);
            for (int v = -140; g && v <= 140; v += 1) {
                snprintf(text, sizeof text, "%d", v);
                bool taken = kit_takes_by(g, text, strlen(text), false) == 'y';
                wrong += taken != (v >= lo && v <= hi);
            }
            grammar_free(g);
        }
    CHECK_INT(wrong, 0);
}

static void test_choices(void) {
    TAKES(Q({"const" : 1.0}), "y1.0", "p1", "n1.00");
    TAKES(Q({"const" : 12345678901234567890123}), "y12345678901234567890123");
    TAKES(Q({"enum" : [ "ab", "abc", 1, 1.0, null, true, [ 1, {"a" : []} ] ]}), "y\"ab\"",
          "y\"abc\"", "y1", "y1.0", "ynull", "y[1, {\"a\": []}]", "y[1,{\"a\":[]}]", "nfalse");
    TAKES(Q({"type" : "integer", "enum" : [ 1, "a", 2.0, 2.5, 1e2 ]}), "y1", "y2.0", "n2.5",
          "n\"a\"", "y1e2");
    TAKES(Q({"type" : "string", "const" : "x"}), "y\"x\"");
    TAKES(Q({"anyOf" : [ {"type" : "integer"}, {"const" : "x"}, false ]}), "y5", "y\"x\"",
          "n\"y\"");
}

static void test_objects(void) {
    TAKES(Q({
              "type" : "object",
              "properties" : {"a" : {"type" : "integer"}, "b" : {"const" : 1}, "c" : true},
              "required" : ["b"]
          }),
          "y{\"b\": 1}", "y{\"a\":5,\"b\":1}", "y{\"a\": 5, \"b\": 1, \"c\": []}",
          "y{\"b\":1,\"c\":null}", "n{}", "n{\"b\":1,\"a\":5}", "n{\"a\":5}", "n{\"b\":1,\"d\":1}",
          "n{\"b\":1,}", "n{ \"b\":1}");
    TAKES(Q({"type" : "object", "properties" : {"a" : {"const" : 1}, "x\"\n" : {"const" : 2}}}),
          "y{}", "y{\"a\":1}", "y{\"x\\\"\\n\":2}", "y{\"a\":1,\"x\\\"\\n\":2}");
    TAKES(Q({
              "type" : "object",
              "properties" : {"ab" : {"const" : 1}},
              "additionalProperties" : {"type" : "boolean"}
          }),
          "y{}", "y{\"ab\":1}", "y{\"ab\":1,\"abc\":true}", "y{\"a\": true, \"b\": false}",
          "n{\"a\":true,\"ab\":", "n{\"a\":1}", "n{\"a\":true,\"a\":", "y{\"a\":true,\"aa\":true}",
          "y{\"abc\":true}");
    TAKES(Q({"type" : "object", "additionalProperties" : false}), "y{}", "n{\"");
    TAKES(Q({"type" : "object", "properties" : {}, "additionalProperties" : true}), "y{}",
          "y{\"a\":[{}]}");
    TAKES(Q({"required" : ["z"]}), "y{\"z\":1}", "n{}", "y{\"z\":1,\"a\":2}", "n{\"z\":1,\"z\":");
    TAKES(Q({"required" : ["z"], "properties" : {"a" : {"const" : 1}}}), "y{\"a\":1,\"z\":{}}",
          "y{\"z\":5}", "n{\"a\":1}");
    TAKES(Q({"properties" : {"a" : false, "b" : {"const" : 1}}}), "y{}", "n{\"a", "y{\"b\":1}");
    // the same key in another object is another key, and one taken again after it
    TAKES(Q({"type" : "object"}), "y{\"a\":{\"a\":{\"a\":1}},\"b\":1}",
          "n{\"a\":{\"a\":1},\"a\":", "n{\"b\":1,\"a\":{\"a\":1},\"b\":");
}

static void test_arrays(void) {
    TAKES(Q({"type" : "array", "items" : {"const" : 1}}), "y[]", "y[1]", "y[1, 1,1]", "n[2]", "n[,",
          "n[1 ", "p[1");
    TAKES(Q({"items" : {"const" : 1}, "minItems" : 2, "maxItems" : 3}), "n[]", "n[1]", "y[1,1]",
          "y[1,1,1]", "n[1,1,1,");
    TAKES(Q({"type" : "array", "maxItems" : 0}), "y[]", "n[1");
    TAKES(Q({"type" : "array", "minItems" : 1}), "n[]", "y[true]", "y[1,[2]]");
    TAKES(Q({"prefixItems" : [ {"const" : 1}, {"const" : "a"} ]}), "y[]", "y[1]", "y[1, \"a\"]",
          "n[\"a", "n[1,\"a\",");
    TAKES(Q({
              "prefixItems" : [ {"const" : 1}, {"const" : 2} ],
              "items" : {"const" : 3},
              "minItems" : 3,
              "maxItems" : 4
          }),
          "n[1,2]", "y[1,2,3]", "y[1,2,3,3]", "n[1,2,3,3,");
    TAKES(Q({"prefixItems" : [ {"const" : 1} ], "items" : false, "minItems" : 1}), "y[1]", "n[]",
          "n[1,");
    TAKES(Q({"prefixItems" : [ {"const" : 1}, {"const" : 2} ], "maxItems" : 1}), "y[1]", "n[1,");
    TAKES(Q({"prefixItems" : [ {"const" : 1} ], "minItems" : 2}), "n[1]", "y[1,null]", "n[1,2,");
    TAKES(Q({"items" : {"type" : "array", "items" : {"enum" : [ "a", "ab" ]}, "minItems" : 1}}),
          "y[[\"a\"],[\"ab\", \"a\"]]", "n[[]]");
}

static void test_refs(void) {
    TAKES(Q({
              "$ref" : "#/$defs/n",
              "$defs" : {
                  "n" : {
                      "type" : "object",
                      "properties" : {
                          "v" : {"const" : 1},
                          "c" : {"type" : "array", "items" : {"$ref" : "#/$defs/n"}}
                      },
                      "required" : [ "v", "c" ]
                  }
              }
          }),
          "y{\"v\":1,\"c\":[]}", "y{\"v\":1,\"c\":[{\"v\":1,\"c\":[]},{\"v\":1,\"c\":[]}]}",
          "n{\"v\":1,\"c\":[1");
    TAKES(Q({"anyOf" : [ {"type" : "null"}, {"type" : "array", "items" : {"$ref" : "#"}} ]}),
          "ynull", "y[[null],[]]");
    TAKES(Q({"$ref" : "#/$defs/a~1b~0%25/0", "$defs" : {"a/b~%" : [ {"const" : 7} ]}}), "y7", "n8");
    TAKES(Q({
              "$ref" : "#/definitions/x",
              "definitions" : {"x" : {"$ref" : "#/definitions/y"}, "y" : {"const" : 3}}
          }),
          "y3");
    // nesting without end stops before readers do
    struct grammar *g = NULL;
    struct errmsg msg = {0};
    CHECK_OK(kit_schema("{}", NULL, &g, &msg), msg);
    char deep[65] = {0};
    memset(deep, '[', 31);
    CHECK_INT(kit_takes(g, deep), 'p');
    memset(deep, '[', 64);
    CHECK_INT(kit_takes(g, deep), 'n');
    grammar_free(g);
}

static void refuses(const char *schema, enum err code, const char *words) {
    struct grammar *g = NULL;
    struct errmsg msg = {0};
    CHECK_INT(kit_schema(schema, NULL, &g, &msg), code);
    CHECK(g == NULL);
    if (!CHECK(strstr(msg.text, words) != NULL))
        fprintf(stderr, "    %s: %s\n", schema, msg.text);
}

static void test_refusals(void) {
    refuses(Q({"pattern" : "a"}), ERR_UNSUPPORTED, "at #: the keyword \"pattern\"");
    refuses(Q({"properties" : {"a/b" : {"items" : {"multipleOf" : 2}}}}), ERR_UNSUPPORTED,
            "at #/properties/a~1b/items: the keyword \"multipleOf\"");
    refuses(Q({"$ref" : "#/$defs/x", "$defs" : {"x" : {"oneOf" : []}}}), ERR_UNSUPPORTED,
            "at #/$defs/x: the keyword \"oneOf\"");
    refuses(Q({"anyOf" : [ true, {"not" : {}} ]}), ERR_UNSUPPORTED, "at #/anyOf/1");
    refuses(Q({"$ref" : "http://x/y"}), ERR_UNSUPPORTED, "\"$ref\"");
    refuses(Q({"$ref" : "#/$defs/x"}), ERR_INVALID, "leads nowhere");
    refuses(Q({"$ref" : "#/%4"}), ERR_INVALID, "leads nowhere");
    refuses(Q({"$ref" : "#", "type" : "null"}), ERR_UNSUPPORTED, "\"type\" beside \"$ref\"");
    refuses(Q({"anyOf" : [true], "minLength" : 1}), ERR_UNSUPPORTED, "beside \"anyOf\"");
    refuses(Q({"enum" : ["a"], "minLength" : 1}), ERR_UNSUPPORTED, "beside \"enum\"");
    refuses(Q({"type" : "number", "minimum" : 1}), ERR_UNSUPPORTED, "\"minimum\"");
    refuses(Q({"maximum" : 1}), ERR_UNSUPPORTED, "\"maximum\"");
    refuses(Q({"type" : "integer", "minimum" : 1e200}), ERR_UNSUPPORTED, "digits");
    refuses(Q({"type" : "integer", "minimum" : "1"}), ERR_INVALID, "not a number");
    refuses(Q({"type" : "text"}), ERR_INVALID, "\"type\"");
    refuses(Q({"type" : []}), ERR_INVALID, "\"type\"");
    refuses(Q({"enum" : []}), ERR_INVALID, "\"enum\"");
    refuses(Q({"minLength" : -1}), ERR_INVALID, "\"minLength\"");
    refuses(Q({"minLength" : 1.5}), ERR_INVALID, "\"minLength\"");
    refuses(Q({"minLength" : 3, "maxLength" : 2}), ERR_INVALID, "\"minLength\" is over");
    refuses(Q({"minItems" : 3, "maxItems" : 2}), ERR_INVALID, "\"minItems\" is over");
    refuses(Q({"type" : "integer", "minimum" : 3, "maximum" : 2}), ERR_INVALID, "no integer");
    refuses(Q({"type" : "integer", "minimum" : 1.1, "maximum" : 1.9}), ERR_INVALID, "no integer");
    refuses(Q({"type" : "string", "const" : 1}), ERR_INVALID, "no value satisfies");
    refuses("false", ERR_INVALID, "no value satisfies");
    refuses("5", ERR_INVALID, "a schema is");
    refuses(Q({"properties" : {"a" : false}, "required" : ["a"]}), ERR_INVALID, "no value");
    refuses(Q({"required" : ["a"], "additionalProperties" : false}), ERR_INVALID, "no value");
    refuses(Q({"$ref" : "#"}), ERR_INVALID, "no value");
    refuses(Q({"properties" : {"a" : {"$ref" : "#"}}, "required" : ["a"]}), ERR_INVALID,
            "no value");
    refuses(Q({"prefixItems" : [true], "items" : false, "minItems" : 2}), ERR_INVALID, "no value");
    struct grammar *g = NULL;
    struct errmsg msg = {0};
    struct buf warnings = {0};
    CHECK_OK(kit_schema(Q({"properties" : {"d" : {"type" : "string", "format" : "date"}}}),
                        &warnings, &g, &msg),
             msg);
    CHECK_STR(warnings.data, "JSON schema at #/properties/d: \"format\": \"date\" is not "
                             "enforced\n");
    buf_free(&warnings);
    grammar_free(g);
}

// Random texts under the masks: tokens of the mask are taken, a text that ends is strict JSON
// without a key twice. Returns how many ended.
static int walks(const struct grammar *g, uint64_t seed, int rounds) {
    int ended = 0, wrong = 0;
    for (int round = 0; round < rounds; round++) {
        struct grammar_state *s = NULL;
        struct errmsg msg = {0};
        struct buf text = {0};
        CHECK_OK(grammar_state_new(g, kit_vocab(), &s, &msg), msg);
        int32_t last = -1;
        for (int i = 0; i < 150 && last != KIT_END; i++) {
            uint32_t mask[KIT_WORDS];
            bool constrained = false;
            wrong += grammar_mask(s, mask, &constrained) != ERR_OK;
            int32_t n = 0, closing = 0, shut = -1;
            last = -1;
            for (int32_t id = 0; id < KIT_TOKENS; id++) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                if (!kit_in(mask, id))
                    continue;
                if ((seed >> 33) % (uint64_t)++n == 0)
                    last = id;
                if ((id == '"' || id == '}' || id == ']' || id == KIT_END) &&
                    (seed >> 20) % (uint64_t)++closing == 0)
                    shut = id;
            }
            if (shut >= 0 && (seed >> 40) % 4 == 0)
                last = shut;
            if (last < 0 || !grammar_accept(s, last)) {
                wrong++;
                break;
            }
            const char *bytes;
            size_t len;
            kit_token(last, &bytes, &len);
            buf_append(&text, bytes, len);
        }
        if (last == KIT_END) {
            ended++;
            bool strict =
                json_check(text.data, text.len, &json_limits_request, NULL, &msg) == ERR_OK;
            if (!strict)
                fprintf(stderr, "    %s: %s\n", text.data, msg.text);
            wrong += !strict;
        }
        buf_free(&text);
        grammar_state_free(s);
    }
    CHECK_INT(wrong, 0);
    return ended;
}

static void test_walks(void) {
    static const char *const schemas[] = {
        "{}",
        Q({"type" : "object"}),
        Q({
            "type" : "object",
            "properties" : {"n" : {"type" : "string", "maxLength" : 5}, "i" : {"type" : "integer"}},
            "additionalProperties" : {"type" : "object"}
        }),
        Q({
            "items" : {"anyOf" : [ {"type" : "number"}, {"$ref" : "#"}, {"enum" : [ "a", "b" ]} ]},
            "maxItems" : 4
        }),
    };
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++) {
        struct grammar *g = NULL;
        struct errmsg msg = {0};
        CHECK_OK(kit_schema(schemas[i], NULL, &g, &msg), msg);
        if (g)
            CHECK(walks(g, i + 1, 60) > 20);
        grammar_free(g);
    }
    struct grammar *g = NULL;
    struct errmsg msg = {0};
    CHECK_OK(grammar_json_object(&g, &msg), msg);
    CHECK_INT(kit_takes(g, "{\"a\": [1, 2], \"b\": {}}"), 'y');
    CHECK_INT(kit_takes(g, "[1]"), 'n');
    CHECK(walks(g, 9, 60) > 20);
    grammar_free(g);
}

// A run of an object's keys up to their number, and of a key up to its length.
static void test_key_limits(void) {
    struct grammar *g = NULL;
    struct errmsg msg = {0};
    CHECK_OK(grammar_json_object(&g, &msg), msg);
    struct buf b = {0};
    buf_putc(&b, '{');
    for (int i = 0; i < 100; i++)
        buf_printf(&b, "%s\"k%d\":%d", i ? "," : "", i, i);
    CHECK_INT(kit_takes_by(g, b.data, b.len, false), 'p');
    buf_putc(&b, ',');
    CHECK_INT(kit_takes_by(g, b.data, b.len, false), 'n');
    b.data[b.len - 1] = '}';
    CHECK_INT(kit_takes_by(g, b.data, b.len, true), 'y');
    // a key of the full 64 code points twice: the last one cannot be the same
    char twice[200];
    snprintf(twice, sizeof twice, "{\"%064d\":1,\"%063d", 0, 0);
    CHECK_INT(kit_takes_by(g, twice, strlen(twice), false), 'p');
    snprintf(twice, sizeof twice, "{\"%064d\":1,\"%063d1\":2}", 0, 0);
    CHECK_INT(kit_takes_by(g, twice, strlen(twice), false), 'y');
    snprintf(twice, sizeof twice, "{\"%064d\":1,\"%064d", 0, 0);
    CHECK_INT(kit_takes_by(g, twice, strlen(twice), false), 'n');
    buf_free(&b);
    grammar_free(g);
}

static struct grammar *tools_grammar(enum grammar_tool_choice choice, bool parallel,
                                     struct json_tree **tree) {
    static const char parameters[] = Q(
        {"type" : "object", "properties" : {"city" : {"type" : "string"}}, "required" : ["city"]});
    struct errmsg msg = {0};
    CHECK_OK(
        json_tree_parse(parameters, sizeof parameters - 1, &json_limits_request, tree, NULL, &msg),
        msg);
    struct grammar_tool tools[] = {{"weather", 7, json_tree_root(*tree)}, {"now\"", 4, NULL}};
    struct grammar *g = NULL;
    CHECK_OK(grammar_from_tools(tools, 2, choice, parallel, NULL, &g, &msg), msg);
    return g;
}

#define CALL_A                                                                                     \
    "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}\n</tool_call>"
#define CALL_B "<tool_call>\n{\"name\": \"now\\\"\", \"arguments\": {}}\n</tool_call>"

static void test_tools(void) {
    struct json_tree *tree = NULL;
    struct grammar *g = tools_grammar(GRAMMAR_TOOLS_REQUIRED, true, &tree);
    CHECK_INT(kit_takes(g, CALL_A), 'y');
    CHECK_INT(kit_takes(g, CALL_B "\n" CALL_A), 'y');
    CHECK_INT(kit_takes(g, CALL_A "\n"), 'p');
    CHECK_INT(kit_takes(g, ""), 'p');
    CHECK_INT(kit_takes(g, "I "), 'n');
    CHECK_INT(kit_takes(g, "<tool_call>\n{\"name\": \"other"), 'n');
    CHECK_INT(kit_takes(g, "<tool_call>\n{\"name\": \"weather\", \"arguments\": {}"), 'n');
    grammar_free(g);
    json_tree_free(tree);
    g = tools_grammar(GRAMMAR_TOOLS_REQUIRED, false, &tree);
    CHECK_INT(kit_takes(g, CALL_A), 'y');
    CHECK_INT(kit_takes(g, CALL_A "\n"), 'n');
    grammar_free(g);
    json_tree_free(tree);
    g = tools_grammar(GRAMMAR_TOOLS_AUTO, true, &tree);
    CHECK_INT(kit_takes(g, "Hello {\"name\" <tool_ca"), 'y');
    CHECK_INT(kit_takes(g, "Let me see.\n<<tool_tool" CALL_A "\n" CALL_B), 'y');
    CHECK_INT(kit_takes(g, CALL_A " and"), 'n');
    CHECK_INT(kit_takes(g, "x<tool_call>y"), 'n');
    CHECK_INT(kit_takes(g, "x<tool_call>\n"), 'p');
    struct grammar_state *s = NULL;
    struct errmsg msg = {0};
    uint32_t mask[KIT_WORDS];
    bool constrained = true;
    CHECK_OK(grammar_state_new(g, kit_vocab(), &s, &msg), msg);
    CHECK_INT(grammar_mask(s, mask, &constrained), ERR_OK);
    CHECK(!constrained && grammar_may_end(s) && !grammar_must_end(s));
    CHECK(grammar_accept(s, KIT_CONTROL) && grammar_accept(s, 0xFF));
    for (const char *p = "<tool_"; *p; p++)
        CHECK(grammar_accept(s, *p));
    // "call>\n{" would complete the tag and go on as the grammar does: it may; every other may too
    CHECK_INT(grammar_mask(s, mask, &constrained), ERR_OK);
    CHECK(constrained && kit_in(mask, 256 + 16) && kit_in(mask, 'x') && kit_in(mask, KIT_CONTROL));
    CHECK(grammar_accept(s, 256 + 16));
    CHECK(!grammar_may_end(s));
    CHECK_INT(grammar_mask(s, mask, &constrained), ERR_OK);
    CHECK(constrained && kit_in(mask, '"') && !kit_in(mask, 'x') && !kit_in(mask, KIT_END));
    grammar_state_free(s);
    grammar_free(g);
    json_tree_free(tree);
    // a tool's own fault is told with its name
    CHECK_OK(json_tree_parse("{\"not\":{}}", 10, &json_limits_request, &tree, NULL, &msg), msg);
    struct grammar_tool bad = {"f", 1, json_tree_root(tree)};
    CHECK_INT(grammar_from_tools(&bad, 1, GRAMMAR_TOOLS_REQUIRED, true, NULL, &g, &msg),
              ERR_UNSUPPORTED);
    CHECK(strstr(msg.text, "tools[0] (\"f\")") && strstr(msg.text, "\"not\""));
    json_tree_free(tree);
}

// Each name that is required, and each reference, is looked for among all.
static void test_searches(void) {
    static const struct {
        const char *head, *each, *behind, *tail; // each, a number, behind
        int n;
        enum err want;
    } cases[] = {
        {"{\"required\":[\"a\"", ",\"p", "\"", "]}", 2000, ERR_OK},
        {"{\"required\":[\"a\"", ",\"p", "\"", "]}", 190000, ERR_INVALID},
        {"{\"anyOf\":[true", ",{\"$ref\":\"#/anyOf/", "\"}", "]}", 2000, ERR_OK},
        {"{\"anyOf\":[true", ",{\"$ref\":\"#/anyOf/", "\"}", "]}", 90000, ERR_INVALID},
    };
    int64_t begin = clock_now_us();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = {0};
        struct grammar *g = NULL;
        struct errmsg msg = {0};
        buf_puts(&b, cases[i].head);
        for (int k = 0; k < cases[i].n; k++)
            buf_printf(&b, "%s%d%s", cases[i].each, k, cases[i].behind);
        buf_puts(&b, cases[i].tail);
        CHECK_INT(kit_schema(b.data, NULL, &g, &msg), cases[i].want);
        if (cases[i].want)
            CHECK_STR(msg.text, "JSON schema: too many names and references");
        grammar_free(g);
        buf_free(&b);
    }
    // a fraction of a second in a release build, minutes without a bound
    CHECK((double)(clock_now_us() - begin) / 1e6 < 20);
}

static void test_large(void) {
    int64_t begin = clock_now_us();
    struct buf b = {0};
    struct grammar *g = NULL;
    struct errmsg msg = {0};
    buf_puts(&b, "{\"enum\":[");
    for (int i = 0; i < 5000; i++)
        buf_printf(&b, "%s\"value %d\"", i ? "," : "", i * 7919 % 100003);
    buf_puts(&b, "]}");
    CHECK_OK(kit_schema(b.data, NULL, &g, &msg), msg);
    CHECK_INT(kit_takes(g, "\"value 7919\""), 'y');
    CHECK_INT(kit_takes(g, "\"value 7918\""), 'n');
    grammar_free(g);
    buf_reset(&b);
    buf_puts(&b, "{\"properties\":{");
    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%s\"p%d\":{\"type\":[\"string\",\"null\"]}", i ? "," : "", i);
    buf_puts(&b, "},\"additionalProperties\":true}");
    CHECK_OK(kit_schema(b.data, NULL, &g, &msg), msg);
    CHECK_INT(kit_takes(g, "{\"p7\": \"a\", \"p900\": null, \"p\": 1}"), 'y');
    CHECK_INT(kit_takes(g, "{\"p7\": \"a\", \"p6\":"), 'n');
    grammar_free(g);
    buf_reset(&b);
    // each of a chain of definitions refers twice to the next
    buf_puts(&b, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{");
    for (int i = 0; i < 60; i++)
        buf_printf(&b,
                   "\"d%d\":{\"anyOf\":[{\"$ref\":\"#/$defs/d%d\"},{\"items\":{\"$ref\":"
                   "\"#/$defs/d%d\"}}]},",
                   i, i + 1, i + 1);
    buf_puts(&b, "\"d60\":{\"const\":1}}}");
    CHECK_OK(kit_schema(b.data, NULL, &g, &msg), msg);
    CHECK_INT(kit_takes(g, "[[1, 1], [[]], 1]"), 'y');
    grammar_free(g);
    buf_free(&b);
    CHECK_OK(kit_schema(Q({"type" : "string", "minLength" : 900000000, "maxLength" : 1000000000}),
                        NULL, &g, &msg),
             msg);
    CHECK_INT(kit_takes(g, "\"abc"), 'p');
    CHECK_INT(kit_takes(g, "\"abc\""), 'n');
    grammar_free(g);
    // a fraction of a second in a release build
    CHECK((double)(clock_now_us() - begin) / 1e6 < 20);
}

static void test_faults(void) {
    static const char schema[] = Q({
        "type" : "object",
        "properties" : {
            "a" : {"$ref" : "#/$defs/x"},
            "b" : {"enum" : [ 1, "c" ]},
            "l" : {"items" : {"type" : "integer", "minimum" : 3, "maximum" : 1234}}
        },
        "additionalProperties" : {"type" : [ "string", "object" ], "format" : "f"},
        "$defs" : {"x" : {"type" : "string", "maxLength" : 7}}
    });
    struct json_tree *tree = NULL;
    struct errmsg msg = {0};
    CHECK_OK(json_tree_parse(schema, sizeof schema - 1, &json_limits_request, &tree, NULL, &msg),
             msg);
    bool whole = false;
    for (long nth = 1; nth < 5000 && !whole; nth++) {
        struct grammar *g = NULL;
        struct grammar_state *s = NULL;
        struct buf warnings = {0};
        struct grammar_tool tool = {"t", 1, json_tree_root(tree)};
        fault_arm(FAULT_ALLOC, nth, false);
        enum err e = grammar_from_tools(&tool, 1, GRAMMAR_TOOLS_AUTO, true, NULL, &g, &msg);
        grammar_free(g);
        g = NULL;
        if (!e)
            e = grammar_from_schema(json_tree_root(tree), &warnings, &g, &msg);
        if (!e)
            e = grammar_state_new(g, kit_vocab(), &s, &msg);
        for (const char *p = "{\"k\":\"x\",\"kk"; *p && !e; p++) {
            uint32_t mask[KIT_WORDS];
            bool constrained = false;
            e = grammar_mask(s, mask, &constrained);
            if (!e && !grammar_accept(s, *p))
                e = ERR_NOMEM;
        }
        whole = fault_calls(FAULT_ALLOC) < nth;
        fault_disarm();
        CHECK(e == ERR_OK || e == ERR_NOMEM);
        CHECK(!whole || e == ERR_OK);
        buf_free(&warnings);
        grammar_state_free(s);
        grammar_free(g);
    }
    CHECK(whole);
    json_tree_free(tree);
    whole = false;
    for (long nth = 1; nth < 50 && !whole; nth++) {
        struct grammar_token tokens[] = {{"a", 1}, {"ab", 2}, {"", 0}};
        int32_t end = 2;
        struct grammar_vocab *v = NULL;
        fault_arm(FAULT_ALLOC, nth, false);
        enum err e = grammar_vocab_new(tokens, 3, &end, 1, &v, &msg);
        whole = fault_calls(FAULT_ALLOC) < nth;
        fault_disarm();
        CHECK(e == (whole ? ERR_OK : ERR_NOMEM));
        grammar_vocab_free(v);
    }
    CHECK(whole);
}

int main(void) {
    test_types();
    test_strings();
    test_integers();
    test_choices();
    test_objects();
    test_arrays();
    test_refs();
    test_refusals();
    test_walks();
    test_key_limits();
    test_tools();
    test_searches();
    test_large();
    test_faults();
    grammar_vocab_free(kit_vocab());
    return check_done();
}
