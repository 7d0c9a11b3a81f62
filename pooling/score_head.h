// From hidden states to the logits of a classification head, one row per sequence.
// Role: binds the head's tensors and applies them through the device table.
// Source followed: transformers BertForSequenceClassification, DistilBertForSequenceClassification.
// Thread rule: immutable after load; the device's driving thread applies it.
#ifndef TRINE_POOLING_SCORE_HEAD_H
#define TRINE_POOLING_SCORE_HEAD_H

#include "compute/batch.h"
#include "compute/device.h"
#include "weights/model_config.h"
#include "weights/weights.h"

struct score_head;

// classifier (+ pooler or pre_classifier). pooler_weight: encoder_pooler_weight, NULL for none.
enum err score_head_load(struct weights *w, const struct model_config *config,
                         const struct weight *pooler_weight, struct device *d,
                         struct score_head **out, struct errmsg *msg) MUST_CHECK;
void score_head_free(struct score_head *h); // NULL is fine
size_t score_head_workspace_bytes(const struct score_head *h, size_t seqs);
// Raw logits [S, labels] in ws.
struct mat score_head_apply(const struct score_head *h, struct mat hidden, const struct batch *b,
                            struct arena *ws);

#endif
