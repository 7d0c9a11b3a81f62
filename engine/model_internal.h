// The two kinds of model. Role: shared by the files that load one. Each fills what model.h says of
// its kind, and m->config's or m->decoder_config's part of the limits; names are set.
#ifndef TRINE_ENGINE_MODEL_INTERNAL_H
#define TRINE_ENGINE_MODEL_INTERNAL_H

#include "engine/model.h"

enum err model_load_encoder(struct model *m, const struct model_options *o,
                            struct errmsg *msg) MUST_CHECK;
enum err model_load_decoder(struct model *m, const struct model_options *o,
                            struct errmsg *msg) MUST_CHECK;
// Sets m->dtype: what its files keep most matrices as. Of the weights nothing else is read here.
enum err model_find_dtype(struct model *m, struct errmsg *msg) MUST_CHECK;

#endif
