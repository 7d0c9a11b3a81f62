// Frames: every field of a header wrong one by one, every bit of a frame turned over, frames that
// are too short and too long, descriptors that must be there or must not, a peer that is gone, a
// socket that is full. And payloads (pack.h): what is put is got, and nothing beyond the end.
#define _GNU_SOURCE // memfd_create, SOCK_CLOEXEC
#include "base/fault.h"
#include "channel/channel.h"
#include "channel/pack.h"
#include "tests/check.h"
#include "tests/kit/processes.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xxhash.h>

static struct channel_buffer buf;
static unsigned char payload[CHANNEL_PAYLOAD_BYTES];

static struct channel_message usual(void) {
    return (struct channel_message){.type = 5,
                                    .life = 3,
                                    .sequence = 0x1122334455667788,
                                    .bulk_offset = 128,
                                    .bulk_length = 1000,
                                    .bulk_checksum = 0x99aabbccddeeff00,
                                    .payload = payload,
                                    .payload_length = 100};
}

static size_t encode(const struct channel_message *m, unsigned char *frame) {
    struct errmsg msg = {0};
    CHECK_OK(channel_encode(m, frame, &msg), msg);
    if (m->payload_length)
        memcpy(frame + CHANNEL_HEADER_BYTES, m->payload, m->payload_length);
    return CHANNEL_HEADER_BYTES + m->payload_length;
}

static bool same(const struct channel_message *a, const struct channel_message *b) {
    return a->type == b->type && a->life == b->life && a->sequence == b->sequence &&
           a->bulk_offset == b->bulk_offset && a->bulk_length == b->bulk_length &&
           a->bulk_checksum == b->bulk_checksum && a->payload_length == b->payload_length &&
           a->fd_count == b->fd_count &&
           (!a->payload_length || memcmp(a->payload, b->payload, a->payload_length) == 0);
}

// ---- a frame's form

// The bytes of one frame, as docs/worker.md has them: another build must read the same.
static void test_layout(void) {
    unsigned char frame[CHANNEL_FRAME_BYTES];
    struct channel_message m = usual();
    m.payload = (const unsigned char *)"abc";
    m.payload_length = 3;
    CHECK_INT(encode(&m, frame), 67);
    static const unsigned char want[] = {
        'C',  'T',  'r',  'n',  1,    0,    5,    0,
        3,    0,    0,    0,    0,    0,    0,    0,    // magic, version, type, life
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // sequence
        128,  0,    0,    0,    0,    0,    0,    0,
        0xe8, 3,    0,    0,    0,    0,    0,    0,    // bulk: offset, length
        0x00, 0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, // its checksum
        3,    0,    0,    0,                            // payload
    };
    CHECK(memcmp(frame, want, sizeof want) == 0);
    static const unsigned char end[8] = {0}; // descriptors, zero
    CHECK(memcmp(frame + 56, end, 8) == 0);
    unsigned char plain[64];
    memcpy(plain, frame, 64);
    memset(plain + 52, 0, 4);
    uint32_t sum = (uint32_t)XXH3_64bits_withSeed(plain, 64, XXH3_64bits("abc", 3));
    for (size_t i = 0; i < 4; i++)
        CHECK_INT(frame[52 + i], sum >> 8 * i & 0xff);
}

// A frame that was changed and has a right checksum again: what a hostile peer would send.
static enum err decode_signed(unsigned char *frame, size_t n, struct channel_message *out,
                              struct errmsg *msg) {
    memset(frame + 52, 0, 4);
    size_t length = n - CHANNEL_HEADER_BYTES;
    uint64_t seed = length ? XXH3_64bits(frame + CHANNEL_HEADER_BYTES, length) : 0;
    uint32_t sum = (uint32_t)XXH3_64bits_withSeed(frame, CHANNEL_HEADER_BYTES, seed);
    for (size_t i = 0; i < 4; i++)
        frame[52 + i] = (unsigned char)(sum >> 8 * i);
    return channel_decode(frame, n, 0, out, msg);
}

static void test_fields(void) {
    static const struct {
        size_t at, n;
        uint64_t value;
        const char *words; // NULL: it is a right frame
    } wrong[] = {
        {0, 4, 0, "no frame"},
        {0, 4, 0x6e725442, "no frame"},
        {4, 2, 0, "version 0"},
        {4, 2, 2, "version 2, and here it is 1"},
        {6, 2, 0, "type is 0"},
        {6, 2, 0xffff, NULL}, // which types there are is the user's table
        {8, 8, 0, "life is 0"},
        {8, 8, UINT64_MAX, NULL},
        {16, 8, 0, NULL},
        {24, 8, 127, "no multiple of 64"},
        {24, 8, UINT64_MAX - 63, "beyond all numbers"},
        {24, 8, UINT64_MAX - 1087, NULL}, // ends at the last number; the region refuses it
        {32, 8, 0, "no bulk"},
        {32, 8, UINT64_MAX, "beyond all numbers"},
        {48, 4, 99, "says 99 bytes of payload, and has 100"},
        {48, 4, 101, "says 101"},
        {48, 4, 0xffffffff, "says 4294967295"},
        {56, 4, 1, "says 1 descriptors, and 0"},
        {56, 4, 0xffffffff, "says 4294967295 descriptors"},
        {60, 4, 1, "last field is not 0"},
        {60, 4, 0x80000000, "last field is not 0"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        unsigned char frame[CHANNEL_FRAME_BYTES];
        struct channel_message m = usual(), out;
        struct errmsg msg = {0};
        size_t n = encode(&m, frame);
        for (size_t b = 0; b < wrong[i].n; b++)
            frame[wrong[i].at + b] = (unsigned char)(wrong[i].value >> 8 * b);
        memset(&out, 0x55, sizeof out);
        enum err e = decode_signed(frame, n, &out, &msg);
        if (!wrong[i].words) {
            CHECK_OK(e, msg);
            continue;
        }
        CHECK_INT(e, ERR_INVALID);
        if (!CHECK(strstr(msg.text, wrong[i].words)))
            fprintf(stderr, "    %s\n", msg.text);
        static const struct channel_message none;
        CHECK(memcmp(&out, &none, sizeof out) == 0);
    }
}

// No bit of a frame can change unseen.
static void test_bits(void) {
    unsigned char frame[CHANNEL_FRAME_BYTES];
    struct channel_message m = usual(), out;
    size_t n = encode(&m, frame), seen = 0;
    for (size_t bit = 0; bit < 8 * n; bit++) {
        frame[bit / 8] ^= (unsigned char)(1u << bit % 8);
        seen += channel_decode(frame, n, 0, &out, NULL) == ERR_INVALID;
        frame[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    CHECK_INT(seen, 8 * n);
    CHECK_INT(channel_decode(frame, n, 0, &out, NULL), ERR_OK);
    CHECK(same(&m, &out));
}

static void test_lengths(void) {
    static unsigned char frame[CHANNEL_FRAME_BYTES + 1];
    struct channel_message m = usual(), out;
    size_t n = encode(&m, frame), refused = 0;
    for (size_t short_by = 1; short_by <= n; short_by++)
        refused += channel_decode(frame, n - short_by, 0, &out, NULL) == ERR_INVALID;
    CHECK_INT(refused, n);
    CHECK_INT(channel_decode(frame, n + 1, 0, &out, NULL), ERR_INVALID);
    CHECK_INT(channel_decode(frame, n, 1, &out, NULL), ERR_INVALID);
    m.payload_length = 0;
    CHECK_INT(channel_decode(frame, encode(&m, frame), 0, &out, NULL), ERR_OK);
    m.payload_length = CHANNEL_PAYLOAD_BYTES;
    CHECK_INT(channel_decode(frame, encode(&m, frame), 0, &out, NULL), ERR_OK);
    CHECK_INT(channel_decode(frame, sizeof frame, 0, &out, NULL), ERR_INVALID);
}

// What breaks a rule is not sent either.
static void test_own_rules(void) {
    int pair[2];
    struct errmsg msg = {0};
    CHECK_OK(channel_pair(pair, &msg), msg);
    struct channel_message m[] = {usual(), usual(), usual(), usual(), usual(), usual(), usual()};
    m[0].type = 0;
    m[1].life = 0;
    m[2].payload_length = CHANNEL_PAYLOAD_BYTES + 1;
    m[3].fd_count = CHANNEL_FDS + 1;
    m[4].bulk_length = 0;
    m[5].bulk_offset = 65;
    m[6].bulk_length = UINT64_MAX;
    for (size_t i = 0; i < sizeof m / sizeof *m; i++)
        CHECK_INT(channel_send(pair[0], &m[i], false, &msg), ERR_INTERNAL);
    struct channel_message out;
    CHECK_INT(channel_receive(pair[1], &buf, &out, false, &msg), ERR_OVERLOADED);
    close(pair[0]);
    close(pair[1]);
}

// ---- a socket

static void send_raw(int fd, const void *bytes, size_t n, const int *fds, size_t fd_count) {
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
    static union {
        char bytes[CMSG_SPACE(200 * sizeof(int))];
        struct cmsghdr aligned;
    } control;
    struct msghdr frame = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_count) {
        frame.msg_control = control.bytes;
        frame.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        control.aligned = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                           .cmsg_type = SCM_RIGHTS,
                                           .cmsg_len = CMSG_LEN(fd_count * sizeof(int))};
        memcpy(CMSG_DATA(&control.aligned), fds, fd_count * sizeof(int));
    }
    CHECK_INT(sendmsg(fd, &frame, MSG_NOSIGNAL), (ssize_t)n);
}

static void test_round(void) {
    int pair[2];
    struct errmsg msg = {0};
    CHECK_OK(channel_pair(pair, &msg), msg);
    CHECK(fcntl(pair[0], F_GETFD) & FD_CLOEXEC && fcntl(pair[1], F_GETFD) & FD_CLOEXEC);
    static const size_t lengths[] = {0, 1, 100, CHANNEL_PAYLOAD_BYTES};
    for (size_t i = 0; i < 4; i++) {
        struct channel_message m = usual(), out;
        m.payload_length = lengths[i];
        m.bulk_length = i == 0 ? 0 : m.bulk_length;
        m.bulk_offset = i == 0 ? 0 : m.bulk_offset;
        m.bulk_checksum = i == 0 ? 0 : m.bulk_checksum;
        CHECK_OK(channel_send(pair[i % 2], &m, false, &msg), msg);
        CHECK_OK(channel_receive(pair[1 - i % 2], &buf, &out, i < 2, &msg), msg);
        CHECK(same(&m, &out));
    }
    close(pair[0]);
    close(pair[1]);
}

// Wrong in what only a socket shows: all refused, and no descriptor stays.
static void test_broken(void) {
    static unsigned char frame[CHANNEL_FRAME_BYTES + 2];
    int pair[2], fds[200];
    struct errmsg msg = {0};
    struct channel_message m = usual(), out;
    CHECK_OK(channel_pair(pair, &msg), msg);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; i < 200; i++)
        fds[i] = null;
    size_t before = own_descriptors();
    size_t n = encode(&m, frame);
    static const size_t counts[] = {0, 1, 2, 31, 32, 33, 34, 64, 200};
    for (size_t most = 0; most <= CHANNEL_FDS; most += CHANNEL_FDS / 2)
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            buf.most_fds = most;
            // descriptors that the header does not speak of
            m = usual();
            n = encode(&m, frame);
            send_raw(pair[0], frame, n, fds, counts[i]);
            CHECK_INT(channel_receive(pair[1], &buf, &out, false, &msg),
                      counts[i] ? ERR_INVALID : ERR_OK);
            CHECK_INT(out.fd_count, 0);
            CHECK_INT(own_descriptors(), before);
            // of a broken frame, of one that is too short, and too long
            frame[4] ^= 1;
            send_raw(pair[0], frame, n, fds, counts[i]);
            send_raw(pair[0], frame, 3, fds, counts[i]);
            send_raw(pair[0], frame, sizeof frame, fds, counts[i]);
            for (int k = 0; k < 3; k++)
                CHECK_INT(channel_receive(pair[1], &buf, &out, false, &msg), ERR_INVALID);
            CHECK_INT(own_descriptors(), before);
            // an empty message is the same as the end
            send_raw(pair[0], frame, 0, fds, counts[i]);
            CHECK_INT(channel_receive(pair[1], &buf, &out, false, &msg), ERR_LOST);
            CHECK_INT(own_descriptors(), before);
            // that are not as many as the header says
            if (counts[i] > CHANNEL_FDS || counts[i] == 0)
                continue;
            m.fd_count = counts[i];
            n = encode(&m, frame);
            send_raw(pair[0], frame, n, fds, counts[i] - 1);
            CHECK_INT(channel_receive(pair[1], &buf, &out, false, &msg), ERR_INVALID);
            // that are right, and not wanted
            send_raw(pair[0], frame, n, fds, counts[i]);
            enum err e = channel_receive(pair[1], &buf, &out, false, &msg);
            CHECK_INT(e, counts[i] <= most ? ERR_OK : ERR_INVALID);
            CHECK_INT(out.fd_count, counts[i] <= most ? counts[i] : 0);
            CHECK_INT(own_descriptors(), before + out.fd_count);
            channel_close_fds(&out);
            CHECK_INT(out.fd_count, 0);
            CHECK_INT(own_descriptors(), before);
        }
    close(null);
    buf.most_fds = 0;
    close(pair[0]);
    close(pair[1]);
}

// Descriptors arrive as what they are, in order, and closed for programs that are executed.
static void test_descriptors(void) {
    int pair[2], pipes[2];
    struct errmsg msg = {0};
    struct channel_message m = usual(), out;
    CHECK_OK(channel_pair(pair, &msg), msg);
    CHECK(pipe(pipes) == 0);
    m.fds[0] = pipes[1];
    m.fds[1] = pipes[0];
    m.fd_count = 2;
    CHECK_OK(channel_send(pair[0], &m, false, &msg), msg);
    buf.most_fds = CHANNEL_FDS;
    CHECK_OK(channel_receive(pair[1], &buf, &out, false, &msg), msg);
    if (CHECK(out.fd_count == 2)) {
        char c = 0;
        CHECK(fcntl(out.fds[0], F_GETFD) & FD_CLOEXEC && fcntl(out.fds[1], F_GETFD) & FD_CLOEXEC);
        CHECK(write(out.fds[0], "x", 1) == 1 && read(pipes[0], &c, 1) == 1 && c == 'x');
        CHECK(write(pipes[1], "y", 1) == 1 && read(out.fds[1], &c, 1) == 1 && c == 'y');
    }
    channel_close_fds(&out);
    // one that is not open is the sender's fault
    m.fds[0] = -1;
    CHECK_INT(channel_send(pair[0], &m, false, &msg), ERR_IO);
    // the receiver may have no more: told, and none stays
    size_t before = own_descriptors();
    struct rlimit old, tight;
    CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
    m.fds[0] = pipes[0];
    m.fd_count = 2;
    CHECK_OK(channel_send(pair[0], &m, false, &msg), msg);
    tight = old;
    int next = dup(pipes[0]);
    close(next);
    tight.rlim_cur = (rlim_t)next + 1; // one of the two fits
    CHECK(setrlimit(RLIMIT_NOFILE, &tight) == 0);
    CHECK_INT(channel_receive(pair[1], &buf, &out, false, &msg), ERR_INVALID);
    CHECK(strstr(msg.text, "ulimit -n"));
    CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
    CHECK_INT(own_descriptors(), before);
    buf.most_fds = 0;
    // descriptors of frames that nobody reads are closed with the socket: the pipe's end is seen
    CHECK_OK(channel_send(pair[0], &m, false, &msg), msg);
    close(pair[0]);
    close(pair[1]);
    close(pipes[1]);
    char c;
    CHECK_INT(read(pipes[0], &c, 1), 0);
    close(pipes[0]);
}

static void test_full_and_closed(void) {
    int pair[2];
    struct errmsg msg = {0};
    struct channel_message m = usual(), out;
    CHECK_OK(channel_pair(pair, &msg), msg);
    CHECK_INT(channel_receive(pair[1], &buf, &out, false, &msg), ERR_OVERLOADED);
    m.payload_length = CHANNEL_PAYLOAD_BYTES;
    enum err e = ERR_OK;
    size_t sent = 0, got = 0;
    for (m.sequence = 1; m.sequence < 10000; m.sequence++) {
        e = channel_send(pair[0], &m, false, &msg);
        if (e)
            break;
        sent++;
    }
    CHECK_INT(e, ERR_OVERLOADED);
    CHECK(sent >= 3); // some wait in the socket: a batch or two, and words between
    // nothing of the one that did not fit was sent; what was is whole and in order
    CHECK_OK(channel_receive(pair[1], &buf, &out, false, &msg), msg);
    CHECK(out.sequence == ++got && out.payload_length == m.payload_length);
    CHECK_OK(channel_send(pair[0], &m, false, &msg), msg);
    sent++;
    // the other side ends with frames unread by it: what it sent is read first, then its end
    struct channel_message unread = usual();
    CHECK_OK(channel_send(pair[1], &unread, false, &msg), msg);
    close(pair[0]);
    while ((e = channel_receive(pair[1], &buf, &out, true, &msg)) == ERR_OK)
        CHECK_INT(out.sequence, ++got);
    CHECK_INT(e, ERR_LOST);
    CHECK_INT(got, sent);
    CHECK_INT(channel_receive(pair[1], &buf, &out, true, &msg), ERR_LOST);
    CHECK_INT(channel_send(pair[1], &m, false, &msg), ERR_LOST); // and no SIGPIPE
    CHECK_INT(channel_send(pair[1], &m, true, &msg), ERR_LOST);
    close(pair[1]);
    CHECK_INT(channel_send(-1, &m, true, &msg), ERR_IO);
    CHECK_INT(channel_receive(-1, &buf, &out, true, &msg), ERR_IO);
    fault_arm(FAULT_FILE, 1, false);
    CHECK_INT(channel_pair(pair, &msg), ERR_IO);
    fault_disarm();
}

// ---- payloads

static void test_pack(void) {
    unsigned char bytes[256];
    struct pack_writer w = pack_writer_of(bytes, sizeof bytes);
    pack_put_u32(&w, 0xfedcba98);
    pack_put_u64(&w, 0xfedcba9876543210);
    pack_put_i32(&w, INT32_MIN);
    pack_put_i64(&w, INT64_MIN);
    pack_put_f32(&w, -0.0f);
    pack_put_f64(&w, 0.1);
    pack_put_bool(&w, true);
    pack_put_bytes(&w, "abc", 3);
    pack_put_string(&w, "");
    pack_put_string(&w, "word");
    pack_put_u32(&w, 6);
    CHECK(!w.failed);
    static const unsigned char want[] = {0x98, 0xba, 0xdc, 0xfe, 0x10, 0x32,
                                         0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe};
    CHECK(memcmp(bytes, want, sizeof want) == 0);
    char word[5];
    struct pack_reader r = pack_reader_of(bytes, w.length);
    CHECK(pack_get_u32(&r) == 0xfedcba98 && pack_get_u64(&r) == 0xfedcba9876543210);
    CHECK(pack_get_i32(&r) == INT32_MIN && pack_get_i64(&r) == INT64_MIN);
    float f = pack_get_f32(&r);
    CHECK(f == 0 && signbit(f));
    CHECK(pack_get_f64(&r) == 0.1 && pack_get_bool(&r));
    const unsigned char *abc = pack_get_bytes(&r, 3);
    CHECK(abc && memcmp(abc, "abc", 3) == 0);
    pack_get_string(&r, word, 1);
    CHECK_STR(word, "");
    pack_get_string(&r, word, sizeof word);
    CHECK_STR(word, "word");
    CHECK_INT(pack_left(&r), 4);
    CHECK(!pack_done(&r));
    CHECK_INT(pack_get_below(&r, 7), 6);
    CHECK(pack_done(&r));
    // past the end: a failure that stays, and zeros
    CHECK(pack_get_u32(&r) == 0 && r.failed && !pack_done(&r) && pack_left(&r) == 0);
    CHECK(pack_get_bytes(&r, 0) == NULL);
    // one byte less at each place
    for (size_t n = 0; n < w.length; n++) {
        r = pack_reader_of(bytes, n);
        (void)pack_get_bytes(&r, 40 - 4);
        (void)pack_get_bool(&r);
        (void)pack_get_bytes(&r, 3);
        pack_get_string(&r, word, sizeof word);
        pack_get_string(&r, word, sizeof word);
        (void)pack_get_u32(&r);
        CHECK(r.failed && !pack_done(&r));
    }
    // and written into too little room: nothing beyond it, and it stays failed
    for (size_t n = 0; n < 10; n++) {
        memset(bytes, 0x77, sizeof bytes);
        w = pack_writer_of(bytes, n);
        pack_put_string(&w, "abcdef");
        CHECK(w.failed == (n < 10) && bytes[n] == 0x77);
        pack_put_bool(&w, true);
        CHECK(w.failed && bytes[n] == 0x77);
    }
}

static void read_string(const void *bytes, size_t n, size_t room, bool good) {
    char to[8] = "xxxxxxx";
    struct pack_reader r = pack_reader_of(bytes, n);
    pack_get_string(&r, to, room);
    CHECK_INT(!r.failed, good);
    CHECK(good || room == 0 || to[0] == '\0');
}

static void test_pack_forms(void) {
    read_string("\3\0\0\0abc", 7, 4, true);
    read_string("\3\0\0\0abc", 7, 3, false); // no room for the NUL
    read_string("\3\0\0\0abc", 7, 0, false);
    read_string("\3\0\0\0a\0c", 7, 8, false); // one within
    read_string("\4\0\0\0abc", 7, 8, false);
    read_string("\xff\xff\xff\xff"
                "abc",
                7, 8, false);
    struct pack_reader r = pack_reader_of((const unsigned char *)"\2", 1);
    CHECK(!pack_get_bool(&r) && r.failed);
    r = pack_reader_of((const unsigned char *)"\7\0\0\0", 4);
    CHECK(pack_get_below(&r, 7) == 0 && r.failed);
    r = pack_reader_of((const unsigned char *)"\1\0\0\0", 4);
    CHECK(pack_get_bytes(&r, SIZE_MAX) == NULL && r.failed);
    // a NaN keeps its bits
    uint32_t bits = 0x7fa12345;
    float nan_in, nan_out;
    memcpy(&nan_in, &bits, 4);
    unsigned char bytes[4];
    struct pack_writer w = pack_writer_of(bytes, 4);
    pack_put_f32(&w, nan_in);
    r = pack_reader_of(bytes, 4);
    nan_out = pack_get_f32(&r);
    CHECK(memcmp(&nan_in, &nan_out, 4) == 0);
}

int main(void) {
    signal(SIGPIPE, SIG_DFL); // a frame to nobody must not raise it
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (unsigned char)(i * 7 + i / 256);
    test_layout();
    test_fields();
    test_bits();
    test_lengths();
    test_own_rules();
    test_round();
    test_broken();
    test_descriptors();
    test_full_and_closed();
    test_pack();
    test_pack_forms();
    return check_done();
}
