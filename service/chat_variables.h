// What a chat template is given, the same over HTTP and on the command line, and the same as
// transformers' apply_chat_template gives: messages, tools, documents (None), add_generation_prompt
// and the special tokens that the model has. Thread rule: pure function.
#ifndef TRINE_SERVICE_CHAT_VARIABLES_H
#define TRINE_SERVICE_CHAT_VARIABLES_H

#include "template/template.h"
#include "weights/generation_config.h"

enum { CHAT_VARIABLES = 8 };

// Writes at most CHAT_VARIABLES; returns how many. tools NULL: none. Everything is borrowed.
size_t chat_variables(const struct generation_config *c, const struct json_node *messages,
                      const struct json_node *tools, bool prompt_turn,
                      struct template_variable *out);

#endif
