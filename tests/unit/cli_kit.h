// What the tests of options share: a command line as an array, read, and what is said of a wrong
// one. Thread rule: main thread only.
#ifndef TRINE_TESTS_UNIT_CLI_KIT_H
#define TRINE_TESTS_UNIT_CLI_KIT_H

#include "cli/options.h"
#include "tests/check.h"

static int exit_code;
static struct errmsg msg; // of the last parse

static inline enum err parse(enum cli_command c, struct cli_options *o, int argc,
                             const char **argv) {
    msg = (struct errmsg){0};
    return cli_options_parse(c, argc, (char **)(uintptr_t)argv, o, &exit_code, &msg);
}
// ARGS("serve", "--port", "1"): count and vector.
#define ARGS(...)                                                                                  \
    (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), (const char *[]) { __VA_ARGS__ }

// It is refused, with this exit code, in one line with these words.
static inline void expect_failure(enum cli_command c, int code, const char *words, int argc,
                                  const char **argv) {
    struct cli_options o;
    CHECK(parse(c, &o, argc, argv) != ERR_OK);
    CHECK_INT(exit_code, code);
    if (!CHECK(strstr(msg.text, words) != NULL))
        fprintf(stderr, "    said '%s', not '%s'\n", msg.text, words);
    CHECK(strchr(msg.text, '\n') == NULL);
    cli_options_free(&o);
}

static inline void expect_success(enum cli_command c, int argc, const char **argv) {
    struct cli_options o;
    CHECK_OK(parse(c, &o, argc, argv), msg);
    cli_options_free(&o);
}

#endif
