// What the two generating dialects share: a request's fields, its choices, and their life from
// tokens to text. /v1/completions and /v1/chat/completions differ in where the prompt comes from
// and in how an answer is written (struct api_generate_shape).
// A request goes: prepare reads fields and prompts into choices (one generation each) -> start
// submits them -> the engine's progress and done post one front task, never more than one at a time
// -> it takes new tokens into text, writes a chunk of a stream, and after the last choice's end the
// rest of the answer.
// Thread rule: as request.h; the engine's callbacks touch `events` and `over` only.
#ifndef TRINE_SERVICE_API_GENERATE_GENERATE_H
#define TRINE_SERVICE_API_GENERATE_GENERATE_H

#include "engine/generation.h"
#include "engine/text_stream.h"
#include "engine/tool_calls.h"
#include "service/api/request.h"

struct api_generate;
enum { STOP_IDS_MAX = 64 };

// Where a token's text begins, in the text of its choice (an echoed prompt not counted).
struct api_token_start {
    uint32_t byte, chars;
};

struct api_choice {
    struct generation g; // ctx: the choice
    struct api_generate *owner;
    size_t index, prompt; // among the answer's choices; which prompt
    atomic_bool over;     // done was called
    size_t taken;         // tokens of the log that are in the text
    struct text_stream text;
    struct buf fresh;               // owned: text let out and not yet written
    size_t released;                // bytes let out so far
    struct api_token_start *starts; // [max_tokens] owned, where logprobs are wanted
    size_t told;                    // tokens whose logprobs were written
    bool begun, finished, closed;   // its first chunk was written; all its text taken; all written
    int64_t last_us;                // when its last token was seen
    struct tool_parser tools;
    struct buf calls;              // owned: the JSON of its tool calls, of a whole answer
    bool call_open;                // a call's arguments are being written
    struct grammar_state *grammar; // owned
};

// How an answer is written. All append to the buffer given; memory shows in its `failed`.
struct api_generate_shape {
    const char *id_prefix, *object, *chunk_object;
    const char *prompt_field; // of the body
    // One element of `choices` of the whole answer: c->fresh is all of its text.
    void (*choice)(struct api_choice *c, struct buf *out);
    // Chunks for what is fresh (c->finished: the last of them), and the one that ends the choice.
    void (*fresh)(struct api_choice *c, struct buf *out);
    void (*finish)(struct api_choice *c, bool last, struct buf *out);
};

struct api_generate {
    struct api_request *q;
    const struct api_generate_shape *shape;
    struct front_task task;
    // Events that the task has not answered yet, and above them, from bit 32, ended choices.
    atomic_uint_fast64_t events;
    atomic_bool quiet; // nothing was written for a while, and the task has not answered that yet
    bool streaming;    // the head of the stream was handed over
    size_t closed;     // choices whose last chunk was written

    struct api_texts prompts;
    struct text *prompt_texts;  // [prompts.seqs] owned, where `echo` asks for them
    struct buf prompt_bytes;    // owned, what prompt_texts borrows
    struct api_choice *choices; // [choice_count] owned
    size_t choice_count;

    // From the body.
    struct sampling sampling;
    struct logit_bias *bias; // owned
    struct text_stop_strings stops;
    int32_t stop_ids[STOP_IDS_MAX]; // tokens that stop it, too
    size_t stop_id_count;
    size_t n, max_tokens; // max_tokens: SIZE_MAX where the rest of the context is asked for
    size_t min_tokens;    // until there are so many, nothing that ends the text is drawn
    struct logit_bias *early_bias; // [early_count] owned: what is added to the logits until then
    size_t early_count;
    bool keep_special; // special tokens are text as any other
    bool max_tokens_given, stream, include_usage, ignore_eos, echo, logprobs;
    size_t top_logprobs;
    uint64_t nonce; // random, for ids

    // Structured output (structured.c).
    struct grammar *grammar;   // owned
    const char *grammar_param; // the parameter that it is of, and that in quotes
    char grammar_of[48];
    bool with_tools;     // `tools` is shown to the template, calls are parsed out of the text
    bool calls_or_form;  // an answer is calls alone, or text in its form and no call
    bool calls_only;     // an answer is calls
    struct buf warnings; // owned
    int64_t created_s;
    uint64_t request; // its number, for turns among requests
};

// --- generate.c ---

// Makes q->state and q->work. ERR_NOMEM.
enum err api_generate_new(struct api_request *q, const struct api_generate_shape *shape,
                          struct api_generate **out, struct api_error *err) MUST_CHECK;
// With prompts and fields there: checks lengths and makes the choices.
enum err api_generate_prepare(struct api_generate *g, struct api_error *err) MUST_CHECK;

// A grammar's own words, with the parameter that they are about.
enum err api_blame_grammar(enum err e, const char *param, struct api_error *err) MUST_CHECK;

// --- fields.c ---

// Reads all that the two dialects have in common. After api_know; needs q->model.
enum err api_generate_read(struct api_generate *g, struct api_error *err) MUST_CHECK;

// --- structured.c ---

// response_format, grammar, and (in chat) tools, tool_choice, parallel_tool_calls: g->grammar.
enum err api_structured_read(struct api_generate *g, bool chat, struct api_error *err) MUST_CHECK;

// --- chat_prompt.c ---

// The body's messages rendered by the model's chat template, appended to out.
enum err api_chat_render(struct api_generate *g, struct buf *out, struct api_error *err) MUST_CHECK;

// --- render.c ---

// `{"id":...,"object":...,"created":...,"model":...,"system_fingerprint":...` and a comma.
void api_put_head(const struct api_generate *g, const char *object, struct buf *out);
// "usage":{...} and "timings":{...}, valid when every choice has ended.
void api_put_usage(const struct api_generate *g, struct buf *out);
void api_put_timings(const struct api_generate *g, struct buf *out);
// "finish_reason":"..." of a choice that is over.
void api_put_finish(const struct api_choice *c, struct buf *out);
// How many of the taken tokens' logprobs may be written: those whose text has begun to come out.
size_t api_tokens_ready(const struct api_choice *c);
// The value of `logprobs` for tokens [c->told, upto): chat's {content} or completions' four arrays,
// the echoed prompt's tokens first where with_prompt. Moves c->told.
void api_put_chat_logprobs(struct api_choice *c, size_t upto, struct buf *out);
void api_put_completion_logprobs(struct api_choice *c, size_t upto, bool with_prompt,
                                 struct buf *out);

// The routes' prepare functions.
api_prepare_fn api_completions, api_chat_completions;

#endif
