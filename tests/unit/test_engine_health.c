// What probes say in each set-up while the main replica is up, down or given up, for a while or for
// good.
#include "engine/engine.h"
#include "tests/check.h"

#include <string.h>

static struct replica_health now;
static struct replica_health read_now(struct replica *r) {
    (void)r;
    return now;
}

static const struct replica_ops ops = {.health = read_now};
static struct replica a = {.ops = &ops}, b = {.ops = &ops};

static void expect(const struct engine *e, enum replica_condition condition,
                   enum engine_state state, const char *words) {
    struct engine copy = *e;
    now.condition = condition;
    struct engine_health h = engine_read_health(&copy);
    CHECK_INT(h.state, state);
    if (!CHECK(words ? strstr(h.why, words) != NULL : h.why[0] == '\0'))
        fprintf(stderr, "    said '%s'\n", h.why);
    if (words)
        CHECK(strstr(h.why, "generation 7") && strstr(h.why, "signal 9 (SIGKILL)"));
    CHECK(strchr(h.why, '\n') == NULL);
    // another start of the program is what helps, and nothing else
    CHECK_INT(h.over, state == ENGINE_UNABLE && condition == REPLICA_GIVEN_UP &&
                          now.again == REPLICA_AGAIN_NEVER);
    if (condition == REPLICA_GIVEN_UP && now.again == REPLICA_AGAIN_NEVER)
        CHECK(strstr(h.why, "later") == NULL && strstr(h.why, "tried") == NULL);
}

int main(void) {
    now.life = 7;
    snprintf(now.why, sizeof now.why, "signal 9 (SIGKILL)");
    const struct engine plain = {.replica = &a, .local = &a};
    const struct engine isolated = {
        .options = {.isolate = true}, .replica = &a, .spare = &b, .spare_kind = SPARE_QUARANTINE};
    const struct engine backed = {.options = {.device = ENGINE_DEVICE_WORKER},
                                  .replica = &a,
                                  .local = &b,
                                  .spare = &b,
                                  .spare_kind = SPARE_CPU};
    const struct engine alone = {
        .options = {.device = ENGINE_DEVICE_WORKER, .fallback = ENGINE_FALLBACK_REJECT},
        .replica = &a,
        .local = &b};
    CHECK(!engine_has_worker(&plain) && engine_has_worker(&isolated));
    CHECK(engine_has_worker(&backed) && engine_has_worker(&alone));
    expect(&plain, REPLICA_UP, ENGINE_WELL, NULL);
    expect(&isolated, REPLICA_UP, ENGINE_WELL, NULL);
    expect(&isolated, REPLICA_DOWN, ENGINE_DEGRADED, "what is accepted waits for it");
    expect(&isolated, REPLICA_GIVEN_UP, ENGINE_UNABLE, "given up and tried again later");
    expect(&backed, REPLICA_UP, ENGINE_WELL, NULL);
    expect(&backed, REPLICA_DOWN, ENGINE_DEGRADED, "this process's CPU computes meanwhile");
    expect(&backed, REPLICA_GIVEN_UP, ENGINE_DEGRADED, "this process's CPU computes meanwhile");
    expect(&alone, REPLICA_UP, ENGINE_WELL, NULL);
    expect(&alone, REPLICA_DOWN, ENGINE_UNABLE, "nothing is computed until then");
    expect(&alone, REPLICA_GIVEN_UP, ENGINE_UNABLE, "nothing is computed until then");
    now.again = REPLICA_AGAIN_GONE;
    expect(&isolated, REPLICA_GIVEN_UP, ENGINE_UNABLE, "when its process is gone");
    now.again = REPLICA_AGAIN_NEVER;
    expect(&isolated, REPLICA_GIVEN_UP, ENGINE_UNABLE, "given up for good");
    expect(&alone, REPLICA_GIVEN_UP, ENGINE_UNABLE, "given up for good");
    expect(&backed, REPLICA_GIVEN_UP, ENGINE_DEGRADED, "given up for good");
    expect(&isolated, REPLICA_DOWN, ENGINE_DEGRADED, "what is accepted waits for it");
    return check_done();
}
