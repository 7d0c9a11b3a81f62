// The two halves of `trine chat`: a conversation, and the rendering of one from a file.
// Thread rule: main thread.
#ifndef TRINE_CLI_CHAT_H
#define TRINE_CLI_CHAT_H

#include "cli/options.h"

// Prints what the chat template makes of o->render, byte for byte; no weights are read.
enum err cli_chat_render(const struct cli_options *o, struct errmsg *msg) MUST_CHECK;

#endif
