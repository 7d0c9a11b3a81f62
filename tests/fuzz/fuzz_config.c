// Any bytes as one of a model folder's JSON files; the first byte picks which. What is accepted
// lies within the ranges that the code after it counts on.
#include "base/json.h"
#include "pooling/modules.h"
#include "weights/model_config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

static void model_config(const char *text, size_t size) {
    struct model_config c;
    struct errmsg msg = {0};
    enum err e = model_config_parse("c", text, size, &c, &msg);
    if (e) {
        must(msg.code == e && strncmp(msg.text, "c: ", 3) == 0 && !c.label_names);
        return;
    }
    must(c.hidden && c.layers && c.heads && c.ffn && c.vocab && c.max_positions);
    must(c.hidden % c.heads == 0 && c.norm_eps > 0);
    must(c.classification == (c.labels > 0));
    for (size_t i = 0; i < c.labels; i++)
        must(c.label_names[i] != NULL);
    model_config_free(&c);
}

static void modules(int which, const char *text, size_t size) {
    struct modules m;
    struct pooling_config pooling;
    struct module_dense dense;
    struct errmsg msg = {0};
    char path[128] = "";
    cJSON *root;
    if (json_parse(text, size, &json_limits_file, &root, NULL, &msg))
        return;
    if (which == 1 && !modules_read_list(root, &m, path, &msg)) {
        must(m.step_count <= MODULES_MAX_STEPS && !strstr(path, "..") && path[0] != '/');
        for (size_t i = 0; i < m.step_count; i++)
            must(!strstr(m.steps[i].path, "..") && m.steps[i].path[0] != '/');
    }
    if (which == 2 && !modules_read_pooling(root, &pooling, &msg))
        must(pooling.mode_count >= 1 && pooling.mode_count <= MODULES_MAX_MODES);
    if (which == 3 && !modules_read_dense(root, &dense, &msg))
        must(dense.in && dense.out);
    cJSON_Delete(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    int which = data[0] & 3;
    if (which == 0)
        model_config((const char *)data + 1, size - 1);
    else
        modules(which, (const char *)data + 1, size - 1);
    return 0;
}
