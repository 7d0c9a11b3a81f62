// See gguf_pre.h. Sources followed: llama.cpp, src/llama-vocab.cpp (which names are one pattern,
// and what goes with each), and for the normalizers, which llama.cpp leaves out, the tokenizer.json
// of the model that a name comes from. Names of patterns that are not here (bloom's, DeepSeek's,
// Kimi's ...) are refused; so are those of RoBERTa's kind, whose pairs are framed in another way.
#include "tokenizer/gguf_pre.h"

#include <string.h>

enum { DIGITS = 1, NFC = 2, WHOLE = 4, BOS = 8 };

static const struct row {
    const char *name;
    enum split_kind split;
    unsigned flags;
} rows[] = {
    {"default", SPLIT_GPT2, 0},
    {"a.x-4.0", SPLIT_GPT2, 0},
    {"bailingmoe", SPLIT_QWEN2, 0},
    {"bailingmoe2", SPLIT_QWEN2, 0},
    {"chatglm-bpe", SPLIT_LLAMA3, 0},
    {"codeshell", SPLIT_GPT2, DIGITS},
    {"command-r", SPLIT_GPT2, DIGITS | NFC},
    {"dbrx", SPLIT_LLAMA3, 0},
    {"deepseek-r1-qwen", SPLIT_QWEN2, NFC},
    {"exaone", SPLIT_GPT2, DIGITS},
    {"exaone4", SPLIT_GPT2, 0},
    {"f2llmv2", SPLIT_QWEN2, NFC},
    {"falcon-h1", SPLIT_LLAMA3, WHOLE | BOS},
    {"falcon3", SPLIT_LLAMA3, WHOLE | BOS},
    {"gigachat", SPLIT_GPT2, 0},
    {"glm4", SPLIT_LLAMA3, WHOLE},
    {"glm5", SPLIT_LLAMA3, WHOLE},
    {"gpt-2", SPLIT_GPT2, 0},
    {"gpt-4o", SPLIT_O200K, 0},
    {"granite-docling", SPLIT_GPT2, 0},
    {"granite-embed-multi-97m", SPLIT_O200K, WHOLE},
    {"grok-2", SPLIT_QWEN2, 0},
    {"hunyuan", SPLIT_QWEN2, NFC},
    {"jais", SPLIT_GPT2, 0},
    {"jina-v5-nano", SPLIT_LLAMA3, WHOLE | BOS},
    {"kanana2", SPLIT_O200K, 0},
    {"kormo", SPLIT_QWEN2, NFC},
    {"lfm2", SPLIT_LLAMA3, WHOLE | BOS},
    {"llada-moe", SPLIT_QWEN2, 0},
    {"llama-bpe", SPLIT_LLAMA3, WHOLE | BOS},
    {"llama-v3", SPLIT_LLAMA3, WHOLE | BOS},
    {"llama3", SPLIT_LLAMA3, WHOLE | BOS},
    {"llama4", SPLIT_O200K, 0},
    {"megrez", SPLIT_QWEN2, NFC},
    {"mellum", SPLIT_GPT2, 0},
    {"mellum2", SPLIT_GPT2, DIGITS},
    {"midm-2.0", SPLIT_LLAMA3, WHOLE | BOS},
    {"minerva-7b", SPLIT_GPT2, DIGITS},
    {"minimax-m2", SPLIT_O200K, 0},
    {"modern-bert", SPLIT_GPT2, NFC},
    {"mpt", SPLIT_GPT2, NFC},
    {"olmo", SPLIT_GPT2, NFC},
    {"phi-2", SPLIT_GPT2, 0},
    {"pixtral", SPLIT_LLAMA3, WHOLE | BOS},
    {"qwen2", SPLIT_QWEN2, NFC},
    {"qwen35", SPLIT_QWEN35, NFC},
    {"refact", SPLIT_GPT2, DIGITS},
    {"seed-coder", SPLIT_SEED, 0},
    {"smaug-bpe", SPLIT_LLAMA3, 0},
    {"smollm", SPLIT_GPT2, DIGITS},
    {"solar-open", SPLIT_QWEN2, 0},
    {"stablelm2", SPLIT_QWEN2, NFC},
    {"starcoder", SPLIT_GPT2, DIGITS},
    {"talkie", SPLIT_O200K, 0},
    {"tekken", SPLIT_TEKKEN, WHOLE | BOS},
    {"trillion", SPLIT_GPT2, 0},
};

enum { ROWS = sizeof rows / sizeof rows[0] };

bool gguf_pre_find(const char *name, size_t len, struct gguf_pre *out) {
    if (!name)
        return gguf_pre_find(rows[0].name, strlen(rows[0].name), out);
    for (size_t i = 0; i < ROWS; i++)
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0) {
            unsigned f = rows[i].flags;
            *out = (struct gguf_pre){.split = rows[i].split,
                                     .digits = f & DIGITS,
                                     .nfc = f & NFC,
                                     .ignore_merges = f & WHOLE,
                                     .add_bos = f & BOS};
            return true;
        }
    return false;
}
