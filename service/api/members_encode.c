// See members.h: the members of bodies that ask for vectors, scores or tokens: those that every
// such route reads, and those of other routes and services that change an answer.
#include "service/api/members.h"

#define TEXTS_ELSEWHERE "it holds no texts on this route"
#define TEXT_ALONE "put it before your texts yourself, or send \"prompt_name\""

static const struct api_member everywhere[] = {
    API_READ("model"),
    API_IDLE("user"),
    API_IDLE("prompt_cache_key"),
    // vectors of another kind
    API_REFUSE("late_chunking", "false", NULL),
    API_REFUSE("return_multivector", "false", NULL),
    API_REFUSE("return_sparse", "false", NULL),
    API_REFUSE("return_dense", "true", NULL),
    API_REFUSE("return_colbert_vecs", "false", NULL),
    API_REFUSE("output_value", "sentence_embedding", NULL),
    API_REFUSE("precision", "float32", "send \"embedding_type\""),
    API_REFUSE("normalize", "true", NULL),
    API_REFUSE("normalized", "true", NULL),
    API_REFUSE("dim", "", "send \"dimensions\""),
    API_REFUSE("dims", "", "send \"dimensions\""),
    API_REFUSE("images", "[]", "only text is taken"),
    API_REFUSE("image", "", "only text is taken"),
    API_REFUSE("modality", "text", "only text is taken"),
    // texts changed on their way
    API_REFUSE("max_tokens", "", "send \"truncate\"; the length is the model's"),
    API_REFUSE("is_query", "", "send \"input_type\": \"query\" or \"document\""),
    API_REFUSE("instruction", "", TEXT_ALONE),
    API_REFUSE("query_instruction", "", TEXT_ALONE),
    API_REFUSE("prompt", "", TEXT_ALONE),
    API_REFUSE("add_special_tokens", "true", NULL),
    API_REFUSE("max_chunks_per_doc", "1", "a document that is too long is cut, not divided"),
    API_REFUSE("rewrite_query", "false", NULL),
    API_REFUSE("relevant_spans", "[]|{}", NULL),
    // scores of another kind
    API_REFUSE("raw_scores", "false", NULL),
    API_REFUSE("use_activation", "true", NULL),
    API_REFUSE("activation", "true", NULL),
    API_REFUSE("softmax_temp", "1", NULL),
    API_REFUSE("return_logits", "false", NULL),
    API_REFUSE("return_embeddings", "false", NULL),
    API_REFUSE("return_scores", "true", NULL),
    API_REFUSE("include_scores", "true", NULL),
    API_REFUSE("include_prompt", "true", NULL),
    // another job
    API_REFUSE("stream", "false", "POST /v1/completions and /v1/chat/completions stream"),
    API_REFUSE("max_new_tokens", "", API_GENERATES),
    API_REFUSE("candidate_labels", "[]", NULL), // Hugging Face's tasks, on the same paths
    API_REFUSE("hypothesis_template", "", NULL),
    API_REFUSE("multi_label", "false", NULL),
    API_REFUSE("aggregation_strategy", "none", NULL),
    API_REFUSE("src_lang", "", NULL),
    API_REFUSE("tgt_lang", "", NULL),
    API_REFUSE("targets", "[]", NULL),
    API_REFUSE("messages", "[]", "POST /v1/chat/completions answers messages"),
    // texts that another route reads by this name, and this one does not
    API_REFUSE("input", "|[]|{}", TEXTS_ELSEWHERE),
    API_REFUSE("inputs", "|[]|{}", TEXTS_ELSEWHERE),
    API_REFUSE("input_texts", "|[]", TEXTS_ELSEWHERE),
    API_REFUSE("texts", "|[]", TEXTS_ELSEWHERE),
    API_REFUSE("text", "|[]", TEXTS_ELSEWHERE),
    API_REFUSE("sentences", "|[]", TEXTS_ELSEWHERE),
    API_REFUSE("documents", "|[]", TEXTS_ELSEWHERE),
    API_REFUSE("passages", "|[]", TEXTS_ELSEWHERE),
    API_REFUSE("query", "|[]|{}", TEXTS_ELSEWHERE),
    API_REFUSE("queries", "|[]", TEXTS_ELSEWHERE),
};
const struct api_members api_members_everywhere = API_TABLE(everywhere, NULL);

static const struct api_member jobs[] = {
    API_READ("truncate"),    API_READ("truncation_direction"),   API_READ("priority"),
    API_READ("prompt_name"), API_SAME("truncation", "truncate"),
};
const struct api_members api_members_jobs = API_TABLE(jobs, &api_members_everywhere);
