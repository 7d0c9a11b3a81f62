// See channel.h.
#define _GNU_SOURCE // SOCK_CLOEXEC, MSG_CMSG_CLOEXEC
#include "channel/channel.h"

#include "base/fault.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xxhash.h>

// Where the fields of a header lie.
enum {
    AT_MAGIC = 0,           // u32
    AT_VERSION = 4,         // u16
    AT_TYPE = 6,            // u16
    AT_LIFE = 8,            // u64
    AT_SEQUENCE = 16,       // u64
    AT_BULK_OFFSET = 24,    // u64
    AT_BULK_LENGTH = 32,    // u64
    AT_BULK_CHECKSUM = 40,  // u64
    AT_PAYLOAD_LENGTH = 48, // u32
    AT_CHECKSUM = 52,       // u32: of the header with a 0 here, and the payload
    AT_FDS = 56,            // u32
    AT_ZERO = 60,           // u32
    MAGIC = 0x6e725443,     // "CTrn"
    SEND_BYTES = 256 << 10, // asked of the system for a socket's queue; it may give less
};

// The control data of CHANNEL_FDS descriptors. An even number of them fills its room exactly, so
// that one more does not fit and shows as MSG_CTRUNC.
union control {
    char bytes[CMSG_SPACE(CHANNEL_FDS * sizeof(int))];
    struct cmsghdr aligned;
};
_Static_assert(CMSG_SPACE(CHANNEL_FDS * sizeof(int)) == CMSG_LEN(CHANNEL_FDS * sizeof(int)),
               "room for one descriptor more would hide it");

static void write_le(unsigned char *p, uint64_t v, size_t n) {
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

static uint64_t read_le(const unsigned char *p, size_t n) {
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

uint64_t channel_checksum(const void *bytes, size_t n) { return XXH3_64bits(bytes, n); }

// Over the whole frame: a changed field is found as well as a changed payload.
static uint32_t frame_checksum(const unsigned char header[CHANNEL_HEADER_BYTES],
                               const unsigned char *payload, size_t n) {
    unsigned char plain[CHANNEL_HEADER_BYTES];
    memcpy(plain, header, sizeof plain);
    write_le(plain + AT_CHECKSUM, 0, 4);
    return (uint32_t)XXH3_64bits_withSeed(plain, sizeof plain, n ? XXH3_64bits(payload, n) : 0);
}

// The rules that a message must keep whoever wrote it. Returns what is wrong, or NULL.
static const char *broken_rule(const struct channel_message *m) {
    if (m->type == 0)
        return "its type is 0";
    if (m->life == 0)
        return "its life is 0";
    if (m->payload_length > CHANNEL_PAYLOAD_BYTES)
        return "its payload is longer than 32 KiB";
    if (m->fd_count > CHANNEL_FDS)
        return "more than 32 descriptors are with it";
    if (m->bulk_length == 0 && (m->bulk_offset || m->bulk_checksum))
        return "it has no bulk, but an offset or a checksum of one";
    if (m->bulk_offset % CHANNEL_BULK_ALIGN)
        return "its bulk's offset is no multiple of 64";
    if (m->bulk_length > UINT64_MAX - m->bulk_offset)
        return "its bulk ends beyond all numbers";
    return NULL;
}

enum err channel_encode(const struct channel_message *m, unsigned char header[CHANNEL_HEADER_BYTES],
                        struct errmsg *msg) {
    const char *why = broken_rule(m);
    if (why)
        return err_set(msg, ERR_INTERNAL, "a frame to be sent is wrong: %s", why);
    write_le(header + AT_MAGIC, MAGIC, 4);
    write_le(header + AT_VERSION, CHANNEL_VERSION, 2);
    write_le(header + AT_TYPE, m->type, 2);
    write_le(header + AT_LIFE, m->life, 8);
    write_le(header + AT_SEQUENCE, m->sequence, 8);
    write_le(header + AT_BULK_OFFSET, m->bulk_offset, 8);
    write_le(header + AT_BULK_LENGTH, m->bulk_length, 8);
    write_le(header + AT_BULK_CHECKSUM, m->bulk_checksum, 8);
    write_le(header + AT_PAYLOAD_LENGTH, m->payload_length, 4);
    write_le(header + AT_FDS, m->fd_count, 4);
    write_le(header + AT_ZERO, 0, 4);
    write_le(header + AT_CHECKSUM, frame_checksum(header, m->payload, m->payload_length), 4);
    return ERR_OK;
}

// The rules of the form: what a whole and undamaged frame of this version looks like.
static enum err check_form(const unsigned char *bytes, size_t n, size_t fd_count,
                           struct errmsg *msg) {
    if (n < CHANNEL_HEADER_BYTES || n > CHANNEL_FRAME_BYTES)
        return err_set(msg, ERR_INVALID, "a frame of %zu bytes: it has %d to %d", n,
                       CHANNEL_HEADER_BYTES, CHANNEL_FRAME_BYTES);
    if (read_le(bytes + AT_MAGIC, 4) != MAGIC)
        return err_set(msg, ERR_INVALID, "no frame: it begins with 0x%08x",
                       (unsigned)read_le(bytes + AT_MAGIC, 4));
    if (read_le(bytes + AT_VERSION, 2) != CHANNEL_VERSION)
        return err_set(msg, ERR_INVALID,
                       "a frame of version %u, and here it is %d: trine and trine-worker must come "
                       "of one build",
                       (unsigned)read_le(bytes + AT_VERSION, 2), CHANNEL_VERSION);
    size_t payload = n - CHANNEL_HEADER_BYTES;
    if (read_le(bytes + AT_PAYLOAD_LENGTH, 4) != payload)
        return err_set(msg, ERR_INVALID, "a frame says %u bytes of payload, and has %zu",
                       (unsigned)read_le(bytes + AT_PAYLOAD_LENGTH, 4), payload);
    if (read_le(bytes + AT_FDS, 4) != fd_count)
        return err_set(msg, ERR_INVALID, "a frame says %u descriptors, and %zu are with it",
                       (unsigned)read_le(bytes + AT_FDS, 4), fd_count);
    if (read_le(bytes + AT_ZERO, 4) != 0)
        return err_set(msg, ERR_INVALID, "a frame's last field is not 0");
    if (read_le(bytes + AT_CHECKSUM, 4) !=
        frame_checksum(bytes, bytes + CHANNEL_HEADER_BYTES, payload))
        return err_set(msg, ERR_INVALID, "a frame's checksum is wrong");
    return ERR_OK;
}

enum err channel_decode(const unsigned char *bytes, size_t n, size_t fd_count,
                        struct channel_message *out, struct errmsg *msg) {
    *out = (struct channel_message){0};
    enum err e = check_form(bytes, n, fd_count, msg);
    struct channel_message m = {0};
    if (!e) {
        m.type = (uint16_t)read_le(bytes + AT_TYPE, 2);
        m.life = read_le(bytes + AT_LIFE, 8);
        m.sequence = read_le(bytes + AT_SEQUENCE, 8);
        m.bulk_offset = read_le(bytes + AT_BULK_OFFSET, 8);
        m.bulk_length = read_le(bytes + AT_BULK_LENGTH, 8);
        m.bulk_checksum = read_le(bytes + AT_BULK_CHECKSUM, 8);
        m.payload = bytes + CHANNEL_HEADER_BYTES;
        m.payload_length = n - CHANNEL_HEADER_BYTES;
        m.fd_count = fd_count;
        const char *why = broken_rule(&m);
        if (why)
            e = err_set(msg, ERR_INVALID, "a frame is wrong: %s", why);
    }
    if (!e)
        *out = m;
    return e;
}

enum err channel_pair(int fds[2], struct errmsg *msg) {
    if (fault_hit(FAULT_FILE)) {
        errno = EMFILE;
    } else if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0) {
        int bytes = SEND_BYTES; // a refusal costs only how much may wait in the socket
        (void)setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
        (void)setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
        return ERR_OK;
    }
    return err_set(msg, ERR_IO, "cannot make a pair of sockets: %s", strerror(errno));
}

static bool would_block(int e) { return e == EAGAIN || e == EWOULDBLOCK; }
static bool closed(int e) { return e == EPIPE || e == ECONNRESET || e == ENOTCONN; }

enum err channel_send(int fd, const struct channel_message *m, bool wait, struct errmsg *msg) {
    unsigned char header[CHANNEL_HEADER_BYTES];
    enum err e = channel_encode(m, header, msg);
    if (e)
        return e;
    struct iovec parts[2] = {
        {.iov_base = header, .iov_len = sizeof header},
        {.iov_base = (void *)(uintptr_t)m->payload, .iov_len = m->payload_length},
    };
    struct msghdr frame = {.msg_iov = parts, .msg_iovlen = m->payload_length ? 2 : 1};
    union control control = {{0}};
    if (m->fd_count) {
        frame.msg_control = control.bytes;
        frame.msg_controllen = CMSG_SPACE(m->fd_count * sizeof(int));
        struct cmsghdr *c = &control.aligned;
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(m->fd_count * sizeof(int));
        memcpy(CMSG_DATA(c), m->fds, m->fd_count * sizeof(int));
    }
    ssize_t n;
    do
        n = sendmsg(fd, &frame, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return ERR_OK; // a packet goes as a whole
    if (would_block(errno))
        return err_set(msg, ERR_OVERLOADED, "the socket is full");
    if (closed(errno))
        return err_set(msg, ERR_LOST, "the other process has closed the socket");
    return err_set(msg, ERR_IO, "cannot send a frame: %s", strerror(errno));
}

// Takes the descriptors that came, all of them: those beyond `room` are closed at once. false where
// there is anything else beside the frame.
static bool take_fds(struct msghdr *frame, int *fds, size_t room, size_t *count) {
    bool plain = true;
    *count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(frame); c; c = CMSG_NXTHDR(frame, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            plain = false;
            continue;
        }
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (*count < room) {
                fds[(*count)++] = fd;
            } else {
                close(fd);
                plain = false;
            }
        }
    }
    return plain;
}

void channel_close_fds(struct channel_message *m) {
    for (size_t i = 0; i < m->fd_count; i++)
        close(m->fds[i]);
    m->fd_count = 0;
}

// One recvmsg. A reset is told once, before what the other side sent last can be read: what it had
// finished when it ended is still worth having, so the second try reads it.
static ssize_t receive(int fd, struct msghdr *frame, size_t control_bytes, bool wait) {
    bool again = true;
    for (;;) {
        frame->msg_controllen = control_bytes;
        ssize_t n = recvmsg(fd, frame, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
        if (n >= 0)
            return n;
        if (errno == ECONNRESET && again)
            again = false;
        else if (errno != EINTR)
            return n;
    }
}

enum err channel_receive(int fd, struct channel_buffer *buf, struct channel_message *out, bool wait,
                         struct errmsg *msg) {
    *out = (struct channel_message){0};
    struct iovec part = {.iov_base = buf->bytes, .iov_len = sizeof buf->bytes};
    union control control = {{0}};
    struct msghdr frame = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes};
    ssize_t n = receive(fd, &frame, sizeof control.bytes, wait);
    if (n < 0) {
        if (would_block(errno))
            return err_set(msg, ERR_OVERLOADED, "no frame is there");
        if (closed(errno))
            return err_set(msg, ERR_LOST, "the other process has closed the socket");
        return err_set(msg, ERR_IO, "cannot receive a frame: %s", strerror(errno));
    }
    int fds[CHANNEL_FDS];
    size_t fd_count;
    bool plain = take_fds(&frame, fds, CHANNEL_FDS, &fd_count);
    enum err e;
    if (n == 0)
        e = err_set(msg, ERR_LOST, "the other process has closed the socket");
    else if (frame.msg_flags & MSG_TRUNC)
        e = err_set(msg, ERR_INVALID, "a frame of more than %d bytes", CHANNEL_FRAME_BYTES);
    else if (!plain || (frame.msg_flags & MSG_CTRUNC))
        e = err_set(msg, ERR_INVALID,
                    "a frame with more descriptors than %d, or than this process may open "
                    "(ulimit -n)",
                    CHANNEL_FDS);
    else if (fd_count > buf->most_fds)
        e = err_set(msg, ERR_INVALID, "a frame with %zu descriptors where %zu may be", fd_count,
                    buf->most_fds);
    else
        e = channel_decode(buf->bytes, (size_t)n, fd_count, out, msg);
    for (size_t i = 0; i < fd_count; i++)
        if (e)
            close(fds[i]);
        else
            out->fds[i] = fds[i];
    return e;
}
