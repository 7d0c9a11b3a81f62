// The filters of filters_seq.c and filters_json.c, for the table in filters.c.
// Role: shared by the files of filters only. Thread rule: as render.h.
#ifndef TRINE_TEMPLATE_FILTERS_H
#define TRINE_TEMPLATE_FILTERS_H

#include "template/arguments.h"
#include "template/functions.h"
#include "template/render.h"

#define FILTER(name)                                                                               \
    bool name(struct render *r, struct value self, const struct arguments *args, struct value *out)

FILTER(filter_tojson);
FILTER(filter_from_json);
FILTER(filter_length);
FILTER(filter_join);
FILTER(filter_first);
FILTER(filter_last);
FILTER(filter_list);
FILTER(filter_items);
FILTER(filter_dictsort);
FILTER(filter_map);
FILTER(filter_select);
FILTER(filter_reject);
FILTER(filter_selectattr);
FILTER(filter_rejectattr);
FILTER(filter_unique);
FILTER(filter_sort);
FILTER(filter_reverse);
FILTER(filter_min);
FILTER(filter_max);
FILTER(filter_sum);
FILTER(filter_batch);
FILTER(filter_slice);

// Text of self with its case changed, not marked safe unless it was.
bool filter_change_case(struct render *r, struct value self, int to, struct value *out);

#endif
