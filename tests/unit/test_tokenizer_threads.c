// Threads that share a tokenizer: each with a scratch of its own gets what one alone gets.
#include "base/json.h"
#include "base/thread.h"
#include "tests/check.h"
#include "tokenizer/tokenizer.h"

static struct text text_of(const char *s) { return (struct text){s, strlen(s)}; }

struct sharer {
    const struct tokenizer *t;
    size_t tokens;
    bool failed;
};

static void *share(void *arg) {
    struct sharer *me = arg;
    struct tokenizer_scratch *s;
    struct encoding e = {0};
    struct buf out = {0};
    struct tokenizer_options o = {.add_special_tokens = true};
    me->failed = tokenizer_scratch_new(me->t, &s) != ERR_OK;
    for (int i = 0; i < 200 && !me->failed; i++) {
        buf_reset(&out);
        me->failed =
            tokenizer_encode(me->t, s, text_of("un\xc3\xa9 the cats unaffable \xe4\xbd\xa0"), NULL,
                             &o, &e, NULL) != ERR_OK ||
            tokenizer_decode(me->t, e.ids, e.len, false, &out, NULL) != ERR_OK || !out.len;
        me->tokens += e.len;
    }
    buf_free(&out);
    encoding_free(&e);
    tokenizer_scratch_free(s);
    return NULL;
}

static void check_threads(const char *folder) {
    struct tokenizer *t = NULL;
    struct errmsg msg = {0};
    CHECK_OK(tokenizer_load(folder, 0, &t, &msg), msg);
    if (!t)
        return;
    struct sharer sharers[3] = {{t, 0, false}, {t, 0, false}, {t, 0, false}};
    pthread_t threads[3];
    struct thread_options options = {.name = "sharer"};
    for (int i = 0; i < 3; i++)
        CHECK_OK(thread_start(&threads[i], &options, share, &sharers[i], &msg), msg);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 3; i++)
        CHECK(!sharers[i].failed && sharers[i].tokens && sharers[i].tokens == sharers[0].tokens);
    tokenizer_free(t);
}

int main(void) {
    json_init();
    check_threads("tests/golden/data/tokenizers/uncased");
    check_threads("tests/golden/data/tokenizers_bpe/qwen2_added");
    return check_done();
}
