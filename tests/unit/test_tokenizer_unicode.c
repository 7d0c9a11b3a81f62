// What every scalar value becomes, alone between letters and before two marks, in each normalizer
// and pre-tokenizer, against Hugging Face's answers (checksums in tokenizers/unicode.json, written
// by tools/make_tokenizer_goldens.py). One block of 4096 values is one count.
#include "base/json.h"
#include "base/utf8.h"
#include "tests/check.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/unicode.h"

static uint32_t crc_table[256];

static void crc_init(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
        crc_table[i] = c;
    }
}

struct sum {
    uint32_t crc;
    bool any; // something was added for this value already: a line feed goes between
    const char *text;
};

static void add(struct sum *s, const char *bytes, size_t len) {
    uint32_t c = ~s->crc;
    if (s->any)
        c = crc_table[(c ^ '\n') & 0xFF] ^ (c >> 8);
    for (size_t i = 0; i < len; i++)
        c = crc_table[(c ^ (unsigned char)bytes[i]) & 0xFF] ^ (c >> 8);
    s->crc = ~c;
    s->any = true;
}

static enum err add_word(void *context, size_t begin, size_t end) {
    struct sum *s = context;
    add(s, s->text + begin, end - begin);
    return ERR_OK;
}

static struct normalizer_step steps[] = {
    {.kind = NORMALIZER_BERT,
     .clean_text = true,
     .chinese = true,
     .strip_accents = true,
     .lowercase = true},
    {.kind = NORMALIZER_BERT, .clean_text = true, .chinese = true},
    {.kind = NORMALIZER_LOWERCASE},
    {.kind = NORMALIZER_NFD},
    {.kind = NORMALIZER_NFKD},
    {.kind = NORMALIZER_NFC},
    {.kind = NORMALIZER_NFKC},
    {.kind = NORMALIZER_STRIP_ACCENTS},
};

static bool add_value(struct sum *s, uint32_t cp, struct normal *n, struct normalizer_work *work) {
    char text[32];
    size_t len = 0;
    text[len++] = 'a';
    len += utf8_encode(cp, text + len);
    text[len++] = 'b';
    text[len++] = ' ';
    len += utf8_encode(cp, text + len);
    len += utf8_encode(0x327, text + len);
    len += utf8_encode(0x301, text + len);
    s->any = false;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct normalizer one = {&steps[i], 1};
        normal_set(n, text, 0, len);
        if (normalizer_apply(&one, n, work))
            return false;
        add(s, n->text, n->len);
    }
    static const enum pretokenizer_kind kinds[] = {PRETOKENIZER_BERT, PRETOKENIZER_WHITESPACE,
                                                   PRETOKENIZER_WHITESPACE_SPLIT};
    s->text = text;
    for (size_t i = 0; i < 3; i++) {
        struct pretokenizer p = {.steps = {{kinds[i], SPLIT_KINDS}}, .count = 1};
        if (pretokenizer_walk(&p, text, 0, len, add_word, s))
            return false;
    }
    s->text = NULL; // it was this frame's
    return true;
}

static void check_every_value(const cJSON *sums) {
    struct normal n = {0};
    struct normalizer_work work = {0};
    bool ok = true;
    const cJSON *want = sums->child;
    for (uint32_t start = 0; start < 0x110000 && want; start += 4096, want = want->next) {
        struct sum s = {0};
        for (uint32_t cp = start ? start : 1; cp < start + 4096; cp++)
            if (cp < 0xD800 || cp > 0xDFFF)
                ok = add_value(&s, cp, &n, &work) && ok;
        if (!CHECK(s.crc == (uint32_t)want->valuedouble))
            fprintf(stderr, "    U+%04X to U+%04X\n", start, start + 4095);
    }
    CHECK(ok);
    normal_free(&n);
    normalizer_work_free(&work);
}

int main(void) {
    json_init();
    crc_init();
    cJSON *sums = NULL;
    struct errmsg msg = {0};
    CHECK_OK(json_parse_file("tests/golden/data/tokenizers/unicode.json", 1u << 20, &sums, &msg),
             msg);
    if (sums && CHECK(cJSON_GetArraySize(sums) == 272))
        check_every_value(sums);
    cJSON_Delete(sums);
    uint32_t low[2];
    CHECK(unicode_lower(0x130, low) == 2 && low[0] == 'i' && low[1] == 0x307);
    CHECK(unicode_compose('e', 0x301) == 0xE9 && !unicode_compose('e', 'f'));
    CHECK(unicode_compose(0xC5B4, 0x11A8) == 0xC5B5 && !unicode_compose(0xC5B4, 0x11A7));
    CHECK(unicode_compose(0x11935, 0x11930) == 0); // newer than what the library knows
    return check_done();
}
