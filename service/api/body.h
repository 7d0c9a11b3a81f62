// A request's body: its one tree, and what its members mean on the route. What is in no table of
// the route is refused where the table is closed (the generating routes); else it is refused where
// its name tells of another answer, or ignored. Role: the mechanism over the tables of members.h.
// Thread rule: one owner.
#ifndef TRINE_SERVICE_API_BODY_H
#define TRINE_SERVICE_API_BODY_H

#include "base/buf.h"
#include "base/json_tree.h"
#include "service/api/error.h"
#include "service/api/members.h"

struct api_body {
    struct json_tree *tree;       // owned; NULL: there is none, or it was let go
    const struct json_node *root; // an object, once it was parsed
    // By api_body_check: its table, whether a member stands under another name that it has, and an
    // object in the body that holds more members (or NULL).
    const struct api_members *members;
    bool renamed;
    const struct json_node *parameters;
    struct buf ignored; // owned; by api_body_ignore: names, ", " between them
};

// Gives the body its table and checks it by that, and the object `parameters` where the table reads
// one; *unused: how many members are taken without effect. ERR_UNSUPPORTED (status 400 in every
// dialect) names a member that would change the answer; ERR_INVALID two names of one member with
// two values.
enum err api_body_check(struct api_body *b, const struct api_members *table, size_t *unused,
                        struct api_error *err) MUST_CHECK;

// Remembers for `x-warning` that `where` + name (a client's: shown if it may be) had no effect.
void api_body_ignore(struct api_body *b, const char *where, const char *name);

// The value sent for `key`, under its own name or another of the table's, in the body or its
// `parameters`; NULL: absent (or null). name, unless NULL: as it was sent, or key.
const struct json_node *api_body_sent(const struct api_body *b, const char *key, const char **name);

// A name of the client's if it may stand in a message (short, plain ASCII), else "?".
const char *api_shown_name(const char *name);

#endif
