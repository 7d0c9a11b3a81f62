// The tree of a compiled template. Role: the parser makes it and the interpreter walks it.
// Nodes lie in the template's pool; nodes of a list are chained by `next`. Thread rule: immutable
// after compile.
#ifndef TRINE_TEMPLATE_AST_H
#define TRINE_TEMPLATE_AST_H

#include "template/region.h"
#include "template/value.h"

// A name of the source, once: names are equal when their pointers are.
struct ast_name {
    const char *text;
    size_t len;
    struct value_missing missing; // what a variable of this name is while it is undefined
    bool assigned;                // by a set, for, macro or parameter somewhere
    bool read;                    // as a variable
    // At the template's top level a name that is set before it is read there is the template's own:
    // until then it is undefined everywhere, whatever the context has (jinja2, idtracking.py).
    bool settled; // read or set there
    bool own;     // set first
    struct ast_name *next_own;
    struct ast_name *next; // of its bucket
};

enum ast_node_kind {
    // expressions
    NODE_CONST,   // constant
    NODE_NAME,    // name
    NODE_LIST,    // a: items
    NODE_TUPLE,   // a: items
    NODE_DICT,    // a: keys and values in turn
    NODE_ATTR,    // a . name
    NODE_ITEM,    // a [ b ]
    NODE_SLICE,   // a [ b : c : d ], each of b, c, d may be NULL
    NODE_CALL,    // a ( b ): arguments, with `name` where they are named
    NODE_FILTER,  // a | native ( b ); a NULL in a filter block
    NODE_TEST,    // a is native ( b )
    NODE_NOT,     // a
    NODE_NEGATE,  // a
    NODE_PLUS,    // a
    NODE_AND,     // a, b
    NODE_OR,      // a, b
    NODE_BINARY,  // a op b
    NODE_CONCAT,  // a: parts
    NODE_COMPARE, // a, then b: NODE_OPERAND
    NODE_OPERAND, // op a
    NODE_CHOICE,  // a if b else c (c may be NULL)
    // statements
    NODE_DATA,         // constant
    NODE_OUTPUT,       // a
    NODE_IF,           // if a: b, else c
    NODE_FOR,          // for a in b if c: d, else e
    NODE_SET,          // a = b
    NODE_SET_BLOCK,    // a = d through filters b
    NODE_MACRO,        // name (a: parameters) d
    NODE_CALL_BLOCK,   // b: the call, (a: parameters) d
    NODE_FILTER_BLOCK, // d through filters b
    NODE_WITH,         // a: NODE_SET, d
    NODE_SCOPE,        // d in a scope of its own ({% generation %})
    NODE_BREAK,
    NODE_CONTINUE,
    NODE_PARAMETER, // name, default a (may be NULL)
    NODE_FIELD,     // a target: name . attribute
};

enum ast_operator {
    OPERATOR_ADD,
    OPERATOR_SUB,
    OPERATOR_MUL,
    OPERATOR_DIV,
    OPERATOR_FLOORDIV,
    OPERATOR_MOD,
    OPERATOR_POW,
    OPERATOR_EQ,
    OPERATOR_NE,
    OPERATOR_LT,
    OPERATOR_LE,
    OPERATOR_GT,
    OPERATOR_GE,
    OPERATOR_IN,
    OPERATOR_NOT_IN,
};

struct ast_node {
    enum ast_node_kind kind;
    enum ast_operator op;
    uint32_t line;
    uint32_t depth; // of the tree below, bounded so that walking it cannot overflow the stack
    struct ast_node *next;
    struct ast_node *a, *b, *c, *d, *e;
    struct ast_name *name, *attribute;
    struct value constant;
    const struct function *native;
    // MACRO, CALL_BLOCK: the body reads these special names
    bool uses_caller, uses_varargs, uses_kwargs;
};

enum { NAME_BUCKETS = 4096 };

struct template {
    struct template_region pool;
    const char *label; // begins messages
    struct ast_node *body;
    struct ast_name *names[NAME_BUCKETS];
    struct ast_name *own; // chained by next_own
    struct ast_name *loop_name, *caller_name, *varargs_name, *kwargs_name;
};

#endif
