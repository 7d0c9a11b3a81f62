// Templates of our own give, byte for byte, what jinja2 gives in transformers' settings, and fail
// where it fails (tools/make_template_goldens.py).
#include "base/buf.h"
#include "base/file.h"
#include "base/json_tree.h"
#include "base/mem.h"
#include "template/template.h"
#include "tests/check.h"

#include <stdlib.h>
#include <time.h>

static const char *const groups[] = {"expressions", "tests",  "strings", "filters",
                                     "blocks",      "syntax", "chat"};

static void show(const struct json_node *source, const char *got, size_t len, const char *message) {
    fprintf(stderr, "    template %s\n    got      %.*s\n    message  %s\n", source->text, (int)len,
            got ? got : "", message);
}

static void check_case(const struct json_node *one, const struct template_variable *variables,
                       size_t n, const struct template_limits *limits) {
    const struct json_node *source = one->child, *want = source->next;
    struct errmsg msg = {0};
    struct template *t = NULL;
    struct buf out = {0};
    buf_puts(&out, "before"); // what is there stays
    enum err e = template_compile("golden", source->text, source->len, &t, &msg);
    if (!e)
        e = template_render(t, variables, n, limits, &out, &msg);
    template_free(t);
    const struct json_node *raises = json_node_get(want, "raises");
    bool ok;
    if (want->kind == JSON_STRING)
        ok = !e && out.len == want->len + 6 && memcmp(out.data + 6, want->text, want->len) == 0;
    else if (raises)
        ok = e == ERR_INVALID && strcmp(msg.text, raises->text) == 0;
    else
        ok = e == ERR_INVALID || e == ERR_UNSUPPORTED;
    if (e)
        ok = ok && out.len == 6;
    if (!CHECK(ok)) {
        show(source, out.data + 6, out.len - 6, msg.text);
        if (want->kind == JSON_STRING)
            fprintf(stderr, "    want     %s\n", want->text);
    }
    buf_free(&out);
}

static void check_group(const char *name) {
    char path[256];
    char *text;
    size_t len, n = 0;
    struct json_tree *tree = NULL;
    struct errmsg msg = {0};
    snprintf(path, sizeof path, "tests/golden/data/templates/%s.json", name);
    enum err e = file_read(path, 1u << 22, &text, &len, &msg);
    CHECK_OK(e, msg);
    if (e)
        return;
    CHECK_OK(json_tree_parse(text, len, &json_limits_file, &tree, NULL, &msg), msg);
    mem_free(text);
    if (!tree)
        return;
    const struct json_node *root = json_tree_root(tree), *context = json_node_get(root, "context");
    struct template_limits limits = {.now_us = 1000000 *
                                               strtoll(json_node_get(root, "now")->text, NULL, 10)};
    struct template_variable *variables = mem_calloc(context->count, sizeof *variables);
    for (const struct json_node *m = context->child; m && variables; m = m->next)
        variables[n++] = (struct template_variable){.name = m->key, .json = m};
    const struct json_node *cases = json_node_get(root, "cases");
    CHECK(cases->count > 10);
    for (const struct json_node *c = cases->child; c && variables; c = c->next)
        check_case(c, variables, n, &limits);
    mem_free(variables);
    json_tree_free(tree);
}

int main(void) {
    setenv("TZ", "UTC", 1);
    tzset();
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        check_group(groups[i]);
    return check_done();
}
