// See retry_after.h.
#include "service/retry_after.h"

// Microseconds for `left` tokens, when `done` took us.
static double time_for(size_t left, uint64_t done, int64_t us) {
    return done ? (double)left * (double)us / (double)done : 0;
}

int retry_after_s(const struct scheduler_stats *s) {
    const struct generation_stats *g = &s->generation;
    uint64_t prompts =
        g->prompt_tokens > g->cached_tokens ? g->prompt_tokens - g->cached_tokens : 0;
    double us = time_for(s->queued_tokens, s->tokens,
                         s->used_us[SHARE_INTERACTIVE] + s->used_us[SHARE_BULK]) +
                time_for(g->prompt_left, prompts, s->used_us[SHARE_PREFILL]) +
                time_for(g->output_left, g->output_tokens, s->used_us[SHARE_DECODE]);
    double seconds = us / 1e6 + 0.5;
    return seconds < 1 ? 1 : seconds > RETRY_AFTER_MOST_S ? RETRY_AFTER_MOST_S : (int)seconds;
}
