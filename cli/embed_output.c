// See embed_output.h.
#define _GNU_SOURCE // O_CLOEXEC
#include "cli/embed_output.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "cli/fingerprint.h"
#include "cli/parts.h"
#include "service/api/vectors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NPY_HEADER_BYTES = 128, SAVE_EVERY_US = 2000000 };

// By the name's ending; CLI_OUTPUT_AUTO: the ending is not known.
static int format_of_name(const struct cli_options *o) {
    const char *ending = o->output ? cli_ending(o->output) : "";
    if (cli_ending_is(ending, ".npy"))
        return CLI_OUTPUT_NPY;
    if (cli_ending_is(ending, ".f32"))
        return CLI_OUTPUT_F32;
    return !*ending || cli_ending_is(ending, ".jsonl|.ndjson") ? CLI_OUTPUT_JSONL : CLI_OUTPUT_AUTO;
}

int embed_output_format(const struct cli_options *o) {
    return o->output_format != CLI_OUTPUT_AUTO ? o->output_format : format_of_name(o);
}

enum err embed_output_check_name(const struct cli_options *o, struct errmsg *msg) {
    static const char *const names[] = {"auto", "jsonl", "npy", "f32"};
    int said = o->output_format, named = format_of_name(o);
    const char *ending = o->output ? cli_ending(o->output) : "";
    if (said == CLI_OUTPUT_AUTO && named == CLI_OUTPUT_AUTO)
        return err_set(
            msg, ERR_INVALID,
            "-o %s: no format is known by the ending '%.20s'; there are .jsonl, .ndjson, "
            ".npy and .f32, and --format for any other name",
            o->output, ending);
    if (said != CLI_OUTPUT_AUTO && named != CLI_OUTPUT_AUTO && *ending && said != named)
        return err_set(msg, ERR_INVALID, "--format %s and -o %s: the name says %s", names[said],
                       o->output, names[named]);
    return ERR_OK;
}

uint64_t embed_output_fingerprint(uint64_t h, struct text id, struct text text) {
    h = fingerprint_add(h, id.bytes, id.len);
    return fingerprint_add(h, text.bytes, text.len);
}

static enum err os_error(const struct embed_output *out, const char *what, struct errmsg *msg) {
    return err_set(msg, ERR_IO, "%s: cannot %s: %s", out->sink.name, what, strerror(errno));
}

// Version 1.0 of NumPy's format: fixed size, so that the row count can be put in at the end.
static void npy_header(char out[NPY_HEADER_BYTES], uint64_t rows, size_t dim) {
    memset(out, ' ', NPY_HEADER_BYTES);
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = NPY_HEADER_BYTES - 10;
    out[9] = 0;
    char dict[NPY_HEADER_BYTES];
    int n = snprintf(dict, sizeof dict,
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %zu), }",
                     (unsigned long long)rows, dim);
    memcpy(out + 10, dict, (size_t)n); // at most 46 + 20 + 20 characters
    out[NPY_HEADER_BYTES - 1] = '\n';
}

static void write_head(struct embed_output *out) {
    if (out->format == CLI_OUTPUT_NPY) {
        char header[NPY_HEADER_BYTES];
        npy_header(header, 0, out->dim);
        buf_append(&out->sink.buf, header, sizeof header);
    }
}

static enum err patch_head(struct embed_output *out, struct errmsg *msg) {
    char header[NPY_HEADER_BYTES];
    if (out->format != CLI_OUTPUT_NPY)
        return ERR_OK;
    npy_header(header, out->rows, out->dim);
    ssize_t n = pwrite(out->sink.fd, header, sizeof header, (off_t)out->begin);
    return n == (ssize_t)sizeof header ? ERR_OK : os_error(out, "write the header of", msg);
}

// --- streams ---

static enum err open_stream(struct embed_output *out, int fd, const char *name,
                            struct errmsg *msg) {
    sink_init(&out->sink, fd, name);
    if (out->format != CLI_OUTPUT_NPY)
        return ERR_OK;
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    off_t at = lseek(fd, 0, SEEK_CUR);
    if (at < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || flags < 0 || (flags & O_APPEND))
        return err_set(msg, ERR_INVALID,
                       "%s: .npy begins with the number of rows, which needs a file; give -o FILE, "
                       "or --format jsonl or f32",
                       name);
    out->begin = (uint64_t)at;
    write_head(out);
    return ERR_OK;
}

// --- files ---

static enum err resume(struct embed_output *out, struct errmsg *msg) {
    bool found;
    struct stat st;
    struct embed_journal *j = &out->journal;
    enum err e = embed_journal_load(j, &found, msg);
    if (e || !found)
        return e;
    if (fstat(out->sink.fd, &st) != 0)
        return os_error(out, "stat", msg);
    if ((uint64_t)st.st_size == 0) // the partial file is gone: what the journal counts is, too
        return ERR_OK;
    if ((uint64_t)st.st_size < j->bytes)
        return err_set(msg, ERR_INVALID,
                       "%s: %llu bytes, its journal counts %llu; start anew without --resume",
                       out->partial, (unsigned long long)st.st_size, (unsigned long long)j->bytes);
    // Behind the journalled rows lies what was being written when the earlier run ended.
    if (ftruncate(out->sink.fd, (off_t)j->bytes) != 0 ||
        lseek(out->sink.fd, (off_t)j->bytes, SEEK_SET) < 0)
        return os_error(out, "truncate", msg);
    out->sink.written = j->bytes;
    out->rows = out->resumed = j->rows;
    out->truncated = j->truncated;
    out->texts = j->texts;
    return ERR_OK;
}

static enum err open_file(struct embed_output *out, const struct cli_options *o,
                          struct errmsg *msg) {
    size_t n = strlen(o->output) + sizeof ".partial";
    out->path = o->output;
    out->partial = mem_alloc(n, 1);
    if (!out->partial)
        return err_set(msg, ERR_NOMEM, "%s: no memory", o->output);
    snprintf(out->partial, n, "%s.partial", o->output);
    int fd = fault_hit(FAULT_FILE) ? (errno = EIO, -1)
                                   : open(out->partial, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    sink_init(&out->sink, fd, out->partial);
    if (fd < 0)
        return os_error(out, "create", msg);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        out->sink.fd = -1;
        return err_set(msg, ERR_IO, "%s: another run is writing it", out->partial);
    }
    enum err e = o->resume ? resume(out, msg) : ERR_OK;
    if (e) { // refused: nothing of the interrupted run is touched
        close(fd);
        out->sink.fd = -1;
        return e;
    }
    if (out->resumed == 0) {
        embed_journal_remove(&out->journal);
        if (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) < 0)
            return os_error(out, "truncate", msg);
        out->sink.written = 0;
        write_head(out);
    }
    return ERR_OK;
}

enum err embed_output_open(struct embed_output *out, const struct cli_options *o, size_t dim,
                           struct embed_journal *journal, struct errmsg *msg) {
    *out = (struct embed_output){
        .format = embed_output_format(o),
        .dim = dim,
        .journal = *journal,
        .texts = FINGERPRINT_START,
        .saved_us = clock_now_us(),
    };
    *journal = (struct embed_journal){0};
    struct stat st;
    if (!o->output || strcmp(o->output, "-") == 0)
        return open_stream(out, STDOUT_FILENO, "stdout", msg);
    if (stat(o->output, &st) != 0 || S_ISREG(st.st_mode))
        return open_file(out, o, msg);
    // A device or a pipe: nothing to rename over.
    if (S_ISDIR(st.st_mode))
        return err_set(msg, ERR_INVALID, "%s: is a folder; -o takes a file's name", o->output);
    int fd = open(o->output, O_WRONLY | O_CLOEXEC);
    sink_init(&out->sink, fd, o->output);
    return fd < 0 ? os_error(out, "open", msg) : open_stream(out, fd, o->output, msg);
}

enum err embed_output_row(struct embed_output *out, struct text id, struct text text,
                          const float *row, struct errmsg *msg) {
    struct buf *b = &out->sink.buf;
    if (out->format == CLI_OUTPUT_JSONL) {
        buf_puts(b, "{\"id\":");
        buf_append(b, id.bytes, id.len);
        buf_puts(b, ",\"embedding\":");
        api_vector_print(b, row, out->dim, API_VECTOR_FLOAT);
        buf_puts(b, "}\n");
    } else {
        buf_append(b, row, out->dim * sizeof *row); // this host is little-endian, as both formats
    }
    out->rows++;
    if (out->path)
        out->texts = embed_output_fingerprint(out->texts, id, text);
    return sink_settle(&out->sink, msg);
}

// The journal may only count what would survive a power failure.
static enum err save(struct embed_output *out, struct errmsg *msg) {
    enum err e = sink_flush(&out->sink, msg);
    if (!e && fsync(out->sink.fd) != 0)
        e = os_error(out, "sync", msg);
    out->journal.rows = out->rows;
    out->journal.bytes = out->sink.written;
    out->journal.truncated = out->truncated;
    out->journal.texts = out->texts;
    if (!e)
        e = embed_journal_save(&out->journal, msg);
    out->saved_us = clock_now_us();
    return e;
}

enum err embed_output_settle(struct embed_output *out, struct errmsg *msg) {
    if (!out->path)
        return sink_flush(&out->sink, msg);
    return clock_now_us() - out->saved_us > SAVE_EVERY_US ? save(out, msg) : ERR_OK;
}

static void sync_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder =
        slash ? mem_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : mem_strndup(".", 1);
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)fsync(fd); // not every file system can; the name is there all the same
        close(fd);
    }
    mem_free(folder);
}

enum err embed_output_finish(struct embed_output *out, struct errmsg *msg) {
    enum err e = sink_flush(&out->sink, msg);
    if (!e)
        e = patch_head(out, msg);
    if (e || !out->path)
        return e;
    if (fsync(out->sink.fd) != 0)
        return os_error(out, "sync", msg);
    if (rename(out->partial, out->path) != 0)
        return err_set(msg, ERR_IO, "%s: cannot rename onto %s: %s", out->partial, out->path,
                       strerror(errno));
    embed_journal_remove(&out->journal);
    sync_folder(out->path);
    out->path = NULL; // done: nothing to keep or to remove
    return ERR_OK;
}

void embed_output_close(struct embed_output *out, bool keep) {
    if (out->path && out->sink.fd >= 0) {
        if (!keep) {
            embed_journal_remove(&out->journal);
            (void)unlink(out->partial);
        } else if (save(out, NULL) != ERR_OK) {
            // Then the last journal still stands, and resuming goes on from that.
        }
    }
    if (out->sink.fd > STDERR_FILENO)
        close(out->sink.fd);
    sink_free(&out->sink);
    embed_journal_free(&out->journal);
    mem_free(out->partial);
    *out = (struct embed_output){.sink.fd = -1};
}
