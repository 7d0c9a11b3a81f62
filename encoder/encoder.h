// The bidirectional encoder: BertModel and DistilBertModel as data over one forward pass.
// Role: binds weights to a device and runs ragged batches to hidden states. No tokenizing, no
// pooling, no threads of its own.
// Source followed: transformers modeling_bert.py BertModel, modeling_distilbert.py DistilBertModel.
// Thread rule: immutable after load; the device's driving thread runs it. Two forwards may be in
// progress on one thread (an urgent one inside between_layers), each with its own workspace.
#ifndef TRINE_ENCODER_ENCODER_H
#define TRINE_ENCODER_ENCODER_H

#include "compute/batch.h"
#include "compute/device.h"
#include "weights/model_config.h"
#include "weights/weights.h"

struct encoder;

// The weights may be closed afterwards. ERR_UNSUPPORTED: heads larger than the device takes; else
// as weights_take and weight_prepare.
enum err encoder_load(struct weights *w, const struct model_config *config,
                      struct precision precision, struct device *d, struct encoder **out,
                      struct errmsg *msg) MUST_CHECK;
void encoder_free(struct encoder *e); // NULL is fine
size_t encoder_weight_bytes(const struct encoder *e);

// The workspace that a forward of at most this many tokens takes.
size_t encoder_workspace_bytes(const struct encoder *e, size_t tokens);

// Hidden states of the last layer, [N, D], in ws. Failures are the device's (device_sync); where ws
// was too small, or a pause ended it, data is NULL, which pooling passes on.
// Positions lie below max_positions, ids below V, type ids below type_vocab: the caller checked.
struct mat encoder_forward(const struct encoder *e, const struct batch *b, struct arena *ws,
                           const struct forward_hooks *hooks);

// BertPooler's dense layer, whose tanh over the first token a classification head reads. Bound here
// because it carries the encoder's prefix; NULL where the architecture has no such head.
const struct weight *encoder_pooler_weight(const struct encoder *e);

#endif
