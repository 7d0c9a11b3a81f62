// See members.h.
#include "service/api/members.h"

#include "service/api/telling.h"

#include <stdlib.h>
#include <string.h>

const struct api_member *api_member_find(const struct api_members *table, const char *name) {
    for (; table; table = table->next)
        for (size_t i = 0; i < table->count; i++)
            if (strcmp(table->rows[i].name, name) == 0)
                return &table->rows[i];
    return NULL;
}

const struct api_member *api_member_spelled(const struct api_members *table, const char *name) {
    for (; table; table = table->next)
        for (size_t i = 0; i < table->count; i++)
            if (api_telling_same(table->rows[i].name, name))
                return &table->rows[i];
    return NULL;
}

static bool is_value(const struct json_node *item, const char *word, size_t len) {
    char text[64];
    if (len >= sizeof text)
        return false;
    memcpy(text, word, len);
    text[len] = '\0';
    if (json_is_bool(item))
        return strcmp(text, json_is(item, JSON_TRUE) ? "true" : "false") == 0;
    if (json_is(item, JSON_NUMBER)) {
        char *end;
        double value = strtod(text, &end);
        return end != text && !*end && item->number <= value && item->number >= value;
    }
    if (json_is(item, JSON_STRING))
        return strcmp(text, item->text) == 0;
    const struct json_node *only =
        json_is(item, JSON_ARRAY) && item->child && !item->child->next ? item->child : NULL;
    if (only && json_is(only, JSON_STRING)) { // a list of one word
        size_t n = strlen(only->text);
        return len == n + 2 && *text == '[' && text[n + 1] == ']' &&
               memcmp(text + 1, only->text, n) == 0;
    }
    return !item->child && strcmp(text, json_is(item, JSON_ARRAY) ? "[]" : "{}") == 0;
}

bool api_member_harmless(const struct json_node *item, const char *words) {
    for (;; words++) {
        size_t n = strcspn(words, "|");
        if (is_value(item, words, n))
            return true;
        words += n;
        if (!*words)
            return false;
    }
}

enum api_fate api_member_fate(const struct api_members *table, const struct json_node *m,
                              const struct api_member **row) {
    const char *nothing = table->harmless;
    bool closed = table->closed;
    const struct api_member *r = *row = api_member_find(table, m->key);
    bool taken = r && r->fate == API_TAKEN;
    if (m->kind == JSON_NULL || (!taken && nothing && api_member_harmless(m, nothing)))
        return API_QUIET;
    if (!r)
        return closed ? API_REFUSED : API_NO_EFFECT;
    bool harmless = r->fate == API_REFUSED && r->harmless && api_member_harmless(m, r->harmless);
    return harmless ? API_QUIET : r->fate;
}
