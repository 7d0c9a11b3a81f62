// The inside of the schema compiler, shared by its files: schema.c (what a schema is and which
// keywords it has), schema_values.c (const, enum, strings, numbers), schema_object.c and
// schema_array.c.
#ifndef TRINE_GRAMMAR_SCHEMA_H
#define TRINE_GRAMMAR_SCHEMA_H

#include "base/buf.h"
#include "grammar/json_rules.h"

struct schema_path { // where a schema stands, from the leaf up
    const struct schema_path *up;
    const char *key; // NULL: index
    size_t len, index;
    bool pointer; // key is a JSON pointer without its first slash
};

enum schema_type { // bits
    SCHEMA_NULL = 1,
    SCHEMA_BOOLEAN = 2,
    SCHEMA_INTEGER = 4,
    SCHEMA_NUMBER = 8,
    SCHEMA_STRING = 16,
    SCHEMA_ARRAY = 32,
    SCHEMA_OBJECT = 64,
};

enum schema_keyword {
    SCHEMA_KEY_REF,
    SCHEMA_KEY_CONST,
    SCHEMA_KEY_ENUM,
    SCHEMA_KEY_ANY_OF,
    SCHEMA_KEY_TYPE,
    SCHEMA_KEY_PROPERTIES, // this and what follows hold for one type each
    SCHEMA_KEY_REQUIRED,
    SCHEMA_KEY_ADDITIONAL,
    SCHEMA_KEY_ITEMS,
    SCHEMA_KEY_PREFIX_ITEMS,
    SCHEMA_KEY_MIN_ITEMS,
    SCHEMA_KEY_MAX_ITEMS,
    SCHEMA_KEY_MIN_LENGTH,
    SCHEMA_KEY_MAX_LENGTH,
    SCHEMA_KEY_MINIMUM,
    SCHEMA_KEY_MAXIMUM,
    SCHEMA_KEY_FORMAT,
    SCHEMA_KEYWORDS, // how many there are; the one behind is read by references only
    SCHEMA_KEY_DEFS,
};

struct schema_at { // one schema being compiled
    const struct json_node *node;
    const struct json_node *key[SCHEMA_KEYWORDS]; // NULL: absent
    const struct schema_path *path;
};

struct schema_pending { // a schema that is a rule: a $ref's target, an array's item
    const struct json_node *node;
    uint32_t rule;
    char *where; // owned
};

struct schema {
    struct json_rules j;
    const struct json_node *root;
    struct buf *warnings; // may be NULL
    uint32_t levels;      // containers open around the schema at hand, in its rule
    struct schema_pending *rules;
    size_t n_rules, cap_rules, compiled;
    const char *base; // where the rule at hand stands, for messages
    size_t looks;     // members gone through in search of a name, a reference's target or a rule
};
// Limits searches: a request can hold so many names and references that searching all of them for
// each takes minutes. This many steps are tenths of a second, and are enough for 3,000 references
// to 3,000 definitions.
enum { SCHEMA_LOOKS_MAX = 1 << 24 };

// Counts a search through n members; false when all searches together go too far, and after an
// error.
bool schema_look(struct schema *s, size_t n);

// Makes nodes for the schema at `node` that go on at `next`. After an error, node 0.
uint32_t schema_compile(struct schema *s, const struct json_node *node,
                        const struct schema_path *path, uint32_t next);
// A call of the rule that `node` becomes; a NULL node stands for any value.
uint32_t schema_call(struct schema *s, const struct json_node *node, const struct schema_path *path,
                     uint32_t next);
// The rule itself, compiled later.
uint32_t schema_rule(struct schema *s, const struct json_node *node,
                     const struct schema_path *path);
// Fails with the message `what` and the place of the schema, "#/properties/a".
uint32_t schema_wrong(struct schema *s, enum err code, const struct schema_path *path,
                      const char *fmt, ...) PRINTF_LIKE(4, 5);
const char *schema_keyword_name(enum schema_keyword k);
// Reads a count (minItems and the like) into *out, which stays as it is when the member is absent;
// false after an error.
bool schema_count(struct schema *s, const struct schema_at *at, enum schema_keyword k,
                  uint32_t *out);

uint32_t schema_object(struct schema *s, const struct schema_at *at, uint32_t next);
uint32_t schema_array(struct schema *s, const struct schema_at *at, uint32_t next);
uint32_t schema_string(struct schema *s, const struct schema_at *at, uint32_t next);
uint32_t schema_integer(struct schema *s, const struct schema_at *at, uint32_t next);
// const and enum: the values among them that are of `types`.
uint32_t schema_choice(struct schema *s, const struct schema_at *at, unsigned types, uint32_t next);

// Compiles `root` and the rules that it needs into s, whose j is begun; `levels` containers are
// open around it.
uint32_t schema_build(struct schema *s, const struct json_node *root, uint32_t levels,
                      uint32_t next);
void schema_end(struct schema *s); // of what schema_build left; not j

#endif
