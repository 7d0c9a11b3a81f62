// Warnings that an operator should see before the first request: options that have no effect with
// these models, a port that everybody may call. Role: log lines. Thread rule: main thread.
#ifndef TRINE_CLI_ADVICE_H
#define TRINE_CLI_ADVICE_H

#include "cli/options.h"
#include "engine/registry.h"

// Warns when the service listens beyond this machine and asks for no key.
void cli_advise_of_host(const struct cli_options *o);
// Warns of a --drain-delay-s that --drain-timeout-s cuts short.
void cli_advise_of_drain(const struct cli_options *o);
// Warns of each option that has no effect with these models.
void cli_advise_of_models(const struct cli_options *o, struct registry *models);
// True for an address that only this machine reaches: 127.0.0.0/8, ::1, their IPv6 form, localhost.
bool cli_host_is_local(const char *host);

#endif
