// See key_rules.h: values of JSON into the fields that a table names.
#include "weights/key_rules.h"

#include <stdio.h>
#include <string.h>

bool key_rules_are_read(const struct key_rules *head, const struct key_rules *t) {
    return t == head || !(head->apart || t->apart);
}

bool key_rule_is_read(const struct key_rule *r, const void *into) {
    bool set = true;
    if (r->when)
        memcpy(&set, (const char *)into + r->when - 1, sizeof set);
    return r->kind != KEY_READ_ELSEWHERE && set;
}

void key_rule_put(const struct key_rule *r, double value, void *into) {
    void *at = (char *)into + r->at;
    if (r->kind == KEY_READ_COUNT)
        memcpy(at, &(size_t){(size_t)value}, sizeof(size_t));
    else if (r->kind == KEY_READ_INT)
        memcpy(at, &(int32_t){(int32_t)value}, sizeof(int32_t));
    else if (r->kind == KEY_READ_DOUBLE)
        memcpy(at, &value, sizeof value);
    else if (r->kind == KEY_READ_FLOAT)
        memcpy(at, &(float){(float)value}, sizeof(float));
    else if (r->kind == KEY_READ_BOOL)
        memcpy(at, &(bool){value > 0}, sizeof(bool));
    else if (r->kind == KEY_READ_CHOICE)
        memcpy(at, &(int){(int)value}, sizeof(int));
}

const struct key_choice *key_rule_choose(const struct key_rule *r, const char *name, size_t n) {
    for (const struct key_choice *c = r->choices; c->name; c++)
        if (strlen(c->name) == n && memcmp(c->name, name, n) == 0)
            return c;
    return NULL;
}

void key_rule_list_choices(const struct key_rule *r, char *out, size_t size) {
    size_t n = 0;
    for (const struct key_choice *c = r->choices; c->name && n < size; c++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", c == r->choices ? "" : ", ", c->name);
}

// A rule whose key is looked for in one object, under the spelling that is there.
struct key_place {
    const struct key_rule *rule;
    const cJSON *object;
    const char *key;
    bool there;
};

static struct key_place find(const struct key_rule *r, const cJSON *first, const cJSON *second) {
    const cJSON *objects[] = {first, second};
    for (int i = 0; i < 2; i++) {
        if (json_get(objects[i], r->name))
            return (struct key_place){r, objects[i], r->name, true};
        if (r->other && json_get(objects[i], r->other))
            return (struct key_place){r, objects[i], r->other, true};
    }
    return (struct key_place){r, first, r->name, false};
}

static enum err read_choice(const struct key_place *p, void *into, struct errmsg *msg) {
    const struct key_rule *r = p->rule;
    const char *name;
    char known[256];
    enum err e = json_get_string(p->object, p->key, NULL, &name, msg);
    if (e)
        return e;
    const struct key_choice *c = name ? key_rule_choose(r, name, strlen(name)) : NULL;
    if (!name || c) {
        key_rule_put(r, c ? c->value : r->fallback, into);
        return ERR_OK;
    }
    key_rule_list_choices(r, known, sizeof known);
    return err_set(msg, ERR_UNSUPPORTED, "%s '%.64s' is not supported (%s are)",
                   r->called ? r->called : p->key, name, known);
}

static enum err read_bool(const struct key_place *p, void *into, struct errmsg *msg) {
    const struct key_rule *r = p->rule;
    bool want = r->fallback > 0, is = want;
    enum err e = json_get_bool(p->object, p->key, want, &is, msg);
    if (!e && r->kind == KEY_READ_EXPECT && is != want)
        e = err_set(msg, ERR_UNSUPPORTED, "'%s' %s: %s", p->key, is ? "true" : "false", r->why);
    if (!e)
        key_rule_put(r, is, into);
    return e;
}

static enum err read_field(const struct key_place *p, void *into, struct errmsg *msg) {
    const struct key_rule *r = p->rule;
    const cJSON *node;
    const char *text = NULL;
    int64_t count;
    double value = r->fallback;
    enum err e = ERR_OK;
    switch (r->kind) {
    case KEY_READ_COUNT:
    case KEY_READ_INT:
        e = json_get_int(p->object, p->key, (int64_t)r->min, (int64_t)r->max, (int64_t)r->fallback,
                         &count, msg);
        value = e ? 0 : (double)count;
        break;
    case KEY_READ_DOUBLE:
    case KEY_READ_FLOAT:
        e = json_get_double(p->object, p->key, r->min, r->max, r->fallback, &value, msg);
        break;
    case KEY_READ_CHOICE:
        return read_choice(p, into, msg);
    case KEY_READ_BOOL:
    case KEY_READ_EXPECT:
        return read_bool(p, into, msg);
    case KEY_READ_STRING:
        e = json_get_string(p->object, p->key, NULL, &text, msg);
        if (!e)
            memcpy((char *)into + r->at, &text, sizeof text);
        return e;
    case KEY_READ_NODE:
        node = json_get(p->object, p->key);
        memcpy((char *)into + r->at, &node, sizeof node);
        return ERR_OK;
    case KEY_READ_ELSEWHERE:
    case KEY_READ_EXPECT_ZERO:
        return ERR_OK;
    }
    if (!e)
        key_rule_put(r, value, into);
    return e;
}

enum err key_rules_read(const struct key_rules *t, const cJSON *first, const cJSON *second,
                        void *into, struct errmsg *msg) {
    for (const struct key_rules *own = t; own; own = own->more) {
        for (size_t i = 0; key_rules_are_read(t, own) && i < own->count; i++) {
            const struct key_rule *r = &own->rules[i];
            struct key_place p = find(r, first, second);
            if (!key_rule_is_read(r, into) || (r->keep && !p.there))
                continue;
            if (r->null_is_zero &&
                cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(p.object, p.key))) {
                key_rule_put(r, 0, into);
                continue;
            }
            enum err e = read_field(&p, into, msg);
            if (e)
                return e;
        }
    }
    return ERR_OK;
}
