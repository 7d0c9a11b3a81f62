// The strict JSON check of json.h: a flat state machine with its own stack, and a hash set of the
// keys of all objects so that a duplicate is found in linear time. Keys are compared as decoded
// ("a" equals "\u0061"); the hash is seeded per process so that keys cannot be made to collide.
#include "base/json.h"
#include "base/json_escape.h"
#include "base/json_path.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    MAX_DEPTH = 64,
    NUMBER_MOST = 511,      // characters of a number
    NUMBER_MOST_CJSON = 63, // and of one that cJSON is to read: its own bound
};

const struct json_limits json_limits_request = {MAX_DEPTH, 200000};
const struct json_limits json_limits_file = {MAX_DEPTH, 8000000};

struct key {
    uint64_t hash;    // of the object's serial and the decoded key; 0 marks an empty slot
    uint32_t object;  // serial of the object it belongs to
    uint32_t raw_len; // between the quotes
    size_t at;        // offset of the byte after the opening quote
};

struct checker {
    const char *text;
    size_t len, at;
    struct json_limits limits;
    size_t number_most;
    size_t values, depth;
    uint32_t objects; // serials given so far
    struct {
        bool is_object;
        uint32_t serial;
    } stack[MAX_DEPTH];
    struct key *keys; // open addressing, power of two
    size_t key_count, key_cap;
    uint64_t seed;
    struct json_issue issue;
    const char *what;
    enum err err;
};

static bool fail(struct checker *c, size_t at, const char *code, const char *what) {
    c->issue = (struct json_issue){code, at};
    c->what = what;
    c->err = ERR_INVALID;
    return false;
}

static bool syntax(struct checker *c, const char *what) {
    return fail(c, c->at, "invalid_json", what);
}

static int hex_digit(char ch) {
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    if (ch >= 'a' && ch <= 'f')
        return ch - 'a' + 10;
    if (ch >= 'A' && ch <= 'F')
        return ch - 'A' + 10;
    return -1;
}

static bool hex4(const char *p, uint32_t *v) {
    uint32_t x = 0;
    for (int i = 0; i < 4; i++) {
        int d = hex_digit(p[i]);
        if (d < 0)
            return false;
        x = x << 4 | (uint32_t)d;
    }
    *v = x;
    return true;
}

size_t json_decode_char(const char *s, size_t *at, char out[4]) {
    if (s[*at] != '\\') {
        out[0] = s[(*at)++];
        return 1;
    }
    char e = s[*at + 1];
    *at += 2;
    uint32_t cp, low;
    switch (e) {
    case 'b':
        out[0] = '\b';
        return 1;
    case 'f':
        out[0] = '\f';
        return 1;
    case 'n':
        out[0] = '\n';
        return 1;
    case 'r':
        out[0] = '\r';
        return 1;
    case 't':
        out[0] = '\t';
        return 1;
    case 'u':
        if (!hex4(s + *at, &cp))
            return 0;
        *at += 4;
        if (cp >= 0xd800 && cp < 0xdc00 && hex4(s + *at + 2, &low)) {
            cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
            *at += 6;
        }
        return utf8_encode(cp, out);
    default:
        out[0] = e;
        return 1;
    }
}

static uint64_t mix(uint64_t h, uint64_t v) {
    __uint128_t m = (__uint128_t)(h ^ v) * 0x9e3779b97f4a7c15u;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static uint64_t hash_key(const struct checker *c, uint32_t object, const char *s, size_t n) {
    uint64_t h = mix(c->seed, object);
    for (size_t at = 0; at < n;) {
        char out[4];
        size_t k = json_decode_char(s, &at, out);
        for (size_t i = 0; i < k; i++)
            h = mix(h, (unsigned char)out[i] + 1u);
    }
    return h ? h : 1;
}

static bool same_key(const char *a, size_t an, const char *b, size_t bn) {
    if (an == bn && memcmp(a, b, an) == 0)
        return true;
    if (!memchr(a, '\\', an) && !memchr(b, '\\', bn))
        return false;
    char abuf[4], bbuf[4];
    size_t ai = 0, bi = 0, ak = 0, bk = 0, ap = 0, bp = 0;
    for (;;) {
        if (ap == ak) {
            ap = ak = 0;
            if (ai < an)
                ak = json_decode_char(a, &ai, abuf);
        }
        if (bp == bk) {
            bp = bk = 0;
            if (bi < bn)
                bk = json_decode_char(b, &bi, bbuf);
        }
        if (ak == 0 || bk == 0)
            return ak == bk;
        if (abuf[ap++] != bbuf[bp++])
            return false;
    }
}

static bool grow_keys(struct checker *c) {
    size_t cap = c->key_cap ? c->key_cap * 2 : 64;
    struct key *keys = mem_calloc(cap, sizeof *keys);
    if (!keys) {
        c->err = ERR_NOMEM;
        c->what = "no memory to check its keys";
        return false;
    }
    for (size_t i = 0; i < c->key_cap; i++) {
        if (!c->keys[i].hash)
            continue;
        size_t slot = c->keys[i].hash & (cap - 1);
        while (keys[slot].hash)
            slot = (slot + 1) & (cap - 1);
        keys[slot] = c->keys[i];
    }
    mem_free(c->keys);
    c->keys = keys;
    c->key_cap = cap;
    return true;
}

static bool add_key(struct checker *c, size_t start, size_t end) {
    if ((c->key_count + 1) * 2 > c->key_cap && !grow_keys(c))
        return false;
    uint32_t object = c->stack[c->depth - 1].serial;
    uint64_t h = hash_key(c, object, c->text + start, end - start);
    size_t slot = h & (c->key_cap - 1);
    for (; c->keys[slot].hash; slot = (slot + 1) & (c->key_cap - 1)) {
        const struct key *k = &c->keys[slot];
        if (k->hash == h && k->object == object &&
            same_key(c->text + k->at, k->raw_len, c->text + start, end - start))
            return fail(c, start - 1, "duplicate_key", "a key stands twice in one object");
    }
    c->keys[slot] = (struct key){h, object, (uint32_t)(end - start), start};
    c->key_count++;
    return true;
}

static bool check_escape(struct checker *c) {
    if (c->len - c->at < 2)
        return syntax(c, "a string does not end");
    char e = c->text[c->at + 1];
    if (e != 'u') {
        if (!e || !strchr("\"\\/bfnrt", e))
            return syntax(c, "an unknown escape in a string");
        c->at += 2;
        return true;
    }
    uint32_t hi, lo;
    if (c->len - c->at < 6 || !hex4(c->text + c->at + 2, &hi))
        return syntax(c, "\\u wants four hex digits");
    if (hi == 0)
        return fail(c, c->at, "nul_character", "\\u0000 cannot stand in a text; remove it");
    if (hi >= 0xdc00 && hi < 0xe000)
        return fail(c, c->at, "lone_surrogate", "a low surrogate without its high one");
    if (hi >= 0xd800 && hi < 0xdc00) {
        if (c->len - c->at < 12 || c->text[c->at + 6] != '\\' || c->text[c->at + 7] != 'u' ||
            !hex4(c->text + c->at + 8, &lo) || lo < 0xdc00 || lo > 0xdfff)
            return fail(c, c->at, "lone_surrogate", "a high surrogate without its low one");
        c->at += 6;
    }
    c->at += 6;
    return true;
}

// At the opening quote; leaves c->at behind the closing one.
static bool check_string(struct checker *c) {
    size_t open = c->at++;
    while (c->at < c->len) {
        unsigned char ch = (unsigned char)c->text[c->at];
        if (ch == '"') {
            c->at++;
            return true;
        }
        if (ch == '\\') {
            if (!check_escape(c))
                return false;
        } else if (ch == 0) {
            return fail(c, c->at, "nul_character", "a NUL byte in a string; remove it");
        } else if (ch < 0x20) {
            return syntax(c, "a control character in a string must be escaped");
        } else if (ch < 0x80) {
            c->at++;
        } else {
            uint32_t cp;
            size_t n = utf8_decode(c->text + c->at, c->len - c->at, &cp);
            if (n == 0)
                return fail(c, c->at, "invalid_utf8", "bytes that are not UTF-8");
            c->at += n;
        }
    }
    c->at = open;
    return syntax(c, "a string does not end");
}

static bool digits(struct checker *c) {
    size_t start = c->at;
    while (c->at < c->len && c->text[c->at] >= '0' && c->text[c->at] <= '9')
        c->at++;
    return c->at > start;
}

static bool check_number(struct checker *c) {
    size_t start = c->at;
    if (c->text[c->at] == '-')
        c->at++;
    if (c->at < c->len && c->text[c->at] == '0')
        c->at++;
    else if (!digits(c))
        return syntax(c, "a value was expected");
    if (c->at < c->len && c->text[c->at] == '.') {
        c->at++;
        if (!digits(c))
            return syntax(c, "digits must follow the decimal point");
    }
    if (c->at < c->len && (c->text[c->at] == 'e' || c->text[c->at] == 'E')) {
        c->at++;
        if (c->at < c->len && (c->text[c->at] == '+' || c->text[c->at] == '-'))
            c->at++;
        if (!digits(c))
            return syntax(c, "digits must follow the exponent");
    }
    size_t n = c->at - start;
    char copy[NUMBER_MOST + 1];
    if (n > c->number_most)
        return fail(c, start, "number_out_of_range",
                    c->number_most < NUMBER_MOST ? "a number of over 63 characters"
                                                 : "a number of over 511 characters");
    memcpy(copy, c->text + start, n);
    copy[n] = '\0';
    if (!isfinite(strtod(copy, NULL)))
        return fail(c, start, "number_out_of_range", "a number that no double can hold");
    return true;
}

static bool check_word(struct checker *c) {
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if (c->len - c->at >= n && memcmp(c->text + c->at, words[i], n) == 0) {
            c->at += n;
            return true;
        }
    }
    return syntax(c, "a value was expected");
}

enum expect { EXPECT_VALUE, EXPECT_VALUE_OR_END, EXPECT_KEY, EXPECT_KEY_OR_END, EXPECT_COMMA };

static bool open_container(struct checker *c, bool is_object) {
    if (c->depth == c->limits.max_depth)
        return fail(c, c->at, "too_deep", "nested too deeply");
    c->stack[c->depth].is_object = is_object;
    c->stack[c->depth].serial = is_object ? ++c->objects : 0;
    c->depth++;
    c->at++;
    return true;
}

static bool check_value(struct checker *c, enum expect *expect) {
    if (++c->values > c->limits.max_values)
        return fail(c, c->at, "too_many_values", "more values than a request may hold");
    *expect = EXPECT_COMMA;
    switch (c->text[c->at]) {
    case '{':
        *expect = EXPECT_KEY_OR_END;
        return open_container(c, true);
    case '[':
        *expect = EXPECT_VALUE_OR_END;
        return open_container(c, false);
    case '"':
        return check_string(c);
    case 't':
    case 'f':
    case 'n':
        return check_word(c);
    default:
        return check_number(c);
    }
}

static bool check_key(struct checker *c) {
    size_t start = c->at + 1;
    if (c->text[c->at] != '"')
        return syntax(c, "a key in double quotes was expected");
    if (!check_string(c))
        return false;
    return add_key(c, start, c->at - 1);
}

static bool skip_space(struct checker *c) {
    while (c->at < c->len && strchr(" \t\n\r", c->text[c->at]) && c->text[c->at])
        c->at++;
    return c->at < c->len;
}

static bool check_colon(struct checker *c) {
    if (!skip_space(c) || c->text[c->at] != ':')
        return syntax(c, "a colon was expected");
    c->at++;
    return true;
}

static bool check_document(struct checker *c) {
    enum expect expect = EXPECT_VALUE;
    for (;;) {
        bool more = skip_space(c);
        if (expect == EXPECT_COMMA && c->depth == 0)
            return more ? fail(c, c->at, "trailing_bytes", "bytes after the document") : true;
        if (!more)
            return syntax(c, c->len ? "the document ends too early" : "the document is empty");
        char ch = c->text[c->at];
        bool is_object = c->depth && c->stack[c->depth - 1].is_object;
        bool may_end = expect != EXPECT_VALUE && expect != EXPECT_KEY;
        if (may_end && c->depth && ch == (is_object ? '}' : ']')) {
            c->depth--;
            c->at++;
            expect = EXPECT_COMMA;
        } else if (expect == EXPECT_COMMA) {
            if (ch != ',')
                return syntax(c, is_object ? "a comma or } was expected"
                                           : "a comma or ] was expected");
            c->at++;
            expect = is_object ? EXPECT_KEY : EXPECT_VALUE;
        } else if (expect == EXPECT_KEY || expect == EXPECT_KEY_OR_END) {
            if (!check_key(c) || !check_colon(c))
                return false;
            expect = EXPECT_VALUE;
        } else if (!check_value(c, &expect)) {
            return false;
        }
    }
}

static enum err check(const char *text, size_t len, const struct json_limits *limits,
                      size_t number_most, struct json_issue *issue, struct errmsg *msg) {
    static const struct json_issue none = {"invalid_json", 0};
    struct checker c = {
        .text = text, .len = len, .limits = *limits, .number_most = number_most, .issue = none};
    if (c.limits.max_depth > MAX_DEPTH)
        c.limits.max_depth = MAX_DEPTH;
    if (len > UINT32_MAX)
        return err_set(msg, ERR_TOO_LARGE, "JSON of %zu bytes is over 4 GiB", len);
    if (getrandom(&c.seed, sizeof c.seed, GRND_NONBLOCK) != (ssize_t)sizeof c.seed)
        c.seed = (uintptr_t)&c; // before the kernel has entropy: the stack's address will do
    bool ok = check_document(&c);
    mem_free(c.keys);
    if (ok)
        return ERR_OK;
    if (issue)
        *issue = c.issue;
    if (c.err == ERR_NOMEM)
        return err_set(msg, ERR_NOMEM, "JSON: %s", c.what);
    char path[160];
    json_path_at(text, c.issue.offset < len ? c.issue.offset : len, path, sizeof path);
    return err_set(msg, ERR_INVALID, "invalid JSON at byte %zu%s%s%s: %s", c.issue.offset,
                   *path ? " ('" : "", path, *path ? "')" : "", c.what);
}

enum err json_check(const char *text, size_t len, const struct json_limits *limits,
                    struct json_issue *issue, struct errmsg *msg) {
    return check(text, len, limits, NUMBER_MOST, issue, msg);
}

enum err json_parse(const char *text, size_t len, const struct json_limits *limits, cJSON **root,
                    struct json_issue *issue, struct errmsg *msg) {
    *root = NULL;
    enum err e = check(text, len, limits, NUMBER_MOST_CJSON, issue, msg);
    if (e)
        return e;
    *root = cJSON_ParseWithLength(text, len);
    // the text is valid and within cJSON's own limits, so only memory can have failed
    return *root ? ERR_OK : err_set(msg, ERR_NOMEM, "no memory to parse %zu bytes of JSON", len);
}
