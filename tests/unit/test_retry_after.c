// Retry-After counts all that waits, each kind at its own measured rate.
#include "service/retry_after.h"
#include "tests/check.h"

int main(void) {
    struct scheduler_stats s = {0};
    CHECK_INT(retry_after_s(&s), 1); // nothing is known
    s.queued_tokens = 1000000;
    CHECK_INT(retry_after_s(&s), 1);
    s.tokens = 50000;
    s.used_us[SHARE_INTERACTIVE] = 1000000;
    s.used_us[SHARE_BULK] = 1500000; // 20,000 a second
    CHECK_INT(retry_after_s(&s), 50);
    s.queued_tokens = 100000;
    CHECK_INT(retry_after_s(&s), 5);
    // generation alone: its time is not the encoders'
    s = (struct scheduler_stats){.used_us = {[SHARE_DECODE] = 10000000, [SHARE_PREFILL] = 2000000}};
    s.generation = (struct generation_stats){
        .prompt_tokens = 2000, .cached_tokens = 1000, .output_tokens = 1000, .output_left = 1200};
    CHECK_INT(retry_after_s(&s), 12); // 100 a second
    s.generation.prompt_left = 4000;  // 500 a second
    CHECK_INT(retry_after_s(&s), 20);
    s.generation.output_left = 32 * 8000;
    CHECK_INT(retry_after_s(&s), RETRY_AFTER_MOST_S);
    s.generation.cached_tokens = 2000; // all of them: no rate is known
    s.generation.output_left = 0;
    CHECK_INT(retry_after_s(&s), 1);
    return check_done();
}
