// What `trine embed` writes: rows as JSON lines, .npy or raw f32, to a stream or to a file that
// appears when it is complete. Role: formats, the partial file and its journal.
// A file OUT grows as OUT.partial; every few seconds what is there is synced and the journal
// (embed_journal.h) moves on. Thread rule: one owner.
#ifndef TRINE_CLI_EMBED_OUTPUT_H
#define TRINE_CLI_EMBED_OUTPUT_H

#include "cli/embed_journal.h"
#include "cli/options.h"
#include "cli/sink.h"
#include "tokenizer/tokenizer.h"

struct embed_output {
    int format;       // CLI_OUTPUT_JSONL, _NPY or _F32
    size_t dim;       // floats a row
    const char *path; // NULL: a stream; borrowed
    char *partial;    // owned
    struct sink sink;
    uint64_t begin;   // offset of the first byte in the descriptor (stdout may be appended to)
    uint64_t rows;    // written, those of an earlier run included
    uint64_t resumed; // rows that were there already: the caller skips as many texts
    uint64_t truncated;
    uint64_t texts; // fingerprint of the rows' ids and texts
    struct embed_journal journal;
    int64_t saved_us;
};

// The format of the output: o->output_format, or by the ending of o->output (jsonl when it has
// none).
int embed_output_format(const struct cli_options *o);
// ERR_INVALID when neither the ending of o->output nor o->output_format gives a format, and when
// the two contradict each other.
enum err embed_output_check_name(const struct cli_options *o, struct errmsg *msg) MUST_CHECK;

// o: output, output_format, resume. journal (taken over, whatever comes back) is used where OUT is
// a file. ERR_INVALID: npy to what cannot seek, a run that cannot be resumed; ERR_IO.
enum err embed_output_open(struct embed_output *out, const struct cli_options *o, size_t dim,
                           struct embed_journal *journal, struct errmsg *msg) MUST_CHECK;

// id is JSON. Counts the text and the id into the fingerprint.
enum err embed_output_row(struct embed_output *out, struct text id, struct text text,
                          const float *row, struct errmsg *msg) MUST_CHECK;

// The rows so far may be journalled. Call it between texts, never within a chunk that can still
// fail.
enum err embed_output_settle(struct embed_output *out, struct errmsg *msg) MUST_CHECK;

// Completes the file and gives it its name.
enum err embed_output_finish(struct embed_output *out, struct errmsg *msg) MUST_CHECK;

// After a failure: `keep` leaves the partial file and a journal of all that is in it, otherwise
// both are removed. Then frees; after embed_output_finish it only frees.
void embed_output_close(struct embed_output *out, bool keep);

// Adds one text to a fingerprint, as embed_output_row does.
uint64_t embed_output_fingerprint(uint64_t h, struct text id, struct text text);

#endif
