// GET from the hub, on libcurl: redirects, retries, resuming, verifying. Role: the one place that
// knows libcurl. It knows nothing of repositories beyond the words of its errors.
//
// What it holds to:
// - The token goes to the endpoint's own scheme, host and port, and to no other: redirects are
//   followed here, hop by hop, not by libcurl. At most 10 of them, to http and https only, never
//   from https to http.
// - A part is resumed with Range. It is named after the content's hash by the caller, so If-Range
//   has nothing to add; an answer whose Content-Range is not what was asked for, 416, or a 200 in
//   place of 206 starts the file anew.
// - Connection loss, 408, 429 and 5xx are tried again, 5 times in a row without a byte gained,
//   0.5 s to 8 s apart or as Retry-After says (at most 60 s). A hub that was never reached is not
//   tried again: connecting has 10 s, and a transfer that stands still ends after 30 s.
// Thread rule: a session belongs to one thread; the first one is opened before other threads start
// (curl_global_init).
#ifndef TRINE_HUB_FETCH_H
#define TRINE_HUB_FETCH_H

#include "base/buf.h"
#include "base/err.h"
#include "hub/count.h"
#include "hub/plan.h"

#include <stdatomic.h>

struct hub_session;

struct hub_session_options {
    const char *endpoint;    // "https://huggingface.co", no slash at its end
    const char *token;       // NULL or "": none
    const char *repo;        // for messages
    struct hub_count *count; // never NULL
    const atomic_bool *stop; // set by a signal: ends what runs; may be NULL
};

// Everything in options is borrowed until close. ERR_INVALID: endpoint or token.
enum err hub_session_open(const struct hub_session_options *options, struct hub_session **out,
                          struct errmsg *msg) MUST_CHECK;
void hub_session_close(struct hub_session *s);

// Appends text, percent-encoded for a path; a '/' stays when keep_slashes.
void hub_escape(struct buf *out, const char *text, bool keep_slashes);

// GETs endpoint + path and appends the body, at most max bytes, to *out. ERR_NOT_FOUND for 401, 403
// and 404, with the reason in words (*no_revision, may be NULL: the reason is that the repository
// has no such revision); ERR_IO when the hub cannot be reached; ERR_CANCELLED.
enum err hub_fetch_text(struct hub_session *s, const char *path, size_t max, struct buf *out,
                        bool *no_revision, struct errmsg *msg) MUST_CHECK;

// GETs endpoint + path into the file `part`, going on where that ends. ERR_OK: it holds exactly the
// content that `file` describes, and is synced. ERR_INVALID: it had another hash, and is deleted.
// After every other error the bytes that have come stay, to be resumed.
enum err hub_fetch_file(struct hub_session *s, const char *path, const struct hub_file *file,
                        const char *part, struct errmsg *msg) MUST_CHECK;

#endif
