// The text of an answer while its tokens come: whole UTF-8 only, cut before a stop string.
// Role: holds text back while it may be the beginning of a stop string, so that none is ever given
// out in part, however it is split over tokens. Knows no requests and no HTTP.
// The stop string that is complete first ends the text; of two complete at the same byte the
// longer one. Linear in the text (Knuth, Morris and Pratt's matching, one state a string).
// Thread rule: compiled strings are immutable and shared; a stream has one owner.
#ifndef TRINE_ENGINE_TEXT_STREAM_H
#define TRINE_ENGINE_TEXT_STREAM_H

#include "base/buf.h"
#include "tokenizer/token_stream.h"

enum { STOP_STRINGS_MAX = 16 };

struct text_stop_strings {
    size_t count;
    struct text strings[STOP_STRINGS_MAX]; // copies, in the block below
    uint32_t *fallback[STOP_STRINGS_MAX];  // [len] of the longest proper prefix that is a suffix
    void *block;                           // owned
};

// Each string is of at least one byte and of less than 2^32. ERR_NOMEM.
enum err text_stop_strings_compile(const struct text *strings, size_t count,
                                   struct text_stop_strings *out, struct errmsg *msg) MUST_CHECK;
void text_stop_strings_free(struct text_stop_strings *s);

struct text_stream {
    struct token_stream tokens;
    const struct text_stop_strings *stops; // NULL: none
    uint32_t matched[STOP_STRINGS_MAX];    // how much of each is the end of the text so far
    struct buf held;                       // owned; what may begin a stop string
    struct buf fresh;                      // owned; scratch
    size_t seen, seen_chars;               // text that the tokens gave, held text included
    bool stopped;                          // a stop string is complete: nothing more comes
    // A stop string that is complete in held, [found_begin, found_end), but that may reach into
    // what marks a call.
    bool found;
    size_t found_begin, found_end;
    const char *marker; // NULL: none
    size_t marker_at;   // how much of it is the end of the text so far
    bool marker_first;  // it counts at the text's beginning only
    bool in_call;       // it has been seen: nothing stops the text any more
};

// Everything is borrowed.
void text_stream_init(struct text_stream *s, const struct tokenizer *t, bool skip_special_tokens,
                      const struct text_stop_strings *stops);
void text_stream_free(struct text_stream *s);
// Before the first token: from `marker` on (borrowed; its first byte stands in it once) the text is
// calls, in which, and in the marker, no stop string is looked for. first: only where the text
// begins with it.
void text_stream_spare_calls(struct text_stream *s, const char *marker, bool first);

// Appends what the token lets out. After s->stopped nothing is appended any more.
// ERR_INVALID: an id outside the vocabulary; ERR_NOMEM.
enum err text_stream_add(struct text_stream *s, int32_t id, struct buf *out,
                         struct errmsg *msg) MUST_CHECK;
// The end without a stop string: what was held comes out, an incomplete character as U+FFFD.
enum err text_stream_end(struct text_stream *s, struct buf *out, struct errmsg *msg) MUST_CHECK;

#endif
