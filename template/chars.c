// See chars.h.
#include "template/chars.h"

#include "base/utf8.h"
#include "template/unicode_tables.h"

#include <string.h>

size_t chars_count(const char *s, size_t len) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)s[i] & 0xc0) != 0x80;
    return n;
}

size_t chars_offset(const char *s, size_t len, size_t index) {
    size_t at = 0;
    for (size_t n = 0; at < len; at++) {
        if (((unsigned char)s[at] & 0xc0) == 0x80)
            continue;
        if (n++ == index)
            break;
    }
    return at;
}

static bool is_space(uint32_t cp) {
    if (cp < 0x80)
        return cp == ' ' || (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x1f);
    return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

size_t chars_space_prefix(const char *s, size_t len) {
    size_t at = 0;
    uint32_t cp;
    for (size_t n; (n = utf8_decode(s + at, len - at, &cp)) > 0 && is_space(cp);)
        at += n;
    return at;
}

// The character before s[end].
static size_t step_back(const char *s, size_t end, uint32_t *cp) {
    size_t at = end;
    do
        at--;
    while (at > 0 && ((unsigned char)s[at] & 0xc0) == 0x80);
    if (!utf8_decode(s + at, end - at, cp))
        *cp = 0;
    return at;
}

size_t chars_space_suffix(const char *s, size_t len) {
    size_t end = len;
    while (end > 0) {
        uint32_t cp;
        size_t at = step_back(s, end, &cp);
        if (!is_space(cp))
            break;
        end = at;
    }
    return len - end;
}

static bool in_ranges(const struct template_unicode_range *r, size_t n, uint32_t cp) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (cp > r[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && cp >= r[low].first;
}

bool chars_is_printable(uint32_t cp) {
    if (cp < 0x7f)
        return cp >= 0x20;
    return !in_ranges(template_unprintable, template_unprintable_count, cp);
}

static bool is_cased(uint32_t cp) {
    if (cp < 0x80)
        return (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z');
    return in_ranges(template_cased, template_cased_count, cp);
}

static bool is_ignorable(uint32_t cp) {
    return in_ranges(template_case_ignorable, template_case_ignorable_count, cp);
}

static void append_char(struct buf *out, uint32_t cp) {
    char utf8[4];
    buf_append(out, utf8, utf8_encode(cp, utf8));
}

// Appends what the tables make of cp; false when they do not name it.
static bool append_mapped(struct buf *out, uint32_t cp, const struct template_unicode_run *runs,
                          size_t n, const struct template_unicode_special *specials,
                          size_t n_specials) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (cp > runs[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    if (low < n && cp >= runs[low].first && (cp - runs[low].first) % runs[low].step == 0) {
        append_char(out, (uint32_t)((int32_t)cp + runs[low].delta));
        return true;
    }
    for (size_t i = 0; i < n_specials && specials[i].from <= cp; i++) {
        if (specials[i].from != cp)
            continue;
        for (size_t k = 0; k < 3 && specials[i].to[k]; k++)
            append_char(out, specials[i].to[k]);
        return true;
    }
    return false;
}

// Whether the capital sigma at s[at] ends a word: cased before it, none behind.
static bool is_final_sigma(const char *s, size_t len, size_t at) {
    uint32_t cp = 0;
    bool found = false;
    for (size_t i = at; i > 0 && !found;) {
        i = step_back(s, i, &cp);
        found = !is_ignorable(cp);
    }
    if (!found || !is_cased(cp))
        return false;
    for (size_t i = at + 2; i < len;) {
        i += utf8_decode(s + i, len - i, &cp);
        if (!is_ignorable(cp))
            return !is_cased(cp);
    }
    return true;
}

static void append_lower(struct buf *out, const char *s, size_t len, size_t at, uint32_t cp) {
    if (cp < 0x80)
        buf_putc(out, (char)(cp >= 'A' && cp <= 'Z' ? cp + 32 : cp));
    else if (cp == 0x3a3)
        append_char(out, is_final_sigma(s, len, at) ? 0x3c2 : 0x3c3);
    else if (!append_mapped(out, cp, template_lower_runs, template_lower_runs_count,
                            template_lower_specials, template_lower_specials_count))
        append_char(out, cp);
}

static void append_upper(struct buf *out, uint32_t cp, bool title) {
    if (cp < 0x80)
        buf_putc(out, (char)(cp >= 'a' && cp <= 'z' ? cp - 32 : cp));
    else if (!(title && append_mapped(out, cp, template_title_runs, template_title_runs_count,
                                      template_title_specials, template_title_specials_count)) &&
             !append_mapped(out, cp, template_upper_runs, template_upper_runs_count,
                            template_upper_specials, template_upper_specials_count))
        append_char(out, cp);
}

void chars_append_case(struct buf *out, const char *s, size_t len, enum chars_case to) {
    bool behind_cased = false;
    for (size_t at = 0; at < len;) {
        uint32_t cp;
        size_t n = utf8_decode(s + at, len - at, &cp);
        if (n == 0)
            return; // strings here are valid
        bool first = to == CHARS_TITLE ? !behind_cased : at == 0;
        if (to == CHARS_UPPER)
            append_upper(out, cp, false);
        else if (to != CHARS_LOWER && first)
            append_upper(out, cp, true);
        else
            append_lower(out, s, len, at, cp);
        behind_cased = is_cased(cp);
        at += n;
    }
}

size_t chars_find(const char *s, size_t len, const char *what, size_t what_len, size_t from) {
    if (from > len || what_len > len - from)
        return SIZE_MAX;
    if (what_len == 0)
        return from;
    for (size_t at = from; at <= len - what_len;) {
        const char *hit = memchr(s + at, what[0], len - what_len + 1 - at);
        if (!hit)
            break;
        if (memcmp(hit, what, what_len) == 0)
            return (size_t)(hit - s);
        at = (size_t)(hit - s) + 1;
    }
    return SIZE_MAX;
}

size_t chars_find_last(const char *s, size_t len, const char *what, size_t what_len) {
    if (what_len > len)
        return SIZE_MAX;
    for (size_t at = len - what_len + 1; at-- > 0;)
        if (memcmp(s + at, what, what_len) == 0)
            return at;
    return SIZE_MAX;
}

size_t chars_line(const char *s, size_t len, size_t *break_len) {
    *break_len = 0;
    for (size_t at = 0; at < len;) {
        uint32_t cp = 0;
        size_t n = utf8_decode(s + at, len - at, &cp);
        if (n == 0)
            return at;
        bool is_break = (cp >= 0x0a && cp <= 0x0d) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 ||
                        cp == 0x2028 || cp == 0x2029;
        if (is_break) {
            *break_len = cp == '\r' && at + 1 < len && s[at + 1] == '\n' ? 2 : n;
            return at;
        }
        at += n;
    }
    return len;
}

int chars_compare(const char *a, size_t a_len, const char *b, size_t b_len) {
    size_t n = a_len < b_len ? a_len : b_len;
    int c = n ? memcmp(a, b, n) : 0;
    return c ? c : (a_len > b_len) - (a_len < b_len);
}
