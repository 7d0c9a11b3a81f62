// The two kinds of model. Role: shared by the files that load one. Each fills what model.h says of
// its kind, and m->config's or m->decoder_config's part of the limits; names are set.
#ifndef TRINE_ENGINE_MODEL_INTERNAL_H
#define TRINE_ENGINE_MODEL_INTERNAL_H

#include "engine/model.h"

enum err model_load_encoder(struct model *m, const struct model_options *o,
                            struct errmsg *msg) MUST_CHECK;
enum err model_load_decoder(struct model *m, const struct model_options *o,
                            struct errmsg *msg) MUST_CHECK;
// Logit differences yes - no, [S, 1] in ws, of a decoder's TASK_RERANK.
struct mat model_yes_no(const struct model *m, struct mat hidden, const struct batch *b,
                        struct arena *ws);
// The workspace bytes of the two, beside the decoder's own.
size_t model_yes_no_bytes(const struct model *m, size_t seqs);

// ERR_TOO_LARGE when the weights do not fit into what memory there is; f32: what the file has as
// shorter floats is kept as f32 (blocks stay as they are).
struct weights;
enum err model_check_room(const struct model *m, const struct weights *w, bool f32,
                          struct errmsg *msg) MUST_CHECK;

#endif
