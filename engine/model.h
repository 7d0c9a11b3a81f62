// What a model is: tokenizer, shapes, and what its files say about length, prompts, pooling,
// labels, chat and sampling. Role: the engine's unit; everything above it asks here what a model
// can do. It has no weights and knows no device: those are a replica's (replica.h), which may be
// many or none. Thread rule: immutable after load, shared by all threads. Whoever keeps a pointer
// to a model beyond the call holds it (model_hold): it goes when the last one lets go.
#ifndef TRINE_ENGINE_MODEL_H
#define TRINE_ENGINE_MODEL_H

#include "compute/precision.h"
#include "engine/model_task.h"
#include "engine/replica_spec.h"
#include "engine/tool_form.h"
#include "grammar/grammar.h"
#include "pooling/pooler.h"
#include "template/template.h"
#include "tokenizer/tokenizer.h"
#include "weights/decoder_config.h"
#include "weights/generation_config.h"
#include "weights/model_config.h"
#include "weights/st_config.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

// --dtype. On the CPU: AUTO: a decoder's block types meet int8 activations and a generator's bf16
// weights bf16 ones where the CPU multiplies pairs of them; everything else is computed in f32.
// F32: f32 activations. STORED: those too, and an encoder's f16 and bf16 weights stay so in memory,
// where the others widen them; a decoder's always do. BF16, F16: as AUTO. On a device with matrix
// units for narrow floats: AUTO: in those that it has; BF16, F16: in these; F32, STORED: in f32.
enum model_dtype {
    MODEL_DTYPE_AUTO,
    MODEL_DTYPE_F32,
    MODEL_DTYPE_BF16,
    MODEL_DTYPE_F16,
    MODEL_DTYPE_STORED,
};

static inline enum compute_floats model_dtype_floats(enum model_dtype d) {
    return d == MODEL_DTYPE_AUTO   ? COMPUTE_DEVICE
           : d == MODEL_DTYPE_BF16 ? COMPUTE_BF16
           : d == MODEL_DTYPE_F16  ? COMPUTE_F16
                                   : COMPUTE_F32;
}
// Whether the CPU may round activations.
static inline bool model_dtype_rounds(enum model_dtype d) {
    return d != MODEL_DTYPE_F32 && d != MODEL_DTYPE_STORED;
}

struct model_options {
    const char *path;           // a model folder or a .gguf file
    const char *name;           // served name; NULL: the folder's name
    const char *const *aliases; // further names
    size_t alias_count;
    int task;                 // -1: the model's own; else an enum model_task it must be able to do
    bool to_embed, to_rerank; // what a model that would generate by itself does instead
    int pool_mode;            // -1: the folder's; else an enum pool_mode
    size_t max_length;        // 0: the folder's; it can only lower it
    enum model_dtype dtype;
    const char *chat_template; // a file, "chatml", or NULL: the model's own
};

struct model {
    struct model *self; // this model: what its holders may change through a const pointer
    uint64_t id;        // never another model's in this process; from 1
    atomic_size_t holds;
    // Where the transformer's own files lie: `path`, or a folder within it (modules.json). Owned.
    char *files;
    // What model_files_open gave, where a replica in another process is to read it; NULL: nothing.
    // Set before a replica is told of the model; owned.
    struct file_set *sources;
    char *name, *path;
    char **aliases; // [alias_count]
    size_t alias_count;
    enum model_task task;
    size_t max_length;          // tokens a sequence, specials included
    size_t dim;                 // floats in a result row: the vector's, or the number of labels
    struct model_config config; // of an encoder
    struct st_config st;
    struct tokenizer *tokenizer;
    bool causal;                // a decoder; else an encoder
    struct precision precision; // of its weights and activations
    // Of TASK_EMBED: what its pooler does, and what that is made from: the folder's modules with
    // this mode in their place (-1: theirs), or, where it has none, the mode alone.
    struct pooling_facts pooling;
    int pool_mode;
    bool pools_plainly;
    // Of a decoder.
    struct decoder_config decoder_config;
    struct generation_config generation;
    struct template *chat_template; // NULL: the model has none, or TASK_GENERATE is not its task
    struct template *tool_template; // for requests with tools; NULL: the same
    struct errmsg template_msg;     // why chat_template is NULL, or why tools are not shown though
                                    // there is a template for them; no path. ERR_OK: neither
    struct tool_form tool_form;     // how the template has tools called
    // Of a decoder's TASK_RERANK.
    int32_t yes_id, no_id;
    struct pair_frame *frame;            // pair_frame.h
    enum dtype dtype;                    // of most of the weights, as they are kept
    pthread_mutex_t grammar_mutex;       // guards grammar_vocab
    struct grammar_vocab *grammar_vocab; // by model_grammar_vocab
};

// The name that it will have, which is the caller's (mem_free). NULL: no memory.
char *model_served_name(const struct model_options *options);
// Reads everything but the weights, which replica_load does. The new model is held once, by the
// caller.
enum err model_load(const struct model_options *options, struct model **out,
                    struct errmsg *msg) MUST_CHECK;
// One more holder, who holds it already or got the pointer from one who does. Returns m.
struct model *model_hold(const struct model *m);
// One holder less; the last one's call frees the model. NULL is fine.
void model_release(const struct model *m);
const char *model_task_name(enum model_task t); // "embed", "rerank", "classify", "generate"
const char *
model_task_noun(enum model_task t); // the same with its article, before "model": "an embed"

// Where the transformer's files of a model folder lie; of a GGUF file that itself. *out is the
// caller's. ERR_INVALID (modules.json), ERR_NOMEM.
enum err model_find_files(const char *path, char **out, struct errmsg *msg) MUST_CHECK;

// The tokenizer of a model folder or a GGUF file alone; vocab: as tokenizer_load.
enum err model_load_tokenizer(const char *path, size_t vocab, struct tokenizer **out,
                              struct errmsg *msg) MUST_CHECK;

// The vocabulary as grammars want it, made at first need and then the model's. Any thread.
enum err model_grammar_vocab(const struct model *m, const struct grammar_vocab **out,
                             struct errmsg *msg) MUST_CHECK;
// What a replica must know of it. Everything that is pointed at is the model's. Asks the system
// what memory there is (memory_plan_begin); out->sources is
// the model's.
void model_spec(const struct model *m, struct replica_spec *out);
size_t model_vocab(const struct model *m);
size_t model_layers(const struct model *m);
const char *model_architecture(const struct model *m);
bool model_is_end(const struct model *m, int32_t id); // an end-of-generation token

#endif
