// Calls out of a text, however it is cut: what is a call, what is text, and that of what is text no
// byte is lost or changed.
#include "base/buf.h"
#include "engine/tool_calls.h"
#include "tests/check.h"

// What came: text as it is, "[name(" and arguments and ")]" of a call.
static struct buf seen;
static bool open_call;

static void close_call(void) {
    if (open_call)
        buf_puts(&seen, ")]");
    open_call = false;
}

static void on_text(void *ctx, const char *bytes, size_t n) {
    (void)ctx;
    close_call();
    buf_append(&seen, bytes, n);
}

static void on_begin(void *ctx, const char *name, size_t n) {
    (void)ctx;
    close_call();
    buf_putc(&seen, '[');
    buf_append(&seen, name, n);
    buf_putc(&seen, '(');
    open_call = true;
}

static void on_arguments(void *ctx, const char *bytes, size_t n) {
    (void)ctx;
    buf_append(&seen, bytes, n);
}

static const struct tool_sink sink = {on_text, on_begin, on_arguments, NULL};

static void gives_by(const char *text, size_t piece, bool calls_or_form, const char *want) {
    struct tool_parser p;
    size_t len = strlen(text);
    tool_parser_init(&p, calls_or_form);
    buf_reset(&seen);
    for (size_t i = 0; i < len; i += piece)
        tool_parser_feed(&p, text + i, len - i < piece ? len - i : piece, &sink);
    tool_parser_end(&p, &sink);
    close_call();
    CHECK(!p.failed);
    bool same = seen.len == strlen(want) && memcmp(seen.data ? seen.data : "", want, seen.len) == 0;
    if (!CHECK(same))
        fprintf(stderr, "    by %zu: %s\n    gives %.*s\n    not   %s\n", piece, text,
                (int)seen.len, seen.data, want);
    tool_parser_free(&p);
}

static void gives(const char *text, bool calls_or_form, const char *want) {
    for (size_t piece = 1; piece < 40; piece += 3)
        gives_by(text, piece, calls_or_form, want);
    gives_by(text, 10000, calls_or_form, want);
}

#define CALL(name, arguments)                                                                      \
    "<tool_call>\n{\"name\": \"" name "\", \"arguments\": " arguments "}\n</tool_call>"

static void test_calls(void) {
    gives("Sure.\n" CALL("f", "{\"a\": \"}\\\"\"}"), false, "Sure.[f({\"a\": \"}\\\"\"})]");
    gives(CALL("f", "{}") "\n" CALL("g", "{\"x\": [{}]}"), false, "[f({})][g({\"x\": [{}]})]");
    gives("none", false, "none");
    gives("a < b <tool_cal", false, "a < b <tool_cal");
}

// A marker that begins no call stays where it stood, with the blanks before it.
static void test_text(void) {
    gives("a \n<tool_call> is a tag", false, "a \n<tool_call> is a tag");
    gives("  <tool_call>{\"name\": 5}", false, "  <tool_call>{\"name\": 5}");
    gives("a\n<tool_call>\n{\"na", false, "a\n<tool_call>\n{\"na");
    gives("a\n<tool_call> \n<tool_call>b", false, "a\n<tool_call> \n<tool_call>b");
    gives("a\n\n<tool_call><function=f>", false, "a\n\n<tool_call><function=f>");
}

// Calls, or text in a form: the first bytes decide, and then nothing in the text is a call.
static void test_form(void) {
    gives("{\"a\": \"x \\n <tool_call>\"}", true, "{\"a\": \"x \\n <tool_call>\"}");
    gives("\"" CALL("f", "{}") "\"", true, "\"" CALL("f", "{}") "\"");
    gives(CALL("f", "{}") "\n" CALL("g", "{}"), true, "[f({})][g({})]");
    gives("<tool_ca", true, "<tool_ca");
    gives("", true, "");
    gives("5", true, "5");
}

int main(void) {
    test_calls();
    test_text();
    test_form();
    buf_free(&seen);
    return check_done();
}
