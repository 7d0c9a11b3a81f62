// Tables that say where a key's value goes: kinds, ranges, what absent and null stand for,
// spellings, two places, conditions, tables apart; and a GGUF file's keys by the same rules are
// test_gguf's.
#include "tests/check.h"
#include "weights/key_rules.h"

#include <stdlib.h>

enum color { COLOR_NONE, COLOR_RED, COLOR_BLUE };

struct target {
    size_t count, zero, kept, other;
    double wide;
    float narrow;
    bool flag, other_flag;
    enum color color;
    const cJSON *node;
    size_t apart;
    int32_t id;
    const char *text, *passed;
};

static const struct key_choice colors[] = {{"red", COLOR_RED}, {"blue", COLOR_BLUE}, {NULL, 0}};

static const struct key_rule late_list[] = {
    {.name = "other", .other = "old_other", KEY_COUNT(struct target, other, 9, 4)},
    {.name = "wide", KEY_DOUBLE(struct target, wide, 0.5, 2, 1)},
};
static const struct key_rule apart_list[] = {
    {.name = "apart", KEY_COUNT(struct target, apart, 9, 3)},
};
static const struct key_rules late = {KEY_RULES(late_list)};
static const struct key_rules apart = {KEY_RULES(apart_list), &late, .apart = true};
static const struct key_rule list[] = {
    {.name = "count", KEY_COUNT(struct target, count, 100, 7)},
    {.name = "zero", KEY_COUNT_OR_ZERO(struct target, zero, 100, 7), .null_is_zero = true},
    {.name = "kept", KEY_COUNT(struct target, kept, 100, 7), .keep = true},
    {.name = "narrow", KEY_FLOAT(struct target, narrow, 0, 1, 0.25)},
    {.name = "flag", KEY_BOOL(struct target, flag, true)},
    {.name = "color", KEY_CHOICE(struct target, color, colors, COLOR_RED), .called = "the color"},
    {.name = "node", KEY_NODE(struct target, node), .when = KEY_WHEN(struct target, flag)},
    {.name = "fixed", KEY_EXPECT(true, "no other way")},
    {.name = "id", KEY_INT(struct target, id, 0, INT32_MAX, -1)},
    {.name = "text", KEY_STRING(struct target, text)},
    {.name = "passed",
     .fate = KEY_REFUSED,
     .neutral = "\"a\"|\"b\"",
     KEY_PASSED_STRING(struct target, passed)},
    {.name = "elsewhere", .fate = KEY_HONOURED},
};
static const struct key_rules rules = {KEY_RULES(list), &apart};

static cJSON *parse(const char *text) {
    cJSON *root = NULL;
    if (json_parse(text, strlen(text), &json_limits_file, &root, NULL, NULL))
        abort();
    return root;
}

static struct target read_one(const char *text) {
    struct target t = {.kept = 42, .apart = 1};
    struct errmsg msg = {0};
    cJSON *root = parse(text);
    CHECK_OK(key_rules_read(&rules, root, NULL, &t, &msg), msg);
    t.node = t.node ? root : NULL; // only whether it was there
    cJSON_Delete(root);
    return t;
}

static void fails(const char *text, enum err want, const char *words) {
    struct target t = {0};
    struct errmsg msg = {0};
    cJSON *root = parse(text);
    CHECK(key_rules_read(&rules, root, NULL, &t, &msg) == want);
    CHECK_STR(msg.text, words);
    cJSON_Delete(root);
}

static void test_values(void) {
    struct target t = read_one("{}");
    CHECK(t.count == 7 && t.zero == 7 && t.kept == 42 && t.narrow == 0.25F && t.flag);
    CHECK(t.color == COLOR_RED && !t.node && t.other == 4 && t.wide >= 1 && t.wide <= 1);
    CHECK(t.apart == 1 && !t.other_flag);
    t = read_one("{\"count\":null,\"zero\":null,\"kept\":null,\"flag\":false,\"node\":[],"
                 "\"color\":null,\"elsewhere\":[[]]}");
    CHECK(t.count == 7 && t.zero == 0 && t.kept == 42 && !t.flag && !t.node);
    t = read_one("{\"count\":100,\"zero\":0,\"kept\":1,\"narrow\":0.5,\"color\":\"blue\","
                 "\"node\":[],\"old_other\":2,\"wide\":2,\"apart\":5,\"fixed\":true}");
    CHECK(t.count == 100 && t.zero == 0 && t.kept == 1 && t.narrow == 0.5F && t.node);
    CHECK(t.color == COLOR_BLUE && t.other == 2 && t.wide > 1.9 && t.apart == 1);
    CHECK(read_one("{\"old_other\":2,\"other\":3}").other == 3);
}

static void test_refusals(void) {
    fails("{\"count\":0}", ERR_INVALID, "'count' is 0, outside 1 to 100");
    fails("{\"zero\":101}", ERR_INVALID, "'zero' is 101, outside 0 to 100");
    fails("{\"old_other\":\"x\"}", ERR_INVALID, "'old_other' must be an integer");
    fails("{\"flag\":1}", ERR_INVALID, "'flag' must be true or false");
    fails("{\"color\":\"green\"}", ERR_UNSUPPORTED,
          "the color 'green' is not supported (red, blue are)");
    fails("{\"fixed\":false}", ERR_UNSUPPORTED, "'fixed' false: no other way");
}

// An id that may be -1, and strings: the tree's, of a refused key that lets them pass too.
static void test_ids_and_strings(void) {
    struct target t = {.text = "before"};
    struct errmsg msg = {0};
    cJSON *root = parse("{}");
    CHECK_OK(key_rules_read(&rules, root, NULL, &t, &msg), msg);
    CHECK(t.id == -1 && !t.text && !t.passed);
    cJSON_Delete(root);
    root = parse("{\"id\":2147483647,\"text\":\"\",\"passed\":\"b\"}");
    CHECK_OK(key_rules_check(&rules, root, &msg), msg);
    CHECK_OK(key_rules_read(&rules, root, NULL, &t, &msg), msg);
    CHECK_INT(t.id, INT32_MAX);
    CHECK_STR(t.text, "");
    CHECK_STR(t.passed, "b");
    cJSON_Delete(root);
    fails("{\"id\":-1}", ERR_INVALID, "'id' is -1, outside 0 to 2147483647");
    fails("{\"text\":7}", ERR_INVALID, "'text' must be a string");
}

// A key in the first place hides one in the second, unless it is null there.
static void test_places(void) {
    struct target t = {0};
    cJSON *first = parse("{\"apart\":null,\"other\":5}"),
          *second = parse("{\"apart\":6,\"other\":9}");
    struct errmsg msg = {0};
    CHECK_OK(key_rules_read(&apart, first, second, &t, &msg), msg);
    CHECK(t.apart == 6 && t.other == 0); // what follows a table apart is not read with it
    CHECK_OK(key_rules_read(&late, first, second, &t, &msg), msg);
    CHECK(t.other == 5);
    CHECK_OK(key_rules_read(&late, NULL, second, &t, &msg), msg);
    CHECK(t.other == 9);
    CHECK_OK(key_rules_read(&late, NULL, NULL, &t, &msg), msg);
    CHECK(t.other == 4);
    cJSON_Delete(first);
    cJSON_Delete(second);
    CHECK(key_rules_find(&rules, "old_other") == &late_list[0]);
}

int main(void) {
    json_init();
    test_values();
    test_refusals();
    test_ids_and_strings();
    test_places();
    return check_done();
}
