// The tokenizer's door: what it answers about itself, what it refuses and in which words, memory
// that runs out at every allocation, time that stays linear.
#include "base/fault.h"
#include "base/json.h"
#include "base/mem.h"
#include "tests/check.h"
#include "tokenizer/tokenizer_internal.h"

#include <time.h>

#define FOLDER "tests/golden/data/tokenizers/"

// The parts of a tokenizer.json, each replaceable.
struct parts {
    const char *normalizer, *pre, *post, *decoder, *model, *added, *more;
};

#define VOCAB "{\"[UNK]\":0,\"[CLS]\":1,\"a\":2,\"b\":3,\"##b\":4,\"ab\":5}"
#define MODEL(unk, vocab)                                                                          \
    "{\"type\":\"WordPiece\",\"unk_token\":\"" unk "\",\"continuing_subword_prefix\":\"##\","      \
    "\"max_input_chars_per_word\":100,\"vocab\":" vocab "}"
#define ADDED(content, id, normalized)                                                             \
    "{\"id\":" id ",\"content\":\"" content "\",\"single_word\":false,\"lstrip\":false,"           \
    "\"rstrip\":false,\"normalized\":" normalized ",\"special\":true}"
#define BERT                                                                                       \
    "{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"              \
    "\"strip_accents\":null,\"lowercase\":true}"
#define TEMPLATE(single, pair, specials)                                                           \
    "{\"type\":\"TemplateProcessing\",\"single\":[" single "],\"pair\":[" pair                     \
    "],\"special_tokens\":{" specials "}}"
#define SEQ(id) "{\"Sequence\":{\"id\":\"" id "\",\"type_id\":0}}"
#define TOK(id) "{\"SpecialToken\":{\"id\":\"" id "\",\"type_id\":0}}"

static enum err load(const struct parts *p, size_t vocab_size, struct tokenizer **t,
                     struct errmsg *msg) {
    struct buf b = {0};
    buf_printf(&b,
               "{\"version\":\"1.0\",\"normalizer\":%s,\"pre_tokenizer\":%s,"
               "\"post_processor\":%s,\"decoder\":%s,\"model\":%s,\"added_tokens\":%s%s}",
               p->normalizer ? p->normalizer : BERT,
               p->pre ? p->pre : "{\"type\":\"BertPreTokenizer\"}", p->post ? p->post : "null",
               p->decoder ? p->decoder : "null", p->model ? p->model : MODEL("[UNK]", VOCAB),
               p->added ? p->added : "[]", p->more ? p->more : "");
    enum err e = b.failed ? ERR_NOMEM
                          : tokenizer_load_json(b.data, b.len, "t.json", NULL, vocab_size, t, msg);
    buf_free(&b);
    return e;
}

struct refusal {
    struct parts parts;
    size_t vocab_size;
    enum err code;
    const char *words;
};

static const struct refusal refusals[] = {
    {{.normalizer = "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"\"}"},
     0,
     ERR_UNSUPPORTED,
     "t.json: normalizer 'Precompiled' is not supported (supported: BertNormalizer"},
    {{.normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Nmt\"}]}"},
     0,
     ERR_UNSUPPORTED,
     "normalizer 'Nmt'"},
    {{.normalizer = "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a\"},\"content\":\"\"}"},
     0,
     ERR_UNSUPPORTED,
     "Regex"},
    {{.normalizer = "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"\"}"},
     0,
     ERR_INVALID,
     "Replace"},
    {{.normalizer = "{\"type\":\"BertNormalizer\",\"clean_text\":true}"},
     0,
     ERR_INVALID,
     "'handle_chinese_chars' is missing"},
    {{.normalizer = "{\"type\":\"Strip\",\"strip_left\":1,\"strip_right\":true}"},
     0,
     ERR_INVALID,
     "'strip_left'"},
    {{.normalizer = "{}"}, 0, ERR_INVALID, "without a 'type'"},
    {{.pre = "{\"type\":\"Metaspace\"}"}, 0, ERR_UNSUPPORTED, "pre_tokenizer 'Metaspace'"},
    {{.pre = "{\"type\":\"Sequence\"}"}, 0, ERR_INVALID, "'pretokenizers'"},
    {{.model = "{\"type\":\"WordLevel\",\"vocab\":{}}"}, 0, ERR_UNSUPPORTED, "model 'WordLevel'"},
    {{.model = "null"}, 0, ERR_INVALID, "model"},
    {{.model = MODEL("<unk>", VOCAB)}, 0, ERR_INVALID, "unk_token '<unk>' is not in"},
    {{.model = MODEL("[UNK]", "{\"[UNK]\":0,\"x\":7,\"y\":7}")},
     0,
     ERR_INVALID,
     "token 'y': id 7 is also that of 'x'"},
    {{.model = MODEL("[UNK]", "{\"[UNK]\":0,\"x\":-1}")}, 0, ERR_INVALID, "token 'x'"},
    {{.model = MODEL("[UNK]", "{\"[UNK]\":0,\"x\":1.5}")}, 0, ERR_INVALID, "token 'x'"},
    {{.model = MODEL("[UNK]", "{\"[UNK]\":0,\"x\":4294967295}")}, 0, ERR_INVALID, "token 'x'"},
    {{.model = MODEL("[UNK]", "{\"[UNK]\":0,\"x\":\"1\"}")}, 0, ERR_INVALID, "token 'x'"},
    {{.model = MODEL("[UNK]", "{}")}, 0, ERR_INVALID, "unk_token"},
    {{.model = MODEL("[UNK]", "[]")}, 0, ERR_INVALID, "'vocab'"},
    {{0}, 5, ERR_INVALID, "token 'ab' has id 5, but the model's vocabulary has 5"},
    {{.added = "[" ADDED("new", "9", "false") "]"}, 6, ERR_INVALID, "token 'new' has id 6"},
    {{.model = MODEL("[UNK]", "{\"[UNK]\":0,\"x\":2}"),
      .added = "[" ADDED("new", "2", "false") "]"},
     0,
     ERR_INVALID,
     "added token 'new': id 2 is also that of 'x'"},
    {{.added = "[" ADDED("Foo", "6", "true") "," ADDED("foo", "7", "true") "]"},
     0,
     ERR_INVALID,
     "added tokens 'Foo' and 'foo' are the same"},
    {{.added = "[{\"id\":1,\"content\":\"x\"}]"}, 0, ERR_INVALID, "'single_word' is missing"},
    {{.added = "[{\"id\":1}]"}, 0, ERR_INVALID, "without a 'content'"},
    {{.added = "{}"}, 0, ERR_INVALID, "'added_tokens'"},
    {{.post = "{\"type\":\"Bert\"}"}, 0, ERR_UNSUPPORTED, "post_processor 'Bert'"},
    {{.post = "{\"type\":\"BertProcessing\",\"cls\":[\"[CLS]\",1],\"sep\":[\"x\",99]}"},
     0,
     ERR_INVALID,
     "BertProcessing uses id 99, which has no token"},
    {{.post = "{\"type\":\"BertProcessing\",\"cls\":[\"[CLS]\",1]}"}, 0, ERR_INVALID, "'sep'"},
    {{.post = TEMPLATE(SEQ("A") "," TOK("X"), SEQ("A") "," SEQ("B"), "")},
     0,
     ERR_INVALID,
     "special token 'X' of the template has no 'ids'"},
    {{.post = TEMPLATE(SEQ("B"), SEQ("A") "," SEQ("B"), "")}, 0, ERR_UNSUPPORTED, "'single'"},
    {{.post = TEMPLATE(SEQ("A"), SEQ("A") "," SEQ("A") "," SEQ("B"), "")},
     0,
     ERR_UNSUPPORTED,
     "'pair'"},
    {{.post = TEMPLATE("{\"Sequence\":{\"id\":\"A\",\"type_id\":2}}", SEQ("A"), "")},
     0,
     ERR_INVALID,
     "'type_id'"},
    {{.decoder = "{\"type\":\"Metaspace\"}"}, 0, ERR_UNSUPPORTED, "decoder 'Metaspace'"},
    {{.more = ",\"model\":null"}, 0, ERR_INVALID, "t.json: "},
};

static void check_refusals(void) {
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal *r = &refusals[i];
        struct tokenizer *t = NULL;
        struct errmsg msg = {0};
        CHECK_INT(load(&r->parts, r->vocab_size, &t, &msg), r->code);
        if (!CHECK(strstr(msg.text, r->words) != NULL))
            fprintf(stderr, "    case %zu: \"%s\" not in \"%s\"\n", i, r->words, msg.text);
        CHECK(t == NULL);
    }
    struct tokenizer *t = NULL;
    struct errmsg msg = {0};
    CHECK_INT(tokenizer_load("tests/no-such-folder", 0, &t, &msg), ERR_NOT_FOUND);
    CHECK(strstr(msg.text, "neither tokenizer.json nor vocab.txt") != NULL);
    struct parts fits = {0};
    CHECK_OK(load(&fits, 6, &t, &msg), msg);
    tokenizer_free(t);
    tokenizer_free(NULL);
}

static void check_vocab_txt(void) {
    static const char text[] = "[UNK]\n[CLS]\n[SEP]\na\n";
    static const struct {
        const char *vocab, *config, *words;
        enum err code;
    } cases[] = {
        {"", NULL, "0 lines", ERR_INVALID},
        {"\xff\n", NULL, "invalid UTF-8 at byte 0", ERR_INVALID},
        {"[UNK]\n[SEP]\n", NULL, "'[CLS]' is not in the vocabulary", ERR_INVALID},
        {text, "{\"tokenizer_class\":\"MPNetTokenizer\"}", "'MPNetTokenizer'", ERR_UNSUPPORTED},
        {text, "{\"do_lower_case\":\"yes\"}", "'do_lower_case'", ERR_INVALID},
        {text, "{\"unk_token\":\"<unk>\"}", "'<unk>' is not in", ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cJSON *root = NULL, *config = cases[i].config ? cJSON_Parse(cases[i].config) : NULL;
        struct errmsg msg = {0};
        CHECK_INT(vocab_txt_to_json(cases[i].vocab, strlen(cases[i].vocab), config, &root, &msg),
                  cases[i].code);
        CHECK(strstr(msg.text, cases[i].words) != NULL);
        CHECK(root == NULL);
        cJSON_Delete(config);
    }
}

static void check_answers(void) {
    struct tokenizer *t = NULL;
    struct errmsg msg = {0};
    CHECK_OK(tokenizer_load(FOLDER "added", 0, &t, &msg), msg);
    if (!t)
        return;
    CHECK_INT(tokenizer_special_count(t, false), 2);
    CHECK_INT(tokenizer_special_count(t, true), 3);
    CHECK_STR(tokenizer_piece(t, 2), "[CLS]");
    int32_t top = (int32_t)tokenizer_vocab_size(t);
    CHECK(tokenizer_piece(t, top) == NULL && tokenizer_piece(t, -1) == NULL);
    CHECK_STR(tokenizer_piece(t, top - 1), ".. ");
    for (int32_t id = 0; id < top; id++)
        CHECK(tokenizer_piece(t, id) != NULL);
    struct buf out = {0};
    const int32_t padded[] = {top, 5, top + 1000, 6, INT32_MAX}, plain[] = {5, 6};
    struct buf alone = {0};
    CHECK_OK(tokenizer_decode(t, padded, 5, false, &out, &msg), msg);
    CHECK_OK(tokenizer_decode(t, plain, 2, false, &alone, &msg), msg);
    CHECK_STR(out.data, alone.data); // ids without a token are passed over
    buf_free(&alone);
    buf_reset(&out);
    tokenizer_describe(t, &out);
    CHECK(strstr(out.data, "normalizer: BertNormalizer(clean_text 1, handle_chinese_chars 1, "
                           "strip_accents 1, lowercase 1)\n") != NULL);
    CHECK(strstr(out.data, "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1") != NULL);
    buf_free(&out);
    tokenizer_free(t);
}

static struct text text_of(const char *s) { return (struct text){s, strlen(s)}; }

static void check_room(void) {
    struct tokenizer *t = NULL;
    struct tokenizer_scratch *s = NULL;
    struct encoding e = {0};
    struct errmsg msg = {0};
    struct text pair = text_of("the cat the");
    struct tokenizer_options o = {true, TRUNCATE_ONLY_SECOND, TRUNCATE_RIGHT, 2};
    CHECK_OK(tokenizer_load(FOLDER "uncased", 0, &t, &msg), msg);
    if (!t || !CHECK(!tokenizer_scratch_new(t, &s)))
        return;
    CHECK_INT(tokenizer_encode(t, s, text_of("the cat"), &pair, &o, &e, &msg), ERR_INVALID);
    CHECK(strstr(msg.text, "below the 3 tokens") != NULL);
    o.max_length = 5; // the first text alone fills it
    CHECK_INT(tokenizer_encode(t, s, text_of("the cat"), &pair, &o, &e, &msg), ERR_INVALID);
    CHECK(strstr(msg.text, "second text cannot be cut") != NULL);
    o.max_length = 6;
    CHECK_OK(tokenizer_encode(t, s, text_of("the cat"), &pair, &o, &e, &msg), msg);
    CHECK(e.len == 6 && e.full_len == 8 && e.truncated);
    o.max_length = 3; // specials alone
    CHECK_OK(tokenizer_encode(t, s, text_of("the cat"), &pair, &o, &e, &msg), msg);
    CHECK(e.len == 3 && e.truncated);
    o.max_length = 1;
    CHECK_INT(tokenizer_encode(t, s, text_of("the cat"), NULL, &o, &e, &msg), ERR_INVALID);
    o.max_length = 4;
    CHECK_OK(tokenizer_encode(t, s, text_of(""), NULL, &o, &e, &msg), msg);
    CHECK(e.len == 2 && e.full_len == 2 && !e.truncated);
    encoding_free(&e);
    encoding_free(NULL);
    tokenizer_scratch_free(s);
    tokenizer_scratch_free(NULL);
    tokenizer_free(t);
}

// All that a request does, from the folder on; each allocation in turn fails.
static enum err run_all(const char *folder, struct errmsg *msg) {
    static const char text[] =
        "Foo the cat  <x> e\xcc\x81\xcc\x96te\xcc\x81 \xe4\xbd\xa0 .. ab unaffable [CLS] "
        "a\xcc\x81\xcc\x81\xcc\x81\xcc\x81\xcc\x81\xcc\x81\xcc\x81\xcc\x81\xcc\x81\xcc\x81\xcc\x81"
        "\xcc\x81\xcc\x81\xcc\x81\xcc\x81\xcc\x81\xcc\x96\xcc\x81";
    struct tokenizer *t = NULL;
    struct tokenizer_scratch *s = NULL;
    struct encoding e = {0};
    struct buf out = {0};
    struct text pair = text_of(text);
    struct tokenizer_options o = {true, TRUNCATE_LONGEST_FIRST, TRUNCATE_LEFT, 40};
    enum err code = tokenizer_load(folder, 0, &t, msg);
    if (!code)
        code = tokenizer_scratch_new(t, &s);
    if (!code)
        code = tokenizer_encode(t, s, text_of(text), &pair, &o, &e, msg);
    if (!code)
        code = tokenizer_decode(t, e.ids, e.len, false, &out, msg);
    buf_free(&out);
    encoding_free(&e);
    tokenizer_scratch_free(s);
    tokenizer_free(t);
    return code;
}

static void check_memory(const char *folder) {
    struct errmsg msg = {0};
    long nth = 1;
    for (; nth < 1000000; nth++) {
        fault_arm(FAULT_ALLOC, nth, false);
        enum err e = run_all(folder, &msg);
        bool reached = fault_calls(FAULT_ALLOC) >= nth;
        fault_disarm();
        if (!reached) {
            CHECK_OK(e, msg);
            break;
        }
        if (e != ERR_NOMEM)
            CHECK_INT(e, ERR_NOMEM);
    }
    CHECK(nth > 300 && nth < 1000000);
}

static void repeat(struct buf *b, const char *piece, size_t bytes) {
    buf_reset(b);
    while (b->len < bytes)
        buf_puts(b, piece);
}

// A megabyte of each takes some tens of milliseconds; quadratic time would take minutes.
static void check_time(const char *folder) {
    static const char *const pieces[] = {"a",
                                         " ",
                                         ".",
                                         "a ",
                                         "\xcc\x81",
                                         "\xcc\x81\xcc\x96",
                                         "e\xcc\x81\xcc\x96",
                                         "\xf0\x9f\x98\x80",
                                         "\xe4\xbd\xa0",
                                         "\xea\xb0\x81",
                                         "\xe2\x80\x8d",
                                         "\xc2\xa0",
                                         "\x01",
                                         "[CLS]",
                                         "[",
                                         "[CLS",
                                         "[CLS] ",
                                         "\xc3\xa9",
                                         " e\xcc\x81",
                                         "ab",
                                         "<x> ",
                                         " <y>",
                                         "\xef\xb7\xba",
                                         "\xe0\xbd\xb3\xe0\xbc\xb9",
                                         "the cat "};
    struct tokenizer *t = NULL;
    struct tokenizer_scratch *s = NULL;
    struct encoding e = {0};
    struct buf b = {0};
    struct errmsg msg = {0};
    struct tokenizer_options o = {true, TRUNCATE_LONGEST_FIRST, TRUNCATE_RIGHT, 256};
    CHECK_OK(tokenizer_load(folder, 0, &t, &msg), msg);
    if (!t || !CHECK(!tokenizer_scratch_new(t, &s)))
        return;
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        repeat(&b, pieces[i], 1000000);
        clock_t start = clock(); // the CPU's time: a busy machine must not fail it
        CHECK_OK(tokenizer_encode(t, s, (struct text){b.data, b.len}, NULL, &o, &e, &msg), msg);
        double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        if (!CHECK(seconds < 5))
            fprintf(stderr, "    %s: 1 MB of \"%s\" took %.1f s\n", folder, pieces[i], seconds);
        CHECK(e.len <= 256 && e.truncated == (e.full_len > e.len));
    }
    buf_free(&b);
    encoding_free(&e);
    tokenizer_scratch_free(s);
    tokenizer_free(t);
}

int main(void) {
    json_init();
    check_refusals();
    check_vocab_txt();
    check_answers();
    check_room();
    check_memory(FOLDER "added_cased");
    check_memory(FOLDER "vocab_txt_cased");
    check_time(FOLDER "added");
    check_time(FOLDER "uncased");
    check_time(FOLDER "added_cased");
    return check_done();
}
