// `trine pull`: argv[0] is "pull". Returns the program's exit code: 0 done, 1 failed (one line on
// stderr), 2 wrong usage. The model's folder goes to stdout. Thread rule: main, before any thread;
// json_init has been called.
#ifndef TRINE_SERVICE_CLI_PULL_H
#define TRINE_SERVICE_CLI_PULL_H

int cli_pull(int argc, char **argv);

#endif
