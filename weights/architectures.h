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
// The same of a whole config.json, whose model_type may not be another arch's: transformers goes by
// that, and would make another model of such a file. ERR_INVALID too where root is no object.
enum err architectures_read(const struct architectures *all, const cJSON *root,
                            const struct architecture **out, struct errmsg *msg) MUST_CHECK;

// The first name that 'architectures' has; "": none.
const char *architectures_name(const cJSON *root);

extern const struct key_rules architecture_keys; // the two

#endif
