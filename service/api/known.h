// What a body's members mean on a route. Role: every route with a body has a table that says of
// each member whether the route reads it, whether it is another name of one that it reads, whether
// it is taken without effect, or that it would change the answer in a way that is not there; here
// is the one mechanism over these tables. What is in none is refused where the table is closed (the
// generating routes); else it is refused where its name tells of another answer, or ignored.
// Thread rule: tables are constant; the rest as api_request.h.
#ifndef TRINE_SERVICE_API_KNOWN_H
#define TRINE_SERVICE_API_KNOWN_H

#include "service/api/error.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

struct api_request;

enum api_fate {
    API_TAKEN,      // the route reads it: a value that it cannot use is 400, or named in x-warning
    API_OTHER_NAME, // of `means`, which the route reads
    API_QUIET,      // taken, without effect: it is about the sender, or about what is there anyway
    API_NO_EFFECT,  // the same, named in x-warning
    API_REFUSED,    // but for the harmless values
};

struct api_known {
    const char *name;
    enum api_fate fate;
    const char *means;
    const char *harmless; // of API_REFUSED: "false|1|[]", "[text]" for a list of one; NULL: none
    const char *instead;  // what to do, said behind the refusal; or NULL
};

// A table, and the one to be looked into behind it.
struct api_known_table {
    const struct api_known *rows;
    size_t count;
    const struct api_known_table *next;
    bool closed; // of the first: what is in none of them is refused, but for "", [] and {}
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
    { rows, sizeof(rows) / sizeof *(rows), next, false }
#define API_TABLE_CLOSED(rows, next)                                                               \
    { rows, sizeof(rows) / sizeof *(rows), next, true }

// What every encode and score route ends with: members that are read by all, and those of other
// routes and services that change an answer.
extern const struct api_known_table api_known_everywhere;
// The same behind what every route with a job of texts reads: how they are cut, and its priority.
extern const struct api_known_table api_known_jobs;
// What both generating routes end with (api_known_generate.c).
extern const struct api_known_table api_known_generate;

// Gives the request its table and checks the body by it, and the object `parameters` where the
// table reads one. ERR_UNSUPPORTED (status 400 in every dialect) names a member that would change
// the answer; ERR_INVALID two names of one member with two values.
enum err api_know(struct api_request *q, const struct api_known_table *table,
                  struct api_error *err) MUST_CHECK;

// Remembers for `x-warning` that `where` + name (a client's: shown if it may be) had no effect.
void api_ignore(struct api_request *q, const char *where, const char *name);

// The value sent for `key`, under its own name or another of the table's, in the body or its
// `parameters`; NULL: absent (or null). name, unless NULL: as it was sent, or key.
const cJSON *api_sent(const struct api_request *q, const char *key, const char **name);

#endif
