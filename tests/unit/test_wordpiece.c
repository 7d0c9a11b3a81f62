// WordPiece against the plainest reading of its definition, on random vocabularies and words, with
// and without a warm cache; and the vocabulary's two-way look-up.
#include "base/json.h"
#include "base/mem.h"
#include "tests/check.h"
#include "tokenizer/wordpiece.h"

#include <stdio.h>

static uint64_t state = 7;

static unsigned draw(unsigned n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(state >> 33) % n;
}

// Words over few letters, one of them two bytes long, so that pieces overlap a lot.
static void random_word(char *out, size_t letters) {
    static const char *const alphabet[] = {"a", "b", "c", "\xc3\xa9"};
    *out = '\0';
    for (size_t i = 0; i < letters; i++)
        strcat(out, alphabet[draw(4)]);
}

#define PIECES 60
struct plain {
    char pieces[PIECES][64];
    size_t count;
    const char *prefix;
};

static int plain_id(const struct plain *p, const char *piece) {
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->pieces[i], piece) == 0)
            return (int)i;
    return -1;
}

// Source followed: models/wordpiece/mod.rs, word for word.
static size_t plain_encode(const struct plain *p, const char *word, size_t max_chars,
                           struct wordpiece_piece *out) {
    size_t len = strlen(word), count = 0, chars = 0;
    for (size_t i = 0; i < len; i++)
        chars += ((unsigned char)word[i] & 0xC0) != 0x80;
    for (size_t start = 0, end; start < len && chars <= max_chars; start = end) {
        int id = -1;
        for (end = len; end > start; end--) {
            char piece[512];
            snprintf(piece, sizeof piece, "%s%.*s", start ? p->prefix : "", (int)(end - start),
                     word + start);
            bool whole = ((unsigned char)word[end] & 0xC0) != 0x80;
            if (whole && (id = plain_id(p, piece)) >= 0)
                break;
        }
        if (id < 0) {
            chars = SIZE_MAX;
            break;
        }
        out[count++] = (struct wordpiece_piece){id, (uint32_t)end};
    }
    if (chars <= max_chars)
        return count;
    out[0] = (struct wordpiece_piece){0, (uint32_t)len};
    return 1;
}

static void make_model(struct plain *p, struct wordpiece *m, const char *prefix, int max_chars) {
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "unk_token", "[UNK]");
    cJSON_AddStringToObject(json, "continuing_subword_prefix", prefix);
    cJSON_AddNumberToObject(json, "max_input_chars_per_word", max_chars);
    cJSON *vocab = cJSON_AddObjectToObject(json, "vocab");
    p->prefix = prefix;
    strcpy(p->pieces[0], "[UNK]");
    p->count = 1;
    while (p->count < PIECES) {
        char word[40], piece[64];
        random_word(word, 1 + draw(5));
        snprintf(piece, sizeof piece, "%s%s", draw(2) ? prefix : "", word);
        if (plain_id(p, piece) < 0)
            strcpy(p->pieces[p->count++], piece);
    }
    for (size_t i = 0; i < p->count; i++)
        cJSON_AddNumberToObject(vocab, p->pieces[i], (double)i);
    struct errmsg msg = {0};
    CHECK_OK(wordpiece_parse(json, m, &msg), msg);
    cJSON_Delete(json);
}

static bool same_pieces(const struct wordpiece_work *w, const struct wordpiece_piece *want,
                        size_t count) {
    bool same = w->count == count;
    for (size_t i = 0; same && i < count; i++)
        same = w->pieces[i].id == want[i].id && w->pieces[i].end == want[i].end;
    return same;
}

static void check_model(const char *prefix, int max_chars) {
    struct plain p;
    struct wordpiece m;
    struct wordpiece_work w = {0};
    size_t cut = 0;
    make_model(&p, &m, prefix, max_chars);
    if (!CHECK(wordpiece_work_init(&w, &m) == ERR_OK))
        return;
    for (int i = 0; i < 4000; i++) {
        char word[256];
        struct wordpiece_piece want[128];
        // many short words, so that most of them are met again, in the cache
        random_word(word, draw(10) ? 1 + draw(4) : 1 + draw(40));
        size_t len = strlen(word), count = plain_encode(&p, word, (size_t)max_chars, want);
        uint64_t hash = vocab_hash(VOCAB_HASH_START, word, len);
        bool ok =
            wordpiece_encode(&m, &w, word, len, hash) == ERR_OK && same_pieces(&w, want, count);
        if (!CHECK(ok))
            fprintf(stderr, "    prefix \"%s\", word %s\n", prefix, word);
        cut += count > 1;
    }
    CHECK(cut > 100);
    wordpiece_work_free(&w);
    wordpiece_free(&m);
}

static void check_vocab(void) {
    struct vocab v;
    enum { N = 5000 };
    if (!CHECK(vocab_init(&v, N, (size_t)N * 8, 2 * N) == ERR_OK))
        return;
    for (int32_t i = 0; i < N; i++) {
        char piece[16];
        snprintf(piece, sizeof piece, "p%d", i);
        CHECK(vocab_add(&v, piece, strlen(piece), 2 * i));
    }
    CHECK(!vocab_add(&v, "p7", 2, 1));  // spelled already
    CHECK(!vocab_add(&v, "new", 3, 2)); // id taken
    for (int32_t i = 0; i < N; i++) {
        char piece[16];
        snprintf(piece, sizeof piece, "p%d", i);
        CHECK(vocab_id(&v, piece, strlen(piece)) == 2 * i);
        CHECK_STR(vocab_piece(&v, 2 * i), piece);
        CHECK(vocab_piece(&v, 2 * i + 1) == NULL);
    }
    CHECK_INT(vocab_id(&v, "p", 1), -1);
    CHECK_INT(vocab_id(&v, "", 0), -1);
    vocab_free(&v);
}

int main(void) {
    json_init();
    check_vocab();
    check_model("##", 100);
    check_model("##", 3);
    check_model("", 100);
    check_model("b", 100);
    check_model("\xc3\xa9", 100);
    return check_done();
}
