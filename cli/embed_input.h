// What `trine embed` reads: texts with their ids from lines, JSONL or CSV, over several files.
// Role: one record after the other, in order, each checked, in constant memory.
// Thread rule: one thread at a time.
#ifndef TRINE_CLI_EMBED_INPUT_H
#define TRINE_CLI_EMBED_INPUT_H

#include "cli/csv.h"
#include "cli/lines.h"
#include "cli/options.h"

struct embed_input {
    const struct cli_options *o; // input_format, field, id, header, empty, args
    const atomic_bool *stop;
    size_t file; // the next of o->args (or of stdin alone) to open
    bool open;
    struct lines lines;
    struct csv_record record;
    struct buf text, id;                    // owned copies of what the current record gave
    int format;                             // of the open file, never CLI_INPUT_AUTO
    size_t text_column, id_column, columns; // CSV; id_column SIZE_MAX: none
    uint64_t next_index;                    // of records, empty ones included
    uint64_t bytes;                         // consumed of the files before the open one
    uint64_t total;                         // of all files; 0: not known
};

struct embed_record {
    struct text text;
    struct text id; // as JSON
};

// ERR_INVALID for a flag that has no meaning for a file in the format it will be read in (--field
// with plain lines), and for a name whose ending says that it is neither lines, JSONL nor CSV.
enum err embed_input_check_flags(const struct cli_options *o, struct errmsg *msg) MUST_CHECK;
// cli_check_not_input for each of them.
enum err embed_input_check_output(const struct cli_options *o, const char *output, const char *what,
                                  struct errmsg *msg) MUST_CHECK;

// The files are opened one after the other; those that do not exist are told now.
enum err embed_input_open(struct embed_input *in, const struct cli_options *o,
                          const atomic_bool *stop, struct errmsg *msg) MUST_CHECK;
// Reads the next record, valid until the next call. *more false: the end. Errors name file:line.
enum err embed_input_next(struct embed_input *in, struct embed_record *record, bool *more,
                          struct errmsg *msg) MUST_CHECK;
uint64_t embed_input_bytes(const struct embed_input *in); // consumed so far
void embed_input_close(struct embed_input *in);

#endif
