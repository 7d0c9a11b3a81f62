// Answers of a generator on the command line. Role: what generate and chat share: the options that
// say how an answer is drawn and what its text must follow, and the way from a prompt's tokens to
// text on stdout as it comes. Thread rule: main thread; the engine's callbacks only signal.
#ifndef TRINE_CLI_ANSWER_H
#define TRINE_CLI_ANSWER_H

#include "cli/engine.h"
#include "cli/sink.h"
#include "engine/text_stream.h"

#include <pthread.h>

struct cli_answers {
    const struct cli_options *o;
    struct scheduler *scheduler; // borrowed from the engine, as the model
    struct model *model;
    struct text_stop_strings stops;
    struct grammar *grammar; // owned; NULL: none
    struct sampling sampling;
    pthread_mutex_t mutex;
    pthread_cond_t cond; // the log has grown, or is over
};

// Reads from the options what needs no model: --seed, --stop, --grammar, --json-schema. *exit_code
// on failure: 2 when the options themselves are wrong. Call cli_answers_free in any case.
enum err cli_answers_init(struct cli_answers *a, const struct cli_options *o, int *exit_code,
                          struct errmsg *msg) MUST_CHECK;
// Then, with the generator loaded: what the options leave open in the sampling is the model's.
void cli_answers_use(struct cli_answers *a, const struct cli_engine *engine);
void cli_answers_free(struct cli_answers *a);

struct cli_answer {
    struct buf text; // owned: all that was written, where `keep` was asked for
    bool interrupted;
    bool line_open; // what was written last was no line end
    enum generation_end end;
    size_t prompt_tokens, cached_tokens, new_tokens, drafted, accepted;
    double prompt_s, answer_s; // until the first token; from there to the last
};

// Writes what the model says behind the prompt to `out` as it comes, in whole characters, flushed
// each time. An interrupt ends it (interrupted, ERR_OK). ERR_INVALID: the prompt fills the context;
// ERR_IO: `out` cannot be written; and the engine's own errors.
enum err cli_answer_give(struct cli_answers *a, const int32_t *prompt, size_t prompt_len, bool keep,
                         struct sink *out, struct cli_answer *answer,
                         struct errmsg *msg) MUST_CHECK;
// One line on stderr.
void cli_answer_sum_up(const struct cli_answer *w);
void cli_answer_free(struct cli_answer *answer);

// Writes the tokens of a text to `out`. ERR_INVALID: there are none.
enum err cli_answers_encode(const struct cli_answers *a, struct text text, bool add_special_tokens,
                            struct encoding *out, struct errmsg *msg) MUST_CHECK;

#endif
