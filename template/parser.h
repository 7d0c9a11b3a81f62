// Builds the tree of ast.h from tokens. Role: checks the syntax, and refuses by name what the
// interpreter does not have: tags, filters, tests, functions, methods.
// Source followed: jinja2 3.1.6, parser.py. Thread rule: one owner.
#ifndef TRINE_TEMPLATE_PARSER_H
#define TRINE_TEMPLATE_PARSER_H

#include "template/ast.h"
#include "template/lexer.h"

#include "base/buf.h"

enum {
    MAX_NESTING = 100, // of tags, and of brackets and their like in an expression
    MAX_TREE = 400,    // of a tree, chains of operators included
};

struct call_check; // a call of a name that must turn out to be assigned somewhere

struct parser {
    struct template *t;
    struct lexer lexer;
    struct lexer_token now, ahead;
    bool has_ahead;
    size_t nesting;
    size_t scopes, branches;  // open ones: bodies that have names of their own; ifs
    size_t loops;             // open ones that break and continue can mean
    struct ast_node *routine; // the macro or call block whose body is being parsed
    struct call_check *checks;
    struct buf scratch;
    enum err err;
    struct errmsg *msg;
};

// Everything here returns NULL or false when parsing has failed, with the error recorded.
struct ast_node *parser_template(struct parser *p); // the whole; its statements chained
struct ast_node *parser_expression(struct parser *p);
// A tuple when there is a comma; stops before the name `end` when it is not NULL.
struct ast_node *parser_tuple(struct parser *p, bool with_choice, const char *end);
// A chain of filters behind '|' or, when `inline_first`, beginning with a filter's name. The
// innermost filter's operand is NULL.
struct ast_node *parser_filters(struct parser *p, struct ast_node *operand, bool inline_first);
bool parser_string(struct parser *p, const struct lexer_token *t, struct buf *out);

bool parser_advance(struct parser *p); // p->now is the next token
bool parser_peek(struct parser *p);    // p->ahead is the token after p->now
bool parser_is(const struct parser *p, const char *operator_text);
bool parser_is_name(const struct parser *p, const char *name);
bool parser_skip(struct parser *p, const char *operator_text); // whether it was there
bool parser_skip_name(struct parser *p, const char *name);     // whether it was there
bool parser_expect(struct parser *p, const char *operator_text);
bool parser_expect_name(struct parser *p, const char *name);
struct ast_name *parser_name(struct parser *p, const char *text, size_t len);
struct ast_node *parser_node(struct parser *p, enum ast_node_kind kind);
// Takes the depth of n from its parts; false when the tree is too deep.
bool parser_close(struct parser *p, struct ast_node *n);
bool parser_enter(struct parser *p);
void parser_leave(struct parser *p);
void *parser_fail(struct parser *p, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);
void *parser_fail_token(struct parser *p, const char *expected);
// A name is given a value somewhere, so that what is called by it may be known when it runs.
void parser_assign(struct ast_name *n);
// A name is read, or set, where p stands.
void parser_read(struct parser *p, struct ast_name *n);
void parser_store(struct parser *p, struct ast_name *n);
// Remembers a call of a name or attribute: at the end it must be known or assigned.
bool parser_check_call(struct parser *p, struct ast_node *callee);
// Constants in the template's pool.
bool parser_text(struct parser *p, const char *s, size_t len, struct value *out);
bool parser_integer(struct parser *p, const char *digits, size_t len, struct value *out);

#endif
