// See api_generate.h: which members a generating body may have. What would change the text and is
// not there is refused by name; what an official server or a common client's own server takes, and
// could not change the text here, is accepted, with a word in `x-warning` where it asked for
// something.
#include "service/api_generate.h"

#include "service/metrics.h"

#include <string.h>

// Read by api_generate_fields.c and api_structured.c on both routes; some are other servers' names.
static const char *const common[] = {
    "model",
    "max_tokens",
    "n_predict",
    "max_new_tokens",
    "num_predict",
    "min_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "n",
    "seed",
    "random_seed",
    "stop",
    "stop_sequences",
    "stop_token_ids",
    "stream",
    "stream_options",
    "logprobs",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "repeat_penalty",
    "repeat_last_n",
    "ignore_eos",
    "skip_special_tokens",
    "add_special_tokens",
    "response_format",
    "grammar",
    "json_schema",
    "guided_json",
    "guided_grammar",
    "guided_choice",
    "structured_outputs",
};

// About the sender and not about the text: no word is lost on them.
static const char *const silent[] = {
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "parallel_tool_calls", // without effect where there are no tools: chat knows it itself
};

// Whatever they say, the text is the same: what they set is not there, or is there in any case.
static const char *const without_effect[] = {
    // OpenAI
    "reasoning_effort",
    "verbosity",
    "prompt_cache_retention",
    "prediction",
    // Anthropic's, DeepSeek's, OpenRouter's and gateways'
    "thinking",
    "reasoning",
    "include_reasoning",
    "separate_reasoning",
    "provider",
    "route",
    "usage",
    // vLLM and SGLang
    "length_penalty", // of a search over beams
    "early_stopping",
    "spaces_between_special_tokens",
    "guided_decoding_backend",
    "guided_whitespace_pattern",
    "priority",
    "request_id",
    "rid",
    "cache_salt",
    "kv_transfer_params",
    // llama.cpp: the prompt's cache, slots, and what belongs to samplers that are off
    "cache_prompt",
    "id_slot",
    "slot_id",
    "n_cache_reuse",
    "timings_per_token",
    "return_progress",
    "post_sampling_probs",
    "reasoning_format",
    "min_keep",
    "mirostat_tau",
    "mirostat_eta",
    "dynatemp_exponent",
    "xtc_threshold",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
    // Ollama: how a model is loaded
    "num_ctx",
    "num_batch",
    "num_gpu",
    "num_thread",
    "num_keep",
    "keep_alive",
};

// Accepted with the value that asks for what is done in any case.
static const struct {
    const char *name, *word; // word NULL: the number, or false for 0
    double number;
} neutral[] = {
    {"use_beam_search", NULL, 0},
    {"include_stop_str_in_output", NULL, 0},
    {"return_tokens_as_token_ids", NULL, 0},
    {"return_token_ids", NULL, 0},
    {"return_tokens", NULL, 0},
    {"prompt_logprobs", NULL, 0},
    {"echo", NULL, 0}, // of chat: completions knows it
    {"safe_prompt", NULL, 0},
    {"mirostat", NULL, 0},
    {"dynatemp_range", NULL, 0},
    {"xtc_probability", NULL, 0},
    {"dry_multiplier", NULL, 0},
    {"n_probs", NULL, 0},
    {"n_keep", NULL, 0},
    {"t_max_predict_ms", NULL, 0},
    {"top_a", NULL, 0},
    {"typical_p", NULL, 1},
    {"typ_p", NULL, 1},
    {"tfs_z", NULL, 1},
    {"function_call", "none", 0}, // of no functions
    {"function_call", "auto", 0},
};

static bool among(const char *name, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], name) == 0)
            return true;
    return false;
}

#define AMONG(name, list) among(name, list, sizeof(list) / sizeof *(list))

const char *api_present(const struct api_request *q, const char *const *names, size_t n) {
    const char *found = names[0];
    bool has = false;
    for (size_t i = 0; i < n; i++) {
        if (!json_get(q->body, names[i]))
            continue;
        found = has ? found : names[i];
        has = true;
    }
    return found;
}

static bool is_neutral(const cJSON *item) {
    for (size_t i = 0; i < sizeof neutral / sizeof *neutral; i++) {
        if (strcmp(item->string, neutral[i].name) != 0)
            continue;
        const char *word = neutral[i].word;
        bool same = word ? cJSON_IsString(item) && strcmp(item->valuestring, word) == 0
                         : cJSON_IsNumber(item) && item->valuedouble == neutral[i].number;
        if (same || (!word && cJSON_IsFalse(item) && neutral[i].number == 0))
            return true;
    }
    // "modalities": ["text"], and the order of nothing
    return strcmp(item->string, "modalities") == 0 && cJSON_IsArray(item) && item->child &&
           !item->child->next && cJSON_IsString(item->child) &&
           strcmp(item->child->valuestring, "text") == 0;
}

// "", [] and {} ask for nothing, whatever the name.
static bool is_empty(const cJSON *item) {
    return (cJSON_IsString(item) && !*item->valuestring) ||
           ((cJSON_IsArray(item) || cJSON_IsObject(item)) && !item->child);
}

static enum err refuse(const struct api_generate *g, const char *name, struct api_error *err) {
    static const char *const elsewhere[][3] = {
        {"prompt", "messages", "messages go to /v1/chat/completions; this route takes 'prompt'"},
        {"messages", "prompt", "a prompt goes to /v1/completions; this route takes 'messages'"},
        {"prompt", "input", "this route takes 'prompt'; texts to embed go to /v1/embeddings"},
        {"prompt", "inputs", "this route takes 'prompt'"},
        {"messages", "input", "this route takes 'messages'; texts to embed go to /v1/embeddings"},
        {"messages", "inputs", "this route takes 'messages'"},
    };
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        if (strcmp(elsewhere[i][0], g->shape->prompt_field) == 0 &&
            strcmp(elsewhere[i][1], name) == 0)
            return api_fail(err, ERR_UNSUPPORTED, "unsupported_parameter", name,
                            "'%s' is not a parameter here: %s", name, elsewhere[i][2]);
    if (api_shown_name(name) == name)
        return api_fail(err, ERR_UNSUPPORTED, "unsupported_parameter", name,
                        "'%s' is not a parameter that is supported here", name);
    return api_fail(err, ERR_UNSUPPORTED, "unsupported_parameter", NULL,
                    "the body has a parameter that is not supported here");
}

void api_ignore(struct api_generate *g, const char *where, const char *name) {
    struct buf *b = &g->ignored;
    size_t begin = b->len;
    buf_printf(b, "%s%s%s", begin ? ", " : "", where, api_shown_name(name));
    // each once, and no more of them than a header shows
    if (b->failed || !begin)
        return;
    const char *added = b->data + begin + 2, *seen = b->data;
    size_t n = b->len - begin - 2;
    bool again = begin > 400;
    for (; !again && seen < b->data + begin; seen += strcspn(seen, ",") + 2)
        again = strncmp(seen, added, n) == 0 && seen[n] == ',';
    if (again) {
        b->len = begin;
        b->data[begin] = '\0';
    }
}

enum err api_generate_check_names(struct api_generate *g, const char *const *known, size_t n,
                                  struct api_error *err) {
    const struct api_request *q = g->q;
    size_t unused = 0;
    for (const cJSON *item = q->body->child; item; item = item->next) {
        const char *name = item->string;
        if (cJSON_IsNull(item) || among(name, known, n) || AMONG(name, common))
            continue;
        bool asks = !AMONG(name, silent) && !is_neutral(item);
        if (asks && !AMONG(name, without_effect) && !is_empty(item))
            return refuse(g, name, err);
        unused++;
        if (asks)
            api_ignore(g, "", name);
    }
    if (unused)
        metrics_count_unknown_fields(q->service->metrics, api_route_index(q->route), unused);
    return ERR_OK;
}
