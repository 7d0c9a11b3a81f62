// What Python's strings know of Unicode, as tables (tools/make_template_tables.py). Sorted.
#ifndef TRINE_TEMPLATE_UNICODE_TABLES_H
#define TRINE_TEMPLATE_UNICODE_TABLES_H

#include <stddef.h>
#include <stdint.h>

struct template_unicode_range {
    uint32_t first, last;
};
// Every `step`th character from first to last becomes itself plus delta.
struct template_unicode_run {
    uint32_t first, last, step;
    int32_t delta;
};
// A character that becomes several; 0 ends them.
struct template_unicode_special {
    uint32_t from, to[3];
};

extern const struct template_unicode_range template_unprintable[], template_cased[],
    template_case_ignorable[];
extern const size_t template_unprintable_count, template_cased_count, template_case_ignorable_count;
// What is not in `title` becomes its upper case.
extern const struct template_unicode_run template_upper_runs[], template_lower_runs[],
    template_title_runs[];
extern const size_t template_upper_runs_count, template_lower_runs_count, template_title_runs_count;
extern const struct template_unicode_special template_upper_specials[], template_lower_specials[],
    template_title_specials[];
extern const size_t template_upper_specials_count, template_lower_specials_count,
    template_title_specials_count;

#endif
