// The options of a worker process: what they make of the engine's, what goes together and what does
// nothing without another, from flags and from settings that last.
#include "cli/cli.h"
#include "tests/unit/cli_kit.h"

#include <stdlib.h>

#define SERVE(...) ARGS("serve", "--model", "m", __VA_ARGS__)

static void test_values(void) {
    struct cli_options o;
    CHECK_OK(parse(CLI_SERVE, &o, ARGS("serve", "--model", "m")), msg);
    CHECK(!o.engine.isolate && o.engine.device == ENGINE_DEVICE_AUTO && !o.engine.warm_fallback);
    cli_options_free(&o);

    CHECK_OK(parse(CLI_SERVE, &o, SERVE("--isolate", "--worker", "/w")), msg);
    CHECK(o.engine.isolate);
    CHECK_STR(o.engine.worker.program, "/w");
    CHECK_INT(o.engine.worker.watchdog_us, 2000000);
    CHECK_INT(o.engine.worker.sentinel_us, 100000);
    CHECK_INT(o.engine.worker.backoff_least_us, 100000);
    CHECK_INT(o.engine.worker.backoff_most_us, 30000000);
    cli_options_free(&o);

    CHECK_OK(parse(CLI_SERVE, &o,
                   SERVE("--device", "worker", "--gpu-fallback", "reject", "--worker-watchdog-ms",
                         "100", "--worker-backoff-ms", "10:50", "--worker-sentinel-ms", "0")),
             msg);
    CHECK_INT(o.engine.device, ENGINE_DEVICE_WORKER);
    CHECK_INT(o.engine.fallback, ENGINE_FALLBACK_REJECT);
    CHECK_INT(o.engine.worker.watchdog_us, 100000);
    CHECK_INT(o.engine.worker.sentinel_us, 0);
    CHECK_INT(o.engine.worker.backoff_least_us, 10000);
    CHECK_INT(o.engine.worker.backoff_most_us, 50000);
    cli_options_free(&o);

    CHECK_OK(
        parse(CLI_SERVE, &o, SERVE("--device", "cuda:3", "--gpu-memory", "0.5", "--worker", "/w")),
        msg);
    CHECK_INT(o.engine.device, ENGINE_DEVICE_CUDA);
    CHECK_STR(o.engine.worker.card, "3");
    CHECK(o.engine.worker.gpu_memory == 0.5);
    cli_options_free(&o);
    CHECK_OK(parse(CLI_EMBED, &o, ARGS("embed", "--model", "m", "--device", "cuda:MIG-1-2")), msg);
    CHECK_INT(o.engine.device, ENGINE_DEVICE_CUDA);
    CHECK_STR(o.engine.worker.card, "MIG-1-2");
    CHECK(o.engine.worker.gpu_memory == 0.9);
    cli_options_free(&o);
    CHECK_OK(parse(CLI_BENCH, &o, ARGS("bench", "--model", "m", "--device", "cuda")), msg);
    CHECK(o.engine.device == ENGINE_DEVICE_CUDA && !o.engine.worker.card);
    cli_options_free(&o);

    // one number is the least; the most is never below it
    CHECK_OK(parse(CLI_BENCH, &o,
                   ARGS("bench", "--model", "m", "--isolate", "--worker-backoff-ms", "40000")),
             msg);
    CHECK_INT(o.engine.worker.backoff_least_us, 40000000);
    CHECK_INT(o.engine.worker.backoff_most_us, 40000000);
    cli_options_free(&o);
}

static void test_backoff(void) {
    static const char *const wrong[] = {":",
                                        "10:",
                                        ":10",
                                        "x",
                                        "10:x",
                                        "0",
                                        "10:5",
                                        "-1",
                                        "5:4000000",
                                        "1:2:3",
                                        "111111111111111111111111111111111111"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        expect_failure(CLI_SERVE, CLI_EXIT_USAGE, "--worker-backoff-ms: ",
                       SERVE("--isolate", "--worker-backoff-ms", wrong[i]));
    setenv("TRINE_WORKER_BACKOFF_MS", "7:3", 1);
    expect_failure(CLI_SERVE, CLI_EXIT_FAILED, "the least is more than the most",
                   SERVE("--isolate"));
    unsetenv("TRINE_WORKER_BACKOFF_MS");
}

static void test_together(void) {
    expect_failure(CLI_SERVE, CLI_EXIT_USAGE, "--isolate and --device worker: choose one",
                   SERVE("--isolate", "--device", "worker"));
    expect_failure(CLI_SERVE, CLI_EXIT_USAGE, "--gpu-fallback does nothing without --device cuda",
                   SERVE("--device", "cpu", "--gpu-fallback", "cpu"));
    expect_failure(CLI_SERVE, CLI_EXIT_USAGE, "--warm-fallback does nothing without --device cuda",
                   SERVE("--isolate", "--warm-fallback"));
    expect_failure(CLI_SERVE, CLI_EXIT_USAGE, "--warm-fallback and --gpu-fallback reject",
                   SERVE("--device", "worker", "--warm-fallback", "--gpu-fallback", "reject"));
    expect_failure(CLI_SERVE, CLI_EXIT_USAGE,
                   "--worker does nothing without --isolate, --device cuda or worker",
                   SERVE("--worker", "/w", "--device", "cpu"));
    expect_failure(CLI_SERVE, CLI_EXIT_USAGE, "--worker-watchdog-ms does nothing without",
                   SERVE("--worker-watchdog-ms", "5", "--device", "cpu"));
    expect_failure(CLI_SERVE, CLI_EXIT_USAGE,
                   "--worker-watchdog-ms: 0 is not between 1 and 3600000",
                   SERVE("--isolate", "--worker-watchdog-ms", "0"));
    expect_failure(CLI_SERVE, CLI_EXIT_USAGE, "--isolate and --device cuda: choose one",
                   SERVE("--isolate", "--device", "cuda"));
    expect_failure(CLI_SERVE, CLI_EXIT_USAGE, "--gpu-memory does nothing without --device cuda",
                   SERVE("--device", "worker", "--gpu-memory", "0.5"));
    expect_failure(CLI_SERVE, CLI_EXIT_USAGE, "--gpu-memory: 1.1 is not between",
                   SERVE("--gpu-memory", "1.1"));
    static const char *const wrong[] = {"",          "gpu",   "cuda:",    "cuda:x", "cuda:-1",
                                        "cuda:2000", "cudaX", "cuda:1,2", "CPU",    "cuda:all"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        expect_failure(CLI_SERVE, CLI_EXIT_USAGE, "--device", SERVE("--device", wrong[i]));
    expect_failure(CLI_EMBED, CLI_EXIT_USAGE, "'worker' is not one of auto, cpu",
                   ARGS("embed", "--model", "m", "--device", "worker"));
    expect_failure(CLI_EMBED, CLI_EXIT_USAGE, "it belongs to 'trine serve'",
                   ARGS("embed", "--model", "m", "--isolate"));
}

// Settings are shared by all commands and starts: one that has no effect in this one is no error,
// two that contradict each other are.
static void test_settings(void) {
    struct cli_options o;
    setenv("TRINE_WORKER_WATCHDOG_MS", "500", 1);
    setenv("TRINE_GPU_FALLBACK", "reject", 1);
    setenv("TRINE_WORKER_FAULTS", "anything", 1); // of a worker that tests take
    CHECK_OK(parse(CLI_SERVE, &o, ARGS("serve", "--model", "m")), msg);
    CHECK_INT(o.engine.worker.watchdog_us, 500000);
    cli_options_free(&o);
    CHECK_OK(parse(CLI_EMBED, &o, ARGS("embed", "--model", "m")), msg);
    cli_options_free(&o);
    setenv("TRINE_ISOLATE", "yes", 1);
    CHECK_OK(parse(CLI_SERVE, &o, ARGS("serve", "--model", "m")), msg);
    CHECK(o.engine.isolate);
    cli_options_free(&o);
    expect_failure(CLI_SERVE, CLI_EXIT_USAGE, "choose one", SERVE("--device", "worker"));
    setenv("TRINE_DEVICE", "worker", 1);
    expect_failure(CLI_SERVE, CLI_EXIT_FAILED, "choose one", ARGS("serve", "--model", "m"));
    CHECK_OK(parse(CLI_SERVE, &o, SERVE("--device", "cpu")), msg);
    cli_options_free(&o);
}

int main(void) {
    test_values();
    test_backoff();
    test_together();
    test_settings();
    return check_done();
}
