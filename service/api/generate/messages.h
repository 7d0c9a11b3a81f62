// A body's messages in the one form that templates know: content a string, `developer` as system,
// arguments of calls as objects. Role: checks them and puts that form together out of the body's
// own nodes; what has no effect is remembered for x-warning. Thread rule: as request.h.
#ifndef TRINE_SERVICE_API_GENERATE_MESSAGES_H
#define TRINE_SERVICE_API_GENERATE_MESSAGES_H

#include "service/api/body.h"

// *out, a list of messages, borrows from the body; the caller frees it. ERR_INVALID,
// ERR_UNSUPPORTED: with the message's number; ERR_NOMEM.
enum err api_messages_make(struct api_body *body, struct json_tree **out,
                           struct api_error *err) MUST_CHECK;

#endif
