// An embedding model as a GGUF file (tools/make_gguf.py made it of the folder): the same weights
// under other names give the same vectors, to the bit.
#include "tests/golden/tiny_model.h"

#include "weights/st_config.h"

static const char folder[] = "bert-last-f16", file[] = "tests/golden/data/gguf/bert-last-f16.gguf";

enum { MAX_DIM = 64 };

static bool load_file(struct tiny_model *m, struct device *d) {
    struct errmsg msg = {0};
    struct weights *w = NULL;
    *m = (struct tiny_model){.device = d};
    snprintf(m->folder, sizeof m->folder, "%s", file);
    bool ok = model_config_load(file, &m->config, &msg) == ERR_OK &&
              weights_open(file, &w, &msg) == ERR_OK &&
              tiny_load_parts(m, w, (struct precision){0}, &msg);
    weights_close(w);
    if (!CHECK(ok))
        fprintf(stderr, "    %s: %s\n", file, msg.text);
    return ok;
}

static void check(struct device *d) {
    struct tiny_model a, b;
    bool ok = tiny_load(&a, folder, d) && load_file(&b, d);
    if (!ok)
        return;
    CHECK(a.dim == b.dim && a.config.heads == b.config.heads && a.config.ffn == b.config.ffn);
    CHECK_STR(pooling_facts_of(b.pooler)->mode_name, pooling_facts_of(a.pooler)->mode_name);
    int count = cJSON_GetArraySize(json_get(a.golden, "ids"));
    for (int i = 0; i < count; i++) {
        float x[MAX_DIM], y[MAX_DIM];
        struct tiny_batch batch = tiny_batch_of(&a, &i, 1);
        if (tiny_run(&a, &batch, true, NULL, x) && tiny_run(&b, &batch, true, NULL, y))
            CHECK(test_device_same(x, y, a.dim, 2e-6));
        tiny_batch_free(&batch);
    }
    tiny_free(&a);
    tiny_free(&b);
}

int main(void) {
    json_init();
    struct errmsg msg = {0};
    struct st_config st;
    CHECK_OK(st_config_load(file, file, 40, &st, &msg), msg);
    CHECK(st.max_length == 40 && st.prompt_count == 0);
    st_config_free(&st);
    tiny_on_devices(check);
    return check_done();
}
