// `trine pull`: the command line of hub.h. Thread rule: main's thread.
#define _GNU_SOURCE // getopt_long
#include "service/cli_pull.h"

#include "base/mem.h"
#include "service/hub.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "trine pull [options] REPO[@REVISION]\n"
    "\n"
    "Loads a model from the Hugging Face hub into the model store and prints its folder. Only the\n"
    "files that are needed come; each is verified; an interrupted pull goes on where it was.\n"
    "\n"
    "  --file NAME   that file of the repository alone (a .gguf)\n"
    "  --quiet       no progress\n"
    "  --help        this text\n"
    "\n"
    "Environment: HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE=1; TRINE_HOME (the store, else\n"
    "$XDG_CACHE_HOME/trine, else ~/.cache/trine).\n"
    "\n"
    "Example:\n"
    "  trine pull sentence-transformers/all-MiniLM-L6-v2\n"
    "  trine serve --model sentence-transformers/all-MiniLM-L6-v2\n";

static volatile sig_atomic_t stop;

static void on_signal(int number) {
    (void)number;
    stop = 1;
}

// SIGINT and SIGTERM ask the pull to end between two writes, so that what has come is whole.
static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static int wrong_usage(const char *why, const char *what) {
    fprintf(stderr, "trine pull: %s%s; see trine pull --help\n", why, what);
    return 2;
}

int cli_pull(int argc, char **argv) {
    static const struct option longs[] = {{"file", required_argument, NULL, 'f'},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct hub_options options = {.progress_fd = STDERR_FILENO, .stop = &stop};
    opterr = 0; // one line of our own instead
    optind = 0; // glibc: start anew
    for (int c; (c = getopt_long(argc, argv, ":q", longs, NULL)) != -1;) {
        switch (c) {
        case 'f':
            options.file = optarg;
            break;
        case 'q':
            options.quiet = true;
            break;
        case 'h':
            fputs(help, stdout);
            return 0;
        case ':':
            return wrong_usage("a value is missing after ", argv[optind - 1]);
        default:
            return wrong_usage("unknown option ", argv[optind - 1]);
        }
    }
    if (argc - optind != 1)
        return wrong_usage("one REPO[@REVISION] is expected", "");
    char *repo = argv[optind], *at = strchr(repo, '@');
    if (at) {
        *at = '\0';
        options.revision = at + 1;
        if (!*options.revision)
            return wrong_usage("no revision behind the @", "");
    }
    options.repo = repo;

    catch_signals();
    struct errmsg msg = {0};
    char *folder;
    enum err e = hub_pull(&options, &folder, &msg);
    if (e) {
        fprintf(stderr, "trine pull: %s\n", msg.text);
        return 1;
    }
    printf("%s\n", folder);
    mem_free(folder);
    return fflush(stdout) == 0 ? 0 : 1;
}
