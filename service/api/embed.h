// What every embedding dialect shares: the fields that say how a vector is made and written, and
// the way from inputs to vectors. Thread rule: as request.h.
#ifndef TRINE_SERVICE_API_EMBED_H
#define TRINE_SERVICE_API_EMBED_H

#include "service/api/request.h"
#include "service/api/vectors.h"

// The state of an embedding request (api_request.state).
struct api_embed {
    size_t dimensions; // of the answer
    bool normalize;
    enum api_vector forms[API_VECTOR_FORMS]; // in the order asked for
    size_t form_count;
    bool by_type; // forms were asked for as a list: the answer names them
    bool packed;  // each form but as base64 of its bytes
    bool dict;    // forms were asked for by Mixedbread's name: the answer's objects say so
    size_t extra; // the dialect's own
};

// What every embedding route reads.
extern const struct api_members api_members_embed;

// Makes q->state and reads `dimensions`, `normalize`, `embedding_type(s)`. Needs q->model.
enum err api_embed_read(struct api_request *q, struct api_embed **out,
                        struct api_error *err) MUST_CHECK;
// Adds the form that a string names, or each of a list of them. key names the field in errors.
enum err api_embed_add_forms(struct api_embed *e, const struct json_node *value, const char *key,
                             struct api_error *err) MUST_CHECK;
// Reads `truncate`, its direction and the prompt, encodes the inputs and makes the job. max_tokens:
// of a text, special ones not counted; 0: what the model takes.
enum err api_embed_submit(struct api_request *q, const struct api_inputs *inputs, bool truncate,
                          size_t max_tokens, api_render_fn *render,
                          struct api_error *err) MUST_CHECK;
// In render: row i as asked for, sliced and renormalised, written in this form.
void api_embed_put(struct api_request *q, size_t i, enum api_vector form);

// The routes' prepare functions.
api_prepare_fn api_openai_embeddings, api_tei_embed, api_tei_similarity, api_cohere_embed_v1,
    api_cohere_embed_v2;

#endif
