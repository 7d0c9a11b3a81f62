// Every allocation of every route, failed one after another in a running service: the answer is
// 503 (or whole, or of a stream: told as an error, or torn), nothing leaks (the address sanitizer's
// build says so), no block of the cache stays in use, and the next request is answered as before.
// FAULTS 39.
#include "base/clock.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "service/metrics.h"
#include "service/server.h"
#include "tests/check.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct answer {
    int status; // 0: the connection was closed without one
    bool torn;  // a chunked body without its end
    char body[65536];
};

enum { MOST_CALLS = 2000 };

#define TINY_TOOL                                                                                  \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"weather\",\"description\":"        \
    "\"Tells the weather.\",\"parameters\":{"                                                      \
    "\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":"       \
    "\"integer\"}},\"required\":[\"city\",\"days\"],\"additionalProperties\":false}}}]"

static const struct {
    const char *path, *body;
} routes[] = {
    {"/v1/embeddings", "{\"model\":\"e\",\"input\":[\"the cat\",\"a dog\"],\"dimensions\":8}"},
    {"/v1/embeddings", "{\"model\":\"e\",\"input\":\"a\",\"encoding_format\":\"base64\"}"},
    {"/v1/embeddings",
     "{\"model\":\"e\",\"input\":\"a\",\"embedding_types\":[\"float\",\"int8\"]}"},
    {"/v1/embeddings", "{\"model\":\"e\",\"input\":5}"},
    {"/v1/embeddings", "{\"model\":\"e\",\"input\":[{\"text\":\"a\"},{\"content\":[\"b\",\"c\"]}],"
                       "\"output_dtype\":\"int8\",\"encoding_format\":\"base64\"}"},
    {"/v1/embeddings", "{\"model\":\"e\",\"input\":\"a\",\"late_chunking\":true}"},
    {"/rerank", "{\"query\":{\"text\":\"the cat\"},\"documents\":[\"a cat\",\"\"],"
                "\"property\":\"\"}"},
    {"/embed", "{\"model\":\"p\",\"inputs\":[\"the cat\",[5,6]],\"prompt_name\":\"query\"}"},
    {"/v1/rerank", "{\"query\":\"the cat\",\"documents\":[\"a cat\",{\"text\":\"a dog\"}]}"},
    {"/v1/rerank", "{\"query\":\"the cat\",\"documents\":[{\"a\":\"x\",\"b\":\"y\"}],"
                   "\"rank_fields\":[\"a\",\"b\"]}"},
    {"/v1/rerank", "{\"model\":\"e\",\"query\":\"the cat\",\"documents\":[\"a cat\"]}"},
    {"/v2/rerank", "{\"query\":\"the cat\",\"documents\":[\"a cat\"]}"},
    {"/rerank", "{\"query\":\"the cat\",\"texts\":[\"a cat\"],\"return_text\":true}"},
    {"/v2/embed",
     "{\"model\":\"e\",\"inputs\":[{\"content\":[{\"text\":\"a\"},{\"text\":\"b\"}]}]}"},
    {"/similarity",
     "{\"model\":\"e\",\"inputs\":{\"source_sentence\":\"a\",\"sentences\":[\"b\"]}}"},
    {"/v1/classify", "{\"model\":\"c\",\"input\":[\"the cat\",\"a dog\"]}"},
    {"/predict", "{\"model\":\"c\",\"inputs\":[[\"the cat\",\"a dog\"]]}"},
    {"/tokenize", "{\"model\":\"e\",\"inputs\":\"the cat\"}"},
    {"/decode", "{\"model\":\"e\",\"ids\":[5,6,7]}"},
    {"/v1/completions", "{\"prompt\":[\"one two three\",[5,6]],\"n\":2,\"temperature\":0,"
                        "\"max_tokens\":4,\"echo\":true,\"logprobs\":2,\"stop\":[\"zz\",\"six\"]}"},
    {"/v1/completions", "{\"prompt\":\"one two three\",\"temperature\":0,\"max_tokens\":4,"
                        "\"stream\":true,\"logprobs\":1,\"logit_bias\":{\"5\":1}}"},
    {"/v1/completions",
     "{\"prompt\":\"one\",\"temperature\":0,\"grammar\":\"root ::= \\\"ab\\\"+\","
     "\"max_tokens\":3}"},
    {"/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
                             "\"text\":\"hi\"}]}],\"temperature\":0,\"logprobs\":true}"},
    {"/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"temperature\":0,\"stream\":true,"
     "\"stream_options\":{\"include_usage\":true}}"},
    {"/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"tool_calls\":"
     "[{"
     "\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}]},"
     "{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"x\"}],\"max_tokens\":2,"
     "\"temperature\":0}"},
    {"/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"weather\"}],"
                             "\"temperature\":0," TINY_TOOL "}"},
    {"/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"weather\"}],"
                             "\"temperature\":0,\"stream\":true," TINY_TOOL "}"},
    {"/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"weather\"}],"
                             "\"temperature\":0,\"tools\":[{\"type\":\"function\",\"function\":{"
                             "\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{"
                             "\"a\":{\"patternProperties\":{\"x\":{}}}},\"required\":[\"a\"]}}}]}"},
    {"/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"a person\"}],"
                             "\"temperature\":0,\"response_format\":{\"type\":\"json_schema\","
                             "\"json_schema\":{\"name\":\"p\",\"schema\":{\"type\":\"object\","
                             "\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":"
                             "\"integer\"}},\"required\":[\"name\",\"age\"],"
                             "\"additionalProperties\":false}}}}"},
};

// Joins a chunked body's pieces in place; false: its end is missing.
static bool join_chunks(char *body) {
    char *out = body;
    for (const char *at = body;;) {
        char *data;
        size_t n = strtoul(at, &data, 16);
        bool there = isxdigit((unsigned char)*at) && memcmp(data, "\r\n", 2) == 0;
        if (there && n && strlen(data + 2) >= n + 2) {
            memmove(out, data + 2, n);
            out += n;
            at = data + 2 + n + 2;
            continue;
        }
        bool whole = there && n == 0;
        *out = '\0';
        return whole;
    }
}

// Of an answer that was generated, in place: what it says, however it was cut into chunks; ids,
// times and how much was cached are another request's business.
static void distil(char *body) {
    static const char *const told[] = {"\"text\":\"",          "\"content\":\"", "\"arguments\":\"",
                                       "\"finish_reason\":\"", "\"name\":\"",    "\"token\":\"",
                                       "\"error\":{\"",        "[DONE]"};
    char *out = body;
    if (strncmp(body, "data: ", 6) != 0 && !strstr(body, "\"object\":\"text_completion\"") &&
        !strstr(body, "\"object\":\"chat.completion\""))
        return;
    for (const char *at = body; *at;) {
        size_t i = 0;
        while (i < 8 && strncmp(at, told[i], strlen(told[i])) != 0)
            i++;
        if (i == 8) {
            at++;
            continue;
        }
        at += strlen(told[i]);
        if (i >= 6)
            *out++ = i == 6 ? 'E' : 'D';
        else
            for (; *at && *at != '"'; at++) {
                *out++ = *at;
                if (*at == '\\')
                    *out++ = *++at;
            }
    }
    *out = '\0';
}

static bool ask(int port, const char *path, const char *body, struct answer *out) {
    static char request[4096], reply[sizeof out->body + 4096];
    *out = (struct answer){0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int n = snprintf(request, sizeof request,
                     "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n"
                     "\r\n%s",
                     path, strlen(body), body);
    bool sent = fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
                send(fd, request, (size_t)n, MSG_NOSIGNAL) == n;
    size_t got = 0;
    for (ssize_t more = 1; sent && more > 0 && got < sizeof reply - 1; got += (size_t)more) {
        more = recv(fd, reply + got, sizeof reply - 1 - got, 0);
        if (more < 0)
            more = 0;
    }
    if (fd >= 0)
        close(fd);
    reply[got] = '\0';
    const char *end = strstr(reply, "\r\n\r\n");
    if (!end || sscanf(reply, "HTTP/1.1 %d", &out->status) != 1)
        return sent;
    snprintf(out->body, sizeof out->body, "%s", end + 4);
    const char *chunked = strstr(reply, "chunked");
    out->torn = chunked && chunked < end && !join_chunks(out->body);
    distil(out->body);
    return true;
}

// The parts of an answer that do not change from one request to the next.
static bool same(const struct answer *a, const struct answer *b) {
    const char *x = strstr(a->body, "\"id\":\"req-"), *y = strstr(b->body, "\"id\":\"req-");
    if (x && y) { // the request's id is its own: compare around its 20 characters
        size_t at = (size_t)(x - a->body);
        return a->status == b->status && at == (size_t)(y - b->body) &&
               memcmp(a->body, b->body, at) == 0 && strcmp(x + 26, y + 26) == 0;
    }
    return a->status == b->status && strcmp(a->body, b->body) == 0;
}

// A stream that memory failed in mid-stream: it does not end as if it were whole.
static bool told(const struct answer *a) {
    return a->status == 200 && (a->torn || (strchr(a->body, 'E') && !strchr(a->body, 'D')));
}

// Nothing of an answer stays behind in the scheduler: its own end may come a little later.
static bool is_idle(struct scheduler *s) {
    for (int i = 0; i < 2000; i++) {
        struct scheduler_stats stats = scheduler_read_stats(s);
        const struct generation_stats *g = &stats.generation;
        if (stats.queued_tokens + g->running + g->waiting + g->kv_blocks_used == 0)
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return false;
}

static void test_route(struct service *s, const char *path, const char *body) {
    static struct answer want, got, after;
    int port = http_port(s->http);
    CHECK(ask(port, path, body, &want) && want.status >= 200 && want.status < 500);
    CHECK(ask(port, path, body, &want)); // caches are full now
    long n = 1;
    size_t bad = 0, failed = 0;
    for (; n < MOST_CALLS; n++) {
        fault_arm(FAULT_ALLOC, n, false);
        bool asked = ask(port, path, body, &got);
        bool reached = fault_calls(FAULT_ALLOC) >= n;
        fault_disarm();
        // a closed connection: the fault met HTTP before there was a request
        bool right =
            asked && (got.status == 503 || got.status == 0 || told(&got) || same(&got, &want));
        failed += got.status == 503;
        // what memory did is not told in the words of a schema that was looked at before
        right = right && !(got.status == 503 && strstr(got.body, "patternProperties"));
        right =
            right && is_idle(s->scheduler) && ask(port, path, body, &after) && same(&after, &want);
        if (!right)
            fprintf(stderr, "    %s, allocation %ld: %d %.200s\n", path, n, got.status, got.body);
        bad += !right;
        if (!reached)
            break;
    }
    CHECK_INT(bad, 0);
    CHECK(n > 4 && n < MOST_CALLS && failed > 2);
}

// A model that goes is not found any more, and the others are.
static void remove_one(struct service *s) {
    static struct answer got;
    struct errmsg msg = {0};
    struct model *m = service_find_model(s, "p", TASK_EMBED);
    uint64_t id = m->id;
    CHECK(metrics_read_model(s->metrics, id).total_us > 0);
    CHECK_OK(service_remove_model(s, m, &msg), msg);
    model_release(m);
    CHECK_INT(metrics_read_model(s->metrics, id).total_us, 0);
    CHECK(ask(http_port(s->http), "/embed", "{\"model\":\"p\",\"inputs\":\"a\"}", &got));
    CHECK_INT(got.status, 404);
    CHECK(ask(http_port(s->http), "/embed", "{\"model\":\"e\",\"inputs\":\"a\"}", &got));
    CHECK_INT(got.status, 200);
}

int main(void) {
    json_init();
    log_init(LOG_LEVEL_OFF, false);
    struct errmsg msg = {0};
    struct engine *engine = NULL;
    struct engine_options one = {.threads = 1};
    struct service_options options = {
        .host = "127.0.0.1",
        .max_client_batch = 2048,
        .max_connections = 8,
        .max_body = 1 << 20,
        .request_timeout_s = 30,
        .drain_timeout_s = 5,
    };
    struct model_options models[] = {
        {.path = "tests/golden/data/bert-mean-st6", .name = "e", .task = -1, .pool_mode = -1},
        {.path = "tests/golden/data/distilbert-prompt-st6",
         .name = "p",
         .task = -1,
         .pool_mode = -1},
        {.path = "tests/golden/data/bert-cross-encoder", .name = "r", .task = -1, .pool_mode = -1},
        {.path = "tests/golden/data/bert-classifier", .name = "c", .task = -1, .pool_mode = -1},
        {.path = "tests/golden/data/tiny_chat", .name = "g", .task = -1, .pool_mode = -1},
    };
    struct service s;
    CHECK_OK(engine_open(&one, &engine, &msg), msg);
    enum err e = service_open(&s, &options, &msg);
    CHECK_OK(e, msg);
    if (e)
        return check_done();
    CHECK_OK(service_load_models(&s, engine, models, 5, &msg), msg);
    CHECK_OK(service_make_ready(&s, &msg), msg);
    for (size_t i = 0; i < sizeof routes / sizeof *routes && !check_failed; i++)
        test_route(&s, routes[i].path, routes[i].body);
    CHECK_INT(scheduler_read_stats(s.scheduler).queued_tokens, 0);
    remove_one(&s);
    CHECK(service_drain(&s, 0, 5000000));
    service_close(&s);
    engine_close(engine);
    return check_done();
}
