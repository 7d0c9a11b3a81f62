// Renders a chat template with the variables of a JSON object: what tools/parity_templates.py runs.
//   template_render TEMPLATE CONTEXT.json [NOW_US]
// Exit codes: 0 rendered, 3 refused at compile, 4 failed in rendering (the message on stderr).
#include "base/buf.h"
#include "base/file.h"
#include "base/json_tree.h"
#include "base/mem.h"
#include "template/template.h"

#include <stdio.h>
#include <stdlib.h>

static int render(const struct template *t, const struct json_node *context, int64_t now_us) {
    struct template_variable *v = mem_calloc(context->count, sizeof *v);
    struct buf out = {0};
    struct errmsg msg = {0};
    size_t n = 0;
    if (!v)
        return 1;
    for (const struct json_node *m = context->child; m; m = m->next)
        v[n++] = (struct template_variable){.name = m->key, .json = m};
    struct template_limits limits = {.now_us = now_us};
    enum err e = template_render(t, v, n, &limits, &out, &msg);
    if (e)
        fprintf(stderr, "%s\n", msg.text);
    else if (out.len)
        fwrite(out.data, 1, out.len, stdout);
    buf_free(&out);
    mem_free(v);
    return e ? 4 : 0;
}

int main(int argc, char **argv) {
    char *source = NULL, *json = NULL;
    size_t source_len, json_len;
    struct errmsg msg = {0};
    struct json_tree *tree = NULL;
    struct template *t = NULL;
    if (argc < 3) {
        fprintf(stderr, "usage: %s TEMPLATE CONTEXT.json [NOW_US]\n", argv[0]);
        return 2;
    }
    int rc = 1;
    if (file_read(argv[1], 1u << 24, &source, &source_len, &msg) ||
        file_read(argv[2], 1u << 26, &json, &json_len, &msg) ||
        json_tree_parse(json, json_len, &json_limits_file, &tree, NULL, &msg))
        fprintf(stderr, "%s\n", msg.text);
    else if (template_compile(argv[1], source, source_len, &t, &msg)) {
        fprintf(stderr, "%s\n", msg.text);
        rc = 3;
    } else {
        rc = render(t, json_tree_root(tree), argc > 3 ? strtoll(argv[3], NULL, 10) : 0);
    }
    template_free(t);
    json_tree_free(tree);
    mem_free(source);
    mem_free(json);
    return rc;
}
