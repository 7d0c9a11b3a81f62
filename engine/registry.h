// The models that are served, by name. Role: who is found under which name, and in which order they
// are listed; models come and go while others are looked up. It loads nothing and computes nothing.
// A name is a model's own or an alias, with or without the tag ":latest".
// Thread rule: any thread. One mutex guards the list; it is held for a walk over it, never while a
// model is loaded, freed or waited for, and no other lock is taken under it. What a lookup returns
// is held for the caller (model_release), so a model that is removed meanwhile stays whole.
#ifndef TRINE_ENGINE_REGISTRY_H
#define TRINE_ENGINE_REGISTRY_H

#include "engine/model.h"

struct registry;

enum err registry_new(struct registry **out, struct errmsg *msg) MUST_CHECK; // ERR_NOMEM
void registry_free(struct registry *r); // lets go of its models; NULL is fine

// Whether models of these options may come, before they are loaded, which may take minutes: their
// names can be shown, and none is another's, of these or of those that are there. ERR_INVALID,
// ERR_NOMEM.
enum err registry_check_names(struct registry *r, const struct model_options *options, size_t n,
                              struct errmsg *msg) MUST_CHECK;
// From here on the model is found; the registry holds it. ERR_INVALID: a name is taken, ERR_NOMEM.
enum err registry_add(struct registry *r, const struct model *m, struct errmsg *msg) MUST_CHECK;
// From here on no lookup finds it, and the registry does not hold it. False: it was not there.
bool registry_remove(struct registry *r, const struct model *m);

// The model called so, a name as it is before one without its tag; NULL: none.
struct model *registry_find(struct registry *r, const char *name);
// Whether one is called exactly so.
bool registry_has(struct registry *r, const char *name);
// The first loaded one of this task; NULL: none.
struct model *registry_first(struct registry *r, enum model_task task);

// For a walk over all of them in the order of their loading: lets go of `m` and returns the next
// one, held; NULL for the first one, and at the end. What comes or goes meanwhile may be seen or
// not, nothing is seen twice.
struct model *registry_next(struct registry *r, struct model *m);
size_t registry_count(struct registry *r);

#endif
