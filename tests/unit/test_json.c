// The strict JSON check: what RFC 8259 allows passes, everything else is refused with its code and
// its byte offset (FAULTS 1-9, 16).
#include "base/buf.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/mem.h"
#include "tests/check.h"

static void accepts(const char *text) {
    struct errmsg msg = {0};
    struct json_issue issue = {0};
    enum err e = json_check(text, strlen(text), &json_limits_request, &issue, &msg);
    if (!CHECK(e == ERR_OK))
        fprintf(stderr, "    %s: %s\n", text, msg.text);
    cJSON *root = NULL;
    CHECK_OK(json_parse(text, strlen(text), &json_limits_request, &root, &issue, &msg), msg);
    cJSON_Delete(root);
}

static void refuses_bytes(const char *text, size_t len, const char *code, size_t offset) {
    struct errmsg msg = {0};
    struct json_issue issue = {0};
    enum err e = json_check(text, len, &json_limits_request, &issue, &msg);
    CHECK(e == ERR_INVALID);
    CHECK_STR(issue.code, code);
    CHECK_INT(issue.offset, offset);
    if (check_failed && issue.offset != offset)
        fprintf(stderr, "    for %.60s\n", text);
}

static void refuses(const char *text, const char *code, size_t offset) {
    refuses_bytes(text, strlen(text), code, offset);
}

static void says(const char *text, const char *words) {
    struct errmsg msg = {0};
    CHECK(json_check(text, strlen(text), &json_limits_request, NULL, &msg) == ERR_INVALID);
    CHECK_STR(msg.text, words);
}

// A fault in one of many values says in which.
static void test_places(void) {
    const char *nul = "\\u0000 cannot stand in a text; remove it";
    const char *low = "a low surrogate without its high one";
    char want[300];
    const struct {
        const char *text, *place, *why;
    } rows[] = {
        {"{\"input\":[\"a\",\"b\\u0000\"]}", "16 ('input[1]')", nul},
        {"{\"input\":\"a\\u0000\"}", "11 ('input')", nul},
        {"{\"a\":[1,2],\"input\":[\"x\",\"\\\"],{\",[\"y\",\"\\udc00\"]]}", "38 ('input[2][1]')",
         low},
        {"{\"m\":[{\"role\":\"u\"},{\"content\":[{\"text\":\"\\udc00\"}]}]}",
         "40 ('m[1].content[0].text')", low},
        {"{\"my secret\":[\"\\u0000\"]}", "15 ('?[0]')", nul},
        {"{\"a\":1,\"\\u0000\":2}", "8", nul},
        {"[\"\\u0000\"]", "2 ('[0]')", nul},
        {"\"\\u0000\"", "1", nul},
        {"{\"a\":[[],{},[{}]],\"b\":[\"\\u0000\"]}", "24 ('b[0]')", nul},
        {"{\"input\":[\"a\" \"b\"]}", "14 ('input[0]')", "a comma or ] was expected"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(want, sizeof want, "invalid JSON at byte %s: %s", rows[i].place, rows[i].why);
        says(rows[i].text, want);
    }
}

static void test_grammar(void) {
    accepts("{}");
    accepts(" [ ] ");
    accepts("null");
    accepts("\"x\"");
    accepts("-0.5e+10");
    accepts("[0,-1,1.25,1E5,true,false,null,\"\\u00e9\\ud83d\\ude00\\n\"]");
    accepts("{\"a\":{\"a\":[{\"a\":1},{\"a\":2}]},\"b\":[]}");
    accepts("\"\xe6\x97\xa5\xf0\x9f\x98\x80\"");
    refuses("", "invalid_json", 0);
    refuses("   ", "invalid_json", 3);
    refuses("{", "invalid_json", 1);
    refuses("[1,]", "invalid_json", 3);
    refuses("{\"a\":1,}", "invalid_json", 7);
    refuses("{\"a\" 1}", "invalid_json", 5);
    refuses("{a:1}", "invalid_json", 1);
    refuses("[1 2]", "invalid_json", 3);
    refuses("[1}", "invalid_json", 2);
    refuses("nul", "invalid_json", 0);
    refuses("'a'", "invalid_json", 0);
    refuses("\"a", "invalid_json", 0);
    refuses("\"\\x\"", "invalid_json", 1);
    refuses("\"\\u12g4\"", "invalid_json", 1);
    refuses("\"a\nb\"", "invalid_json", 2);
    refuses("{} {}", "trailing_bytes", 3);
    refuses("{}x", "trailing_bytes", 2);
    refuses("\xef\xbb\xbf{}", "invalid_json", 0);
}

static void test_numbers(void) {
    refuses("01", "trailing_bytes", 1);
    refuses("[01]", "invalid_json", 2);
    refuses("[1.]", "invalid_json", 3);
    refuses("[.5]", "invalid_json", 1);
    refuses("[+1]", "invalid_json", 1);
    refuses("[-]", "invalid_json", 2);
    refuses("[1e]", "invalid_json", 3);
    refuses("[NaN]", "invalid_json", 1);
    refuses("[Infinity]", "invalid_json", 1);
    refuses("[1e999]", "number_out_of_range", 1);
    refuses("[-1e400]", "number_out_of_range", 1);
    accepts("[1e-999]");
    // cJSON reads no number of 64 characters: that is the sender's fault and no lack of memory
    char text[80], digits[66];
    memset(digits, '7', sizeof digits);
    for (int n = 62; n <= 65; n++) {
        snprintf(text, sizeof text, "[%.*s]", n, digits);
        cJSON *root = NULL;
        struct json_issue issue = {0};
        struct errmsg msg = {0};
        enum err e = json_parse(text, strlen(text), &json_limits_request, &root, &issue, &msg);
        CHECK_INT(e, n < 64 ? ERR_OK : ERR_INVALID);
        if (n >= 64) {
            CHECK_STR(issue.code, "number_out_of_range");
            CHECK_STR(msg.text, "invalid JSON at byte 1 ('[0]'): a number of over 63 characters");
        }
        CHECK((root != NULL) == (n < 64));
        cJSON_Delete(root);
        CHECK(json_check(text, strlen(text), &json_limits_request, NULL, &msg) == ERR_OK);
    }
}

static void test_strings(void) {
    refuses("[\"a\\u0000b\"]", "nul_character", 3);
    refuses_bytes("[\"a\0b\"]", 7, "nul_character", 3);
    refuses("[\"\\ud800\"]", "lone_surrogate", 2);
    refuses("[\"\\udc00\"]", "lone_surrogate", 2);
    refuses("[\"\\ud800\\ud800\"]", "lone_surrogate", 2);
    refuses("[\"\\ud83dx\"]", "lone_surrogate", 2);
    refuses("[\"\xff\"]", "invalid_utf8", 2);
    refuses("[\"\xc0\xaf\"]", "invalid_utf8", 2);
    refuses("[\"\xed\xa0\x80\"]", "invalid_utf8", 2);
    refuses("[\"\xf4\x90\x80\x80\"]", "invalid_utf8", 2);
    refuses("[\"\xe6\x97\"]", "invalid_utf8", 2);
}

static void test_keys(void) {
    refuses("{\"a\":1,\"a\":2}", "duplicate_key", 7);
    refuses("{\"a\":1,\"\\u0061\":2}", "duplicate_key", 7);
    refuses("{\"x\":{\"k\":1,\"y\":2,\"k\":3}}", "duplicate_key", 18);
    refuses("{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}", "duplicate_key", 18);
    accepts("{\"a\":1,\"A\":2,\"\":3,\"\\u0001\":4}");
}

static void test_limits(void) {
    struct buf b = {0};
    for (int depth = 63; depth <= 66; depth++) {
        buf_reset(&b);
        for (int i = 0; i < depth; i++)
            buf_putc(&b, '[');
        for (int i = 0; i < depth; i++)
            buf_putc(&b, ']');
        if (depth <= 64)
            accepts(b.data);
        else
            refuses(b.data, "too_deep", 64);
    }
    buf_reset(&b);
    buf_putc(&b, '[');
    for (int i = 0; i < 200000; i++)
        buf_puts(&b, "0,");
    buf_puts(&b, "0]");
    struct json_issue issue;
    CHECK(json_check(b.data, b.len, &json_limits_request, &issue, NULL) == ERR_INVALID);
    CHECK_STR(issue.code, "too_many_values");

    // Linear in the keys of one object: 300,000 of them in well under a second.
    buf_reset(&b);
    buf_putc(&b, '{');
    for (int i = 0; i < 300000; i++)
        buf_printf(&b, "%s\"k%d\":0", i ? "," : "", i);
    buf_putc(&b, '}');
    int64_t start = clock_now_us();
    CHECK(json_check(b.data, b.len, &json_limits_file, &issue, NULL) == ERR_OK);
    CHECK(clock_now_us() - start < 3000000);
    buf_free(&b);
}

static void test_getters(void) {
    struct errmsg msg;
    cJSON *root;
    const char *text = "{\"i\":7,\"f\":0.5,\"s\":\"x\",\"b\":true,\"n\":null,\"big\":1e30}";
    CHECK_OK(json_parse(text, strlen(text), &json_limits_request, &root, NULL, &msg), msg);
    int64_t i;
    double d;
    bool b;
    const char *s;
    CHECK(json_get_int(root, "i", 0, 10, -1, &i, &msg) == ERR_OK && i == 7);
    CHECK(json_get_int(root, "i", 0, 6, -1, &i, &msg) == ERR_INVALID);
    CHECK(json_get_int(root, "f", 0, 6, -1, &i, &msg) == ERR_INVALID);
    CHECK(json_get_int(root, "big", 0, 6, -1, &i, &msg) == ERR_INVALID);
    CHECK(json_get_int(root, "n", 0, 6, -1, &i, &msg) == ERR_OK && i == -1);
    CHECK(json_get_int(root, "I", 0, 6, -1, &i, &msg) == ERR_OK && i == -1);
    CHECK(json_get_double(root, "f", 0, 1, 0, &d, &msg) == ERR_OK && d == 0.5);
    CHECK(json_get_double(root, "s", 0, 1, 0, &d, &msg) == ERR_INVALID);
    CHECK(json_get_bool(root, "b", false, &b, &msg) == ERR_OK && b);
    CHECK(json_get_bool(root, "i", false, &b, &msg) == ERR_INVALID);
    CHECK(json_get_string(root, "s", NULL, &s, &msg) == ERR_OK && strcmp(s, "x") == 0);
    CHECK(json_get_string(root, "b", NULL, &s, &msg) == ERR_INVALID);
    CHECK_STR(msg.text, "'b' must be a string");
    cJSON_Delete(root);

    struct buf out = {0};
    json_quote(&out, "a\"\\\n\t\x01z", 8);
    CHECK_STR(out.data, "\"a\\\"\\\\\\n\\t\\u0001z\\u0000\"");
    buf_free(&out);
}

// Every allocation of a parse may fail: ERR_NOMEM each time, nothing leaked (ASan watches).
static void test_no_memory(void) {
    const char *text = "{\"a\":[1,2,{\"b\":\"c\"}],\"d\":null}";
    for (long nth = 1; nth < 100; nth++) {
        cJSON *root;
        fault_arm(FAULT_ALLOC, nth, true);
        enum err e = json_parse(text, strlen(text), &json_limits_request, &root, NULL, NULL);
        fault_disarm();
        if (e == ERR_OK) {
            CHECK(nth > 1);
            cJSON_Delete(root);
            return;
        }
        CHECK(e == ERR_NOMEM && root == NULL);
    }
    CHECK(!"json_parse never succeeded");
}

int main(void) {
    json_init();
    test_grammar();
    test_places();
    test_numbers();
    test_strings();
    test_keys();
    test_limits();
    test_getters();
    test_no_memory();
    return check_done();
}
