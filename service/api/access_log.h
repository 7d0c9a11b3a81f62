// What becomes known of an answered request: its line in the log and its counts by route and by
// model. Role: one place that says both, so that they agree; it shows names, sizes and times, never
// a text, a header or a key.
// Probes and metrics are logged at debug, failures of ours (500 and above, but for a deadline) at
// warn, every other answer at info.
// Thread rule: any thread.
#ifndef TRINE_SERVICE_API_ACCESS_LOG_H
#define TRINE_SERVICE_API_ACCESS_LOG_H

#include "service/api/error.h"
#include "service/service.h"

struct keys_key;

struct api_access {
    const struct http_request *http;
    int route; // api_route_index
    bool probe;
    int status;
    int64_t total_us;
    const struct api_error *error; // NULL: none
    const struct keys_key *key;    // NULL: none asked, or none that is ours
    const struct model *model;     // NULL: it did not come to that
    bool stream;
    size_t tokens_in, tokens_cached, tokens_out, truncated;
    int64_t tokenize_us, queue_us, compute_us;
};

void api_access_note(const struct service *s, const struct api_access *a);

#endif
