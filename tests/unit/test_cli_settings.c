// Options that contradict each other, and settings that no option has: every one is an error that
// names it, and none is passed over.
#include "base/file.h"
#include "cli/advice.h"
#include "tests/kit/scratch.h"
#include "tests/unit/cli_kit.h"

#include <stdlib.h>
#include <unistd.h>

static void with_variable(const char *name, const char *value, const char *words) {
    static const enum cli_command all[] = {CLI_SERVE, CLI_EMBED, CLI_TOKENIZE, CLI_CHAT};
    setenv(name, value, 1);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (words)
            expect_failure(all[i], 1, words, ARGS("x", "--model", "m"));
        else
            expect_success(all[i], ARGS("x", "--model", "m"));
    }
    if (words)
        expect_failure(CLI_PULL, 1, words, ARGS("pull", "a/b")); // it reads no setting of its own
    unsetenv(name);
}

static void test_environment(void) {
    with_variable("TRINE_API_KEYFILE", "/k",
                  "TRINE_API_KEYFILE: no option has this name; did you "
                  "mean TRINE_API_KEY_FILE?");
    with_variable("TRINE_APIKEY_FILE", "/k", "did you mean TRINE_API_KEY_FILE?");
    with_variable("TRINE_API_KEYS", "/k", "did you mean TRINE_API_KEY_FILE?");
    with_variable("TRINE_KV_CACHE_MB", "5", "did you mean TRINE_KV_CACHE_MIB?");
    with_variable("TRINE_MAX_LENGHT", "5", "did you mean TRINE_MAX_LENGTH?");
    with_variable("TRINE_MODELS", "m", "did you mean TRINE_MODEL?");
    with_variable("TRINE_WHATEVER", "1", "TRINE_WHATEVER: no option has this name; unset it");
    with_variable("TRINE_", "1", "TRINE_: no option");
    // what belongs to one run is not read, so it is no silent wish either
    with_variable("TRINE_SEED", "5", "TRINE_SEED: --seed belongs to one run");
    with_variable("TRINE_OUTPUT", "x", "give the flag");
    // another command's setting is known; an empty one is unset; the others are not ours
    with_variable("TRINE_KV_CACHE_MIB", "5", NULL);
    with_variable("TRINE_API_KEYFILE", "", NULL);
    with_variable("TRINE_HOME", "/t", NULL);
    with_variable("TRINE_CPU", "generic", NULL);
    with_variable("TRINE_GEMM", "own", NULL);
    with_variable("TRINEX", "1", NULL);
    with_variable("MY_TRINE_PORT", "1", NULL);
    // help is given all the same
    setenv("TRINE_API_KEYFILE", "/k", 1);
    expect_success(CLI_SERVE, ARGS("serve", "--help"));
    unsetenv("TRINE_API_KEYFILE");
}

// A Kubernetes Service that is called "trine" or "trine-x" puts these into every pod beside it.
static void test_pod_variables(void) {
    static const char *const pod[][2] = {
        {"TRINE_SERVICE_HOST", "10.0.0.1"},
        {"TRINE_SERVICE_PORT", "80"},
        {"TRINE_SERVICE_PORT_HTTP", "80"},
        {"TRINE_PORT", "tcp://10.0.0.1:80"},
        {"TRINE_PORT_80_TCP", "tcp://10.0.0.1:80"},
        {"TRINE_PORT_80_TCP_PROTO", "tcp"},
        {"TRINE_PORT_80_TCP_PORT", "80"},
        {"TRINE_PORT_80_TCP_ADDR", "10.0.0.1"},
        {"TRINE_CHAT_SERVICE_HOST", "10.0.0.1"},
        {"TRINE_CHAT_PORT", "udp://10.0.0.1:80"},
        {"TRINE_CHAT_PORT_53_UDP_ADDR", "10.0.0.1"},
    };
    for (size_t i = 0; i < sizeof pod / sizeof *pod; i++)
        setenv(pod[i][0], pod[i][1], 1);
    struct cli_options o;
    CHECK_OK(parse(CLI_SERVE, &o, ARGS("serve", "--model", "m")), msg);
    CHECK_INT(o.service.port, 8080); // not the Service's
    cli_options_free(&o);
    for (size_t i = 0; i < sizeof pod / sizeof *pod; i++)
        unsetenv(pod[i][0]);
    with_variable("TRINE_HOST", "tcp://10.0.0.1:80", NULL); // ours, as it is: the resolver refuses
    with_variable("TRINE_PORTS", "tcp://10.0.0.1:80", "did you mean TRINE_PORT?");
    setenv("TRINE_PORT", "http", 1);
    expect_failure(CLI_SERVE, 1, "TRINE_PORT: 'http'", ARGS("serve", "--model", "m"));
    unsetenv("TRINE_PORT");
}

static void test_config(void) {
    const char *path = scratch_path("settings.json");
    static const char *const bad[][2] = {
        {"{\"api-keyfile\": \"k\"}", "'api-keyfile' is not an option's name; did you mean "
                                     "'api-key-file'?"},
        {"{\"api_key_file\": \"k\"}", "did you mean 'api-key-file'?"},
        {"{\"output\": \"x\"}", "--output belongs to one run"},
        {"{\"config\": \"x\"}", "one file cannot name another"},
        {"{\"port\": 1, \"port\": 2}", "a key stands twice"},
        {"{\"zzzzzzzz\": 1}", "'zzzzzzzz' is not an option's name"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_OK(file_write_atomic(path, bad[i][0], strlen(bad[i][0]), &msg), msg);
        expect_failure(CLI_SERVE, 1, bad[i][1], ARGS("serve", "--model", "m", "--config", path));
        expect_failure(CLI_EMBED, 1, bad[i][1], ARGS("embed", "--model", "m", "--config", path));
    }
}

static void test_twice(void) {
    struct cli_options o;
    CHECK_OK(parse(CLI_SERVE, &o, ARGS("serve", "--model", "m", "--port", "1", "--port=2")), msg);
    CHECK_INT(o.service.port, 2); // the last one
    cli_options_free(&o);
    expect_failure(CLI_SERVE, 2, "--max-length: '9': this model was given one already",
                   ARGS("serve", "--model", "m", "--max-length", "8", "--max-length", "m=9"));
    expect_failure(CLI_SERVE, 2, "--task: 'rerank'",
                   ARGS("serve", "--model", "m", "--task", "embed", "--task", "rerank"));
    expect_failure(CLI_SERVE, 2, "--pooling: 'max'",
                   ARGS("serve", "--model", "m", "--pooling", "cls", "--pooling", "max"));
    expect_failure(CLI_SERVE, 2, "--chat-template: 'b'",
                   ARGS("serve", "--model", "m", "--chat-template", "a", "--chat-template", "b"));
    expect_failure(CLI_SERVE, 2, "--chat-template: 'm=' names no file",
                   ARGS("serve", "--model", "m", "--chat-template", "m="));
    expect_failure(CLI_SERVE, 2, "one name only",
                   ARGS("serve", "--model", "a=m", "--served-model-name", "b"));
    setenv("TRINE_SERVED_MODEL_NAME", "b", 1); // the flag is nearer
    CHECK_OK(parse(CLI_SERVE, &o, ARGS("serve", "--model", "a=m")), msg);
    CHECK_STR(o.models[0].name, "a");
    cli_options_free(&o);
    unsetenv("TRINE_SERVED_MODEL_NAME");
}

static void test_pairs(void) {
    expect_failure(CLI_RERANK, 2, "--raw-scores and --native: choose one",
                   ARGS("rerank", "--model", "m", "--raw-scores", "--native"));
    expect_failure(CLI_TOKENIZE, 2, "--decode and --pair",
                   ARGS("tokenize", "--model", "m", "--decode", "--pair", "x", "1"));
    expect_failure(CLI_TOKENIZE, 2, "--decode and --max-length",
                   ARGS("tokenize", "--model", "m", "--decode", "--max-length", "4"));
    expect_failure(CLI_TOKENIZE, 2, "--truncate does nothing without --max-length",
                   ARGS("tokenize", "--model", "m", "--truncate", "none"));
    expect_failure(CLI_TOKENIZE, 2, "--truncate none and --max-length",
                   ARGS("tokenize", "--model", "m", "--truncate", "none", "--max-length", "4"));
    expect_success(CLI_TOKENIZE, ARGS("tokenize", "--model", "m", "--truncate", "only_first",
                                      "--max-length", "4", "--ids", "--jsonl"));
    // steps have a size of their own, and looking at a model computes nothing
    expect_failure(CLI_GENERATE, 2, "unknown option '--batch-tokens'",
                   ARGS("generate", "--model", "m", "--batch-tokens", "64"));
    expect_failure(CLI_INSPECT, 2, "unknown option '--threads'",
                   ARGS("inspect", "m", "--threads", "2"));
    expect_failure(CLI_GENERATE, 2, "--grammar and --json-schema: choose one",
                   ARGS("generate", "--model", "m", "--grammar", "g", "--json-schema", "s"));
    expect_failure(CLI_GENERATE, 2, "--ignore-eos and --grammar",
                   ARGS("generate", "--model", "m", "--grammar", "g", "--ignore-eos"));
    expect_failure(CLI_CHAT, 2, "--render and --system",
                   ARGS("chat", "--model", "m", "--render", "f", "--system", "s"));
    expect_failure(CLI_CHAT, 2, "--render and --temperature",
                   ARGS("chat", "--model", "m", "--render", "f", "-t", "0"));
    expect_failure(CLI_INSPECT, 2, "--model and 'm': one model only",
                   ARGS("inspect", "--model", "k", "m"));
    // settings are shared by all commands: they contradict nothing
    setenv("TRINE_TEMPERATURE", "0", 1);
    setenv("TRINE_MAX_LENGTH", "4", 1);
    expect_success(CLI_CHAT, ARGS("chat", "--model", "m", "--render", "f"));
    expect_success(CLI_TOKENIZE, ARGS("tokenize", "--model", "m", "--decode"));
    unsetenv("TRINE_TEMPERATURE");
    unsetenv("TRINE_MAX_LENGTH");
}

static void test_hosts(void) {
    static const char *const local[] = {"127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1",
                                        "localhost"};
    static const char *const open[] = {"0.0.0.0",        "::",          "192.0.2.1", "128.0.0.1",
                                       "::ffff:1.2.3.4", "2001:db8::1", "example"};
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        CHECK(cli_host_is_local(local[i]));
    for (size_t i = 0; i < sizeof open / sizeof *open; i++)
        CHECK(!cli_host_is_local(open[i]));
}

int main(void) {
    test_hosts();
    test_environment();
    test_pod_variables();
    test_config();
    test_twice();
    test_pairs();
    return check_done();
}
