// What a chat template is given, the same over HTTP and on the command line, and the same as
// transformers' apply_chat_template gives: messages, tools, documents (None), add_generation_prompt
// and the special tokens that the model has. Thread rule: pure function.
#ifndef TRINE_ENGINE_CHAT_VARIABLES_H
#define TRINE_ENGINE_CHAT_VARIABLES_H

#include "template/template.h"
#include "weights/generation_config.h"

enum { CHAT_VARIABLES = 8, CHAT_KWARGS_MOST = 24 };

// Writes at most CHAT_VARIABLES; returns how many. tools NULL: none. Everything is borrowed.
size_t chat_variables(const struct generation_config *c, const struct json_node *messages,
                      const struct json_node *tools, bool prompt_turn,
                      struct template_variable *out);
// Puts the members of `chat_template_kwargs` (an object of at most CHAT_KWARGS_MOST) behind the *n
// variables there are. Returns the name of one that is there already and may not be set, or NULL.
const char *chat_variables_add(const struct json_node *kwargs, struct template_variable *variables,
                               size_t *n);

#endif
