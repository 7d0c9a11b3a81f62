// See cli.h.
#include "cli/cli.h"

#include "base/utf8.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static atomic_bool interrupted, told_to_end;

// A message may quote a file's name or content; it must not move the cursor or forge a second line.
static void say(const char *command, const char *text, const char *tail) {
    char line[sizeof(struct errmsg) + 128];
    int n = snprintf(line, sizeof line, "trine %s: %s%s", command, text, tail);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    fprintf(stderr, "%s\n", line);
}

int cli_fail(const char *command, const struct errmsg *msg) {
    say(command, msg->text, "");
    return msg->code == ERR_CANCELLED ? CLI_EXIT_INTERRUPTED : CLI_EXIT_FAILED;
}

int cli_misuse(const char *command, const struct errmsg *msg) {
    char tail[64];
    snprintf(tail, sizeof tail, " (see 'trine %s --help')", command);
    say(command, msg->text, tail);
    return CLI_EXIT_USAGE;
}

enum err cli_check_text(const char *what, const char *text, struct errmsg *msg) {
    size_t bad;
    if (utf8_valid(text, strlen(text), &bad))
        return ERR_OK;
    return err_set(msg, ERR_INVALID, "%s is not UTF-8 at byte %zu", what, bad);
}

static void on_interrupt(int sig) {
    if (sig != SIGINT)
        atomic_store(&told_to_end, true);
    atomic_store(&interrupted, true);
}

void cli_catch_interrupt(void) {
    struct sigaction a = {.sa_handler = on_interrupt};
    // RESETHAND makes the second signal deadly; without RESTART a blocked read sees the first one.
    a.sa_flags = (int)SA_RESETHAND;
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
}

bool cli_interrupted(void) { return atomic_load(&interrupted); }

bool cli_forget_interrupt(void) {
    if (atomic_load(&told_to_end))
        return false;
    atomic_store(&interrupted, false);
    cli_catch_interrupt();
    return true;
}

const atomic_bool *cli_interrupt_flag(void) { return &interrupted; }
