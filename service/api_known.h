// What a body's members mean on a route. Role: an encode or score route has a table that says of
// each member whether the route reads it, whether it is another name of one that it reads, or that
// it would change the answer in a way that is not there; here is the one mechanism over these
// tables. What is in none and has no telling name is ignored and counted.
// Thread rule: tables are constant; the rest as api_request.h.
#ifndef TRINE_SERVICE_API_KNOWN_H
#define TRINE_SERVICE_API_KNOWN_H

#include "service/api_error.h"

#include <cjson/cJSON.h>
#include <stdbool.h>

struct api_request;

struct api_known {
    const char *name;
    const char *means;    // another name of this member; NULL: it is its own
    const char *harmless; // refused but for these values ("false|1|[]"); NULL: taken
    const char *instead;  // what to do, said behind the refusal; or NULL
};

// A table, and the one to be looked into behind it.
struct api_known_table {
    const struct api_known *rows;
    size_t count;
    const struct api_known_table *next;
};

// Rows: read by the route; taken, without effect; another name; refused unless harmless.
// clang-format off
#define API_READ(name) {name, NULL, NULL, NULL}
#define API_IDLE(name) {name, NULL, NULL, NULL}
#define API_SAME(name, means) {name, means, NULL, NULL}
#define API_REFUSE(name, harmless, instead) {name, NULL, harmless, instead}
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
    { rows, sizeof(rows) / sizeof *(rows), next }

// What every encode and score route ends with: members that are read by all, and those of other
// routes and services that change an answer.
extern const struct api_known_table api_known_everywhere;
// The same behind what every route with a job of texts reads: how they are cut, and its priority.
extern const struct api_known_table api_known_jobs;

// Gives the request its table and checks the body by it, and the object `parameters` where the
// table reads one. ERR_UNSUPPORTED (status 400 in every dialect) names a member that would change
// the answer; ERR_INVALID two names of one member with two values.
enum err api_know(struct api_request *q, const struct api_known_table *table,
                  struct api_error *err) MUST_CHECK;

// The value sent for `key`, under its own name or another of the table's, in the body or its
// `parameters`; NULL: absent (or null). name, unless NULL: as it was sent, or key.
const cJSON *api_sent(const struct api_request *q, const char *key, const char **name);

#endif
