// Splits a template's source into tokens: data, delimiters and the words between them. Handles
// whitespace as jinja2's lexer does under trim_blocks and lstrip_blocks and without
// keep_trailing_newline.
// Source followed: jinja2 3.1.6, lexer.py (Lexer.__init__, tokeniter). Thread rule: one owner.
#ifndef TRINE_TEMPLATE_LEXER_H
#define TRINE_TEMPLATE_LEXER_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum lexer_token_kind {
    TOKEN_END,
    TOKEN_DATA,
    TOKEN_OUTPUT_BEGIN, // {{
    TOKEN_OUTPUT_END,
    TOKEN_BLOCK_BEGIN, // {%
    TOKEN_BLOCK_END,
    TOKEN_NAME,
    TOKEN_STRING, // text: between the quotes, escapes as written
    TOKEN_INTEGER,
    TOKEN_FLOAT,
    TOKEN_OPERATOR, // text: one of + - * / // % ** ~ [ ] ( ) { } == != > >= < <= = . : | , ;
};

struct lexer_token {
    enum lexer_token_kind kind;
    const char *text;
    size_t len;
    uint32_t line;
};

struct lexer {
    const char *source; // newlines are \n only, valid UTF-8
    size_t len, at;
    uint32_t line;
    int state;
    size_t open; // brackets
    bool line_starting;
    const char *label;
    struct errmsg *msg;
};

// Starts on source[0..len), whose newlines are \n and whose one trailing newline is gone.
void lexer_start(struct lexer *lx, const char *label, const char *source, size_t len,
                 struct errmsg *msg);
// The next token; TOKEN_END at the end, again and again. ERR_INVALID, ERR_UNSUPPORTED.
enum err lexer_next(struct lexer *lx, struct lexer_token *out) MUST_CHECK;
// Whether a token is this operator or name.
bool lexer_token_is(const struct lexer_token *t, enum lexer_token_kind kind, const char *text);

#endif
