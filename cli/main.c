// The program's entry: finds the subcommand and hands over. Role: `trine --help`, `--version` and
// the dispatch; nothing else. Thread rule: main thread.
#include "base/crash.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/version.h"
#include "cli/cli.h"
#include "compute/cpu/cpu.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
};

static const struct command commands[] = {
    {"serve", cli_serve, "the HTTP service: embeddings, reranking, classification, generation"},
    {"embed", cli_embed, "texts of files or stdin to vectors, in bulk"},
    {"rerank", cli_rerank, "ranks documents for a query"},
    {"generate", cli_generate, "goes on with a text"},
    {"chat", cli_chat, "a conversation in the terminal"},
    {"tokenize", cli_tokenize, "text to token ids, pieces and spans, and back"},
    {"inspect", cli_inspect, "what a model folder holds, needs, and would be refused for"},
    {"pull", cli_pull, "brings a model from the hub into the model store"},
    {"bench", cli_bench, "rates, latencies and the share of this machine's peak"},
};

static int print_help(FILE *out) {
    fprintf(out, "usage: trine COMMAND [OPTION...]\n\nCommands:\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n  trine COMMAND --help   options of a command, with an example\n"
                 "  trine --version        version, compiler, CPU features, devices\n\n"
                 "Example:\n"
                 "  echo 'Hello, world' | trine embed --model "
                 "sentence-transformers/all-MiniLM-L6-v2\n");
    return fflush(out) == 0 ? CLI_EXIT_DONE : CLI_EXIT_FAILED;
}

static int print_version(void) {
    char cpu[1024];
    cpu_describe(cpu, sizeof cpu);
    printf("trine %s (commit %s)\ncompiler: %s\ncpu: %s\ndevices: cpu\n", version_number,
           version_commit, version_compiler, cpu);
    return fflush(stdout) == 0 ? CLI_EXIT_DONE : CLI_EXIT_FAILED;
}

static bool arm_faults(void) {
#ifdef TRINE_FAULTS
    const char *spec = getenv("TRINE_FAULT");
    if (spec && *spec && !fault_arm_spec(spec)) {
        fprintf(stderr, "trine: TRINE_FAULT: '%s' is not SITE:N or SITE:N+\n", spec);
        return false;
    }
#endif
    return true;
}

// If stdin, stdout or stderr is closed at the start, the next file or socket would get its number,
// and messages would go there. What is opened in its place refuses to be read or written, just as a
// closed one does.
static bool hold_standard_streams(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return false;
    return true;
}

int main(int argc, char **argv) {
    if (!hold_standard_streams())
        return CLI_EXIT_FAILED;
    crash_install();
    signal(SIGXFSZ, SIG_IGN); // a file at its limit (ulimit -f) is heard of from write
    if (!arm_faults())
        return CLI_EXIT_USAGE;
    mem_init();
    json_init();
    if (argc < 2) {
        print_help(stderr);
        return CLI_EXIT_USAGE;
    }
    const char *name = argv[1];
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        return print_help(stdout);
    if (strcmp(name, "--version") == 0)
        return print_version();
    fprintf(stderr, "trine: unknown command '%.64s' (see 'trine --help')\n", name);
    return CLI_EXIT_USAGE;
}
