// libFuzzer target: a frame as another process may send it. Whatever the bytes and the descriptors
// beside them, it is refused as a whole or is exactly what channel_encode writes for it; nothing
// stays open; its payload is read within its bounds; its bulk lies inside the region or nowhere.
// The first byte chooses: 1: the frame gets a right length and checksum first, so that what lies
// behind them is reached; 2: it goes through a socket; 4, 8: descriptors that go with it (0 to 3);
// 16: the receiver takes them.
#define _GNU_SOURCE // SOCK_CLOEXEC
#include "channel/channel.h"
#include "channel/pack.h"
#include "channel/region.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

static void put_le(unsigned char *p, uint64_t v, size_t n) {
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

// The checksum that the frame's sender would have given it.
static void sign(unsigned char *frame, size_t n, size_t fd_count) {
    if (n < CHANNEL_HEADER_BYTES)
        return;
    size_t length = n - CHANNEL_HEADER_BYTES;
    put_le(frame, 0x6e725443, 4);
    put_le(frame + 4, CHANNEL_VERSION, 2);
    put_le(frame + 48, length, 4);
    put_le(frame + 52, 0, 4);
    put_le(frame + 56, fd_count, 4);
    uint64_t seed = length ? XXH3_64bits(frame + CHANNEL_HEADER_BYTES, length) : 0;
    put_le(frame + 52, XXH3_64bits_withSeed(frame, CHANNEL_HEADER_BYTES, seed), 4);
}

// The lowest number that is free: another one afterwards tells of a descriptor that stayed.
static int lowest_free(void) {
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0)
        close(fd);
    return fd;
}

// ---- the payload: its own bytes say what is read next; what was read is written again

static const unsigned char *copy_bytes(struct pack_reader *r, struct pack_writer *w, size_t n) {
    const unsigned char *bytes = pack_get_bytes(r, n);
    must(bytes || r->failed);
    if (bytes)
        pack_put_bytes(w, bytes, n);
    return bytes;
}

static void read_one(struct pack_reader *r, struct pack_writer *w) {
    const unsigned char *first = copy_bytes(r, w, 1);
    unsigned what = first ? *first : 0;
    char word[64];
    size_t at = r->at;
    struct pack_writer before = *w;
    switch (what % 12) {
    case 0:
        (void)copy_bytes(r, w, 2);
        break;
    case 1:
        pack_put_u32(w, pack_get_u32(r));
        break;
    case 2:
        pack_put_u64(w, pack_get_u64(r));
        break;
    case 3:
        pack_put_i32(w, pack_get_i32(r));
        break;
    case 4:
        pack_put_i64(w, pack_get_i64(r));
        break;
    case 5:
        pack_put_f32(w, pack_get_f32(r));
        break;
    case 6:
        pack_put_f64(w, pack_get_f64(r));
        break;
    case 7:
        pack_put_bool(w, pack_get_bool(r));
        break;
    case 8:
        pack_get_string(r, word, sizeof word);
        must(strlen(word) < sizeof word);
        pack_put_string(w, word);
        break;
    case 9:
        pack_put_u32(w, pack_get_below(r, 7));
        break;
    case 10:
        (void)copy_bytes(r, w, what);
        break;
    default:
        (void)copy_bytes(r, w, 1);
        break;
    }
    must(r->failed || r->at >= at);
    if (r->failed)
        *w = before; // what a failure gives is zeros: not what was there
}

static void read_payload(const struct channel_message *m) {
    static unsigned char again[CHANNEL_PAYLOAD_BYTES];
    struct pack_reader r = pack_reader_of(m->payload, m->payload_length);
    struct pack_writer w = pack_writer_of(again, sizeof again);
    while (!r.failed && pack_left(&r))
        read_one(&r, &w);
    must(r.at <= r.length && pack_done(&r) == (!r.failed && r.at == r.length));
    must(!w.failed && w.length <= m->payload_length);
    must(w.length == 0 || memcmp(again, m->payload, w.length) == 0);
    // into a room of any size: never beyond it
    size_t room = m->payload_length / 2;
    again[room] = 0x5a;
    w = pack_writer_of(again, room);
    pack_put_bytes(&w, m->payload, m->payload_length);
    pack_put_u64(&w, 0);
    must(w.failed && w.length <= room && again[room] == 0x5a);
}

static void use_bulk(const struct channel_message *m) {
    static struct region *region;
    static unsigned char copy[1 << 16];
    if (!region && region_new(sizeof copy, &region, NULL))
        abort();
    unsigned char *at = region_at(region, m->bulk_offset, m->bulk_length);
    bool inside = m->bulk_offset <= sizeof copy && m->bulk_length <= sizeof copy &&
                  m->bulk_offset + m->bulk_length <= sizeof copy;
    must(inside == (at != NULL));
    enum err e =
        region_copy_out(region, m->bulk_offset, m->bulk_length, m->bulk_checksum, copy, NULL);
    must(inside || e == ERR_INVALID);
}

static void look_at(const struct channel_message *m, const unsigned char *frame, size_t n) {
    unsigned char header[CHANNEL_HEADER_BYTES];
    must(m->type && m->life && m->payload_length == n - CHANNEL_HEADER_BYTES);
    must(channel_encode(m, header, NULL) == ERR_OK);
    must(memcmp(header, frame, sizeof header) == 0);
    must(m->payload_length == 0 ||
         memcmp(m->payload, frame + CHANNEL_HEADER_BYTES, m->payload_length) == 0);
    read_payload(m);
    use_bulk(m);
}

static bool is_zero(const struct channel_message *m) {
    static const struct channel_message none;
    return memcmp(m, &none, sizeof none) == 0;
}

// ---- through a socket

static void send_raw(int fd, const unsigned char *frame, size_t n, int beside, size_t fd_count) {
    struct iovec part = {.iov_base = (void *)(uintptr_t)frame, .iov_len = n};
    union {
        char bytes[CMSG_SPACE(3 * sizeof(int))];
        struct cmsghdr aligned;
    } control = {{0}};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_count) {
        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        control.aligned = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                           .cmsg_type = SCM_RIGHTS,
                                           .cmsg_len = CMSG_LEN(fd_count * sizeof(int))};
        for (size_t i = 0; i < fd_count; i++)
            memcpy(CMSG_DATA(&control.aligned) + i * sizeof(int), &beside, sizeof beside);
    }
    must(sendmsg(fd, &m, MSG_NOSIGNAL) == (ssize_t)n);
}

static void through_socket(const unsigned char *frame, size_t n, size_t fd_count, bool takes) {
    static int pair[2] = {-1, -1};
    static struct channel_buffer buf;
    if (pair[0] < 0 && channel_pair(pair, NULL))
        abort();
    int before = lowest_free();
    send_raw(pair[0], frame, n, pair[0], fd_count);
    buf.most_fds = takes ? CHANNEL_FDS : 0;
    struct channel_message m;
    enum err e = channel_receive(pair[1], &buf, &m, false, NULL);
    must(n == 0 ? e == ERR_LOST : e == ERR_OK || e == ERR_INVALID);
    if (e) {
        must(is_zero(&m));
    } else {
        must(m.fd_count == fd_count && (takes || fd_count == 0));
        look_at(&m, frame, n);
        channel_close_fds(&m);
    }
    must(lowest_free() == before);
    must(channel_receive(pair[1], &buf, &m, false, NULL) == ERR_OVERLOADED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    unsigned how = data[0];
    size_t n = size - 1, fd_count = how >> 2 & 3;
    if (n > CHANNEL_FRAME_BYTES + 64)
        n = CHANNEL_FRAME_BYTES + 64;
    unsigned char *frame = malloc(n ? n : 1); // of this size exactly: no read goes beyond it
    if (!frame)
        return 0;
    memcpy(frame, data + 1, n);
    if (how & 1)
        sign(frame, n, fd_count);
    if (how & 2) {
        through_socket(frame, n, fd_count, how & 16);
    } else {
        struct channel_message m;
        memset(&m, 0x55, sizeof m);
        if (channel_decode(frame, n, fd_count, &m, NULL))
            must(is_zero(&m));
        else
            look_at(&m, frame, n);
    }
    free(frame);
    return 0;
}
