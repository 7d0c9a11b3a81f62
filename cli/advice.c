// See advice.h.
#define _GNU_SOURCE // s6_addr
#include "cli/advice.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

bool cli_host_is_local(const char *host) {
    struct in_addr v4;
    struct in6_addr v6;
    if (strcmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &v6) != 1)
        return false;
    return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
}

void cli_advise_of_drain(const struct cli_options *o) {
    int most = o->service.drain_timeout_s / 2;
    if (!cli_set(o, "drain-delay-s") || o->service.drain_delay_s <= most)
        return;
    log_event(LOG_LEVEL_WARN, "drain_delay",
              LOG_FIELDS(log_int("drain_delay_s", o->service.drain_delay_s),
                         log_int("drain_timeout_s", o->service.drain_timeout_s)),
              "--drain-delay-s %d will be %d.%d s: half of --drain-timeout-s %d at most, for what "
              "comes meanwhile must be answered too",
              o->service.drain_delay_s, most, o->service.drain_timeout_s % 2 ? 5 : 0,
              o->service.drain_timeout_s);
}

void cli_advise_of_host(const struct cli_options *o) {
    if (o->service.api_key_file || cli_host_is_local(o->service.host))
        return;
    log_event(LOG_LEVEL_WARN, "open_service", LOG_FIELDS(log_string("host", o->service.host)),
              "--host %s without --api-key-file: whoever reaches this port may use the service",
              o->service.host);
}

// The tasks of all models, one bit each.
static unsigned tasks_of(struct registry *models) {
    unsigned tasks = 0;
    for (struct model *m = NULL; (m = registry_next(models, m));)
        tasks |= 1u << m->task;
    return tasks;
}

void cli_advise_of_models(const struct cli_options *o, struct registry *models) {
    enum {
        GENERATES = 1 << TASK_GENERATE,
        EMBEDS = 1 << TASK_EMBED,
        ENCODES = EMBEDS | 1 << TASK_RERANK | 1 << TASK_CLASSIFY,
    };
    static const struct {
        const char *option;
        unsigned tasks;
        const char *why;
    } rules[] = {
        {"kv-cache-mib", GENERATES, "no model generates"},
        {"kv-dtype", GENERATES, "no model generates"},
        {"max-sequences", GENERATES, "no model generates"},
        {"no-speculation", GENERATES, "no model generates"},
        {"shared-prefix-cache", GENERATES, "no model generates"},
        {"accept-token-ids", EMBEDS, "no model embeds"},
        {"auto-truncate", ENCODES, "generation cuts no prompt"},
        {"max-batch-tokens", ENCODES, "generation's steps have their own size"},
    };
    unsigned served = tasks_of(models);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (cli_set(o, rules[i].option) && !(served & rules[i].tasks))
            log_event(
                LOG_LEVEL_WARN, "no_effect",
                LOG_FIELDS(log_string("option", rules[i].option), log_string("why", rules[i].why)),
                "--%s has no effect: %s", rules[i].option, rules[i].why);
    if (o->engine.share_prefixes && !o->service.api_key_file && served & GENERATES)
        log_event(
            LOG_LEVEL_WARN, "no_effect", LOG_FIELDS(log_string("option", "shared-prefix-cache")),
            "--shared-prefix-cache has no effect without --api-key-file: all share one already");
}
