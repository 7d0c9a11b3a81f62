// See json_scan.h: a flat state machine with its own stack, and a hash set of the keys of all
// objects so that a duplicate is found in linear time. Keys are compared as decoded ("a" equals
// "\u0061"); the hash is seeded per process so that keys cannot be made to collide.
#include "base/json_scan.h"

#include "base/json_path.h"
#include "base/json_text.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first byte is a word's lowest");

const struct json_limits json_limits_request = {JSON_MAX_DEPTH, 200000, 0};
const struct json_limits json_limits_file = {JSON_MAX_DEPTH, 8000000, 0};

enum { NUMBER_MOST = 511 };
enum expect { EXPECT_VALUE, EXPECT_VALUE_OR_END, EXPECT_KEY, EXPECT_KEY_OR_END, EXPECT_COMMA };

struct json_scan_key {
    uint64_t hash;   // of the object's serial and the decoded key; 0 marks an empty slot
    uint32_t object; // serial of the object it belongs to
    struct json_span name;
};

static bool fail(struct json_scan *s, size_t at, const char *code, const char *what) {
    s->issue = (struct json_issue){code, at};
    s->what = what;
    s->err = ERR_INVALID;
    return false;
}

static bool syntax(struct json_scan *s, const char *what) {
    return fail(s, s->at, "invalid_json", what);
}

// ---- keys

static uint64_t mix(uint64_t h, uint64_t v) {
    __uint128_t m = (__uint128_t)(h ^ v) * 0x9e3779b97f4a7c15u;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

// Over the decoded bytes, eight at a time.
static uint64_t hash_key(const struct json_scan *s, uint32_t object, const struct json_span *name) {
    uint64_t h = mix(s->seed, object), word = 0;
    size_t n = 0;
    if (!name->escapes)
        for (; n + 8 <= name->len; n += 8) {
            memcpy(&word, name->at + n, sizeof word);
            h = mix(h, word);
        }
    word = 0;
    for (size_t at = n; at < name->len;) {
        char out[4];
        size_t k = json_decode_char(name->at, &at, out);
        for (size_t i = 0; i < k; i++) {
            word |= (uint64_t)(unsigned char)out[i] << n % 8 * 8;
            if (++n % 8 == 0) {
                h = mix(h, word);
                word = 0;
            }
        }
    }
    h = mix(mix(h, word), n);
    return h ? h : 1;
}

static bool same_key(const struct json_span *a, const struct json_span *b) {
    if (a->len == b->len && memcmp(a->at, b->at, a->len) == 0)
        return true;
    if (!a->escapes && !b->escapes)
        return false;
    char abuf[4], bbuf[4];
    size_t ai = 0, bi = 0, ak = 0, bk = 0, ap = 0, bp = 0;
    for (;;) {
        if (ap == ak) {
            ap = ak = 0;
            if (ai < a->len)
                ak = json_decode_char(a->at, &ai, abuf);
        }
        if (bp == bk) {
            bp = bk = 0;
            if (bi < b->len)
                bk = json_decode_char(b->at, &bi, bbuf);
        }
        if (ak == 0 || bk == 0)
            return ak == bk;
        if (abuf[ap++] != bbuf[bp++])
            return false;
    }
}

static bool grow_keys(struct json_scan *s) {
    size_t cap = s->key_cap ? s->key_cap * 2 : 64;
    struct json_scan_key *keys = mem_calloc(cap, sizeof *keys);
    if (!keys) {
        s->err = ERR_NOMEM;
        s->what = "no memory to check its keys";
        return false;
    }
    for (size_t i = 0; i < s->key_cap; i++) {
        if (!s->keys[i].hash)
            continue;
        size_t slot = s->keys[i].hash & (cap - 1);
        while (keys[slot].hash)
            slot = (slot + 1) & (cap - 1);
        keys[slot] = s->keys[i];
    }
    mem_free(s->keys);
    s->keys = keys;
    s->key_cap = cap;
    return true;
}

static bool add_key(struct json_scan *s, const struct json_span *name) {
    if ((s->key_count + 1) * 2 > s->key_cap && !grow_keys(s))
        return false;
    uint32_t object = s->levels[s->depth - 1].serial;
    uint64_t h = hash_key(s, object, name);
    size_t slot = h & (s->key_cap - 1);
    for (; s->keys[slot].hash; slot = (slot + 1) & (s->key_cap - 1)) {
        const struct json_scan_key *k = &s->keys[slot];
        if (k->hash == h && k->object == object && same_key(&k->name, name))
            return fail(s, (size_t)(name->at - s->text) - 1, "duplicate_key",
                        "a key stands twice in one object");
    }
    s->keys[slot] = (struct json_scan_key){h, object, *name};
    s->key_count++;
    return true;
}

// ---- strings

static bool scan_escape(struct json_scan *s) {
    if (s->len - s->at < 2)
        return syntax(s, "a string does not end");
    char e = s->text[s->at + 1];
    if (e != 'u') {
        if (!e || !strchr("\"\\/bfnrt", e))
            return syntax(s, "an unknown escape in a string");
        s->at += 2;
        return true;
    }
    int hi = s->len - s->at < 6 ? -1 : json_hex4(s->text + s->at + 2);
    if (hi < 0)
        return syntax(s, "\\u wants four hex digits");
    if (hi == 0)
        return fail(s, s->at, "nul_character", "\\u0000 cannot stand in a text; remove it");
    if (hi >= 0xdc00 && hi < 0xe000)
        return fail(s, s->at, "lone_surrogate", "a low surrogate without its high one");
    if (hi >= 0xd800 && hi < 0xdc00) {
        bool pair = s->len - s->at >= 12 && s->text[s->at + 6] == '\\' && s->text[s->at + 7] == 'u';
        int lo = pair ? json_hex4(s->text + s->at + 8) : -1;
        if (lo < 0xdc00 || lo > 0xdfff)
            return fail(s, s->at, "lone_surrogate", "a high surrogate without its low one");
        s->at += 6;
    }
    s->at += 6;
    return true;
}

// Moves s->at on by eight bytes of a string as long as all of them are ASCII that stands for
// itself. In `stop` the lowest byte that is not so has its high bit set; bytes above it may have
// theirs set, too.
static void skip_plain(struct json_scan *s) {
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones * 0x80;
    while (s->len - s->at >= sizeof(uint64_t)) {
        uint64_t v;
        memcpy(&v, s->text + s->at, sizeof v);
        uint64_t quote = v ^ ones * '"', slash = v ^ ones * '\\';
        uint64_t stop = (v | (v - ones * 0x20) | (quote - ones) | (slash - ones)) & high;
        if (stop) {
            s->at += (size_t)__builtin_ctzll(stop) / 8;
            return;
        }
        s->at += sizeof v;
    }
}

// At the opening quote; leaves s->at behind the closing one.
static bool scan_string(struct json_scan *s, struct json_span *out) {
    size_t open = s->at++;
    out->at = s->text + s->at;
    out->escapes = false;
    for (skip_plain(s); s->at < s->len; skip_plain(s)) {
        unsigned char ch = (unsigned char)s->text[s->at];
        if (ch == '"') {
            out->len = (size_t)(s->text + s->at - out->at);
            s->at++;
            return true;
        }
        if (ch == '\\') {
            out->escapes = true;
            if (!scan_escape(s))
                return false;
        } else if (ch == 0) {
            return fail(s, s->at, "nul_character", "a NUL byte in a string; remove it");
        } else if (ch < 0x20) {
            return syntax(s, "a control character in a string must be escaped");
        } else if (ch < 0x80) { // one of the last few bytes of the text
            s->at++;
        } else {
            while (s->at < s->len && (unsigned char)s->text[s->at] >= 0x80) {
                uint32_t cp;
                size_t n = utf8_decode(s->text + s->at, s->len - s->at, &cp);
                if (n == 0)
                    return fail(s, s->at, "invalid_utf8", "bytes that are not UTF-8");
                s->at += n;
            }
        }
    }
    s->at = open;
    return syntax(s, "a string does not end");
}

// ---- other values

static bool digits(struct json_scan *s) {
    size_t start = s->at;
    while (s->at < s->len && s->text[s->at] >= '0' && s->text[s->at] <= '9')
        s->at++;
    return s->at > start;
}

// The value of a lexeme. Integers of a few digits, which a double holds exactly, do without strtod.
static double number_of(const struct json_span *n) {
    char copy[NUMBER_MOST + 1];
    bool negative = *n->at == '-', plain = n->len - negative <= 15;
    int64_t v = 0;
    for (size_t i = negative; i < n->len && plain; i++) {
        plain = n->at[i] >= '0' && n->at[i] <= '9';
        v = v * 10 + (n->at[i] - '0');
    }
    if (plain && (v || !negative)) // -0 keeps its sign
        return (double)(negative ? -v : v);
    memcpy(copy, n->at, n->len);
    copy[n->len] = '\0';
    return strtod(copy, NULL);
}

static bool scan_number(struct json_scan *s, struct json_token *out) {
    size_t start = s->at;
    if (s->text[s->at] == '-')
        s->at++;
    if (s->at < s->len && s->text[s->at] == '0')
        s->at++;
    else if (!digits(s))
        return syntax(s, "a value was expected");
    if (s->at < s->len && s->text[s->at] == '.') {
        s->at++;
        if (!digits(s))
            return syntax(s, "digits must follow the decimal point");
    }
    if (s->at < s->len && (s->text[s->at] == 'e' || s->text[s->at] == 'E')) {
        s->at++;
        if (s->at < s->len && (s->text[s->at] == '+' || s->text[s->at] == '-'))
            s->at++;
        if (!digits(s))
            return syntax(s, "digits must follow the exponent");
    }
    out->kind = JSON_TOKEN_NUMBER;
    out->text = (struct json_span){s->text + start, s->at - start, false};
    if (out->text.len > s->limits.max_number) {
        snprintf(s->words, sizeof s->words, "a number of over %zu characters",
                 s->limits.max_number);
        return fail(s, start, "number_out_of_range", s->words);
    }
    out->number = number_of(&out->text);
    if (!isfinite(out->number))
        return fail(s, start, "number_out_of_range", "a number that no double can hold");
    return true;
}

static bool scan_word(struct json_scan *s, struct json_token *out) {
    static const char *const words[] = {
        [JSON_TOKEN_NULL] = "null", [JSON_TOKEN_FALSE] = "false", [JSON_TOKEN_TRUE] = "true"};
    for (int i = JSON_TOKEN_NULL; i <= JSON_TOKEN_TRUE; i++) {
        size_t n = strlen(words[i]);
        if (s->len - s->at >= n && memcmp(s->text + s->at, words[i], n) == 0) {
            s->at += n;
            out->kind = (enum json_token_kind)i;
            return true;
        }
    }
    return syntax(s, "a value was expected");
}

static bool open_level(struct json_scan *s, bool is_object, struct json_token *out) {
    if (s->depth == s->limits.max_depth)
        return fail(s, s->at, "too_deep", "nested too deeply");
    s->levels[s->depth++] =
        (struct json_level){.is_object = is_object, .serial = is_object ? ++s->objects : 0};
    s->at++;
    s->expect = is_object ? EXPECT_KEY_OR_END : EXPECT_VALUE_OR_END;
    out->kind = is_object ? JSON_TOKEN_OPEN_OBJECT : JSON_TOKEN_OPEN_ARRAY;
    return true;
}

static bool scan_value(struct json_scan *s, struct json_token *out) {
    if (++s->values > s->limits.max_values)
        return fail(s, s->at, "too_many_values", "more values than a request may hold");
    s->expect = EXPECT_COMMA;
    switch (s->text[s->at]) {
    case '{':
        return open_level(s, true, out);
    case '[':
        return open_level(s, false, out);
    case '"':
        out->kind = JSON_TOKEN_STRING;
        return scan_string(s, &out->text);
    case 't':
    case 'f':
    case 'n':
        return scan_word(s, out);
    default:
        return scan_number(s, out);
    }
}

// ---- the document

static bool skip_space(struct json_scan *s) {
    while (s->at < s->len && (s->text[s->at] == ' ' || s->text[s->at] == '\n' ||
                              s->text[s->at] == '\t' || s->text[s->at] == '\r'))
        s->at++;
    return s->at < s->len;
}

// A key and its colon.
static bool scan_key(struct json_scan *s) {
    struct json_level *level = &s->levels[s->depth - 1];
    if (s->text[s->at] != '"')
        return syntax(s, "a key in double quotes was expected");
    if (!scan_string(s, &level->key) || !add_key(s, &level->key))
        return false;
    if (!skip_space(s) || s->text[s->at] != ':')
        return syntax(s, "a colon was expected");
    s->at++;
    level->in_value = true;
    s->expect = EXPECT_VALUE;
    return true;
}

static bool scan_comma(struct json_scan *s) {
    struct json_level *level = &s->levels[s->depth - 1];
    if (s->text[s->at] != ',')
        return syntax(s,
                      level->is_object ? "a comma or } was expected" : "a comma or ] was expected");
    s->at++;
    level->in_value = false;
    level->index++;
    s->expect = level->is_object ? EXPECT_KEY : EXPECT_VALUE;
    return true;
}

bool json_scan_next(struct json_scan *s, struct json_token *out) {
    out->key.at = NULL;
    for (;;) {
        bool more = skip_space(s);
        if (s->expect == EXPECT_COMMA && s->depth == 0)
            return more ? fail(s, s->at, "trailing_bytes", "bytes after the document") : false;
        if (!more)
            return syntax(s, s->len ? "the document ends too early" : "the document is empty");
        bool is_object = s->depth && s->levels[s->depth - 1].is_object;
        bool may_end = s->expect != EXPECT_VALUE && s->expect != EXPECT_KEY;
        if (may_end && s->depth && s->text[s->at] == (is_object ? '}' : ']')) {
            s->depth--;
            s->at++;
            s->expect = EXPECT_COMMA;
            out->kind = JSON_TOKEN_CLOSE;
            return true;
        }
        if (s->expect == EXPECT_COMMA) {
            if (!scan_comma(s))
                return false;
        } else if (s->expect == EXPECT_KEY || s->expect == EXPECT_KEY_OR_END) {
            if (!scan_key(s))
                return false;
            out->key = s->levels[s->depth - 1].key;
        } else {
            return scan_value(s, out);
        }
    }
}

// One seed for the process; from the stack's address until the kernel has entropy.
static uint64_t key_seed(void) {
    static atomic_uint_fast64_t seed;
    uint64_t v = atomic_load_explicit(&seed, memory_order_relaxed);
    if (v)
        return v;
    if (getrandom(&v, sizeof v, GRND_NONBLOCK) != (ssize_t)sizeof v)
        v = (uintptr_t)&v;
    atomic_store_explicit(&seed, v | 1, memory_order_relaxed);
    return v | 1;
}

enum err json_scan_begin(struct json_scan *s, const char *text, size_t len,
                         const struct json_limits *limits, struct errmsg *msg) {
    *s = (struct json_scan){.text = text,
                            .len = len,
                            .limits = *limits,
                            .expect = EXPECT_VALUE,
                            .seed = key_seed(),
                            .issue = {"invalid_json", 0}};
    if (s->limits.max_depth > JSON_MAX_DEPTH)
        s->limits.max_depth = JSON_MAX_DEPTH;
    if (s->limits.max_number == 0 || s->limits.max_number > NUMBER_MOST)
        s->limits.max_number = NUMBER_MOST;
    if (len > UINT32_MAX)
        return err_set(msg, ERR_TOO_LARGE, "JSON of %zu bytes is over 4 GiB", len);
    return ERR_OK;
}

enum err json_scan_end(struct json_scan *s, struct json_issue *issue, struct errmsg *msg) {
    mem_free(s->keys);
    s->keys = NULL;
    if (!s->err)
        return ERR_OK;
    if (issue)
        *issue = s->issue;
    if (s->err == ERR_NOMEM)
        return err_set(msg, ERR_NOMEM, "JSON: %s", s->what);
    char path[160];
    json_path_print(s->levels, s->depth, path, sizeof path);
    return err_set(msg, ERR_INVALID, "invalid JSON at byte %zu%s%s%s: %s", s->issue.offset,
                   *path ? " ('" : "", path, *path ? "')" : "", s->what);
}

enum err json_check(const char *text, size_t len, const struct json_limits *limits,
                    struct json_issue *issue, struct errmsg *msg) {
    struct json_scan s;
    struct json_token token;
    enum err e = json_scan_begin(&s, text, len, limits, msg);
    if (e)
        return e;
    while (json_scan_next(&s, &token))
        ;
    return json_scan_end(&s, issue, msg);
}
