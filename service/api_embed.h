// What every embedding dialect shares: the fields that say how a vector is made and written, and
// the way from inputs to vectors. Thread rule: as api_request.h.
#ifndef TRINE_SERVICE_API_EMBED_H
#define TRINE_SERVICE_API_EMBED_H

#include "service/api_request.h"
#include "service/render.h"

// The state of an embedding request (api_request.state).
struct api_embed {
    size_t dimensions; // of the answer
    bool normalize;
    enum vector_form forms[VECTOR_FORMS]; // in the order asked for
    size_t form_count;
    bool by_type; // forms were asked for as a list: the answer names them
    size_t extra; // the dialect's own
};

// Makes q->state and reads `dimensions` (or dimensions_key), `normalize`, `embedding_type(s)`.
// Needs q->model.
enum err api_embed_read(struct api_request *q, const char *dimensions_key, struct api_embed **out,
                        struct api_error *err) MUST_CHECK;
// Reads `truncate`, its direction and the prompt, encodes the inputs and makes the job.
enum err api_embed_submit(struct api_request *q, const struct text_inputs *inputs, bool truncate,
                          api_render_fn *render, struct api_error *err) MUST_CHECK;
// In render: row i as asked for, sliced and renormalised, written in this form.
void api_embed_put(struct api_request *q, size_t i, enum vector_form form);

// The routes' prepare functions.
api_prepare_fn api_openai_embeddings, api_tei_embed, api_tei_similarity, api_cohere_embed_v1,
    api_cohere_embed_v2;

#endif
