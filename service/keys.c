// See keys.h.
#include "service/keys.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct keys {
    struct keys_key *keys; // [count]
    size_t count;
};

static bool read_hash(const char *s, size_t len, uint8_t out[32]) {
    if (len != 64)
        return false;
    for (size_t i = 0; i < 32; i++) {
        int high = hex_value(s[2 * i]), low = hex_value(s[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

// The next field of a line up to ':' or its end; *s moves behind it, NULL at the end.
static size_t next_field(const char **s, const char *end, const char **field) {
    *field = *s;
    if (!*s)
        return 0;
    const char *colon = memchr(*s, ':', (size_t)(end - *s));
    const char *stop = colon ? colon : end;
    *s = colon ? colon + 1 : NULL;
    return (size_t)(stop - *field);
}

// NULL when the line is well formed, else what is wrong with it. The message must not show the
// line: someone may have written a key where its hash belongs.
static const char *read_line(const char *s, const char *end, struct keys_key *key) {
    const char *field;
    size_t n = next_field(&s, end, &field);
    if (n == 0 || n >= sizeof key->name)
        return "the name must be 1 to 63 characters";
    memcpy(key->name, field, n);
    key->name[n] = '\0';
    n = next_field(&s, end, &field);
    if (!field || !read_hash(field, n, key->hash))
        return "the second field must be the key's SHA-256 as 64 hex digits";
    key->weight = 1;
    n = next_field(&s, end, &field);
    if (n) {
        key->admin = n == 5 && memcmp(field, "admin", 5) == 0;
        if (!key->admin && !(n == 4 && memcmp(field, "user", 4) == 0))
            return "the role must be user or admin";
    }
    n = next_field(&s, end, &field);
    if (n) {
        char *stop, text[8] = "";
        if (n >= sizeof text)
            return "the weight must be 1 to 1000";
        memcpy(text, field, n);
        long weight = strtol(text, &stop, 10);
        if (*stop || weight < 1 || weight > 1000)
            return "the weight must be 1 to 1000";
        key->weight = (int)weight;
    }
    memcpy(&key->owner, key->hash, sizeof key->owner);
    key->owner += key->owner == 0; // 0 is nobody
    return s ? "at most four fields" : NULL;
}

// The earlier key of the same hash: of its name and of this one's, which is meant is a guess.
static const struct keys_key *find_same(const struct keys *k, const struct keys_key *key) {
    for (size_t i = 0; i < k->count; i++)
        if (memcmp(k->keys[i].hash, key->hash, sizeof key->hash) == 0)
            return &k->keys[i];
    return NULL;
}

// Adds the key of one line.
static enum err take_line(struct keys *k, const char *path, size_t line, const char *s,
                          const char *end, struct errmsg *msg) {
    struct keys_key key = {.line = line};
    const char *wrong = read_line(s, end, &key);
    if (wrong)
        return err_set(msg, ERR_INVALID, "%s: line %zu: %s", path, line, wrong);
    const struct keys_key *same = find_same(k, &key);
    if (same)
        return err_set(msg, ERR_INVALID, "%s: line %zu: the same key as on line %zu; remove one",
                       path, line, same->line);
    struct keys_key *grown = mem_realloc(k->keys, k->count + 1, sizeof *k->keys);
    if (!grown)
        return err_set(msg, ERR_NOMEM, "%s: no memory", path);
    k->keys = grown;
    k->keys[k->count++] = key;
    return ERR_OK;
}

enum err keys_load(const char *path, struct keys **out, struct errmsg *msg) {
    *out = NULL;
    char *text;
    size_t len;
    enum err e = file_read(path, (size_t)1 << 20, &text, &len, msg);
    if (e)
        return e;
    struct keys *k = mem_calloc(1, sizeof *k);
    if (!k) {
        mem_free(text);
        return err_set(msg, ERR_NOMEM, "%s: no memory", path);
    }
    size_t line = 0;
    for (const char *s = text, *end = text + len; s < end && !e;) {
        const char *newline = memchr(s, '\n', (size_t)(end - s)), *stop = newline ? newline : end;
        const char *next = newline ? newline + 1 : end;
        line++;
        while (stop > s && (stop[-1] == '\r' || stop[-1] == ' ' || stop[-1] == '\t'))
            stop--;
        if (stop > s && *s != '#')
            e = take_line(k, path, line, s, stop, msg);
        s = next;
    }
    if (!e && k->count == 0)
        e = err_set(msg, ERR_INVALID, "%s: no key in it; a line is name:sha256[:role[:weight]]",
                    path);
    mem_free(text);
    if (e) {
        keys_free(k);
        return e;
    }
    *out = k;
    return ERR_OK;
}

void keys_free(struct keys *k) {
    if (!k)
        return;
    mem_free(k->keys);
    mem_free(k);
}

const struct keys_key *keys_match(const struct keys *k, const char *text, size_t len) {
    uint8_t hash[32];
    if (!digest_sha256(text, len, hash))
        return NULL; // the key cannot be told, so it is refused
    const struct keys_key *found = NULL;
    for (size_t i = 0; i < k->count; i++) {
        unsigned differ = 0;
        for (size_t b = 0; b < sizeof hash; b++)
            differ |= (unsigned)(hash[b] ^ k->keys[i].hash[b]);
        found = differ ? found : &k->keys[i];
    }
    return found;
}
