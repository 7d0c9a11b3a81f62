// The walk over the tree: expressions (eval.c), statements (exec.c), calls of macros (macro.c).
// These three call each other. False when the rendering has failed. Thread rule: as render.h.
#ifndef TRINE_TEMPLATE_EVAL_H
#define TRINE_TEMPLATE_EVAL_H

#include "template/arguments.h"
#include "template/render.h"

bool eval(struct render *r, const struct ast_node *n, struct value *out);
bool eval_call(struct render *r, struct value f, const struct arguments *args, struct value *out);
bool macro_call(struct render *r, const struct value_macro *m, const struct arguments *args,
                struct value *out);
bool eval_filters(struct render *r, const struct ast_node *chain, struct value v,
                  struct value *out);
bool eval_set_name(struct render *r, const struct ast_name *name, struct value v);
bool eval_get_name(struct render *r, const struct ast_name *name, struct value *out);
// exec.c
enum eval_flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };
bool exec_list(struct render *r, const struct ast_node *n, enum eval_flow *flow);

#endif
