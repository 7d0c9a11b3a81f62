// Masks made ahead: giving up leaves no trace, so a mask holds the same whoever makes it and
// however often it was tried; the threads give back what they are given, what needs little before
// what needs much, and let go of what nobody wants.
#include "base/json.h"
#include "base/thread.h"
#include "engine/masks.h"
#include "tests/kit/await.h"
#include "tests/unit/grammar_kit.h"

#include <semaphore.h>
#include <time.h>

enum { WORDS_IN_VOCAB = 2000, VOCAB = 256 + WORDS_IN_VOCAB + 1, TEXT = 20 };

static const struct {
    const char *gbnf, *schema;
} grammars[] = {
    {"root ::= [a-m]+ (\" \" [a-z]{2,9}){0,5} \".\" | ([a-z] | [0-9])* \"!\"", NULL},
    {"root ::= item{1,30}\nitem ::= \"(\" item? \")\" | [^()]+", NULL},
    {NULL, "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":9},"
           "\"n\":{\"type\":\"integer\"}},\"required\":[\"name\",\"n\"],\"additionalProperties\":"
           "{\"type\":\"string\"}}"},
    {NULL, "{\"type\":\"object\"}"},
};
enum { GRAMMARS = sizeof grammars / sizeof *grammars };

static struct grammar_vocab *vocab;

static void advance(struct mask_job *job, int32_t id, uint64_t work) {
    mask_job_take(job, &id, 1);
    mask_job_try(job, work);
}

static uint32_t random_at = 7;
static uint32_t random_next(void) {
    random_at = random_at * 1664525u + 1013904223u;
    return random_at >> 8;
}

// Every byte, words of letters and JSON's signs, an end token.
static void make_vocab(void) {
    static struct grammar_token tokens[VOCAB];
    static char bytes[256], words[WORDS_IN_VOCAB][8];
    for (int i = 0; i < 256; i++) {
        bytes[i] = (char)i;
        tokens[i] = (struct grammar_token){&bytes[i], 1};
    }
    for (int i = 0; i < WORDS_IN_VOCAB; i++) {
        size_t len = 2 + random_next() % 6;
        for (size_t k = 0; k < len; k++)
            words[i][k] = "abcdefghijklmnopqrstuvwxyz 0123456789\":,{}()."[random_next() % 45];
        tokens[256 + i] = (struct grammar_token){words[i], len};
    }
    int32_t end = VOCAB - 1;
    struct errmsg msg = {0};
    CHECK_OK(grammar_vocab_new(tokens, VOCAB, &end, 1, &vocab, &msg), msg);
}

static struct grammar *compile(int which) {
    struct grammar *g = NULL;
    struct errmsg msg = {0};
    if (grammars[which].gbnf)
        CHECK_OK(grammar_from_gbnf(grammars[which].gbnf, strlen(grammars[which].gbnf), &g, &msg),
                 msg);
    else
        CHECK_OK(kit_schema(grammars[which].schema, NULL, &g, &msg), msg);
    return g;
}

// So many ways to read a text that a mask takes many slices of work.
static struct grammar *costly(void) {
    struct buf text = {0};
    struct grammar *g = NULL;
    struct errmsg msg = {0};
    buf_puts(&text, "root ::= x0");
    for (int i = 1; i < 60; i++)
        buf_printf(&text, " | x%d", i);
    for (int i = 0; i < 60; i++)
        buf_printf(&text, "\nx%d ::= ([a-z]+ | [0-9]+ | \" \")+ \"%d.\"", i, i);
    CHECK_OK(grammar_from_gbnf(text.data, text.len, &g, &msg), msg);
    buf_free(&text);
    return g;
}

static struct grammar_state *begin(const struct grammar *g, size_t limit) {
    struct grammar_state *s = NULL;
    struct errmsg msg = {0};
    CHECK_OK(grammar_state_new(g, vocab, &s, &msg), msg);
    if (limit)
        CHECK_OK(grammar_state_limit(s, limit, NULL, &msg), msg);
    return s;
}

static int32_t pick(const uint32_t *mask) {
    int32_t chosen = -1;
    uint32_t n = 0;
    for (int32_t id = 0; id < VOCAB; id++)
        if (kit_in(mask, id) && random_next() % ++n == 0)
            chosen = id;
    return chosen;
}

static void same_bits(void) {
    size_t words = grammar_mask_words(vocab), given_up = 0, differ = 0, steps = 0;
    uint32_t *mask = calloc(words, sizeof *mask), *want = calloc(words, sizeof *want);
    for (int which = 0; which < 2 * GRAMMARS; which++) {
        struct grammar *g = compile(which / 2);
        struct grammar_state *tried = begin(g, which % 2 ? TEXT : 0);
        struct grammar_state *plain = begin(g, which % 2 ? TEXT : 0);
        for (int i = 0; i < TEXT && !grammar_must_end(plain); i++, steps++) {
            bool constrained, as_well;
            enum err e = grammar_mask(plain, want, &constrained);
            for (uint64_t most = 1; most < 1 << 16; most *= 30) {
                struct grammar_work work = {.most = most};
                enum err got = grammar_mask_within(tried, &work, mask, &as_well);
                given_up += got == ERR_CANCELLED;
                differ += got != ERR_CANCELLED && got != e;
                differ += got == ERR_OK && memcmp(mask, want, words * sizeof *mask) != 0;
            }
            struct grammar_work all = {0};
            differ += grammar_mask_within(tried, &all, mask, &as_well) != e;
            differ += memcmp(mask, want, words * sizeof *mask) != 0 || as_well != constrained;
            int32_t id = pick(want);
            struct grammar_work one = {.most = 1};
            enum err taken = grammar_accept_within(tried, id, &one);
            given_up += taken == ERR_CANCELLED;
            if (taken == ERR_CANCELLED)
                taken = grammar_accept_within(tried, id, &all);
            if (!CHECK(taken == ERR_OK && grammar_accept(plain, id)))
                break;
        }
        grammar_state_free(tried);
        grammar_state_free(plain);
        grammar_free(g);
    }
    CHECK_INT(differ, 0);
    CHECK(steps > 100 && given_up > steps); // it was given up often, or this shows nothing
    free(mask);
    free(want);
}

// ---- the threads

static sem_t woken, gate;
static atomic_int held; // wakes that wait for the gate

static void wake(void *ctx) {
    (void)ctx;
    sem_post(&woken);
    if (atomic_load(&held) > 0) {
        atomic_fetch_sub(&held, 1);
        while (sem_wait(&gate))
            ;
    }
}

static struct masks *start(int threads) {
    struct masks *m = NULL;
    struct errmsg msg = {0};
    CHECK_OK(masks_new(threads, wake, NULL, &m, &msg), msg);
    return m;
}

static void wait_for(const struct mask_job *job) {
    while (atomic_load(&job->at) == MASK_AWAY)
        await_nap();
}

// Texts of many jobs at once, each against masks made in one piece.
static void together(int threads) {
    enum { JOBS = 12, STEPS = 8 };
    struct masks *m = start(threads);
    struct grammar *g[JOBS];
    struct grammar_state *s[JOBS], *plain[JOBS];
    struct mask_job *job[JOBS];
    size_t words = grammar_mask_words(vocab), differ = 0, away = 0;
    uint32_t *want = calloc(words, sizeof *want);
    for (int i = 0; i < JOBS; i++) {
        g[i] = i == 5 && threads > 1 ? costly() : compile(i % GRAMMARS);
        s[i] = begin(g[i], i % 3 ? 0 : TEXT);
        plain[i] = begin(g[i], i % 3 ? 0 : TEXT);
        CHECK_INT(mask_job_new(s[i], VOCAB + 70, NULL, &job[i]), ERR_OK);
        mask_job_try(job[i], 1);
    }
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < JOBS; i++)
            if (atomic_load(&job[i]->at) == MASK_DUE) {
                masks_submit(m, job[i]);
                away++;
            }
        for (int i = 0; i < JOBS; i++) {
            bool constrained;
            if (i == 5 && threads > 1 && step > 0) // enough of that one
                continue;
            wait_for(job[i]);
            CHECK(mask_job_ready(job[i]));
            enum err e = grammar_mask(plain[i], want, &constrained);
            differ += job[i]->err != e || job[i]->constrained != constrained;
            differ += memcmp(job[i]->mask, want, words * sizeof *want) != 0;
            differ += job[i]->mask[words] != 0; // ids that only the logits have
            int32_t id = e ? -1 : pick(want);
            if (id >= 0 && id != VOCAB - 1) {
                CHECK(grammar_accept(plain[i], id));
                advance(job[i], id, step % 2 ? 1 : 4000);
            }
        }
    }
    CHECK_INT(differ, 0);
    CHECK(away > 2 * JOBS);
    for (int i = 0; i < JOBS; i++) {
        masks_recall(m, job[i]);
        mask_job_free(job[i]);
        grammar_state_free(s[i]);
        grammar_state_free(plain[i]);
        grammar_free(g[i]);
    }
    masks_free(m);
    free(want);
}

// The masks behind drafts are those that taking the drafts gives, as far as they are allowed and
// the work goes; the job is as it was.
static void look_ahead(void) {
    size_t words = grammar_mask_words(vocab), differ = 0, behind = 0, short_of_work = 0;
    uint32_t *want = calloc(words, sizeof *want), *before = calloc(words, sizeof *before);
    for (int which = 0; which < 2 * GRAMMARS; which++) {
        struct grammar *g = compile(which / 2);
        struct grammar_state *s = begin(g, which % 2 ? TEXT : 0);
        struct mask_job *job = NULL;
        CHECK_INT(mask_job_new(s, VOCAB, NULL, &job), ERR_OK);
        mask_job_try(job, 0);
        for (int i = 0; i < TEXT / 3 && mask_job_ready(job) && !job->err; i++) {
            // drafts from another state that goes the same way; the last one is forbidden
            struct grammar_state *plain = begin(g, which % 2 ? TEXT : 0);
            static int32_t said[TEXT];
            int32_t drafts[4] = {0, 0, 0, 0};
            bool constrained, over = false;
            for (int k = 0; k < i; k++)
                CHECK(grammar_accept(plain, said[k]));
            memcpy(before, job->mask, words * sizeof *before);
            size_t made = mask_job_look_ahead(job, drafts, 0, UINT64_MAX), n = 0;
            CHECK_INT(made, 0);
            for (; n < 3 && !over; n++) {
                over = grammar_mask(plain, want, &constrained) != ERR_OK;
                drafts[n] = over ? -1 : pick(want);
                over = over || drafts[n] == VOCAB - 1 || !grammar_accept(plain, drafts[n]) ||
                       grammar_mask(plain, want, &constrained) != ERR_OK;
            }
            n -= over;
            made = mask_job_look_ahead(job, drafts, n, UINT64_MAX);
            short_of_work += n > 0 && mask_job_look_ahead(job, drafts, n, 1) < n;
            CHECK_INT(mask_job_look_ahead(job, drafts, n, UINT64_MAX), made);
            grammar_state_free(plain);
            plain = begin(g, which % 2 ? TEXT : 0);
            for (int k = 0; k < i; k++)
                CHECK(grammar_accept(plain, said[k]));
            for (size_t k = 0; k < made; k++, behind++) {
                CHECK(grammar_accept(plain, drafts[k]));
                differ += grammar_mask(plain, want, &constrained) != ERR_OK;
                const uint32_t *row = mask_job_row(job, k + 1);
                differ += !row || memcmp(row, want, words * sizeof *want) != 0;
            }
            differ += made < n; // they were all allowed
            differ += memcmp(before, job->mask, words * sizeof *before) != 0;
            grammar_state_free(plain);
            for (int32_t id = 0; id < VOCAB - 1; id++)
                if (!kit_in(job->mask, id)) {
                    CHECK_INT(mask_job_look_ahead(job, &id, 1, UINT64_MAX), 0);
                    break;
                }
            int32_t id = pick(job->mask);
            if (id < 0 || id == VOCAB - 1)
                break;
            said[i] = id;
            advance(job, id, 0);
        }
        mask_job_free(job);
        grammar_state_free(s);
        grammar_free(g);
    }
    CHECK_INT(differ, 0);
    CHECK(behind > 30);
    CHECK(short_of_work > 0);
    free(want);
    free(before);
}

// One thread with costly masks: one that needs little is there before they are through.
static void least_first(void) {
    enum { COSTLY = 5 };
    struct masks *m = start(1);
    struct grammar *g = costly(), *small = compile(1);
    struct grammar_state *s[COSTLY + 1];
    struct mask_job *job[COSTLY + 1];
    for (int i = 0; i <= COSTLY; i++) {
        s[i] = begin(i < COSTLY ? g : small, 0);
        CHECK_INT(mask_job_new(s[i], VOCAB, NULL, &job[i]), ERR_OK);
    }
    // the thread stands at the end of a mask while all are given to it, and at the end of the next
    struct grammar_state *first_state = begin(small, 0);
    struct mask_job *first = NULL;
    CHECK_INT(mask_job_new(first_state, VOCAB, NULL, &first), ERR_OK);
    while (sem_trywait(&woken) == 0)
        ;
    atomic_store(&held, 2);
    masks_submit(m, first);
    while (sem_wait(&woken))
        ;
    for (int i = 0; i <= COSTLY; i++)
        masks_submit(m, job[i]);
    sem_post(&gate);
    while (sem_wait(&woken))
        ;
    CHECK(mask_job_ready(job[COSTLY])); // in the middle of a costly one that came before it
    for (int i = 0; i < COSTLY; i++)
        CHECK_INT(atomic_load(&job[i]->at), MASK_AWAY);
    sem_post(&gate);
    mask_job_free(first);
    grammar_state_free(first_state);
    for (int i = 0; i <= COSTLY; i++) {
        wait_for(job[i]);
        CHECK(mask_job_ready(job[i]) && job[i]->err == ERR_OK);
        CHECK(i == COSTLY || job[i]->spent > 100000);
        CHECK(i < COSTLY || job[i]->spent < 100000);
        mask_job_free(job[i]);
        grammar_state_free(s[i]);
    }
    grammar_free(g);
    grammar_free(small);
    masks_free(m);
}

// A mask that stands for another one is not kept by it for longer than it has had itself: of two
// that are as costly the one that came first is there first.
static void as_costly(void) {
    struct masks *m = start(1);
    struct grammar *g = costly(), *small = compile(0);
    struct grammar_state *s[3] = {begin(small, 0), begin(g, 0), begin(g, 0)};
    struct mask_job *job[3];
    for (int i = 0; i < 3; i++)
        CHECK_INT(mask_job_new(s[i], VOCAB, NULL, &job[i]), ERR_OK);
    while (sem_trywait(&woken) == 0)
        ;
    atomic_store(&held, 1);
    masks_submit(m, job[0]);
    while (sem_wait(&woken)) // the thread is in wake(), until both others are queued
        ;
    masks_submit(m, job[1]);
    masks_submit(m, job[2]);
    atomic_store(&held, 1); // and is held again by the first that is there
    sem_post(&gate);
    while (sem_wait(&woken))
        ;
    CHECK(mask_job_ready(job[1]));
    CHECK_INT(atomic_load(&job[2]->at), MASK_AWAY);
    sem_post(&gate);
    wait_for(job[2]);
    CHECK(mask_job_ready(job[2]) && job[2]->err == ERR_OK);
    CHECK(job[2]->spent <= 3 * job[1]->spent); // little was made in vain
    for (int i = 0; i < 3; i++) {
        mask_job_free(job[i]);
        grammar_state_free(s[i]);
    }
    grammar_free(g);
    grammar_free(small);
    masks_free(m);
}

// An old text's work is that of its last masks, not of all that it ever had.
static void old_text(void) {
    enum { TOKENS = 200 };
    struct grammar *g = NULL;
    struct errmsg msg = {0};
    const char *text = "root ::= [a-z 0-9]+ \"!\""; // each mask as the first
    CHECK_OK(grammar_from_gbnf(text, strlen(text), &g, &msg), msg);
    struct grammar_state *s = begin(g, 0);
    struct mask_job *job;
    CHECK_INT(mask_job_new(s, VOCAB, NULL, &job), ERR_OK);
    mask_job_try(job, 0);
    uint64_t first = 0;
    for (int i = 0; i < TOKENS; i++) {
        advance(job, 'a', 0);
        CHECK(mask_job_ready(job) && job->err == ERR_OK);
        first = first ? first : job->spent;
    }
    CHECK(job->spent > first / 2 && job->spent < 10 * first);
    mask_job_free(job);
    grammar_state_free(s);
    grammar_free(g);
}

// Jobs that are asked back while they wait and while a thread is at them.
static void unwanted(void) {
    enum { JOBS = 4 };
    struct masks *m = start(1);
    struct grammar *g = costly();
    struct grammar_state *s[JOBS];
    struct mask_job *job[JOBS];
    for (int i = 0; i < JOBS; i++) {
        s[i] = begin(g, 0);
        CHECK_INT(mask_job_new(s[i], VOCAB, NULL, &job[i]), ERR_OK);
        masks_submit(m, job[i]);
    }
    nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL); // most likely at one of them
    for (int i = 0; i < JOBS; i++)
        (void)masks_withdraw(m, job[i]);
    for (int i = 0; i < JOBS; i++) {
        masks_recall(m, job[i]);
        CHECK(atomic_load(&job[i]->at) != MASK_AWAY);
        if (i == JOBS - 1) { // what was given up can be made after all
            mask_job_try(job[i], 0);
            CHECK(mask_job_ready(job[i]) && job[i]->err == ERR_OK);
        }
        mask_job_free(job[i]);
        grammar_state_free(s[i]);
    }
    grammar_free(g);
    masks_free(m);
}

// A thread that is busy elsewhere keeps nobody waiting: what is queued comes back at once.
static void queued(void) {
    struct masks *m = start(1);
    struct grammar *g = compile(0);
    struct grammar_state *s[2] = {begin(g, 0), begin(g, 0)};
    struct mask_job *job[2];
    for (int i = 0; i < 2; i++)
        CHECK_INT(mask_job_new(s[i], VOCAB, NULL, &job[i]), ERR_OK);
    while (sem_trywait(&woken) == 0)
        ;
    atomic_store(&held, 1);
    masks_submit(m, job[0]);
    while (sem_wait(&woken)) // the thread is in wake(), and stays there
        ;
    CHECK(mask_job_ready(job[0]));
    masks_submit(m, job[1]);
    CHECK_INT(atomic_load(&job[1]->at), MASK_AWAY);
    CHECK(masks_withdraw(m, job[1]));
    CHECK_INT(atomic_load(&job[1]->at), MASK_DUE);
    masks_submit(m, job[1]);
    sem_post(&gate);
    wait_for(job[1]);
    CHECK(mask_job_ready(job[1]));
    for (int i = 0; i < 2; i++) {
        mask_job_free(job[i]);
        grammar_state_free(s[i]);
    }
    grammar_free(g);
    masks_free(m);
}

// A byte that no token begins with: the message says what was asked for, and by what.
static void words(void) {
    static const struct grammar_token tokens[] = {{"a", 1}, {"b", 1}, {"", 0}};
    static const struct {
        const char *gbnf, *of, *want;
    } cases[] = {
        {"root ::= \"a\" mid\nmid ::= \"Z\" root?", "'grammar'",
         "'grammar' cannot go on: its rule \"mid\" asks for the byte 'Z', and this model has no "
         "token for that"},
        {"root ::= \"a\" [u-z]", "'response_format'",
         "'response_format' cannot go on: its rule \"root\" asks for one of the bytes 'u', 'v', "
         "'w', 'x' and 2 more, and this model has no token for that"},
        {"root ::= \"a\" \"\\n\"", NULL,
         "the grammar cannot go on: its rule \"root\" asks for the byte 0x0A, and this model has "
         "no token for that"},
    };
    int32_t end = 2;
    struct grammar_vocab *v = NULL;
    struct errmsg msg = {0};
    CHECK_OK(grammar_vocab_new(tokens, 3, &end, 1, &v, &msg), msg);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct grammar *g = NULL;
        struct grammar_state *s = NULL;
        struct mask_job *job = NULL;
        CHECK_OK(grammar_from_gbnf(cases[i].gbnf, strlen(cases[i].gbnf), &g, &msg), msg);
        CHECK_OK(grammar_state_new(g, v, &s, &msg), msg);
        CHECK_INT(mask_job_new(s, 3, cases[i].of, &job), ERR_OK);
        mask_job_try(job, 0);
        CHECK(mask_job_ready(job) && job->err == ERR_OK && job->mask[0] == 1);
        advance(job, 0, 0);
        CHECK(mask_job_ready(job) && job->err == ERR_UNSUPPORTED);
        CHECK_STR(job->msg.text, cases[i].want);
        mask_job_free(job);
        grammar_state_free(s);
        grammar_free(g);
    }
    // a token that was not in the mask: our fault, and said as such
    struct grammar *g = NULL;
    struct grammar_state *s = NULL;
    struct mask_job *job = NULL;
    CHECK_OK(grammar_from_gbnf("root ::= \"a\"", 12, &g, &msg), msg);
    CHECK_OK(grammar_state_new(g, v, &s, &msg), msg);
    CHECK_INT(mask_job_new(s, 3, "'grammar'", &job), ERR_OK);
    mask_job_try(job, 0);
    advance(job, 1, 0);
    CHECK(mask_job_ready(job) && job->err == ERR_INTERNAL);
    CHECK_STR(job->msg.text, "'grammar' refused the token 1 that its mask allowed");
    mask_job_free(job);
    grammar_state_free(s);
    grammar_free(g);
    grammar_vocab_free(v);
}

int main(void) {
    json_init();
    sem_init(&woken, 0, 0);
    sem_init(&gate, 0, 0);
    make_vocab();
    same_bits();
    together(1);
    together(3);
    look_ahead();
    least_first();
    as_costly();
    old_text();
    unwanted();
    queued();
    words();
    grammar_vocab_free(vocab);
    return check_done();
}
