// The journal of a bulk run: OUT.partial.json, beside OUT.partial. Role: says how much of the
// partial file is complete and which run it belongs to, so that --resume can go on or say why it
// cannot. It is replaced atomically, and only after the rows that it counts are on disk.
// Thread rule: one owner.
#ifndef TRINE_CLI_EMBED_JOURNAL_H
#define TRINE_CLI_EMBED_JOURNAL_H

#include "base/err.h"
#include "base/json.h"

#include <stdbool.h>
#include <stdint.h>

// The identity of a run: a flat JSON object of strings. A difference is named by its key.
struct embed_journal {
    char *path;         // owned
    cJSON *identity;    // owned
    uint64_t rows;      // complete rows
    uint64_t bytes;     // of the partial file that they end at
    uint64_t truncated; // of these rows' texts
    uint64_t texts;     // fingerprint of the rows' ids and texts
};

// Begins the journal of a new run that writes `partial`. ERR_NOMEM.
enum err embed_journal_new(const char *partial, struct embed_journal *j,
                           struct errmsg *msg) MUST_CHECK;
// Adds a fact to the identity. ERR_NOMEM.
enum err embed_journal_identify(struct embed_journal *j, const char *key, const char *value,
                                struct errmsg *msg) MUST_CHECK;

// Reads the counts of an interrupted run. *found false: there is no journal. ERR_INVALID: it is
// damaged, or its identity is another; the message says what differs and what to do.
enum err embed_journal_load(struct embed_journal *j, bool *found, struct errmsg *msg) MUST_CHECK;
// ERR_IO, ERR_NOMEM.
enum err embed_journal_save(const struct embed_journal *j, struct errmsg *msg) MUST_CHECK;
void embed_journal_remove(const struct embed_journal *j);
void embed_journal_free(struct embed_journal *j);

#endif
