// HTTP framing against a server in this process, by raw sockets: FAULTS rows 14 to 26, keep-alive,
// pipelining, chunks. Deadlines are 400 ms here.
#include "tests/unit/test_http_kit.h"

#define HOST "Host: x\r\n"
#define POST "POST /echo HTTP/1.1\r\n" HOST

static void expect(const char *bytes, size_t n, int status, const char *want_code, int line) {
    const char *code;
    int before = atomic_load(&kit_handled);
    int got = kit_ask(bytes, n, &code);
    bool ok = got == status && strcmp(code, want_code) == 0;
    // What is refused must not have been handled.
    ok = ok && (status < 400 || atomic_load(&kit_handled) == before);
    if (!check_one(ok, __FILE__, line, "refused as it must be"))
        fprintf(stderr, "    got %d %s, want %d %s\n", got, code, status, want_code);
}
#define EXPECT(bytes, status, code) expect((bytes), sizeof(bytes) - 1, (status), (code), __LINE__)

static void test_good_requests(void) {
    struct reply r;
    int fd = kit_dial();
    kit_send(fd, POST "Content-Length: 5\r\n\r\nhello");
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK_STR(r.body, "hello");
    CHECK(r.keep_alive);
    CHECK(strstr(r.head, "\r\nContent-Type: text/plain\r\n") != NULL);
    CHECK(strstr(r.head, "\r\nx-request-id: req-") != NULL);
    kit_send(fd, "GET /see?a=b%20c HTTP/1.1\r\n" HOST
                 "x-color:  red  \r\nX-Request-ID: my.id-1\r\n\r\n");
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK_STR(r.body, "method=GET path=/see query=a=b%20c body=0 color=red");
    CHECK(strstr(r.head, "\r\nx-request-id: my.id-1\r\n") != NULL);
    CHECK(strstr(r.head, "\r\nx-extra: 1\r\n") != NULL);
    kit_send(fd, "GET /now HTTP/1.1\r\n" HOST "x-request-id: bad id\r\n\r\n");
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK_STR(r.body, "ok");
    CHECK(strstr(r.head, "bad id") == NULL);
    kit_send(fd, "HEAD /see HTTP/1.1\r\n" HOST "\r\n");
    CHECK_INT(kit_reply_to(fd, &r, true, 5000), 200);
    CHECK(strstr(r.head, "\r\nContent-Length: 44\r\n") != NULL);
    // The body of a HEAD answer is not sent: the next bytes are the next answer's.
    kit_send(fd, POST "Connection: close\r\nContent-Length: 0\r\n\r\n");
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK_INT(r.body_len, 0);
    CHECK(!r.keep_alive);
    CHECK(kit_closed(fd, 3000));
    close(fd);

    fd = kit_dial();
    kit_send(fd, "GET /now HTTP/1.0\r\n\r\n"); // a probe without Host
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK(!r.keep_alive && kit_closed(fd, 3000));
    close(fd);
    fd = kit_dial();
    kit_send(fd, "GET /now HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK(r.keep_alive);
    kit_send(fd, "\r\nGET http://example.org:1/now HTTP/1.1\r\nHost: example.org\r\n\r\n");
    CHECK_INT(kit_reply(fd, &r), 200); // another's absolute address: the path is what counts
    close(fd);
}

static void test_pipelining(void) {
    enum { COUNT = 200 };
    struct reply r;
    int fd = kit_dial(), wrong = 0;
    char one[128], want[16];
    for (int i = 0; i < COUNT; i++) {
        snprintf(want, sizeof want, "n%04d", i);
        snprintf(one, sizeof one, POST "Content-Length: 5\r\n\r\n%s", want);
        kit_send(fd, one);
    }
    for (int i = 0; i < COUNT; i++) {
        snprintf(want, sizeof want, "n%04d", i);
        if (kit_reply(fd, &r) != 200 || strcmp(r.body, want) != 0)
            wrong++;
    }
    CHECK_INT(wrong, 0);
    // One CRLF before a request is tolerated (RFC 9112, 2.2).
    kit_send(fd, "\r\n" POST "Content-Length: 3\r\n\r\nabc");
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK_STR(r.body, "abc");
    // Byte by byte, within the deadline.
    const char *slow = POST "Content-Length: 3\r\n\r\nxyz";
    for (const char *p = slow; *p; p++) {
        kit_send_n(fd, p, 1);
        kit_sleep_ms(1);
    }
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK_STR(r.body, "xyz");
    // An answer comes after a half-close: FIN alone is not gone.
    kit_send(fd, POST "Content-Length: 3\r\n\r\nfin");
    shutdown(fd, SHUT_WR);
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK_STR(r.body, "fin");
    close(fd);
}

static void test_bodies(void) {
    struct reply r;
    size_t sizes[] = {1, 16383, 16384, 16385, 100000, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t n = sizes[i];
        char head[128], *body = malloc(n + 1);
        for (size_t k = 0; k < n; k++)
            body[k] = (char)('a' + k % 26);
        int fd = kit_dial();
        snprintf(head, sizeof head, POST "Content-Length: %zu\r\n\r\n", n);
        kit_send(fd, head);
        kit_send_n(fd, body, n);
        CHECK_INT(kit_reply(fd, &r), 200);
        CHECK_INT(r.body_len, n);
        CHECK(memcmp(r.body, body, n < 8191 ? n : 8191) == 0);
        CHECK(r.keep_alive);
        close(fd);
        free(body);
    }
}

static void test_chunks(void) {
    struct reply r;
    int fd = kit_dial();
    kit_send(fd,
             POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n, chunked!\r\n0\r\n\r\n");
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK_STR(r.body, "hello, chunked!");
    CHECK(!r.keep_alive && kit_closed(fd, 3000));
    close(fd);
    fd = kit_dial();
    kit_send(fd, POST "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n");
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK_INT(r.body_len, 0);
    close(fd);
    // Extensions and trailers are no part of it, wherever the pieces are cut.
    static const char extended[] =
        POST "Transfer-Encoding: chunked\r\n\r\n5;a=b;c=\"d e\"\r\nhello\r\n"
             "000A ; x\r\n, chunked!\r\n0;last\r\nX-Sum: 1\r\nY: \xc3\xa9\r\n\r\nGET /next";
    for (size_t step = 1; step < sizeof extended; step = step * 3 + 1) {
        fd = kit_dial();
        for (size_t at = 0, n; at < sizeof extended - 1; at += n) {
            n = step < sizeof extended - 1 - at ? step : sizeof extended - 1 - at;
            kit_send_n(fd, extended + at, n);
        }
        CHECK_INT(kit_reply(fd, &r), 200);
        CHECK_STR(r.body, "hello, chunked!");
        close(fd);
    }
    EXPECT(POST "Transfer-Encoding: chunked\r\n\r\n5;a\nhello\r\n0\r\n\r\n", 400, "bad_chunk");
    EXPECT(POST "Transfer-Encoding: chunked\r\n\r\n5 5\r\nhello\r\n0\r\n\r\n", 400, "bad_chunk");
    EXPECT(POST "Transfer-Encoding: chunked\r\n\r\n;a\r\nhello\r\n0\r\n\r\n", 400, "bad_chunk");
    EXPECT(POST "Transfer-Encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n0\r\n\r\n", 400, "bad_chunk");
    EXPECT(POST "Transfer-Encoding: chunked\r\n\r\n5\rA\r\nhello\r\n0\r\n\r\n", 400, "bad_chunk");
    EXPECT(POST "Transfer-Encoding: chunked\r\n\r\n7fffffff\r\nh", 413, "body_too_large");
    EXPECT(POST "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", 400, "bad_chunk");
    EXPECT(POST "Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", 400, "bad_chunk");
    EXPECT(POST "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", 400, "bad_chunk");
    EXPECT(POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloo\r\n0\r\n\r\n", 400, "bad_chunk");
    EXPECT(POST "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nh\r\n0\r\n\r\n", 400,
           "bad_chunk");
    EXPECT(POST "Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n", 400, "bad_chunk");

    // Row 15: over the limit of 1 MiB in chunks of 64 KiB.
    static char chunk[65536 + 16];
    int n = snprintf(chunk, sizeof chunk, "10000\r\n");
    memset(chunk + n, 'y', 65536);
    memcpy(chunk + n + 65536, "\r\n", 2);
    int before = atomic_load(&kit_handled);
    fd = kit_dial();
    kit_send(fd, POST "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 18; i++)
        kit_send_n(fd, chunk, (size_t)n + 65538);
    CHECK_INT(kit_reply(fd, &r), 413);
    CHECK(!r.keep_alive && kit_closed(fd, 3000));
    CHECK_INT(atomic_load(&kit_handled), before);
    close(fd);
}

static void test_lengths(void) {
    // Row 14, announced only: the answer comes at once.
    EXPECT(POST "Content-Length: 1048577\r\n\r\n", 413, "body_too_large");
    EXPECT(POST "Content-Length: 4611686018427387904\r\n\r\n", 413, "body_too_large");
    // Row 17.
    static const char *const bad[] = {"",
                                      "+5",
                                      "-1",
                                      "5abc",
                                      "0x5",
                                      "5 5",
                                      "5, 5",
                                      "5,5",
                                      "1e3",
                                      "5.0",
                                      "\"5\"",
                                      "9223372036854775808",
                                      "18446744073709551621",
                                      "99999999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char bytes[200];
        const char *code;
        snprintf(bytes, sizeof bytes, POST "Content-Length: %s\r\n\r\nhello", bad[i]);
        int status = kit_ask(bytes, strlen(bytes), &code);
        if (!CHECK(status == 400 && code[0] && code[0] != '('))
            fprintf(stderr, "    Content-Length '%s': %d %s\n", bad[i], status, code);
    }
    EXPECT(POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400, "bad_content_length");
    EXPECT(POST "Content-Length: 5\r\ncontent-length: 6\r\n\r\nhello", 400, "bad_content_length");
    EXPECT(POST "\r\n", 411, "length_required");
    EXPECT(POST "Content-Length: 5 \r\n\r\nhello", 200, ""); // blanks behind are no part of it
    // Row 18.
    EXPECT(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
           "bad_transfer_encoding");
    EXPECT(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400,
           "bad_transfer_encoding");
    EXPECT(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
           "bad_transfer_encoding");
    EXPECT(POST "Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n", 400,
           "bad_transfer_encoding");
    EXPECT("POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
           "bad_transfer_encoding");
    EXPECT(POST "Transfer-Encoding: gzip\r\n\r\n", 400, "malformed_request");
    EXPECT(POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, "malformed_request");
    EXPECT(POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, "malformed_request");
    // Row 19.
    EXPECT("GET /now HTTP/1.1\r\n\r\n", 400, "bad_host");
    EXPECT("GET /now HTTP/1.1\r\nX: y\r\n\r\n", 400, "bad_host");
    EXPECT("GET /now HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "bad_host");
    EXPECT("GET /now HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_host");
    EXPECT("GET /now HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "bad_host");
    EXPECT("GET /now HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200, "");
}

static void test_heads(void) {
    // Row 20: 64 fields pass, the 65th must not be dropped silently.
    static char bytes[40000];
    const char *code;
    for (int fields = 63; fields <= 66; fields++) {
        size_t n = (size_t)snprintf(bytes, sizeof bytes, "GET /now HTTP/1.1\r\n" HOST);
        for (int i = 1; i < fields; i++)
            n += (size_t)snprintf(bytes + n, sizeof bytes - n, "x-%d: 1\r\n", i);
        n += (size_t)snprintf(bytes + n, sizeof bytes - n, "\r\n");
        int status = kit_ask(bytes, n, &code);
        CHECK_INT(status, fields <= 64 ? 200 : 431);
        CHECK_STR(code, fields <= 64 ? "" : "too_many_headers");
    }
    for (int size = 16000; size <= 17000; size += 1000) {
        size_t n = (size_t)snprintf(bytes, sizeof bytes, "GET /now HTTP/1.1\r\n" HOST "x-long: ");
        memset(bytes + n, 'v', (size_t)size);
        n += (size_t)size;
        n += (size_t)snprintf(bytes + n, sizeof bytes - n, "\r\n\r\n");
        CHECK_INT(kit_ask(bytes, n, &code), size == 16000 ? 200 : 431);
        CHECK_STR(code, size == 16000 ? "" : "headers_too_large");
    }
    size_t n = (size_t)snprintf(bytes, sizeof bytes, "GET /");
    memset(bytes + n, 'u', 30000);
    CHECK_INT(kit_ask(bytes, n + 30000, &code), 431);

    EXPECT("GET /now HTTP/1.1\r\n" HOST "a: b\r\n c: d\r\n\r\n", 400,
           "malformed_request"); // obs-fold
    EXPECT("GET /now HTTP/1.1\r\n" HOST "a: b\r\n\tc\r\n\r\n", 400, "malformed_request");
    EXPECT("GET /now HTTP/1.1\r\n " HOST "\r\n", 400, "malformed_request");
    EXPECT("POST /echo HTTP/1.1\r\n" HOST "a: b\r\n \r\nContent-Length: 5\r\n\r\nhello", 400,
           "malformed_request");
    EXPECT(POST "Content-Length : 5\r\n\r\nhello", 400, "malformed_request");
    EXPECT(POST ": x\r\nContent-Length: 5\r\n\r\nhello", 400, "malformed_request");
    EXPECT("GET /now HTTP/1.1\r\n" HOST "a(b: c\r\n\r\n", 400, "malformed_request");
    EXPECT("GET /now HTTP/1.1\r\n" HOST "no colon\r\n\r\n", 400, "malformed_request");
    EXPECT("GET /now HTTP/1.1\r\n" HOST "a: b\rc: d\r\n\r\n", 400, "malformed_request");
    EXPECT("GET /now HTTP/1.1\n"
           "Host: x\n\n",
           400, "malformed_request"); // bare LF
    EXPECT("GET /now HTTP/1.1\r\nHost: x\na: b\r\n\r\n", 400, "malformed_request");
    EXPECT("GET /now HTTP/1.1\r\nHost: x\n\r\nContent-Length: 5\r\n\r\n", 400, "malformed_request");
    EXPECT("GET /now HTTP/1.1\r\nHost: x\n\nPOST /echo HTTP/1.1\r\n", 400, "malformed_request");
    EXPECT("GET /now HTTP/1.1\r\n" HOST "a: \0b\r\n\r\n", 400, "malformed_request");
    EXPECT("GET /now HTTP/1.1\r\n" HOST "a: \x01\r\n\r\n", 400, "malformed_request");
    EXPECT("GET  /now HTTP/1.1\r\n" HOST "\r\n", 400, "malformed_request");
    EXPECT("GET /now  HTTP/1.1\r\n" HOST "\r\n", 400, "malformed_request");
    EXPECT("GET /now\r\n" HOST "\r\n", 400, "malformed_request");
    EXPECT("GET /now HTTP/1.1 x\r\n" HOST "\r\n", 400, "malformed_request");
    EXPECT("BREW /now HTTP/1.1\r\n" HOST "\r\n", 400, "malformed_request");
    EXPECT("get /now HTTP/1.1\r\n" HOST "\r\n", 400, "malformed_request");
    EXPECT("garbage\r\n\r\n", 400, "malformed_request");
    EXPECT("GET now HTTP/1.1\r\n" HOST "\r\n", 400, "malformed_request");
    EXPECT("GET /now HTTP/2.0\r\n" HOST "\r\n", 505, "http_version");
    EXPECT("GET /now HTTP/1.2\r\n" HOST "\r\n", 505, "http_version");
    EXPECT("GET /now HTTP/11\r\n" HOST "\r\n", 400, "malformed_request");
    EXPECT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed_request");
    EXPECT("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "malformed_request"); // TLS
    // civetweb would take these blank lines for a whole head, and the request's own head for its
    // body.
    EXPECT("\r\n\r\n" POST "Content-Length: 5\r\n\r\nhello", 400, "malformed_request");
    EXPECT("\n\n" POST "Content-Length: 5\r\n\r\nhello", 400, "malformed_request");
    EXPECT("\n" POST "Content-Length: 5\r\n\r\nhello", 400, "malformed_request");
    EXPECT(" " POST "Content-Length: 5\r\n\r\nhello", 400, "malformed_request");
    // What civetweb leaves no trace of: it puts NULs over any blanks at the first line's end.
    EXPECT("GET /now HTTP/1.1\r\r" HOST "\r\n", 400, "malformed_request");
    EXPECT("GET /now HTTP/1.1\n " HOST "\r\n", 400, "malformed_request");
    EXPECT("GET /now HTTP/1.1\r\nHost: x\n\n\r\0", 400, "malformed_request");
    // A head that came whole behind another request is looked at as well.
    struct reply r;
    int fd = kit_dial();
    kit_send(fd, POST "Content-Length: 5\r\n\r\nhelloGET /now HTTP/1.1\n " HOST "\r\n");
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK_INT(kit_reply(fd, &r), 400);
    CHECK(kit_closed(fd, 3000));
    close(fd);
    EXPECT(POST "Expect: 200-ok\r\nContent-Length: 0\r\n\r\n", 417, "bad_expectation");
}

static void test_paths(void) {
    // Rows 24 and 25. What is left to the handler is decoded.
    static const char *const bad[] = {"/a%00b",     "/%",
                                      "/%4",        "/%zz",
                                      "/../echo",   "/a/../echo",
                                      "/a/..",      "/./echo",
                                      "/.",         "/%2e%2e/etc/passwd",
                                      "/a/%2E/b",   "/..%2fetc",
                                      "/a\\..\\b",  "/a%5cb",
                                      "/%0d%0aX:1", "/%7f",
                                      "/%ff",       "/%c0%ae%c0%ae/",
                                      "/a#b"};
    char bytes[200];
    const char *code;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(bytes, sizeof bytes, "GET %s HTTP/1.1\r\n" HOST "\r\n", bad[i]);
        int status = kit_ask(bytes, strlen(bytes), &code);
        if (!CHECK(status == 400 && strcmp(code, "bad_path") == 0))
            fprintf(stderr, "    %s: %d %s\n", bad[i], status, code);
    }
    struct reply r;
    int fd = kit_dial();
    kit_send(fd, "GET /%73%65e?x=../%00 HTTP/1.1\r\n" HOST "\r\n");
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK_STR(r.body, "method=GET path=/see query=x=../%00 body=0 color=-");
    kit_send(fd, "GET /...//..a HTTP/1.1\r\n" HOST "\r\n");
    CHECK_INT(kit_reply(fd, &r), 200);
    // slashes in a row are one, and none is last
    kit_send(fd, "GET //see/?a=//b/ HTTP/1.1\r\n" HOST "\r\n");
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK_STR(r.body, "method=GET path=/see query=a=//b/ body=0 color=-");
    kit_send(fd, "OPTIONS * HTTP/1.1\r\n" HOST "\r\n");
    CHECK_INT(kit_reply(fd, &r), 200);
    close(fd);
    EXPECT("GET * HTTP/1.1\r\n" HOST "\r\n", 400, "bad_path");
}

// RFC 9112, 3.2.2: a client that takes the service for its proxy names the whole address. Whose it
// is does not matter, and the path is what counts.
static void test_targets(void) {
    static const struct {
        const char *target, *seen;
    } good[] = {
        {"http://x/see", "path=/see query=-"},
        {"http://models.internal:8080/see?a=b", "path=/see query=a=b"},
        {"HTTPS://[::1]:1/see/", "path=/see query=-"},
        {"http://127.0.0.1:1//see", "path=/see query=-"},
        {"/see?http://x/", "path=/see query=http://x/"},
    };
    static const char *const bad[] = {"http://",       "http:///see",     "ftp://x/see",
                                      "ws://x/see",    "http://a@b/see",  "see",
                                      "x:443",         "http:/see",       "**",
                                      "http://x#/see", "http://x/a/../b", "http://x/%00"};
    struct reply r;
    char bytes[300], want[200];
    int fd = kit_dial();
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        snprintf(bytes, sizeof bytes, "GET %s HTTP/1.1\r\n" HOST "X-Color: red\r\n\r\n",
                 good[i].target);
        for (size_t at = 0, n = strlen(bytes); at < n; at += i == 1 ? 1 : n) // also byte by byte
            kit_send_n(fd, bytes + at, i == 1 ? 1 : n);
        CHECK_INT(kit_reply(fd, &r), 200);
        snprintf(want, sizeof want, "method=GET %s body=0 color=red", good[i].seen);
        CHECK_STR(r.body, want);
    }
    // one behind the other, in one piece
    kit_send(fd, "POST http://y:9/echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc"
                 "GET http://y?q HTTP/1.1\r\n" HOST "\r\n"
                 "GET https://y/see HTTP/1.1\r\n" HOST "\r\n");
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK_STR(r.body, "abc");
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK_STR(r.body, "method=GET path=/see query=- body=0 color=-");
    close(fd);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *code;
        snprintf(bytes, sizeof bytes, "GET %s HTTP/1.1\r\n" HOST "\r\n", bad[i]);
        int status = kit_ask(bytes, strlen(bytes), &code);
        if (!CHECK(status == 400 && code[0]))
            fprintf(stderr, "    %s: %d %s\n", bad[i], status, code);
    }
}

static void test_refused_heads(void) {
    struct reply r;
    int before = atomic_load(&kit_handled);
    int fd = kit_dial();
    // A short body is read over, and the connection goes on.
    kit_send(fd, "POST /secret HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nbody");
    CHECK_INT(kit_reply(fd, &r), 401);
    CHECK(strstr(r.head, "\r\nWWW-Authenticate: Bearer\r\n") != NULL && r.keep_alive);
    // Row 23: no 100 is sent, nothing is waited for.
    kit_send(fd,
             "POST /small HTTP/1.1\r\n" HOST "Content-Length: 200\r\nExpect: 100-continue\r\n\r\n");
    CHECK_INT(kit_reply_to(fd, &r, false, 200), 413);
    CHECK(!r.keep_alive && kit_closed(fd, 3000));
    close(fd);
    CHECK_INT(atomic_load(&kit_handled), before);
    fd = kit_dial();
    kit_send(fd, POST "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    CHECK_INT(kit_reply_to(fd, &r, true, 300), 100);
    kit_send(fd, "body");
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK_STR(r.body, "body");
    CHECK(r.keep_alive);
    // A client that does not wait for the 100 is as good.
    kit_send(fd, POST "Content-Length: 4\r\nExpect: 100-Continue\r\n\r\nfast");
    CHECK_INT(kit_reply_to(fd, &r, true, 300), 100);
    CHECK_INT(kit_reply(fd, &r), 200);
    CHECK_STR(r.body, "fast");
    close(fd);
    // A client that sends all of a too large body before it reads still gets the answer.
    fd = kit_dial();
    static char much[4 << 20];
    kit_send(fd, POST "Content-Length: 4194304\r\n\r\n");
    kit_send_n(fd, much, sizeof much);
    CHECK_INT(kit_reply(fd, &r), 413);
    close(fd);
}

// The deadline of 400 ms, and not much more.
static void check_deadline(int64_t begin_us, int64_t begin_time_us) {
    CHECK(clock_now_us() - begin_us > 350000 && kit_within(begin_time_us, 1500000));
}

// Sends a byte each 50 ms until the server ends it, which must be at the deadline.
static void drip(const char *begin, const char *more) {
    struct reply r;
    int64_t begin_us = clock_now_us(), begin_time_us = kit_time_us();
    int fd = kit_dial();
    kit_send(fd, begin);
    for (int i = 0; more[i] && kit_within(begin_time_us, 3000000); i++) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 50) > 0)
            break;
        kit_send_n(fd, more + i, 1);
    }
    CHECK_INT(kit_reply(fd, &r), 408);
    check_deadline(begin_us, begin_time_us);
    close(fd);
}

static void test_slow_and_short(void) {
    // Row 21. 400 ms is the deadline, however often a byte comes.
    struct reply r;
    char many[200];
    memset(many, 'a', sizeof many - 1);
    many[sizeof many - 1] = '\0';
    int before = atomic_load(&kit_handled);
    drip("GET /now HTTP/1.1\r\nHost: ", many);
    drip(POST "Content-Length: 1000\r\n\r\nx", many);
    drip(POST "Transfer-Encoding: chunked\r\n\r\n500\r\n", many);
    drip(POST "Content-Length: 10\r\n\r\nx", ""); // no drip, silence
    // The deadline is each request's own, on a connection that was kept alive too, and for a head
    // that began behind the request before.
    for (int pipelined = 0; pipelined < 2; pipelined++) {
        int kept = kit_dial();
        int64_t begin_us = clock_now_us();
        kit_send(kept, pipelined ? "GET /now HTTP/1.1\r\n" HOST "\r\nGET /no"
                                 : "GET /now HTTP/1.1\r\n" HOST "\r\n");
        CHECK_INT(kit_reply(kept, &r), 200);
        before++;
        int64_t begin_time_us = kit_time_us();
        if (!pipelined) {
            kit_sleep_ms(500); // idle is not slow
            begin_us = clock_now_us();
            begin_time_us = kit_time_us();
            kit_send(kept, "GET /no");
        }
        CHECK_INT(kit_reply(kept, &r), 408);
        check_deadline(begin_us, begin_time_us);
        close(kept);
    }
    // A connection on which nothing ever comes is closed without a word.
    int fd = kit_dial();
    CHECK(kit_closed(fd, 1500));
    close(fd);
    // Row 22.
    fd = kit_dial();
    kit_send(fd, POST "Content-Length: 10\r\n\r\nshort");
    shutdown(fd, SHUT_WR);
    CHECK(kit_closed(fd, 1000));
    close(fd);
    fd = kit_dial();
    kit_send(fd, POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhel");
    shutdown(fd, SHUT_WR);
    CHECK(kit_closed(fd, 1000));
    close(fd);
    CHECK_INT(atomic_load(&kit_handled), before);
}

int main(void) {
    if (!kit_start(kit_options()))
        return check_done();
    test_good_requests();
    test_pipelining();
    test_bodies();
    test_chunks();
    test_lengths();
    test_heads();
    test_paths();
    test_targets();
    test_refused_heads();
    struct http_stats s = http_read_stats(kit_server);
    CHECK(s.bad_framing > 60 && s.requests > 200 && s.refused_connections == 0);
    CHECK(kit_stop(1000000) < 500000);
    struct http_options o = kit_options();
    o.read_timeout_ms = 400;
    if (kit_start(o)) {
        test_slow_and_short();
        CHECK(kit_stop(1000000) < 500000);
    }
    CHECK_INT(atomic_load(&kit_odd_times), 0);
    return check_done();
}
