// See fetch.h.
#include "hub/fetch.h"

#include "base/fault.h"
#include "base/mem.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CONNECT_S = 10, STALL_S = 30, MAX_HOPS = 10, MAX_TRIES = 5, MAX_RESTARTS = 3 };
enum { FIRST_WAIT_MS = 500, MAX_WAIT_MS = 8000, MAX_RETRY_AFTER_MS = 60000 };
enum { ERROR_BODY_MAX = 1 << 16 };

struct hub_session {
    struct hub_session_options options;
    CURL *curl;
    struct curl_slist *with_token; // NULL: no token
    char curl_error[CURL_ERROR_SIZE];
    bool reached; // the hub has answered once, so a lost connection is worth another try
};

// One GET: where its body goes, and what the answer's head said.
struct transfer {
    struct hub_session *s;
    const char *what; // for messages
    struct buf *text; // a text's sink, up to text_max bytes
    size_t text_max;

    const struct hub_file *file; // a file's sink: the part, open at its end
    const char *part;
    int fd;
    uint64_t at; // bytes in the part, all of them in hash
    struct digest *hash;

    long status;
    bool body_begun, bad_range;
    uint64_t range_begin, range_total; // of Content-Range; UINT64_MAX: not said
    size_t ignored;                    // bytes of an error's body
    bool no_revision;                  // the hub's reason
    char error_code[48], error_message[160];
    enum err err; // the sink's own failure, in msg
    struct errmsg *msg;
};

enum outcome { OUTCOME_DONE, OUTCOME_AGAIN, OUTCOME_RESTART, OUTCOME_FAILED };

// -- the session ----------------------------------------------------------------------------------

static bool stopped(const struct hub_session *s) {
    return s->options.stop && atomic_load(s->options.stop);
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    struct hub_session *s = ctx;
    (void)a, (void)b, (void)c, (void)d;
    hub_count_tick(s->options.count);
    return stopped(s);
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx);
static size_t on_body(char *data, size_t size, size_t n, void *ctx);

static bool printable(const char *s) {
    for (; *s; s++)
        if (*s <= 32 || *s >= 127)
            return false;
    return true;
}

enum err hub_session_open(const struct hub_session_options *options, struct hub_session **out,
                          struct errmsg *msg) {
    const char *endpoint = options->endpoint, *token = options->token;
    *out = NULL;
    if ((strncmp(endpoint, "https://", 8) != 0 && strncmp(endpoint, "http://", 7) != 0) ||
        !printable(endpoint))
        return err_set(msg, ERR_INVALID, "HF_ENDPOINT '%.100s' is not an http or https address",
                       endpoint);
    if (token && !printable(token))
        return err_set(msg, ERR_INVALID, "HF_TOKEN holds a character that no token has");
    struct hub_session *s = mem_calloc(1, sizeof *s);
    if (!s || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        mem_free(s);
        return err_set(msg, ERR_NOMEM, "no memory for a connection");
    }
    s->options = *options;
    s->curl = curl_easy_init();
    struct buf header = {0};
    if (token && *token) {
        buf_printf(&header, "Authorization: Bearer %s", token);
        s->with_token = header.failed ? NULL : curl_slist_append(NULL, header.data);
    }
    buf_free(&header);
    if (!s->curl || (token && *token && !s->with_token)) {
        hub_session_close(s);
        return err_set(msg, ERR_NOMEM, "no memory for a connection");
    }
    CURL *c = s->curl;
    curl_easy_setopt(c, CURLOPT_USERAGENT, "trine");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(c, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, s->curl_error);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, s);
    *out = s;
    return ERR_OK;
}

void hub_session_close(struct hub_session *s) {
    if (!s)
        return;
    curl_slist_free_all(s->with_token);
    if (s->curl)
        curl_easy_cleanup(s->curl);
    curl_global_cleanup();
    mem_free(s);
}

void hub_escape(struct buf *out, const char *text, bool keep_slashes) {
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (; *text; text++) {
        if (strchr(plain, *text) || (keep_slashes && *text == '/'))
            buf_putc(out, *text);
        else
            buf_printf(out, "%%%02X", (unsigned)(unsigned char)*text);
    }
}

// -- what comes in --------------------------------------------------------------------------------

// The value of `line` when it is the header `name`, its end without the line break; else NULL.
static const char *header_value(const char *line, size_t n, const char *name, size_t *len) {
    size_t m = strlen(name);
    if (n <= m || strncasecmp(line, name, m) != 0 || line[m] != ':')
        return NULL;
    const char *value = line + m + 1, *end = line + n;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
        end--;
    *len = (size_t)(end - value);
    return value;
}

// A server's words for a message on a terminal: cut to a length and cleaned.
static void copy_words(char *out, size_t size, const char *s, size_t n) {
    size_t i = 0;
    for (; i < n && i + 1 < size; i++)
        out[i] = s[i] < 32 || s[i] == 127 ? ' ' : s[i];
    out[i] = '\0';
}

static void read_content_range(struct transfer *t, const char *s, size_t n) {
    char value[80];
    unsigned long long begin, end, total;
    copy_words(value, sizeof value, s, n);
    if (sscanf(value, "bytes %llu-%llu/%llu", &begin, &end, &total) == 3) {
        t->range_begin = begin;
        t->range_total = total;
    } else if (sscanf(value, "bytes %llu-%llu/", &begin, &end) == 2) {
        t->range_begin = begin;
    }
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx) {
    struct transfer *t = ctx;
    size_t len;
    const char *value;
    n *= size;
    if (n > 5 && strncmp(line, "HTTP/", 5) == 0) { // a new answer: forget an informational one
        t->error_code[0] = t->error_message[0] = '\0';
        t->range_begin = t->range_total = UINT64_MAX;
    } else if ((value = header_value(line, n, "X-Error-Code", &len))) {
        copy_words(t->error_code, sizeof t->error_code, value, len);
    } else if ((value = header_value(line, n, "X-Error-Message", &len))) {
        copy_words(t->error_message, sizeof t->error_message, value, len);
    } else if ((value = header_value(line, n, "Content-Range", &len))) {
        read_content_range(t, value, len);
    }
    return n;
}

// Starts the part anew: what had come of it does not count.
static bool restart(struct transfer *t) {
    struct digest *fresh;
    t->err = hub_hash_start(t->file->kind, t->file->size, &fresh, t->msg);
    if (t->err)
        return false;
    digest_free(t->hash);
    t->hash = fresh;
    hub_count_take_back(t->s->options.count, t->at);
    t->at = 0;
    if (ftruncate(t->fd, 0) != 0 || lseek(t->fd, 0, SEEK_SET) != 0) {
        t->err = err_set(t->msg, ERR_IO, "%s: cannot truncate: %s", t->part, strerror(errno));
        return false;
    }
    return true;
}

static bool write_part(struct transfer *t, const char *data, size_t n) {
    if (n > t->file->size - t->at) {
        t->err = err_set(t->msg, ERR_INVALID,
                         "%s: the hub sends more than the %" PRIu64 " bytes it named", t->what,
                         t->file->size);
        return false;
    }
    while (n) {
        ssize_t wrote = fault_hit(FAULT_FILE) ? (errno = ENOSPC, -1) : write(t->fd, data, n);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0) {
            t->err = err_set(t->msg, ERR_IO, "%s: cannot write: %s", t->part, strerror(errno));
            return false;
        }
        if (!digest_feed(t->hash, data, (size_t)wrote)) {
            t->err = err_set(t->msg, ERR_INTERNAL, "%s: libcrypto failed", t->part);
            return false;
        }
        t->at += (uint64_t)wrote;
        data += wrote;
        n -= (size_t)wrote;
        hub_count_add(t->s->options.count, (uint64_t)wrote);
    }
    return true;
}

static bool begin_body(struct transfer *t) {
    t->body_begun = true;
    curl_easy_getinfo(t->s->curl, CURLINFO_RESPONSE_CODE, &t->status);
    if (!t->file)
        return true;
    if (t->status == 200 && t->at > 0)
        return restart(t); // Range was ignored: the whole file comes
    if (t->status == 206 && (t->range_begin != t->at ||
                             (t->range_total != UINT64_MAX && t->range_total != t->file->size))) {
        t->bad_range = true;
        return false;
    }
    return true;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx) {
    struct transfer *t = ctx;
    n *= size;
    if (!t->body_begun && !begin_body(t))
        return 0;
    if (t->status != 200 && (t->status != 206 || !t->file)) {
        t->ignored += n;
        return t->ignored <= ERROR_BODY_MAX ? n : 0;
    }
    if (t->file)
        return write_part(t, data, n) ? n : 0;
    if (n > t->text_max - t->text->len) {
        t->err = err_set(t->msg, ERR_TOO_LARGE, "%s: the hub's answer is over %zu bytes", t->what,
                         t->text_max);
        return 0;
    }
    buf_append(t->text, data, n);
    if (t->text->failed)
        t->err = err_set(t->msg, ERR_NOMEM, "%s: no memory for the hub's answer", t->what);
    return t->err ? 0 : n;
}

// -- one request, with its redirects --------------------------------------------------------------

struct origin {
    char scheme[8], host[256], port[8];
};

static bool origin_of(const char *url, struct origin *out) {
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL;
    bool ok = u && !curl_url_set(u, CURLUPART_URL, url, 0) &&
              !curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) &&
              !curl_url_get(u, CURLUPART_HOST, &host, 0) &&
              !curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) &&
              strlen(scheme) < sizeof out->scheme && strlen(host) < sizeof out->host &&
              strlen(port) < sizeof out->port;
    if (ok) {
        snprintf(out->scheme, sizeof out->scheme, "%s", scheme);
        snprintf(out->host, sizeof out->host, "%s", host);
        snprintf(out->port, sizeof out->port, "%s", port);
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return ok && (strcmp(out->scheme, "https") == 0 || strcmp(out->scheme, "http") == 0);
}

static bool same_origin(const struct origin *a, const struct origin *b) {
    return strcmp(a->scheme, b->scheme) == 0 && strcasecmp(a->host, b->host) == 0 &&
           strcmp(a->port, b->port) == 0;
}

// The next hop of a redirect into a new string, or NULL with msg set.
static char *next_hop(struct transfer *t, const struct origin *from, struct origin *to) {
    const char *location = NULL;
    curl_easy_getinfo(t->s->curl, CURLINFO_REDIRECT_URL, &location);
    if (!location || !origin_of(location, to)) {
        t->err = err_set(t->msg, ERR_INVALID, "%s: the hub redirects to %.100s, which is refused",
                         t->what, location ? "another protocol" : "nowhere");
        return NULL;
    }
    if (strcmp(from->scheme, "https") == 0 && strcmp(to->scheme, "http") == 0) {
        t->err = err_set(t->msg, ERR_INVALID, "%s: the hub redirects from https to http: refused",
                         t->what);
        return NULL;
    }
    char *copy = mem_strndup(location, strlen(location));
    if (!copy)
        t->err = err_set(t->msg, ERR_NOMEM, "%s: no memory for an address", t->what);
    return copy;
}

// GETs url and follows its redirects. Returns what libcurl says of the last one; t->err is set when
// the failure is ours.
static CURLcode follow(struct transfer *t, const char *first_url) {
    struct hub_session *s = t->s;
    struct origin home, here, next = {0};
    char *url = mem_strndup(first_url, strlen(first_url));
    CURLcode code = CURLE_OK;
    if (!url || !origin_of(s->options.endpoint, &home) || !origin_of(url, &here))
        t->err = err_set(t->msg, url ? ERR_INVALID : ERR_NOMEM, "bad address %.200s", first_url);
    for (int hop = 0; !t->err; hop++) {
        char range[32];
        snprintf(range, sizeof range, "%" PRIu64 "-", t->at);
        t->status = 0;
        t->body_begun = t->bad_range = false;
        t->ignored = 0;
        s->curl_error[0] = '\0';
        curl_easy_setopt(s->curl, CURLOPT_URL, url);
        curl_easy_setopt(s->curl, CURLOPT_HTTPHEADER,
                         same_origin(&home, &here) ? s->with_token : NULL);
        curl_easy_setopt(s->curl, CURLOPT_RANGE, t->file && t->at ? range : NULL);
        curl_easy_setopt(s->curl, CURLOPT_HEADERDATA, t);
        curl_easy_setopt(s->curl, CURLOPT_WRITEDATA, t);
        code = curl_easy_perform(s->curl);
        curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &t->status);
        if (t->status)
            s->reached = true;
        if (code || t->err || t->status < 300 || t->status > 399 || t->status == 304)
            break;
        if (hop == MAX_HOPS) {
            t->err = err_set(t->msg, ERR_INVALID, "%s: over %d redirects", t->what, MAX_HOPS);
            break;
        }
        char *to = next_hop(t, &here, &next);
        mem_free(url);
        url = to;
        here = next;
    }
    mem_free(url);
    return code;
}

static bool worth_again(CURLcode code) {
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return true;
    default:
        return false;
    }
}

static enum outcome refused(struct transfer *t) {
    const struct hub_session_options *o = &t->s->options;
    bool token = t->s->with_token;
    enum err code = ERR_NOT_FOUND;
    t->no_revision = strcmp(t->error_code, "RevisionNotFound") == 0;
    if (t->no_revision)
        t->err = err_set(t->msg, code, "%s has no such revision", t->what);
    else if (strcmp(t->error_code, "EntryNotFound") == 0)
        t->err = err_set(t->msg, code, "%s: the hub has no such file", t->what);
    else if (strcmp(t->error_code, "GatedRepo") == 0)
        t->err =
            err_set(t->msg, code, "%s is gated: accept its terms at %s/%s%s", o->repo, o->endpoint,
                    o->repo, token ? " with the account of HF_TOKEN" : ", then set HF_TOKEN");
    else if (t->status == 401 && token)
        t->err = err_set(t->msg, code, "%s: the hub does not accept HF_TOKEN (401)", o->repo);
    else if (t->status == 401)
        t->err = err_set(
            t->msg, code,
            "%s: no such repository, or a private one: check the name, or set HF_TOKEN", o->repo);
    else if (t->status == 403)
        t->err =
            err_set(t->msg, code, "%s: the hub forbids it (403) %s", o->repo, t->error_message);
    else if (t->status == 404)
        t->err = err_set(t->msg, code, "%s: no such repository on %s%s", o->repo, o->endpoint,
                         token ? "" : " (a private one needs HF_TOKEN)");
    else
        t->err = err_set(t->msg, ERR_IO, "%s: the hub answers %ld %s", t->what, t->status,
                         t->error_message);
    return OUTCOME_FAILED;
}

// One try. On OUTCOME_AGAIN and OUTCOME_FAILED msg says why; *wait_ms is how long the server asks
// us to wait, or 0.
static enum outcome try_once(struct transfer *t, const char *url, long *wait_ms) {
    bool reached_before = t->s->reached;
    CURLcode code = follow(t, url);
    *wait_ms = 0;
    if (t->err)
        return OUTCOME_FAILED;
    if (stopped(t->s)) {
        t->err = err_set(t->msg, ERR_CANCELLED, "stopped; the same command goes on from here");
        return OUTCOME_FAILED;
    }
    if (t->bad_range || t->status == 416)
        return OUTCOME_RESTART;
    if (t->status == 408 || t->status == 429 || (t->status >= 500 && t->status <= 599)) {
        curl_off_t after = 0;
        curl_easy_getinfo(t->s->curl, CURLINFO_RETRY_AFTER, &after);
        *wait_ms = after > 0 && after < MAX_RETRY_AFTER_MS / 1000 ? (long)after * 1000
                   : after > 0                                    ? MAX_RETRY_AFTER_MS
                                                                  : 0;
        err_set(t->msg, ERR_IO, "%s: the hub answers %ld", t->what, t->status);
        return OUTCOME_AGAIN;
    }
    if (t->status >= 400)
        return refused(t);
    if (code) {
        const char *why = t->s->curl_error[0] ? t->s->curl_error : curl_easy_strerror(code);
        enum err e = err_set(t->msg, ERR_IO, "%s: %s", t->what, why);
        bool first = !reached_before && !t->s->reached &&
                     (code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_CONNECT ||
                      code == CURLE_OPERATION_TIMEDOUT || code == CURLE_SSL_CONNECT_ERROR);
        if (worth_again(code) && !first)
            return OUTCOME_AGAIN;
        t->err =
            first ? err_set(t->msg, ERR_IO, "cannot reach %s: %s", t->s->options.endpoint, why) : e;
        return OUTCOME_FAILED;
    }
    if (t->status != 200 && !(t->status == 206 && t->file))
        return refused(t);
    return OUTCOME_DONE;
}

// Waits before try number `tries` + 1; false when stopped meanwhile.
static bool wait_again(struct hub_session *s, int tries, long wished_ms, const char *why) {
    long ms = FIRST_WAIT_MS << (tries - 1);
    ms = wished_ms ? wished_ms : ms < MAX_WAIT_MS ? ms : MAX_WAIT_MS;
    progress_note(&s->options.count->progress, "%s; trying again in %.1f s (%d of %d)", why,
                  (double)ms / 1000, tries, MAX_TRIES - 1);
    for (; ms > 0 && !stopped(s); ms -= 100) {
        struct timespec tenth = {.tv_nsec = 100000000};
        nanosleep(&tenth, NULL);
    }
    return !stopped(s);
}

static enum err give_up(struct transfer *t, bool cancelled) {
    if (cancelled)
        return err_set(t->msg, ERR_CANCELLED, "stopped; the same command goes on from here");
    char why[sizeof t->msg->text];
    memcpy(why, t->msg->text, sizeof why);
    return err_set(t->msg, ERR_IO, "%.400s (given up after %d tries)", why, MAX_TRIES);
}

// -- the two entries ------------------------------------------------------------------------------

static char *full_url(const struct hub_session *s, const char *path, struct errmsg *msg) {
    struct buf url = {0};
    buf_puts(&url, s->options.endpoint);
    buf_puts(&url, path);
    if (!url.failed)
        return url.data;
    buf_free(&url);
    err_set(msg, ERR_NOMEM, "no memory for an address");
    return NULL;
}

enum err hub_fetch_text(struct hub_session *s, const char *path, size_t max, struct buf *out,
                        bool *no_revision, struct errmsg *msg) {
    struct errmsg own = {0}; // the words are needed here even where the caller has no use for them
    msg = msg ? msg : &own;
    if (no_revision)
        *no_revision = false;
    char *url = full_url(s, path, msg);
    if (!url)
        return ERR_NOMEM;
    enum err e = ERR_OK;
    for (int tries = 1;; tries++) {
        struct transfer t = {
            .s = s, .what = s->options.repo, .text = out, .text_max = max, .fd = -1, .msg = msg};
        long wait_ms;
        size_t before = out->len;
        enum outcome outcome = try_once(&t, url, &wait_ms);
        e = t.err;
        if (no_revision)
            *no_revision = t.no_revision;
        if (outcome == OUTCOME_DONE || outcome == OUTCOME_FAILED)
            break;
        out->len = before;
        if (outcome == OUTCOME_RESTART)
            err_set(msg, ERR_IO, "%s: the hub answers %ld", t.what, t.status);
        if (tries == MAX_TRIES || !wait_again(s, tries, wait_ms, msg->text)) {
            e = give_up(&t, stopped(s));
            break;
        }
    }
    mem_free(url);
    return e;
}

static enum err open_part(struct transfer *t) {
    struct stat st;
    t->fd = fault_hit(FAULT_FILE) ? (errno = EIO, -1)
                                  : open(t->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (t->fd < 0 || fstat(t->fd, &st) != 0)
        return err_set(t->msg, ERR_IO, "%s: cannot open: %s", t->part, strerror(errno));
    t->at = (uint64_t)st.st_size <= t->file->size ? (uint64_t)st.st_size : 0;
    if (ftruncate(t->fd, (off_t)t->at) != 0 || lseek(t->fd, (off_t)t->at, SEEK_SET) < 0)
        return err_set(t->msg, ERR_IO, "%s: cannot open at its end: %s", t->part, strerror(errno));
    return hub_hash_begin_file(t->part, t->at, t->file->kind, t->file->size, &t->hash, t->msg);
}

static enum err fill_part(struct transfer *t, const char *url) {
    int tries = 0, restarts = 0;
    while (t->at < t->file->size) {
        long wait_ms;
        uint64_t before = t->at;
        enum outcome outcome = try_once(t, url, &wait_ms);
        if (outcome == OUTCOME_FAILED)
            return t->err;
        if (outcome == OUTCOME_RESTART) {
            if (++restarts > MAX_RESTARTS)
                return err_set(t->msg, ERR_IO, "%s: the hub will not send it from its start",
                               t->what);
            if (!restart(t))
                return t->err;
            continue;
        }
        if (outcome == OUTCOME_DONE && t->at < t->file->size)
            err_set(t->msg, ERR_IO, "%s: the answer ended early", t->what);
        if (t->at == t->file->size)
            break;
        tries = t->at > before ? 1 : tries + 1;
        if (tries == MAX_TRIES || !wait_again(t->s, tries, wait_ms, t->msg->text))
            return give_up(t, stopped(t->s));
    }
    return ERR_OK;
}

static enum err verify_part(struct transfer *t) {
    char got[DIGEST_HEX_MAX];
    if (!digest_end(t->hash, got))
        return err_set(t->msg, ERR_INTERNAL, "%s: libcrypto failed", t->part);
    if (strcmp(got, t->file->hash) != 0) {
        hub_count_take_back(t->s->options.count, t->at);
        return err_set(t->msg, ERR_INVALID,
                       "%s: what came has %s %.16s..., the hub names %.16s...: deleted; run it "
                       "again to load it anew",
                       t->what, t->file->kind == HUB_HASH_SHA256 ? "sha256" : "git SHA-1", got,
                       t->file->hash);
    }
    if (fault_hit(FAULT_FILE) || fsync(t->fd) != 0)
        return err_set(t->msg, ERR_IO, "%s: cannot sync: %s", t->part, strerror(errno));
    return ERR_OK;
}

enum err hub_fetch_file(struct hub_session *s, const char *path, const struct hub_file *file,
                        const char *part, struct errmsg *msg) {
    struct errmsg own = {0};
    msg = msg ? msg : &own;
    struct transfer t = {
        .s = s, .what = file->name, .file = file, .part = part, .fd = -1, .msg = msg};
    char *url = full_url(s, path, msg);
    if (!url)
        return ERR_NOMEM;
    hub_count_file(s->options.count, file->name);
    enum err e = open_part(&t);
    if (!e)
        e = fill_part(&t, url);
    bool whole = !e;
    if (!e)
        e = verify_part(&t);
    if (whole && e == ERR_INVALID && unlink(part) != 0)
        err_prefix(msg, e, "%s cannot be deleted", part);
    digest_free(t.hash);
    if (t.fd >= 0 && close(t.fd) != 0 && !e)
        e = err_set(msg, ERR_IO, "%s: cannot close: %s", part, strerror(errno));
    mem_free(url);
    return e;
}
