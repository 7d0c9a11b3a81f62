// Template text against a fixed context: compile and render within small limits. What is refused
// says so; what renders is valid UTF-8 and renders the same again.
#include "base/buf.h"
#include "base/json_tree.h"
#include "base/utf8.h"
#include "template/template.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char context[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":"
    "\"H\xc3\xa9llo \xe6\x97\xa5\xf0\x9f\x98\x80 "
    "<b>\\n\"},{\"role\":\"assistant\",\"content\":null,"
    "\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"q\":\"x\",\"n\":[1,2.5,true]}}}"
    "]}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}],"
    "\"s\":\"some text\",\"i\":7,\"big\":123456789012345678901234567890,\"x\":-2.5,\"l\":[3,1,2],"
    "\"d\":{\"b\":1,\"a\":{\"z\":[]}},\"n\":null,\"t\":true}";

static enum err render(const struct template *t, const struct json_node *root, struct buf *out,
                       struct errmsg *msg) {
    struct template_variable v[16];
    size_t n = 0;
    for (const struct json_node *m = root->child; m && n < 16; m = m->next)
        v[n++] = (struct template_variable){.name = m->key, .json = m};
    struct template_limits limits = {
        .max_steps = 20000, .max_bytes = 1 << 16, .max_depth = 50, .now_us = 1753920000000000};
    return template_render(t, v, n, &limits, out, msg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct json_tree *tree;
    if (!tree && json_tree_parse(context, sizeof context - 1, &json_limits_file, &tree, NULL, NULL))
        abort();
    // an exact-size copy, so that ASan sees a read past the end
    char *text = malloc(size ? size : 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    struct template *t = NULL;
    struct errmsg msg = {0};
    enum err e = template_compile("fuzz", text, size, &t, &msg);
    free(text);
    if (e == ERR_INTERNAL || (e != ERR_OK) != (t == NULL) || (e && !msg.text[0]))
        abort();
    if (t) {
        struct buf once = {0}, again = {0};
        e = render(t, json_tree_root(tree), &once, &msg);
        if (e == ERR_INTERNAL || (e && once.len) || !utf8_valid(once.data, once.len, NULL))
            abort();
        if (render(t, json_tree_root(tree), &again, &msg) != e || again.len != once.len ||
            (once.len && memcmp(once.data, again.data, once.len) != 0))
            abort();
        buf_free(&once);
        buf_free(&again);
    }
    template_free(t);
    return 0;
}
