// Tool calls out of the text of an answer, while it comes:
//   <tool_call>\n{"name": "f", "arguments": {...}}\n</tool_call>
// as Qwen2.5's chat template asks for them. Role: parts free text from calls, and hands a call's
// arguments on in pieces, as they are spelled. A grammar (grammar_from_tools) is what makes the
// model keep to the form; what does not keep to it is given out as text.
// Blanks around calls belong to nobody: those before a call are dropped. Where an answer is calls
// or text in a form of its own (calls_or_form), what does not begin with a call has none.
// Thread rule: one owner.
#ifndef TRINE_ENGINE_TOOL_CALLS_H
#define TRINE_ENGINE_TOOL_CALLS_H

#include "base/buf.h"

extern const char tool_open_marker[]; // what a call begins with

// Where the parts go, in order.
struct tool_sink {
    void (*text)(void *ctx, const char *bytes, size_t n);
    void (*begin)(void *ctx, const char *name, size_t n);      // the name as it is, unescaped
    void (*arguments)(void *ctx, const char *bytes, size_t n); // a piece of a JSON object
    void *ctx;
};

enum tool_state {
    TOOL_TEXT,      // outside of calls
    TOOL_HEAD,      // from the marker to the arguments' value: held until it is whole
    TOOL_ARGUMENTS, // inside of the arguments' value
    TOOL_TAIL,      // from there to the end marker
    TOOL_START,     // of calls or form: not decided which
    TOOL_ANSWER,    // form: text to its end
};

struct tool_parser {
    enum tool_state state;
    struct buf held;     // owned; not decided on yet
    size_t lead;         // HEAD: bytes of it before the head: blanks and the marker
    int depth;           // open brackets of the arguments
    bool quoted, escape; // inside of a string of theirs, behind a backslash of it
    size_t calls;        // begun so far
    bool failed;         // memory is out
};

void tool_parser_init(struct tool_parser *p, bool calls_or_form);
void tool_parser_free(struct tool_parser *p);

// p->failed tells when memory was out.
void tool_parser_feed(struct tool_parser *p, const char *bytes, size_t n,
                      const struct tool_sink *sink);
// The text's end: what was held and is no call comes out as text.
void tool_parser_end(struct tool_parser *p, const struct tool_sink *sink);

#endif
