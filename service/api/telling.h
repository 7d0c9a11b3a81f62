// Names that tell what they ask for, whatever service they come from. Role: of a member that no
// table of an open route has, whether its name speaks of another answer, or of what holds
// parameters. Thread rule: pure functions.
#ifndef TRINE_SERVICE_API_TELLING_H
#define TRINE_SERVICE_API_TELLING_H

#include <stdbool.h>

struct api_telling {
    const char *part;     // of a name
    const char *harmless; // values that ask for what is done anyway, as in struct api_member
    bool word;            // whole words of the name only: a "model" is no "mode"
};

// What the name tells of; NULL: nothing.
const struct api_telling *api_telling_find(const char *name);
// Whether the name is one for an object of parameters.
bool api_telling_holder(const char *name);
// Whether two names differ in case and in what joins their words at most.
bool api_telling_same(const char *a, const char *b);

#endif
