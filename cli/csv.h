// CSV records (RFC 4180): fields separated by commas; quoted fields may have "" and line breaks
// inside. Role: cuts a line reader's input into fields. A quote where none may be is an error, not
// a guess. Thread rule: one owner.
#ifndef TRINE_CLI_CSV_H
#define TRINE_CLI_CSV_H

#include "base/buf.h"
#include "cli/lines.h"

struct csv_record {
    struct buf bytes; // the fields, unquoted, end to end
    size_t *ends;     // [cap] where each field ends in bytes
    size_t count, cap;
    size_t line; // of the file, where the record begins
};

// Reads the next record. *more false: the end. ERR_INVALID names file:line.
enum err csv_next(struct lines *in, struct csv_record *r, bool *more,
                  struct errmsg *msg) MUST_CHECK;
struct text csv_field(const struct csv_record *r, size_t i);
void csv_record_free(struct csv_record *r);

#endif
