// What is done with each key of a model's files. Role: one table for each kind of file says of
// every key that files of that kind carry whether it is honoured, without effect here, or refused
// unless it has a value that changes nothing; so that no key that changes numbers is passed over in
// silence. A key in no table is unknown: the service names it in its log, `trine inspect` lists it.
// The tables stand beside the code that reads the file (model_config.c, tokenizer/, pooling/);
// those who read call key_rules_check, those who list call key_rules_walk. JSON files and GGUF
// metadata alike (key_rules_find). Thread rule: pure functions over constant tables.
#ifndef TRINE_WEIGHTS_KEY_RULES_H
#define TRINE_WEIGHTS_KEY_RULES_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

enum key_fate {
    KEY_HONOURED,  // read by the table's owner, which does what it says or refuses its value
    KEY_NO_EFFECT, // read by nobody: it changes no result at inference, or not what is done here
    KEY_REFUSED,   // would change results in a way that is not done here
    KEY_UNKNOWN,   // in no table
};

struct key_rules;

struct key_rule {
    const char *name; // one that ends in '*' stands for every key that begins so
    enum key_fate fate;
    // KEY_REFUSED: values as JSON scalars, {} or [], with '|' between them, that change nothing,
    // and so pass ("false|0|\"absolute\""). null passes always. NULL: no other value passes.
    const char *neutral;
    // For a value that is an object, or a list of objects: the rules of its members, which are
    // named "key.member". NULL: what is within is the owner's business.
    const struct key_rules *inner;
};

struct key_rules {
    const struct key_rule *rules; // the first that fits counts
    size_t count;
    const struct key_rules *more; // asked when none fits; NULL: none
};

#define KEY_RULES(list) .rules = (list), .count = sizeof(list) / sizeof *(list)

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
