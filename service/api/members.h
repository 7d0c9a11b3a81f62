// What an object's members mean. Role: one form of table for the bodies of all routes and for the
// objects within them: it says of each member whether it is read, whether it is another name of one
// that is read, whether it is taken without effect, or that it would change the answer in a way
// that is not there; and what becomes of a member by it. Bodies have more to be looked at (body.h).
// Thread rule: tables are constant; pure functions.
#ifndef TRINE_SERVICE_API_MEMBERS_H
#define TRINE_SERVICE_API_MEMBERS_H

#include "base/json_node.h"

enum api_fate {
    API_TAKEN,      // the route reads it: a value that it cannot use is 400, or named in x-warning
    API_OTHER_NAME, // of `means`, which the route reads
    API_QUIET,      // taken, without effect: it is about the sender, or about what is there anyway
    API_NO_EFFECT,  // the same, named in x-warning
    API_REFUSED,    // but for the harmless values
};

struct api_member {
    const char *name;
    enum api_fate fate;
    const char *means;
    const char *harmless; // of API_REFUSED: "false|1|[]", "[text]" for a list of one; NULL: none
    const char *instead;  // what to do, said behind the refusal; or NULL
};

// A table, and the one to be looked into behind it.
struct api_members {
    const struct api_member *rows;
    size_t count;
    const struct api_members *next;
    bool closed; // of the first: what is in none of them is refused (of a body but for "", [] and
                 // {})
    const char *harmless; // of the first: values by which no member asks for anything; NULL: null
};

// clang-format off
#define API_READ(name) {name, API_TAKEN, NULL, NULL, NULL}
#define API_SAME(name, means) {name, API_OTHER_NAME, means, NULL, NULL}
#define API_IDLE(name) {name, API_QUIET, NULL, NULL, NULL}
#define API_IDLE_TOLD(name) {name, API_NO_EFFECT, NULL, NULL, NULL}
#define API_REFUSE(name, harmless, instead) {name, API_REFUSED, NULL, harmless, instead}
// clang-format on
// Rows of what tells that a body on a path of several jobs asks for generated text.
#define API_GENERATES "it is of TGI's generate: POST /v1/completions generates text"
#define API_REFUSE_GENERATING                                                                      \
    API_REFUSE("return_full_text", "", API_GENERATES), API_REFUSE("do_sample", "", API_GENERATES), \
        API_REFUSE("temperature", "", API_GENERATES), API_REFUSE("top_p", "", API_GENERATES),      \
        API_REFUSE("typical_p", "", API_GENERATES),                                                \
        API_REFUSE("repetition_penalty", "", API_GENERATES),                                       \
        API_REFUSE("frequency_penalty", "", API_GENERATES),                                        \
        API_REFUSE("best_of", "", API_GENERATES), API_REFUSE("stop", "[]", API_GENERATES),         \
        API_REFUSE("seed", "", API_GENERATES), API_REFUSE("details", "false", API_GENERATES),      \
        API_REFUSE("decoder_input_details", "false", API_GENERATES),                               \
        API_REFUSE("top_n_tokens", "0", API_GENERATES),                                            \
        API_REFUSE("watermark", "false", API_GENERATES), API_REFUSE("grammar", "", API_GENERATES), \
        API_REFUSE("min_new_tokens", "0", API_GENERATES),                                          \
        API_REFUSE("num_beams", "1", API_GENERATES),                                               \
        API_REFUSE("num_return_sequences", "1", API_GENERATES)
#define API_TABLE(rows, next)                                                                      \
    { rows, sizeof(rows) / sizeof *(rows), next, false, NULL }
#define API_TABLE_CLOSED(rows, next)                                                               \
    { rows, sizeof(rows) / sizeof *(rows), next, true, NULL }
// An open one within a body; harmless: what asks for nothing as any member.
#define API_TABLE_OPEN(rows, next, harmless)                                                       \
    { rows, sizeof(rows) / sizeof *(rows), next, false, harmless }

// What every encode and score route ends with: members that are read by all, and those of other
// routes and services that change an answer.
extern const struct api_members api_members_everywhere;
// The same behind what every route with a job of texts reads: how they are cut, and its priority.
extern const struct api_members api_members_jobs;
// What both generating routes end with (generate/members.c).
extern const struct api_members api_members_generate;

// The row of this name, in the table or one behind it; NULL: none has it.
const struct api_member *api_member_find(const struct api_members *table, const char *name);
// The row whose name is another spelling (camelCase, dashes) of this one.
const struct api_member *api_member_spelled(const struct api_members *table, const char *name);
// Whether a value is among those of "false|1|[]".
bool api_member_harmless(const struct json_node *value, const char *words);
// What becomes of member m of an object by its table: API_QUIET for a null and a harmless value;
// where no row has it (*row NULL) API_REFUSED of a closed table, else API_NO_EFFECT.
enum api_fate api_member_fate(const struct api_members *table, const struct json_node *m,
                              const struct api_member **row);

#endif
