// Rules for the keys of a model's files: what is found, refused and listed; and that the tables
// tell the truth: a key that they call honoured is read.
#include "base/buf.h"
#include "tests/check.h"
#include "weights/config_keys.h"

#include <stdlib.h>

static const struct key_rule inner_list[] = {
    {.name = "a", .fate = KEY_HONOURED},
    {.name = "b", .fate = KEY_REFUSED, .neutral = "1"},
};
static const struct key_rules inner = {KEY_RULES(inner_list)};
static const struct key_rule more_list[] = {
    {.name = "flag", .fate = KEY_HONOURED}, // hidden by the first table's
    {.name = "rest", .fate = KEY_NO_EFFECT},
};
static const struct key_rules more = {KEY_RULES(more_list)};
static const struct key_rule list[] = {
    {.name = "size", .fate = KEY_HONOURED},
    {.name = "note_*", .fate = KEY_NO_EFFECT},
    {.name = "flag", .fate = KEY_REFUSED, .neutral = "false|0|\"off\"|{}|[]"},
    {.name = "never", .fate = KEY_REFUSED},
    {.name = "deep", .fate = KEY_HONOURED, .inner = &inner},
};
static const struct key_rules rules = {KEY_RULES(list), &more};

static cJSON *parse(const char *text) {
    cJSON *root = NULL;
    if (json_parse(text, strlen(text), &json_limits_file, &root, NULL, NULL))
        abort();
    return root;
}

static void passes(const char *text) {
    struct errmsg msg = {0};
    cJSON *root = parse(text);
    CHECK_OK(key_rules_check(&rules, root, &msg), msg);
    cJSON_Delete(root);
}

static void refused(const char *text, const char *want) {
    struct errmsg msg = {0};
    cJSON *root = parse(text);
    CHECK(key_rules_check(&rules, root, &msg) == ERR_UNSUPPORTED);
    CHECK_STR(msg.text, want);
    cJSON_Delete(root);
}

static void test_find(void) {
    CHECK(key_rules_find(&rules, "size") == &list[0]);
    CHECK(key_rules_find(&rules, "note_") == &list[1] &&
          key_rules_find(&rules, "note_x") == &list[1]);
    CHECK(!key_rules_find(&rules, "note") && !key_rules_find(&rules, "sizes"));
    CHECK(!key_rules_find(&rules, "") && !key_rules_find(NULL, "size"));
    CHECK(key_rules_find(&rules, "flag") == &list[2]);
    CHECK(key_rules_find(&rules, "rest") == &more_list[1]);
}

static void test_check(void) {
    passes("{}");
    passes("{\"size\":[],\"other\":{\"never\":1},\"never\":null,\"note_1\":true}");
    passes("{\"flag\":false}");
    passes("{\"flag\":0}");
    passes("{\"flag\":0.0}");
    passes("{\"flag\":\"off\"}");
    passes("{\"flag\":{}}");
    passes("{\"flag\":[]}");
    passes("{\"deep\":{\"a\":2,\"b\":1}}");
    passes("{\"deep\":3}");
    passes("[{\"size\":1},7,[{\"never\":1}]]"); // lists of lists have no keys
    refused("{\"flag\":true}",
            "'flag' is true, which is not supported (false, 0, off, {}, [] are)");
    refused("{\"flag\":\"of\"}",
            "'flag' is 'of', which is not supported (false, 0, off, {}, [] are)");
    refused("{\"flag\":[1]}",
            "'flag' is a list, which is not supported (false, 0, off, {}, [] are)");
    refused("{\"flag\":{\"x\":1}}",
            "'flag' is an object, which is not supported (false, 0, off, {}, [] are)");
    refused("{\"size\":1,\"never\":false}", "'never' is false, which is not supported");
    refused("{\"never\":{}}", "'never' is an object, which is not supported");
    refused("{\"deep\":{\"b\":1.5}}", "'deep.b' is 1.5, which is not supported (1 is)");
    refused("{\"deep\":[{\"b\":1},{\"b\":0}]}", "'deep.b' is 0, which is not supported (1 is)");
    refused("[{\"size\":1},{\"never\":\"\"}]", "'never' is '', which is not supported");
}

static void collect(void *ctx, const char *key, enum key_fate fate) {
    static const char letters[] = {
        [KEY_HONOURED] = '+', [KEY_NO_EFFECT] = '0', [KEY_REFUSED] = '!', [KEY_UNKNOWN] = '?'};
    buf_printf(ctx, "%c%s ", letters[fate], key);
}

static void test_walk(void) {
    struct buf seen = {0};
    cJSON *root = parse("{\"size\":1,\"flag\":0,\"never\":2,\"what\":{\"size\":1},\"note_a\":1,"
                        "\"deep\":{\"a\":1,\"b\":2,\"c\":3}}");
    key_rules_walk(&rules, root, collect, &seen);
    CHECK_STR(seen.data, "+size 0flag !never ?what 0note_a +deep +deep.a !deep.b ?deep.c ");
    cJSON_Delete(root);
    buf_reset(&seen);
    root = parse("[{\"size\":1},{\"size\":2,\"x\":3}]");
    key_rules_walk(&rules, root, collect, &seen);
    CHECK_STR(seen.data, "+size +size ?x ");
    cJSON_Delete(root);
    buf_free(&seen);
}

// A value as others write it (GGUF metadata): as text, by the same rule.
static void test_passes(void) {
    const struct key_rule *flag = &list[2], *never = key_rules_find(&rules, "never");
    CHECK(key_rule_passes(flag, "false") && key_rule_passes(flag, "0"));
    CHECK(key_rule_passes(flag, "0.0") && key_rule_passes(flag, "-0") &&
          key_rule_passes(flag, "[]"));
    CHECK(key_rule_passes(flag, "\"off\"") && !key_rule_passes(flag, "off"));
    CHECK(!key_rule_passes(flag, "") && !key_rule_passes(flag, "0|") &&
          !key_rule_passes(flag, "1"));
    CHECK(!key_rule_passes(flag, "\"0\"") && !key_rule_passes(flag, "false|0"));
    CHECK(never && !key_rule_passes(never, "false") && !key_rule_passes(never, ""));
}

static void test_unknown(void) {
    struct key_unknown u = {0};
    cJSON *root = parse("{\"size\":1,\"never\":2,\"b\":1,\"deep\":[{\"c\":1},{\"c\":2}],\"bc\":3}");
    key_rules_walk(&rules, root, key_unknown_see, &u);
    CHECK_STR(u.names.data, "b, deep.c, bc");
    CHECK(u.count == 3 && key_is_listed(u.names.data, "bc") && !key_is_listed(u.names.data, "c"));
    CHECK(!key_is_listed(NULL, "b"));
    buf_reset(&u.names);
    u.count = 0;
    for (int i = 0; i < 40; i++) {
        char name[8];
        snprintf(name, sizeof name, "k%d", i);
        key_unknown_see(&u, name, KEY_UNKNOWN);
        key_unknown_see(&u, "known", KEY_HONOURED);
    }
    CHECK(key_is_listed(u.names.data, "k11") && !key_is_listed(u.names.data, "k12"));
    CHECK(u.count == 13 && !key_is_listed(u.names.data, "known"));
    cJSON_Delete(root);
    buf_free(&u.names);
}

int main(void) {
    json_init();
    test_find();
    test_check();
    test_walk();
    test_passes();
    test_unknown();
    return check_done();
}
