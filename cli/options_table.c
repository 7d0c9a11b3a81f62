// The table of options and commands, and the help texts that are made from it. See options.h.
#include "cli/options.h"

#include "base/buf.h"

#include <stdio.h>
#include <string.h>

#define FIELD(name) offsetof(struct cli_options, name)

enum {
    GENERATES = CLI_GENERATE | CLI_CHAT,
    MODELS =
        CLI_SERVE | CLI_EMBED | CLI_RERANK | CLI_TOKENIZE | CLI_INSPECT | CLI_BENCH | GENERATES,
    COMPUTES = CLI_SERVE | CLI_EMBED | CLI_RERANK | CLI_INSPECT | CLI_BENCH | GENERATES,
    ISOLATES = CLI_SERVE | CLI_BENCH, // may have their models in another process
    BIG = 1 << 30,
    HOUR_MS = 3600000,
};

const struct cli_option cli_option_table[] = {
    {"config", 0, CLI_STRING, MODELS, false, FIELD(config_path), 0, 0, "FILE", NULL,
     "options as one JSON object, same names as the flags", NULL},
    {"model", 0, CLI_LIST, CLI_SERVE, false, FIELD(model_specs), 0, 0, "[NAME=]PATH", NULL,
     "a model folder or a name in the model store, to be served as NAME; may be repeated", NULL},
    {"model", 0, CLI_LIST, MODELS & ~CLI_SERVE, false, FIELD(model_specs), 0, 0, "M", NULL,
     "a model folder, a .gguf file, or a name in the model store", NULL},
    {"alias", 0, CLI_LIST, CLI_SERVE, false, FIELD(aliases), 0, 0, "[NAME=]ALIAS", NULL,
     "a further name for a model; may be repeated, for one model too", NULL},
    {"served-model-name", 0, CLI_STRING, CLI_SERVE, false, FIELD(served_name), 0, 0, "NAME", NULL,
     "the name of the only model", NULL},
    {"task", 0, CLI_LIST, CLI_SERVE, false, FIELD(tasks), 0, 0, "[NAME=]TASK", NULL,
     "embed, rerank, classify or generate, where it is not to be the model's own", NULL},
    {"max-length", 0, CLI_LIST, MODELS & ~CLI_INSPECT, false, FIELD(max_lengths), 0, 0, "[NAME=]N",
     NULL, "at most this many tokens of a text (default: the model's own limit)", NULL},
    {"pooling", 0, CLI_LIST, COMPUTES & ~(CLI_RERANK | GENERATES), false, FIELD(poolings), 0, 0,
     "[NAME=]MODE", NULL, "cls, mean, max or last (default: the model's own)", NULL},

    {"host", 0, CLI_STRING, CLI_SERVE, false, FIELD(service.host), 0, 0, "ADDR", "127.0.0.1",
     "the address to listen on", NULL},
    {"port", 0, CLI_INT, CLI_SERVE, false, FIELD(service.port), 0, 65535, "N", "8080",
     "the port; 0 picks a free one", NULL},
    {"api-key-file", 0, CLI_STRING, CLI_SERVE, false, FIELD(service.api_key_file), 0, 0, "FILE",
     NULL, "a line for each key, NAME:SHA256[:ROLE[:WEIGHT]] (above); without it none is asked for",
     NULL},
    {"cors-origin", 0, CLI_LIST, CLI_SERVE, false, FIELD(cors_origins), 0, 0, "ORIGIN", NULL,
     "let web pages of this origin call, as http://localhost:5173, or of any ('*'); may be "
     "repeated "
     "or a list with commas",
     NULL},
    {"max-client-batch", 0, CLI_SIZE, CLI_SERVE, false, FIELD(service.max_client_batch), 1, BIG,
     "N", "2048", "inputs in one request", NULL},
    {"max-queue-tokens", 0, CLI_SIZE, CLI_SERVE, false, FIELD(engine.max_queue_tokens), 0, BIG, "N",
     "0", "tokens that may wait; 0 takes the built-in limit of 1,048,576", NULL},
    {"max-connections", 0, CLI_SIZE, CLI_SERVE, false, FIELD(service.max_connections), 1, 16384,
     "N", "256",
     "open connections; at the limit the one that is idle longest is closed for a new one, and "
     "where all are busy only probes are answered, the rest gets 503",
     NULL},
    {"request-timeout-s", 0, CLI_INT, CLI_SERVE, false, FIELD(service.request_timeout_s), 1, 86400,
     "S", "60", "a request that has waited this long is answered 504", NULL},
    {"stream-comment-s", 0, CLI_INT, CLI_SERVE, false, FIELD(service.stream_comment_s), 0, 3600,
     "S", "10",
     "a stream that has had nothing to say for this long sends a comment line, which clients skip "
     "and which keeps connections from being given up; 0: none",
     NULL},
    {"drain-delay-s", 0, CLI_INT, CLI_SERVE, false, FIELD(service.drain_delay_s), 0, 3600, "S", "5",
     "how long after SIGTERM requests are still taken while /readyz says 503, so that a load "
     "balancer can look elsewhere; half of --drain-timeout-s at most, and none after Ctrl-C",
     NULL},
    {"drain-timeout-s", 0, CLI_INT, CLI_SERVE, false, FIELD(service.drain_timeout_s), 0, 86400, "S",
     "30", "how long all may take after SIGTERM; what is unfinished then ends with an error", NULL},
    {"auto-truncate", 0, CLI_FLAG, CLI_SERVE, false, FIELD(service.auto_truncate), 0, 0, NULL, NULL,
     "cut texts that are too long, and say so in x-truncated and x-warning, where a request does "
     "not say otherwise; without it /v1/embeddings and /v1/classify refuse them",
     NULL},
    {"accept-token-ids", 0, CLI_FLAG, CLI_SERVE, false, FIELD(service.accept_token_ids), 0, 0, NULL,
     NULL, "take token ids as input on /v1/embeddings", NULL},
    {"check", 0, CLI_FLAG, CLI_SERVE, true, FIELD(check), 0, 0, NULL, NULL,
     "read everything, say what would be done, and exit", NULL},
    {"log", 0, CLI_CHOICE, COMPUTES, false, FIELD(log_format), 0, 0, "text|json", "text",
     "how log lines look", NULL},
    {"log-level", 0, CLI_CHOICE, COMPUTES & ~CLI_SERVE, false, FIELD(log_level), 0, 0,
     "debug|info|warn|error|off", "warn", "the least that is logged", NULL},
    {"log-level", 0, CLI_CHOICE, CLI_SERVE, false, FIELD(log_level), 0, 0,
     "debug|info|warn|error|off", "info", "the least that is logged", NULL},

    {"query", 0, CLI_STRING, CLI_RERANK, true, FIELD(query), 0, 0, "Q", NULL,
     "what the documents are ranked for", NULL},
    {"top-n", 0, CLI_SIZE, CLI_RERANK, true, FIELD(top_n), 1, BIG, "N", NULL,
     "print the best N only", NULL},
    {"raw-scores", 0, CLI_FLAG, CLI_RERANK, true, FIELD(raw_scores), 0, 0, NULL, NULL,
     "logits, without the sigmoid", NULL},
    {"native", 0, CLI_FLAG, CLI_RERANK, true, FIELD(native), 0, 0, NULL, NULL,
     "the activation that the model's config names, in place of the sigmoid", NULL},

    {"output", 'o', CLI_STRING, CLI_EMBED, true, FIELD(output), 0, 0, "FILE", NULL,
     "where the vectors go (default: stdout); it appears when it is complete", NULL},
    {"format", 0, CLI_CHOICE, CLI_EMBED, true, FIELD(output_format), 0, 0, "auto|jsonl|npy|f32",
     "auto", "of the output; auto: by the name's ending (.jsonl, .npy, .f32; none is jsonl)", NULL},
    {"input-format", 0, CLI_CHOICE, CLI_EMBED, true, FIELD(input_format), 0, 0,
     "auto|lines|jsonl|csv", "auto", "auto: by each name's ending (.jsonl, .csv), else lines",
     NULL},
    {"field", 0, CLI_STRING, CLI_EMBED, true, FIELD(field), 0, 0, "NAME", "text",
     "JSONL: the member that holds the text. CSV: its column's name, or number from 1", NULL},
    {"id", 0, CLI_STRING, CLI_EMBED, true, FIELD(id), 0, 0, "NAME", NULL,
     "JSONL and CSV: where a text's id is (default: ids are 0, 1, 2, ...)", NULL},
    {"header", 0, CLI_CHOICE, CLI_EMBED, true, FIELD(header), 0, 0, "auto|yes|no", "auto",
     "CSV: the first record holds names; auto: unless --field is a number", NULL},
    {"empty", 0, CLI_CHOICE, CLI_EMBED, true, FIELD(empty), 0, 0, "error|skip|embed", "error",
     "what an empty text does: stop with its line, give no vector, or be embedded as it is", NULL},
    {"normalize", 0, CLI_CHOICE, CLI_EMBED, true, FIELD(normalize), 0, 0, "auto|yes|no", "auto",
     "vectors of length 1; auto: as the model's modules.json says", NULL},
    {"prompt-name", 0, CLI_STRING, CLI_EMBED | CLI_RERANK, true, FIELD(prompt_name), 0, 0, "NAME",
     NULL,
     "put this prompt of the model before each text, or before the query of a reranking (default: "
     "its default_prompt_name)",
     NULL},
    {"resume", 0, CLI_FLAG, CLI_EMBED, true, FIELD(resume), 0, 0, NULL, NULL,
     "go on where an interrupted run with the same -o FILE stopped", NULL},

    {"pair", 0, CLI_STRING, CLI_TOKENIZE, true, FIELD(pair), 0, 0, "TEXT2", NULL,
     "encode TEXT and TEXT2 as a pair", NULL},
    {"ids", 0, CLI_FLAG, CLI_TOKENIZE, true, FIELD(ids), 0, 0, NULL, NULL,
     "ids only, one line a text", NULL},
    {"jsonl", 0, CLI_FLAG, CLI_TOKENIZE, true, FIELD(jsonl), 0, 0, NULL, NULL,
     "each line of stdin is a JSON string, or an array of two: a pair", NULL},
    {"decode", 0, CLI_FLAG, CLI_TOKENIZE, true, FIELD(decode), 0, 0, NULL, NULL,
     "ids to text (with --jsonl: JSON arrays in, JSON strings out)", NULL},
    {"no-special", 0, CLI_FLAG, CLI_TOKENIZE, true, FIELD(no_special), 0, 0, NULL, NULL,
     "without the special tokens, both ways", NULL},
    {"truncate", 0, CLI_CHOICE, CLI_TOKENIZE, true, FIELD(truncate), 0, 0,
     "none|longest_first|only_first|only_second", "longest_first", "how --max-length cuts a pair",
     NULL},

    {"max-tokens", 'n', CLI_SIZE, GENERATES | CLI_BENCH, true, FIELD(max_tokens), 1, BIG, "N", NULL,
     "tokens of an answer at most (default: the rest of the context; bench: 128)", NULL},
    {"temperature", 't', CLI_REAL, GENERATES, false, FIELD(temperature), 0, 2, "X", NULL,
     "0 takes the likeliest token each time (default: the model's, else 1)", NULL},
    {"top-p", 0, CLI_REAL, GENERATES, false, FIELD(top_p), 0, 1, "X", NULL,
     "of the likeliest tokens, those that make up this share", NULL},
    {"top-k", 0, CLI_INT, GENERATES, false, FIELD(top_k), 0, BIG, "N", NULL,
     "of the N likeliest tokens; 0: of all", NULL},
    {"min-p", 0, CLI_REAL, GENERATES, false, FIELD(min_p), 0, 1, "X", NULL,
     "no token less likely than this share of the likeliest", NULL},
    {"repetition-penalty", 0, CLI_REAL, GENERATES, false, FIELD(repetition_penalty), 0, 100, "X",
     NULL, "above 1 makes what was said less likely", NULL},
    {"seed", 0, CLI_STRING, GENERATES, true, FIELD(seed), 0, 0, "N", NULL,
     "the same seed gives the same text (default: random)", NULL},
    {"stop", 0, CLI_LIST, GENERATES, true, FIELD(stops), 0, 0, "TEXT", NULL,
     "ends the answer before this text; may be repeated", NULL},
    {"grammar", 0, CLI_STRING, GENERATES, true, FIELD(grammar), 0, 0, "FILE", NULL,
     "a grammar (GBNF) that the answer must follow", NULL},
    {"json-schema", 0, CLI_STRING, GENERATES, true, FIELD(json_schema), 0, 0, "FILE", NULL,
     "a JSON schema that the answer must follow", NULL},
    {"ignore-eos", 0, CLI_FLAG, CLI_GENERATE, true, FIELD(ignore_eos), 0, 0, NULL, NULL,
     "go on behind the model's end", NULL},
    {"echo", 0, CLI_FLAG, CLI_GENERATE, true, FIELD(echo), 0, 0, NULL, NULL, "print the prompt too",
     NULL},
    {"system", 0, CLI_STRING, CLI_CHAT, true, FIELD(system), 0, 0, "S", NULL,
     "the conversation's first message, of the role system", NULL},
    {"render", 0, CLI_STRING, CLI_CHAT, true, FIELD(render), 0, 0, "FILE", NULL,
     "print the prompt for FILE's messages (JSON), without loading weights", NULL},
    {"chat-template", 0, CLI_LIST, CLI_SERVE | CLI_CHAT | CLI_INSPECT, false, FIELD(chat_templates),
     0, 0, "[NAME=]FILE", NULL, "a Jinja file, or chatml, in place of the model's chat template",
     NULL},

    {"kv-cache-mib", 0, CLI_SIZE, CLI_SERVE | GENERATES | CLI_BENCH, false,
     FIELD(engine.kv_cache_mib), 0, 1 << 24, "N", "0",
     "memory for keys and values; 0: a quarter of what is there", NULL},
    {"kv-dtype", 0, CLI_CHOICE, CLI_SERVE | GENERATES | CLI_BENCH, false, FIELD(engine.kv_dtype), 0,
     0, "auto|f32|f16", "auto", "of keys and values; auto: f32 where the weights are, else f16",
     "8-bit keys and values are not in this version"},
    {"max-sequences", 0, CLI_SIZE, CLI_SERVE, false, FIELD(engine.max_sequences), 0, 4096, "N", "0",
     "texts generated at once; 0 takes the built-in 32", NULL},
    {"no-speculation", 0, CLI_FLAG, CLI_SERVE | GENERATES, false, FIELD(engine.no_speculation), 0,
     0, NULL, NULL, "compute each token by itself; the text is the same", NULL},
    {"shared-prefix-cache", 0, CLI_FLAG, CLI_SERVE, false, FIELD(engine.share_prefixes), 0, 0, NULL,
     NULL, "share computed prompts between API keys", NULL},

    {"streams", 0, CLI_SIZE, CLI_BENCH, true, FIELD(streams), 1, 4096, "N", "16",
     "generate: texts at once", NULL},
    {"prompt-tokens", 0, CLI_SIZE, CLI_BENCH, true, FIELD(prompt_tokens), 2, BIG, "N", NULL,
     "generate: of the prompt (default 512, or what the context leaves)", NULL},
    {"texts", 0, CLI_SIZE, CLI_BENCH, true, FIELD(texts), 1, BIG, "N", NULL,
     "texts in the mix (default 10000); the other sets shrink with it", NULL},
    {"json", 0, CLI_FLAG, CLI_RERANK | CLI_BENCH, true, FIELD(json), 0, 0, NULL, NULL,
     "the result as JSON", NULL},

    {"device", 0, CLI_STRING, COMPUTES & ~ISOLATES, false, FIELD(device), 0, 0, "auto|cpu|cuda[:N]",
     "auto",
     "where to compute; cuda: on the first NVIDIA GPU or the Nth, from 0, or else not at all; "
     "auto: "
     "there where there is one, else on the CPU",
     NULL},
    {"device", 0, CLI_STRING, ISOLATES, false, FIELD(device), 0, 0, "auto|cpu|cuda[:N]|worker",
     "auto",
     "where to compute; cuda: on the first NVIDIA GPU or the Nth, from 0, or else not at all; "
     "auto: "
     "there where there is one, else on the CPU; worker: the CPU of another process, with this "
     "one's for what that cannot have, as it is with a GPU",
     NULL},
    {"gpu-memory", 0, CLI_REAL, COMPUTES & ~CLI_INSPECT, false, FIELD(engine.worker.gpu_memory), 0,
     1, "PART", "0.9", "of a GPU's memory, what others hold of it included, at most this part",
     NULL},
    {"isolate", 0, CLI_FLAG, ISOLATES, false, FIELD(engine.isolate), 0, 0, NULL, NULL,
     "compute in another process, which is started again when it ends: a crash in it or a poisoned "
     "model file costs no request and no connection",
     NULL},
    {"gpu-fallback", 0, CLI_CHOICE, ISOLATES, false, FIELD(engine.fallback), 0, 0, "cpu|reject",
     "cpu",
     "--device cuda or worker: what computes while the worker is away; reject: nothing, and 503",
     NULL},
    {"warm-fallback", 0, CLI_FLAG, ISOLATES, false, FIELD(engine.warm_fallback), 0, 0, NULL, NULL,
     "--device cuda or worker: load models that generate on the CPU too, at once and not at the "
     "first loss",
     NULL},
    {"worker", 0, CLI_STRING, ISOLATES, false, FIELD(worker), 0, 0, "PATH", NULL,
     "the worker's program (default: trine-worker, or trine-gpu for a GPU, beside this one, else "
     "in "
     "../libexec/trine)",
     NULL},
    {"worker-watchdog-ms", 0, CLI_INT, ISOLATES, false, FIELD(worker_watchdog_ms), 1, HOUR_MS, "MS",
     "2000",
     "the least time that a batch in the worker has; one that takes longer, and ten times what is "
     "to be expected, ends the worker",
     NULL},
    {"worker-backoff-ms", 0, CLI_STRING, ISOLATES, false, FIELD(worker_backoff), 0, 0, "MIN[:MAX]",
     "100:30000", "the wait before a worker is started again, doubled each time that it ends early",
     NULL},
    {"worker-sentinel-ms", 0, CLI_INT, ISOLATES, false, FIELD(worker_sentinel_ms), 0, HOUR_MS, "MS",
     "100", "how often the worker's numbers are checked, beside large batches; 0: in every batch",
     NULL},
    {"dtype", 0, CLI_CHOICE, COMPUTES, false, FIELD(dtype), 0, 0, "auto|f32|bf16|f16|stored",
     "auto",
     "auto: on a GPU bf16 or f16, as it has them; on the CPU a decoder's quantised weights meet "
     "8-bit activations and a generator's bf16 ones bf16; bf16, f16: these on a GPU; f32: f32 "
     "throughout; stored: that, and an encoder's f16 and bf16 weights stay so in memory",
     "other precisions are not in this version"},
    {"threads", 0, CLI_INT, COMPUTES & ~CLI_INSPECT, false, FIELD(engine.threads), 0, 1024, "N",
     "0", "compute threads; 0: one for each CPU this process may use", NULL},
    {"max-batch-tokens", 0, CLI_SIZE, CLI_SERVE, false, FIELD(engine.max_batch_tokens), 0, 1 << 20,
     "N", "0", "tokens computed at once; 0 takes the built-in 512", NULL},
    {"batch-tokens", 0, CLI_SIZE, CLI_EMBED | CLI_RERANK | CLI_BENCH, false,
     FIELD(engine.max_batch_tokens), 0, 1 << 20, "N", "0",
     "tokens computed at once; 0 takes the built-in 512", NULL},
    {"file", 0, CLI_STRING, CLI_PULL, true, FIELD(file), 0, 0, "NAME", NULL,
     "that file of the repository alone (a .gguf)", NULL},
    {"quiet", 'q', CLI_FLAG, CLI_EMBED | CLI_RERANK | CLI_PULL | CLI_BENCH | GENERATES, true,
     FIELD(quiet), 0, 0, NULL, NULL, "no progress and no summary on stderr", NULL},
};
const size_t cli_option_count = sizeof cli_option_table / sizeof *cli_option_table;

const struct cli_command_info cli_command_table[] = {
    {CLI_SERVE, "serve", "--model M [--model NAME=M ...]", 0, 0,
     "Serves embeddings, reranking and text generation over HTTP. When ready it prints one line to "
     "stdout:\n"
     "listening on http://HOST:PORT\n"
     "\n"
     "--api-key-file: a line is NAME:SHA256[:ROLE[:WEIGHT]]. SHA256 is that of the key's bytes, "
     "in\n"
     "hex: printf %s \"$KEY\" | sha256sum. ROLE is user (the default) or admin, whose bulk "
     "with\n"
     "\"priority\": 0 goes before other keys' bulk too. WEIGHT, 1 to 1000 (1), is its share "
     "beside\n"
     "other keys that have work. Empty lines and lines that begin with # are skipped. Clients "
     "send\n"
     "the key itself: Authorization: Bearer KEY.\n"
     "\n"
     "--log-level info has a line for each request, with model, key name and token counts; probes\n"
     "are of debug. --log json makes each line one JSON object with a field for each of these.\n",
     "  trine serve --model sentence-transformers/all-MiniLM-L6-v2\n"
     "  trine serve --model e=./bge-small-en-v1.5 --model r=./ms-marco-MiniLM-L6-v2 --port 9000\n"},
    {CLI_EMBED, "embed", "--model M [FILE...]", 0, 1 << 20,
     "Embeds every text of the FILEs, or of stdin (no FILE, or -), in input order: one text a\n"
     "line, JSONL or CSV in; JSONL, .npy or raw little-endian f32 out. Texts over the model's\n"
     "length are cut, and their number is told at the end.\n"
     "\n"
     "With -o FILE the rows go to FILE.partial, with a journal beside it, and FILE appears when\n"
     "it is complete. --resume goes on from there after an interruption of any kind (kill -9\n"
     "too), and the file is then the same as that of an uninterrupted run. It is refused when the\n"
     "texts done so far, the model or the options differ. Without --resume a run starts anew, and\n"
     "Ctrl-C removes the partial file; with it, Ctrl-C keeps it.\n",
     "  trine embed --model sentence-transformers/all-MiniLM-L6-v2 texts.txt > vectors.jsonl\n"
     "  trine embed --model ./m docs.jsonl --field body --id key -o vectors.jsonl --resume\n"},
    {CLI_RERANK, "rerank", "--model M --query Q [FILE]", 0, 1,
     "Ranks the documents of FILE (or stdin), one a line, for a query. Prints\n"
     "score<TAB>index<TAB>text, best first; indexes count lines from 0. Only documents are cut\n"
     "to the model's length, never the query. An embedding model ranks by cosine.\n",
     "  trine rerank --model cross-encoder/ms-marco-MiniLM-L-12-v2 --query 'how tall is K2' "
     "docs.txt\n"},
    {CLI_TOKENIZE, "tokenize", "--model M [TEXT]", 0, 1,
     "Prints a line for each token: id, piece, begin and end of its bytes in the text, parted by\n"
     "tabs. Without TEXT each line of stdin is a text, and an empty line parts the results. With\n"
     "--jsonl and without --ids each result is one JSON object.\n",
     "  trine tokenize --model sentence-transformers/all-MiniLM-L6-v2 'Hello, world'\n"
     "  trine tokenize --model ./m --ids < texts.txt | trine tokenize --model ./m --decode\n"},
    {CLI_INSPECT, "inspect", "M", 0, 1,
     "Prints what a model folder or a GGUF file holds: architecture, tensors, tokenizer, pooling,\n"
     "length, prompts, labels, chat template, the memory it needs, and what would be refused and\n"
     "why (exit code 1).\n",
     "  trine inspect sentence-transformers/all-MiniLM-L6-v2\n"},
    {CLI_PULL, "pull", "REPO[@REVISION]", 1, 1,
     "Brings a model from the Hugging Face hub into the model store and prints its folder. Only\n"
     "the files that are needed come, each is verified, and an interrupted pull goes on where it\n"
     "was. Environment: HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE=1; TRINE_HOME is the store, else\n"
     "$XDG_CACHE_HOME/trine, else ~/.cache/trine.\n",
     "  trine pull sentence-transformers/all-MiniLM-L6-v2\n"},
    {CLI_GENERATE, "generate", "--model M [PROMPT|-]", 0, 1,
     "Prints what the model says behind PROMPT (or stdin: no PROMPT, or -), as it comes. The text\n"
     "is taken as it is, without a chat template; of stdin's, a last line end is left out. Ctrl-C\n"
     "ends it. What it took is said on stderr.\n",
     "  trine generate --model HuggingFaceTB/SmolLM2-135M-Instruct 'The capital of France is'\n"
     "  trine generate --model ./m.gguf -t 0 -n 64 --stop $'\\n\\n' < prompt.txt\n"},
    {CLI_CHAT, "chat", "--model M [--render FILE]", 0, 0,
     "A conversation: a line in, an answer out, everything said before kept in mind. Ctrl-C ends\n"
     "an answer, and at an empty prompt the program; /reset forgets what was said, /exit ends.\n"
     "What is not a terminal is read line by line. --render prints the prompt that the model's\n"
     "chat template makes of a JSON file, {\"messages\": [...], \"tools\": [...],\n"
     "\"add_generation_prompt\": true, \"chat_template_kwargs\": {...}}, all but the first as it\n"
     "pleases, or the list of messages alone.\n",
     "  trine chat --model HuggingFaceTB/SmolLM2-135M-Instruct --system 'Answer briefly.'\n"
     "  trine chat --model ./qwen2.5 --render messages.json\n"},
    {CLI_BENCH, "bench", "[encode|generate|tokenize [FILE]] --model M", 0, 2,
     "Measures this machine's fp32 peak and the model's rate in one run: latency of one 25-token\n"
     "text, then texts of 32, 128 and 512 tokens, and a log-normal mix of lengths (median 40,\n"
     "sigma 0.8, at most 256; fixed seed). FLOP per token are L(24 D^2 + 4 S D). bench tokenize\n"
     "takes the lines of FILE, or such a mix. bench generate times a prompt of --prompt-tokens, "
     "-n\n"
     "tokens behind it, and --streams texts of 64 + n tokens at once, each three times (the "
     "median\n"
     "is shown), beside the probed read bandwidth; tokens are computed one by one.\n",
     "  trine bench encode --model sentence-transformers/all-MiniLM-L6-v2 --json\n"
     "  trine bench generate --model ./m.gguf --streams 16\n"
     "  trine bench tokenize --model sentence-transformers/all-MiniLM-L6-v2\n"},
};
const size_t cli_command_count = sizeof cli_command_table / sizeof *cli_command_table;

const struct cli_command_info *cli_command_find(enum cli_command command) {
    for (size_t i = 0; i < cli_command_count; i++)
        if (cli_command_table[i].command == command)
            return &cli_command_table[i];
    return NULL;
}

enum { HELP_COLUMN = 30, HELP_WIDTH = 98 };

// Writes words from HELP_COLUMN on.
static void help_wrapped(const char *text, struct buf *out) {
    size_t column = HELP_COLUMN;
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " ");
        if (column > HELP_COLUMN && column + n > HELP_WIDTH) {
            buf_printf(out, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        }
        buf_append(out, p, n);
        p += n;
        column += n + 1;
        p += strspn(p, " ");
        if (*p && column + strcspn(p, " ") <= HELP_WIDTH)
            buf_putc(out, ' ');
    }
    buf_putc(out, '\n');
}

static void help_option(const struct cli_option *opt, enum cli_command command, struct buf *out) {
    char left[96];
    bool many = command == CLI_SERVE || !opt->value || opt->value[0] != '[';
    const char *value = opt->value ? opt->value : "";
    if (!many)
        value = strchr(value, ']') + 1; // with one model there is no NAME= to give
    char letter[8] = "    ";
    if (opt->letter)
        snprintf(letter, sizeof letter, "-%c, ", opt->letter);
    int n =
        snprintf(left, sizeof left, "  %s--%s%s%s", letter, opt->name, *value ? " " : "", value);
    buf_puts(out, left);
    char right[256];
    bool tell = opt->fallback && strcmp(opt->fallback, "0") != 0;
    snprintf(right, sizeof right, "%s%s%s%s", opt->help, tell ? " (default " : "",
             tell ? opt->fallback : "", tell ? ")" : "");
    if (n < HELP_COLUMN)
        buf_printf(out, "%*s", HELP_COLUMN - n, "");
    else
        buf_printf(out, "\n%*s", HELP_COLUMN, "");
    help_wrapped(right, out);
}

void cli_help(enum cli_command command, struct buf *out) {
    const struct cli_command_info *info = cli_command_find(command);
    if (!info)
        return;
    buf_printf(out, "usage: trine %s %s [OPTION...]\n\n%s\nOptions:\n", info->name, info->synopsis,
               info->about);
    bool configurable = false;
    for (size_t i = 0; i < cli_option_count; i++) {
        if (cli_option_table[i].commands & command) {
            help_option(&cli_option_table[i], command, out);
            configurable = configurable || !cli_option_table[i].flag_only;
        }
    }
    buf_printf(out, "  -h, --help%*sthis text\n", HELP_COLUMN - 12, "");
    if (configurable)
        buf_puts(out,
                 "\nLasting options are also read from the environment (TRINE_MAX_LENGTH for "
                 "--max-length)\nand from --config; a flag wins over the environment, that "
                 "over the file. A TRINE_ variable or\na key of the file that no option has is "
                 "an error. Of a flag given twice the last one counts.\n");
    buf_printf(out, "\nExample:\n%s", info->examples);
}
