// What is done with each key of a model's files. Role: one table for each kind of file says of
// every key that files of that kind carry whether it is honoured, without effect here, or refused
// unless it has a value that changes nothing; so that no key that changes numbers is passed over in
// silence. A key in no table is unknown: the service names it in its log, `trine inspect` lists it.
// A table may say of an honoured key where its value goes, too: then key_rules_read reads it, and
// the key is named nowhere else. The tables stand beside the code that reads the file
// (model_config_keys.c, tokenizer/, pooling/); those who read call key_rules_check, those who list
// call key_rules_walk. JSON files and GGUF metadata alike (key_rules_find, gguf_keys_read).
// Thread rule: pure functions over constant tables.
#ifndef TRINE_WEIGHTS_KEY_RULES_H
#define TRINE_WEIGHTS_KEY_RULES_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

#include <stddef.h>

enum key_fate {
    KEY_HONOURED,  // read by the table's owner, which does what it says or refuses its value
    KEY_NO_EFFECT, // read by nobody: it changes no result at inference, or not what is done here
    KEY_REFUSED,   // would change results in a way that is not done here
    KEY_UNKNOWN,   // in no table
};

// How an honoured key's value goes into a struct.
enum key_kind {
    KEY_READ_ELSEWHERE,   // by code that names the key itself
    KEY_READ_COUNT,       // a whole number in [min, max], to a size_t
    KEY_READ_INT,         // the same to an int32_t
    KEY_READ_DOUBLE,      // a number in [min, max], to a double
    KEY_READ_FLOAT,       // a number likewise, to a float
    KEY_READ_BOOL,        // to a bool
    KEY_READ_CHOICE,      // the value of one of `choices`, to an enum
    KEY_READ_STRING,      // a string of the tree, to a const char *; NULL: absent. JSON only
    KEY_READ_NODE,        // whatever is there, to a const cJSON *; NULL: absent. JSON only
    KEY_READ_EXPECT,      // a bool that must be `fallback`: else ERR_UNSUPPORTED, and `why`
    KEY_READ_EXPECT_ZERO, // a whole number that must be 0, likewise. GGUF only
};

struct key_choice {
    const char *name; // NULL ends a list
    int value;
};

struct key_rules;

struct key_rule {
    const char *name; // one that ends in '*' stands for every key that begins so
    enum key_fate fate;
    const char *other; // the same key's other spelling, read where `name` is absent; NULL: none
    // KEY_REFUSED: values as JSON scalars, {} or [], with '|' between them, that change nothing,
    // and so pass ("false|0|\"absolute\""). null passes always. NULL: no other value passes.
    const char *neutral;
    // For a value that is an object, or a list of objects: the rules of its members, which are
    // named "key.member". NULL: what is within is the owner's business.
    const struct key_rules *inner;
    // KEY_HONOURED, or what a KEY_REFUSED lets pass: where the value goes; made by the macros
    // below.
    enum key_kind kind;
    size_t at; // the field, in bytes from the struct's begin
    double min, max;
    double fallback;    // what an absent key, or null, stands for
    bool keep;          // absent: not `fallback`, but what the field holds already
    bool null_is_zero;  // null is 0, and not as if absent
    bool required;      // absent: ERR_INVALID. GGUF only
    size_t when;        // 1 + where a bool is in the struct: read only if it is set; 0: always
    const char *called; // what a refusal calls it; NULL: its name
    const char *why;
    const struct key_choice *choices;
};

struct key_rules {
    const struct key_rule *rules; // the first that fits counts
    size_t count;
    const struct key_rules *more; // asked when none fits; NULL: none
    bool apart;                   // read only where key_rules_read names this very table
};

#define KEY_RULES(list) .rules = (list), .count = sizeof(list) / sizeof *(list)

// A field's place, where it has the type that its kind writes.
#define KEY_PLACE(type, field, as) _Generic(((type *)0)->field, as : offsetof(type, field))
#define KEY_IN(type, field, as, kind_, min_, max_, fallback_)                                      \
    .fate = KEY_HONOURED, .kind = (kind_), .at = KEY_PLACE(type, field, as), .min = (min_),        \
    .max = (max_), .fallback = (fallback_)
#define KEY_INT(type, field, min, max, fallback)                                                   \
    KEY_IN(type, field, int32_t, KEY_READ_INT, min, max, fallback)
#define KEY_COUNT(type, field, max, fallback)                                                      \
    KEY_IN(type, field, size_t, KEY_READ_COUNT, 1, max, fallback)
#define KEY_COUNT_OR_ZERO(type, field, max, fallback)                                              \
    KEY_IN(type, field, size_t, KEY_READ_COUNT, 0, max, fallback)
#define KEY_DOUBLE(type, field, min, max, fallback)                                                \
    KEY_IN(type, field, double, KEY_READ_DOUBLE, min, max, fallback)
#define KEY_FLOAT(type, field, min, max, fallback)                                                 \
    KEY_IN(type, field, float, KEY_READ_FLOAT, min, max, fallback)
#define KEY_BOOL(type, field, fallback) KEY_IN(type, field, bool, KEY_READ_BOOL, 0, 1, fallback)
#define KEY_STRING(type, field) KEY_IN(type, field, const char *, KEY_READ_STRING, 0, 0, 0)
// Of a KEY_REFUSED: the string that it lets pass.
#define KEY_PASSED_STRING(type, field)                                                             \
    .kind = KEY_READ_STRING, .at = KEY_PLACE(type, field, const char *)
#define KEY_NODE(type, field) KEY_IN(type, field, const cJSON *, KEY_READ_NODE, 0, 0, 0)
#define KEY_CHOICE(type, field, list, fallback_)                                                   \
    .fate = KEY_HONOURED, .kind = KEY_READ_CHOICE, .at = offsetof(type, field), .choices = (list), \
    .fallback = (fallback_)
#define KEY_EXPECT(want, why_)                                                                     \
    .fate = KEY_HONOURED, .kind = KEY_READ_EXPECT, .fallback = (want), .why = (why_)
#define KEY_EXPECT_ZERO(why_) .fate = KEY_HONOURED, .kind = KEY_READ_EXPECT_ZERO, .why = (why_)
#define KEY_WHEN(type, field) (1 + KEY_PLACE(type, field, bool))

// Reads what the table, and those that follow it but for those apart, say of a field, into the
// struct at `into`, whose type is the tables' own. A key is looked for in `first`, then in `second`
// (objects, or NULL). ERR_INVALID (type, range), ERR_UNSUPPORTED (choices): the key named.
enum err key_rules_read(const struct key_rules *t, const cJSON *first, const cJSON *second,
                        void *into, struct errmsg *msg) MUST_CHECK;

// For those who read a table from another kind of file (gguf_keys_read): whether `t`'s own fields
// are to be read, when the reading began at `head`; whether a rule's field is; putting a value
// there; the names of a rule's choices, ", " between them.
bool key_rules_are_read(const struct key_rules *head, const struct key_rules *t);
bool key_rule_is_read(const struct key_rule *r, const void *into);
void key_rule_put(const struct key_rule *r, double value, void *into);
const struct key_choice *key_rule_choose(const struct key_rule *r, const char *name, size_t n);
void key_rule_list_choices(const struct key_rule *r, char *out, size_t size);

// The rule for a key, NULL where it is unknown. t may be NULL: no rules.
const struct key_rule *key_rules_find(const struct key_rules *t, const char *name);

// Whether a value, written as in `neutral`, is one of those that a KEY_REFUSED lets pass.
bool key_rule_passes(const struct key_rule *r, const char *value);

// Refuses the first key whose value is not neutral: ERR_UNSUPPORTED naming key, value and what
// would pass. `root` is an object, or a list of objects; anything else has no keys.
enum err key_rules_check(const struct key_rules *t, const cJSON *root,
                         struct errmsg *msg) MUST_CHECK;

// Calls `see` for every key in order, with "outer.inner" names; a key of a list's objects once an
// object. `key` is valid during the call only. A refused key with a neutral value is without
// effect.
typedef void key_seen(void *ctx, const char *key, enum key_fate fate);
void key_rules_walk(const struct key_rules *t, const cJSON *root, key_seen *see, void *ctx);

// Gathers the unknown keys of one file for a warning; {0} at first. key_unknown_see is a key_seen
// whose ctx this is; key_unknown_warn logs one warning if there were any, naming `file` and the
// first of them. What is held is freed by buf_free(&names).
struct key_unknown {
    struct buf names; // ", " between them, each once
    size_t count;
};
void key_unknown_see(void *ctx, const char *key, enum key_fate fate);
void key_unknown_warn(const struct key_unknown *u, const char *file);
// Whether `key` is in a list of names with ", " between them; `names` may be NULL.
bool key_is_listed(const char *names, const char *key);

#endif
