// Template source to tokens: data, delimiters and the words between them, with whitespace control
// as jinja2's lexer does it under trim_blocks and lstrip_blocks and without keep_trailing_newline.
// Source followed: jinja2 3.1.6, lexer.py (Lexer.__init__, tokeniter). Thread rule: one owner.
#ifndef TRINE_TEMPLATE_LEXER_H
#define TRINE_TEMPLATE_LEXER_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum token_kind {
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

struct token {
    enum token_kind kind;
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
enum err lexer_next(struct lexer *lx, struct token *out) MUST_CHECK;
// Whether a token is this operator or name.
bool token_is(const struct token *t, enum token_kind kind, const char *text);

#endif
