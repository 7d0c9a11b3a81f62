// `trine pull`: the command line of hub.h. Thread rule: main's thread, before any other starts.
#include "cli/cli.h"

#include "base/mem.h"
#include "cli/options.h"
#include "hub/hub.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

// REPO[@REVISION] into a copy of the name (mem_free) and a revision within arg, or NULL.
static enum err split(const char *arg, char **repo, const char **revision, struct errmsg *msg) {
    const char *at = strchr(arg, '@');
    *revision = at ? at + 1 : NULL;
    *repo = NULL;
    if (at && !at[1])
        return err_set(msg, ERR_INVALID, "no revision behind the @");
    *repo = mem_strndup(arg, at ? (size_t)(at - arg) : strlen(arg));
    return *repo ? ERR_OK : err_set(msg, ERR_NOMEM, "no memory for a name");
}

static int pull(const struct cli_options *o) {
    struct errmsg msg = {0};
    struct hub_options options = {.file = o->file,
                                  .quiet = o->quiet,
                                  .progress_fd = STDERR_FILENO,
                                  .stop = cli_interrupt_flag()};
    char *repo, *folder;
    if (split(o->args[0], &repo, &options.revision, &msg))
        return msg.code == ERR_INVALID ? cli_misuse("pull", &msg) : cli_fail("pull", &msg);
    options.repo = repo;
    cli_catch_interrupt();
    enum err e = hub_pull(&options, &folder, &msg);
    mem_free(repo);
    if (e)
        return cli_fail("pull", &msg);
    if (printf("%s\n", folder) < 0 || fflush(stdout) != 0)
        e = err_set(&msg, ERR_IO, "%s is there, but stdout cannot be written", folder);
    mem_free(folder);
    return e ? cli_fail("pull", &msg) : CLI_EXIT_DONE;
}

int cli_pull(int argc, char **argv) {
    struct cli_options o;
    int exit_code;
    if (!cli_options_read(CLI_PULL, argc, argv, &o, &exit_code))
        return exit_code;
    exit_code = pull(&o);
    cli_options_free(&o);
    return exit_code;
}
