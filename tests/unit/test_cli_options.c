// Options: precedence, ranges, names, models, and what is said when they are wrong; the input
// readers and the fingerprint that stand beside them.
#include "base/file.h"
#include "base/json.h"
#include "cli/embed_input.h"
#include "cli/fingerprint.h"
#include "tests/kit/scratch.h"
#include "tests/unit/cli_kit.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const char *write_file(const char *name, const char *bytes, size_t len) {
    const char *path = scratch_path(name);
    CHECK_OK(file_write_atomic(path, bytes, len, &msg), msg);
    return path;
}

static void test_defaults(void) {
    struct cli_options o;
    CHECK_OK(parse(CLI_SERVE, &o, ARGS("serve", "--model", "m")), msg);
    CHECK_STR(o.service.host, "127.0.0.1");
    CHECK_INT(o.service.port, 8080);
    CHECK_INT(o.service.max_client_batch, 2048);
    CHECK_INT(o.service.max_connections, 256);
    CHECK_INT(o.service.request_timeout_s, 60);
    CHECK_INT(o.service.drain_timeout_s, 30);
    CHECK_INT(o.service.max_body, 32 << 20);
    CHECK(!o.service.auto_truncate && !o.service.accept_token_ids && !o.check);
    CHECK_INT(o.log_level, LOG_LEVEL_INFO);
    CHECK_INT(o.model_count, 1);
    CHECK(o.models[0].name == NULL && o.models[0].task == -1 && o.models[0].pool_mode == -1);
    CHECK_STR(o.models[0].spec, "m");
    cli_options_free(&o);

    CHECK_OK(parse(CLI_EMBED, &o, ARGS("embed", "--model=m", "a", "-ofile", "--", "-b")), msg);
    CHECK_STR(o.output, "file");
    CHECK_INT(o.arg_count, 2);
    CHECK_STR(o.args[1], "-b");
    CHECK_STR(o.field, "text");
    CHECK_INT(o.log_level, LOG_LEVEL_WARN);
    cli_options_free(&o);
}

static void test_models(void) {
    struct cli_options o;
    CHECK_OK(parse(CLI_SERVE, &o,
                   ARGS("serve", "--model", "e=./x", "--model", "org/name/", "--alias", "e=small",
                        "--alias", "e=tiny", "--task", "name=rerank", "--max-length", "e=128",
                        "--pooling", "e=cls")),
             msg);
    CHECK_INT(o.model_count, 2);
    CHECK_STR(o.models[0].name, "e");
    CHECK_STR(o.models[0].spec, "./x");
    CHECK_INT(o.models[0].aliases.count, 2);
    CHECK_STR(o.models[0].aliases.items[0], "small");
    CHECK_STR(o.models[0].aliases.items[1], "tiny");
    CHECK_INT(o.models[0].max_length, 128);
    CHECK_INT(o.models[0].pool_mode, POOL_CLS);
    CHECK_INT(o.models[1].task, TASK_RERANK);
    CHECK_INT(o.models[1].max_length, 0);
    cli_options_free(&o);

    CHECK_OK(parse(CLI_SERVE, &o,
                   ARGS("serve", "--model", "x", "--pooling", "last", "--served-model-name", "n")),
             msg);
    CHECK_INT(o.models[0].pool_mode, POOL_LAST);
    CHECK_STR(o.models[0].name, "n");
    cli_options_free(&o);

    expect_failure(CLI_SERVE, 2, "no model", ARGS("serve"));
    expect_failure(CLI_SERVE, 2, "is not NAME=PATH", ARGS("serve", "--model", "a b=c"));
    expect_failure(CLI_SERVE, 2, "no --model is named 'z'",
                   ARGS("serve", "--model", "x", "--alias", "z=y"));
    expect_failure(CLI_SERVE, 2, "must say for which model",
                   ARGS("serve", "--model", "x", "--model", "y", "--max-length", "12"));
    expect_failure(CLI_SERVE, 2, "'soft' is not one of cls|mean|max|last",
                   ARGS("serve", "--model", "x", "--pooling", "soft"));
    expect_failure(CLI_SERVE, 2, "is not one of embed|rerank|classify|generate",
                   ARGS("serve", "--model", "x", "--task", "x=draw"));
    expect_failure(CLI_EMBED, 2, "one model only", ARGS("embed", "--model", "x", "--model", "y"));
}

static void test_wrong_flags(void) {
    expect_failure(CLI_SERVE, 2, "did you mean '--port'", ARGS("serve", "--prt", "1"));
    expect_failure(CLI_SERVE, 2, "unknown option '--zzzzzz'", ARGS("serve", "--zzzzzz"));
    expect_failure(CLI_EMBED, 2, "belongs to 'trine serve'", ARGS("embed", "--port", "1"));
    expect_failure(CLI_SERVE, 2, "--port needs a value", ARGS("serve", "--port"));
    expect_failure(CLI_SERVE, 2, "70000 is not between 0 and 65535",
                   ARGS("serve", "--model", "m", "--port", "70000"));
    expect_failure(CLI_SERVE, 2, "'8o' is not a whole number",
                   ARGS("serve", "--model", "m", "--port", "8o"));
    expect_failure(CLI_SERVE, 2, "is not a whole number",
                   ARGS("serve", "--model", "m", "--port", "99999999999999999999"));
    expect_failure(CLI_SERVE, 2, "not between", ARGS("serve", "--model", "m", "--port=-1"));
    expect_failure(CLI_SERVE, 2, "other precisions are not in this version",
                   ARGS("serve", "--model", "m", "--dtype", "int8"));
    expect_failure(CLI_SERVE, 2, "unexpected argument", ARGS("serve", "m"));
    expect_failure(CLI_SERVE, 2, "neither yes nor no",
                   ARGS("serve", "--model", "m", "--auto-truncate=maybe"));
    expect_failure(CLI_EMBED, 2, "unknown option '-x'", ARGS("embed", "-x"));
    expect_failure(CLI_SERVE, 2, "needs a value", ARGS("serve", "--model="));
}

static void test_generation(void) {
    struct cli_options o;
    CHECK_OK(parse(CLI_GENERATE, &o, ARGS("generate", "--model", "m", "-")), msg);
    CHECK(isnan(o.temperature) && isnan(o.top_p) && isnan(o.min_p) && isnan(o.repetition_penalty));
    CHECK(o.top_k == -1 && o.max_tokens == 0 && !o.seed && !o.grammar && !o.json_schema);
    CHECK(!o.ignore_eos && !o.echo && !o.quiet && o.stops.count == 0);
    CHECK_STR(o.args[0], "-");
    cli_options_free(&o);

    CHECK_OK(parse(CLI_GENERATE, &o,
                   ARGS("generate", "--model", "m", "-t0.25", "-n", "7", "--top-p=1e-1", "--top-k",
                        "0", "--min-p", ".5", "--repetition-penalty", "1.5", "--seed", "-1",
                        "--stop", "a", "--stop", "-b", "--ignore-eos", "--echo", "-q", "x")),
             msg);
    CHECK(o.temperature == 0.25 && o.top_p == 0.1 && o.min_p == 0.5);
    CHECK(o.repetition_penalty == 1.5 && o.ignore_eos && o.echo && o.quiet);
    CHECK_INT(o.max_tokens, 7);
    CHECK_INT(o.top_k, 0);
    CHECK_STR(o.seed, "-1");
    CHECK_INT(o.stops.count, 2);
    CHECK_STR(o.stops.items[1], "-b");
    cli_options_free(&o);

    CHECK_OK(parse(CLI_SERVE, &o,
                   ARGS("serve", "--model", "a=x", "--model", "b=y", "--chat-template", "b=chatml",
                        "--task", "a=generate", "--kv-cache-mib", "64", "--kv-dtype", "f16",
                        "--max-sequences", "3", "--no-speculation", "--shared-prefix-cache",
                        "--dtype", "f32")),
             msg);
    CHECK(o.models[0].chat_template == NULL && o.models[0].task == TASK_GENERATE);
    CHECK_STR(o.models[1].chat_template, "chatml");
    CHECK_INT(o.engine.kv_cache_mib, 64);
    CHECK_INT(o.engine.kv_dtype, KV_DTYPE_F16);
    CHECK_INT(o.engine.max_sequences, 3);
    CHECK(o.engine.no_speculation && o.engine.share_prefixes);
    CHECK_INT(o.dtype, MODEL_DTYPE_F32);
    cli_options_free(&o);

    const char json[] = "{\"model\": \"m\", \"temperature\": 0.5, \"top-k\": 3, \"kv-dtype\":"
                        " \"f32\", \"chat-template\": \"t.jinja\"}";
    const char *path = write_file("c.json", json, sizeof json - 1);
    setenv("TRINE_TOP_P", "0.75", 1);
    CHECK_OK(parse(CLI_CHAT, &o, ARGS("chat", "--config", path, "--top-k", "4")), msg);
    CHECK(o.temperature == 0.5 && o.top_p == 0.75 && o.seed == NULL);
    CHECK_INT(o.top_k, 4);
    CHECK_INT(o.engine.kv_dtype, KV_DTYPE_F32);
    CHECK_STR(o.models[0].chat_template, "t.jinja");
    cli_options_free(&o);
    unsetenv("TRINE_TOP_P");

    CHECK_OK(parse(CLI_BENCH, &o, ARGS("bench", "generate", "--model", "m", "-n", "9")), msg);
    CHECK_INT(o.streams, 16);
    CHECK_INT(o.prompt_tokens, 0);
    CHECK_INT(o.max_tokens, 9);
    cli_options_free(&o);
}

static void test_generation_faults(void) {
    static const struct {
        const char *flag, *value, *words;
    } bad[] = {
        {"--temperature", "warm", "'warm' is not a number"},
        {"--temperature", "2.01", "is not between 0 and 2"},
        {"--temperature", "-0.1", "is not between 0 and 2"},
        {"--temperature", "", "is not a number"},
        {"--top-p", "inf", "'inf' is not a number"},
        {"--top-p", "nan", "'nan' is not a number"},
        {"--top-p", "1e999", "not"},
        {"--min-p", "0.5x", "'0.5x' is not a number"},
        {"--top-k", "-1", "not between"},
        {"--max-tokens", "0", "not between"},
        {"--kv-dtype", "q8", "8-bit keys and values are not in this version"},
        {"--stop", "", "needs a value"},
        {"--max-sequences", "2", "belongs to 'trine serve'"},
        {"--system", "x", "belongs to 'trine chat'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_failure(CLI_GENERATE, 2, bad[i].words,
                       ARGS("generate", "--model", "m", bad[i].flag, bad[i].value));
    expect_failure(CLI_SERVE, 2, "no --model is named 'c'",
                   ARGS("serve", "--model", "a=x", "--model", "b=y", "--chat-template", "c=t"));
    expect_failure(CLI_CHAT, 2, "unexpected argument", ARGS("chat", "--model", "m", "hi"));
}

static void test_precedence(void) {
    struct cli_options o;
    const char json[] = "{\"port\": 1, \"max-connections\": 2, \"drain-timeout-s\": 3,"
                        " \"model\": [\"a=/x\", \"b=/y\"], \"auto-truncate\": true,"
                        " \"max-length\": [\"a=64\", \"b=32\"], \"host\": \"h\"}";
    const char *path = write_file("c.json", json, sizeof json - 1);
    setenv("TRINE_PORT", "11", 1);
    setenv("TRINE_MAX_CONNECTIONS", "12", 1);
    setenv("TRINE_HOST", "", 1); // empty is unset
    CHECK_OK(parse(CLI_SERVE, &o, ARGS("serve", "--port", "21", "--config", path)), msg);
    CHECK_INT(o.service.port, 21);            // the flag
    CHECK_INT(o.service.max_connections, 12); // the environment
    CHECK_INT(o.service.drain_timeout_s, 3);  // the file
    CHECK_INT(o.service.request_timeout_s, 60);
    CHECK_STR(o.service.host, "h");
    CHECK(o.service.auto_truncate);
    CHECK_INT(o.model_count, 2);
    CHECK_INT(o.models[1].max_length, 32);
    cli_options_free(&o);

    CHECK_OK(parse(CLI_SERVE, &o,
                   ARGS("serve", "--config", path, "--auto-truncate=no", "--model", "a=z",
                        "--max-length", "a=16")),
             msg);
    CHECK(!o.service.auto_truncate);
    CHECK_INT(o.model_count, 1); // a list is replaced, not added to
    CHECK_INT(o.models[0].max_length, 16);
    cli_options_free(&o);

    setenv("TRINE_CONFIG", path, 1);
    setenv("TRINE_MODEL", "p=/1,q=/2,r=/3", 1);
    setenv("TRINE_MAX_LENGTH", "r=9", 1);
    CHECK_OK(parse(CLI_SERVE, &o, ARGS("serve")), msg);
    CHECK_INT(o.model_count, 3);
    CHECK_STR(o.models[2].spec, "/3");
    CHECK_INT(o.models[2].max_length, 9);
    cli_options_free(&o);
    unsetenv("TRINE_MODEL");
    unsetenv("TRINE_MAX_LENGTH");

    setenv("TRINE_PORT", "x", 1); // a wrong setting is a failure, not wrong usage
    expect_failure(CLI_SERVE, 1, "TRINE_PORT: 'x'", ARGS("serve"));
    unsetenv("TRINE_PORT");
    unsetenv("TRINE_MAX_CONNECTIONS");
    unsetenv("TRINE_HOST");
    unsetenv("TRINE_CONFIG");

    static const struct {
        const char *json, *words;
    } bad[] = {
        {"{\"prot\": 1}", "'prot' is not an option's name"},
        {"{\"port\": \"1\"}", "port: must be a number"},
        {"{\"port\": 1.5}", "is not a whole number"},
        {"{\"port\": 65536}", "not between"},
        {"{\"auto-truncate\": 1}", "must be true or false"},
        {"{\"model\": 1.5, \"host\": 1}", "must be a string"},
        {"{\"resume\": true}", "'resume' is not an option's name"}, // belongs to one run
        {"[]", "must be one JSON object"},
        {"{\"port\": 1,}", "c.json"},
        {"{\"log\": \"loud\"}", "is not one of text|json"},
        {"{\"model\": \"m\", \"max-length\": \"many\"}", "'many' is not a whole number"},
        {"{\"model\": \"m\", \"alias\": \"n=a\"}", "no --model is named 'n'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        path = write_file("c.json", bad[i].json, strlen(bad[i].json));
        expect_failure(CLI_SERVE, 1, bad[i].words, ARGS("serve", "--config", path));
    }
    expect_failure(CLI_SERVE, 1, "cannot open", ARGS("serve", "--config", "/nowhere/c.json"));
}

static void test_inspect_argument(void) {
    struct cli_options o;
    setenv("TRINE_MODEL", "elsewhere", 1);
    CHECK_OK(parse(CLI_INSPECT, &o, ARGS("inspect", "here")), msg);
    CHECK_STR(o.models[0].spec, "here");
    cli_options_free(&o);
    CHECK_OK(parse(CLI_INSPECT, &o, ARGS("inspect")), msg);
    CHECK_STR(o.models[0].spec, "elsewhere");
    cli_options_free(&o);
    unsetenv("TRINE_MODEL");
}

static void test_help(void) {
    for (size_t i = 0; i < cli_command_count; i++) {
        struct buf text = {0};
        cli_help(cli_command_table[i].command, &text);
        CHECK(text.data && strstr(text.data, "usage: trine ") && strstr(text.data, "\nExample:\n"));
        size_t longest = 0;
        for (const char *p = text.data; p && *p; p += strcspn(p, "\n") + 1)
            if (strncmp(p, "  trine", 7) != 0 && strcspn(p, "\n") > longest)
                longest = strcspn(p, "\n");
        CHECK(longest <= 100);
        buf_free(&text);
    }
    struct cli_options o;
    CHECK_OK(parse(CLI_EMBED, &o, ARGS("embed", "--help", "--nonsense")), msg);
    CHECK(o.help);
    cli_options_free(&o);
}

// --- input ---

struct expected {
    const char *text, *id;
};

static void expect_records(const char *file, const char *bytes, size_t len, const char **flags,
                           int flag_count, const struct expected *want, size_t n,
                           const char *error) {
    struct cli_options o;
    const char *argv[16] = {"embed", "--model", "m", write_file(file, bytes, len)};
    for (int i = 0; i < flag_count; i++)
        argv[4 + i] = flags[i];
    CHECK_OK(parse(CLI_EMBED, &o, 4 + flag_count, argv), msg);
    struct embed_input in;
    CHECK_OK(embed_input_open(&in, &o, NULL, &msg), msg);
    size_t got = 0;
    for (;;) {
        struct embed_record r;
        bool more;
        enum err e = embed_input_next(&in, &r, &more, &msg);
        if (e) {
            if (!CHECK(error && strstr(msg.text, error) && strstr(msg.text, file)))
                fprintf(stderr, "    said '%s', not '%s'\n", msg.text, error ? error : "nothing");
            break;
        }
        if (!more) {
            CHECK(error == NULL);
            break;
        }
        if (CHECK(got < n)) {
            CHECK(r.text.len == strlen(want[got].text) &&
                  memcmp(r.text.bytes, want[got].text, r.text.len) == 0);
            CHECK(r.id.len == strlen(want[got].id) &&
                  memcmp(r.id.bytes, want[got].id, r.id.len) == 0);
        }
        got++;
    }
    CHECK_INT(got, n && want[0].text ? n : 0);
    if (!error)
        CHECK_INT(embed_input_bytes(&in), len);
    embed_input_close(&in);
    cli_options_free(&o);
}
#define RECORDS(file, bytes, flags, error, ...)                                                    \
    expect_records(file, bytes, sizeof(bytes) - 1, flags, (int)(sizeof(flags) / sizeof(*flags)),   \
                   (const struct expected[]){__VA_ARGS__},                                         \
                   sizeof((const struct expected[]){__VA_ARGS__}) / sizeof(struct expected),       \
                   error)

static void test_lines(void) {
    const char *none[] = {"--empty", "error"}, *skip[] = {"--empty", "skip"},
               *embed[] = {"--empty", "embed"};
    RECORDS("a.txt", "one\ntwo\r\nthree", none, NULL, {"one", "0"}, {"two", "1"}, {"three", "2"});
    RECORDS("a.txt", "\xef\xbb\xbfone\n", none, NULL, {"one", "0"});
    RECORDS("a.txt", "one\n\ntwo\n", none, ":2: an empty text", {"one", "0"});
    RECORDS("a.txt", "one\n\ntwo\n", skip, NULL, {"one", "0"}, {"two", "2"});
    RECORDS("a.txt", "one\n\ntwo\n", embed, NULL, {"one", "0"}, {"", "1"}, {"two", "2"});
    RECORDS("a.txt", "one\n\xff\n", none, ":2: not UTF-8", {"one", "0"});
    RECORDS("a.txt", "one\na\0b\n", none, ":2: a NUL at byte 1 of the line", {"one", "0"});
}

static void test_jsonl(void) {
    const char *plain[] = {"--field", "text"}, *ids[] = {"--field", "b", "--id", "k"};
    RECORDS("a.jsonl", "{\"text\":\"x\\n\\u00e9\"}\n\n {\"a\":[1,{\"text\":2}],\"text\":\"y\"} \n",
            plain, NULL, {"x\n\xc3\xa9", "0"}, {"y", "1"});
    RECORDS("a.jsonl",
            "{\"b\":\"x\",\"k\":12345678901234567890}\n{\"k\":\"a\\\"b\",\"\\u0062\":\"y\"}\n", ids,
            NULL, {"x", "12345678901234567890"}, {"y", "\"a\\\"b\""});
    RECORDS("a.jsonl", "{\"text\":\"x\"}\n{\"txt\":1}\n", plain, ":2: 'text' is missing",
            {"x", "0"});
    RECORDS("a.jsonl", "{\"text\":\"x\"}\n{\"text\":1}\n", plain, ":2: 'text' is not a string",
            {"x", "0"});
    RECORDS("a.jsonl", "{\"text\":\"x\"}\n[1]\n", plain, ":2: not a JSON object", {"x", "0"});
    RECORDS("a.jsonl", "{\"text\":\"x\"}\n{\"text\":\n", plain, ":2", {"x", "0"});
    RECORDS("a.jsonl", "{\"b\":\"x\",\"k\":1}\n{\"b\":\"x\",\"k\":null}\n", ids,
            ":2: 'k' is neither", {"x", "1"});
}

static void test_csv(void) {
    const char *plain[] = {"--field", "text"}, *ids[] = {"--field", "body", "--id", "key"},
               *number[] = {"--field", "2"}, *both[] = {"--field", "2", "--header", "yes"},
               *empty[] = {"--empty", "embed"};
    RECORDS("a.csv", "text\na\n\"b, \"\"c\"\"\nd\"\n", plain, NULL, {"a", "0"},
            {"b, \"c\"\nd", "1"});
    RECORDS("a.csv", "key,body\r\nx,1\r\n\"y,z\",\"2\"\r\n\r\n", ids, NULL, {"1", "\"x\""},
            {"2", "\"y,z\""});
    RECORDS("a.csv", "a,b\nc,d,e\n", number, NULL, {"b", "0"}, {"d", "1"});
    RECORDS("a.csv", "a,b\nc,d,e\n", both, NULL, {"d", "0"});
    RECORDS("a.csv", "text\n\nx\n", empty, NULL, {"", "0"}, {"x", "1"});
    RECORDS("a.csv", "a,b\nc\n", number, ":2: 1 fields", {"b", "0"});
    RECORDS("a.csv", "text\na\nb\"c\n", plain, ":3: a quote inside", {"a", "0"});
    RECORDS("a.csv", "text\na\n\"b\"c\n", plain, ":3: text behind a closing quote", {"a", "0"});
    RECORDS("a.csv", "text\na\n\"b\n\n", plain, ":3: a quoted field that is never", {"a", "0"});
    RECORDS("a.csv", "txt,b\na,b\n", plain, "no column is named 'text'", {NULL, NULL});
}

static void test_fingerprint(void) {
    uint64_t h = FINGERPRINT_START;
    uint64_t ab = fingerprint_add(fingerprint_add(h, "a", 1), "bc", 2);
    CHECK(ab != fingerprint_add(fingerprint_add(h, "ab", 2), "c", 1));
    CHECK(ab == fingerprint_add(fingerprint_add(h, "a", 1), "bc", 2));
    char zeros[64] = {0};
    size_t alike = 0;
    for (size_t i = 0; i < sizeof zeros; i++)
        for (size_t j = 0; j < i; j++)
            alike += fingerprint_add(h, zeros, i) == fingerprint_add(h, zeros, j);
    CHECK_INT(alike, 0);
}

int main(void) {
    json_init();
    test_defaults();
    test_models();
    test_wrong_flags();
    test_generation();
    test_generation_faults();
    test_precedence();
    test_inspect_argument();
    test_help();
    test_lines();
    test_jsonl();
    test_csv();
    test_fingerprint();
    static const char *const files[] = {"c.json", "a.txt", "a.jsonl", "a.csv"};
    for (size_t i = 0; i < 4; i++)
        CHECK_INT(unlink(scratch_path(files[i])), 0);
    CHECK_INT(rmdir(scratch_folder()), 0); // nothing else was left in it
    return check_done();
}
