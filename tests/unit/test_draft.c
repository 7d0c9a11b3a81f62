// Prompt-lookup drafting: what followed the same tokens earlier, how long, and how it rests.
#include "engine/draft.h"
#include "tests/check.h"

int main(void) {
    const int32_t text[] = {5, 1, 2, 3, 4, 8, 9, 1, 2, 3};
    size_t n = sizeof text / sizeof *text;
    struct draft_policy p = {0};
    const int32_t *draft = NULL;
    CHECK_INT(draft_make(&p, text, n, 8, &draft), 4);
    CHECK(draft == text + 4);
    CHECK_INT(draft_make(&p, text, n, 2, &draft), 2);
    CHECK_INT(draft_make(&p, text, n, 0, &draft), 0);
    CHECK_INT(draft_make(&p, text, 7, 8, &draft), 0); // nothing stood before
    CHECK_INT(draft_make(&p, text, 1, 8, &draft), 0);
    // the latest place counts, and a guess ends where the text does
    const int32_t twice[] = {1, 2, 7, 7, 1, 2, 6, 1, 2};
    CHECK_INT(draft_make(&p, twice, 9, 8, &draft), 3);
    CHECK(draft == twice + 6);
    // longer after success
    draft_learn(&p, 4, 4);
    CHECK_INT(p.length, 8);
    draft_learn(&p, 8, 2);
    CHECK_INT(p.length, 3);
    // rests after failures, each time for longer
    draft_learn(&p, 3, 0);
    CHECK_INT(draft_make(&p, text, n, 8, &draft), 0);
    CHECK_INT(draft_make(&p, text, n, 8, &draft), 0);
    CHECK_INT(draft_make(&p, text, n, 8, &draft), 2);
    draft_learn(&p, 2, 0);
    int rests = 0;
    while (draft_make(&p, text, n, 8, &draft) == 0)
        rests++;
    CHECK_INT(rests, 4);
    draft_learn(&p, 2, 1);
    CHECK_INT(draft_make(&p, text, n, 8, &draft), 2);
    return check_done();
}
