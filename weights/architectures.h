// Which architecture config.json names. Role: 'architectures' and 'model_type' looked up in a table
// of those that a reader knows (model_config.c's encoders, decoder_config.c's decoders). Thread
// rule: pure functions.
#ifndef TRINE_WEIGHTS_ARCHITECTURES_H
#define TRINE_WEIGHTS_ARCHITECTURES_H

#include "weights/key_rules.h"

struct architecture {
    const char *name;       // in 'architectures'
    const char *model_type; // what model_type has for it, where the file names no architecture, and
                            // for all others of its arch; NULL in those
    int arch, head;         // the reader's own enums
};

struct architectures {
    const struct architecture *list;
    size_t count;
    const char *names, *types; // what messages say is supported
};

// ERR_INVALID (neither key, a wrong type), ERR_UNSUPPORTED.
enum err architectures_find(const struct architectures *all, const cJSON *root,
                            const struct architecture **out, struct errmsg *msg) MUST_CHECK;
// Refuses a model_type of another arch than `a`: transformers goes by it, and would make another
// model of such a file.
enum err architectures_check_type(const struct architectures *all, const struct architecture *a,
                                  const cJSON *root, struct errmsg *msg) MUST_CHECK;

// The first name that 'architectures' has; "": none.
const char *architectures_name(const cJSON *root);

extern const struct key_rules architecture_keys; // the two

#endif
