// See split.h.
#include "tokenizer/split.h"

#include <string.h>

#define FOLDED "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TIKTOKEN_FOLDED "'(?i:[sdmt]|ll|ve|re)"
#define SPACES "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define OTHERS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define SEED_REST(ends) "\\p{N}{1}| ?[^\\s\\p{L}\\p{N}" ends "]+|\\s*[" ends "]+|\\s+(?!\\S)|\\s+"
#define UPPERS "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWERS "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define BEFORE "[^\\r\\n\\p{L}\\p{N}]?"
#define GPT2_REST " ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

static const struct {
    const char *regex;
    enum split_kind kind;
} patterns[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d|" GPT2_REST, SPLIT_GPT2},
    {"'(?:[sdmt]|ll|ve|re)|" GPT2_REST, SPLIT_GPT2},
    {FOLDED "|" BEFORE "\\p{L}+|\\p{N}" OTHERS SPACES, SPLIT_QWEN2},
    {TIKTOKEN_FOLDED "|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
                     "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
     SPLIT_QWEN2},
    {FOLDED "|" BEFORE "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" SPACES,
     SPLIT_QWEN35},
    {FOLDED "|" BEFORE "\\p{L}+|\\p{N}{1,3}" OTHERS SPACES, SPLIT_LLAMA3},
    // tiktoken's own spelling: what is possessive there could not be given back anyway
    {TIKTOKEN_FOLDED "|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
                     "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
     SPLIT_LLAMA3},
    {BEFORE UPPERS "*" LOWERS "+" FOLDED "?|" BEFORE UPPERS "+" LOWERS "*" FOLDED
                   "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" SPACES,
     SPLIT_O200K},
    {BEFORE UPPERS "*" LOWERS "+|" BEFORE UPPERS "+" LOWERS
                   "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" SPACES,
     SPLIT_TEKKEN},
    {FOLDED "|" BEFORE "\\p{L}+|" SEED_REST("\\r\\n"), SPLIT_SEED},
    {FOLDED "|[^\r\n\\p{L}\\p{N}]?\\p{L}+|" SEED_REST("\r\n"), SPLIT_SEED},
};

enum split_kind split_by_regex(const char *regex) {
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++)
        if (strcmp(patterns[i].regex, regex) == 0)
            return patterns[i].kind;
    return SPLIT_KINDS;
}

const char *split_regex(enum split_kind kind) {
    size_t i = 0;
    while (patterns[i].kind != kind && i + 1 < sizeof patterns / sizeof patterns[0])
        i++;
    return patterns[i].regex;
}

const char *split_name(enum split_kind kind) {
    static const char *const names[SPLIT_KINDS] = {"GPT-2", "Qwen2",  "Qwen3.5",   "Llama-3/cl100k",
                                                   "o200k", "Tekken", "Seed-Coder"};
    return kind < SPLIT_KINDS ? names[kind] : "unknown";
}

// How a pattern differs from the others of its family.
struct rules {
    unsigned letters; // what a word is made of
    unsigned digits;  // at most so many numbers together
    bool by_case;     // words end where lower case turns upper
    bool folded;      // contractions, before words or (by_case) at their ends
    bool slash;       // '/' goes with line ends behind punctuation
    bool bare;        // line ends do not go with punctuation
};

// Matches 's 't 'm 'd 're 've 'll at `at`, where the apostrophe is: returns their length, or 0.
// Case folding is Unicode's, so U+017F is an s.
static inline size_t contraction(const char *text, size_t at, size_t end, bool folded) {
    size_t left = end - at;
    if (left < 2)
        return 0;
    unsigned char fold = folded ? 0x20 : 0;
    unsigned char a = (unsigned char)text[at + 1], b = left > 2 ? (unsigned char)text[at + 2] : 0;
    if (folded && a == 0xC5 && b == 0xBF)
        return 3;
    a |= fold;
    b |= fold;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

// The end of the run of characters whose class is in `with`.
static inline size_t run_of(const char *text, size_t at, size_t end, unsigned with) {
    for (size_t next; at < end; at = next)
        if (!(split_class_at(text, at, end, &next) & with))
            break;
    return at;
}

// The end of the ASCII letters from `at` on, read eight bytes at a time. It may stop early near the
// end of the text.
static inline size_t ascii_letters(const char *text, size_t at, size_t end) {
    const uint64_t ones = 0x0101010101010101u, high = ones * 0x80;
    for (uint64_t eight; end - at >= 8; at += 8) {
        memcpy(&eight, text + at, 8);
        uint64_t low = (eight | ones * 0x20) & ~high;
        uint64_t letter = (low + ones * (0x80 - 'a')) & ~(low + ones * (0x7F - 'z')) & ~eight;
        uint64_t other = ~letter & high;
        if (other)
            return at + (size_t)__builtin_ctzll(other) / 8;
    }
    return at;
}

static inline size_t run_without(const char *text, size_t at, size_t end, unsigned without) {
    for (size_t next; at < end; at = next)
        if (split_class_at(text, at, end, &next) & without)
            break;
    return at;
}

static inline bool is_line_end(char c) { return c == '\n' || c == '\r'; }

// Matches \s+(?!\S)|\s+ and, when `lines`, \s*[\r\n]+ before them.
static size_t spaces(const char *text, size_t at, size_t end, bool lines) {
    size_t last = at, line = at, i = at;
    for (size_t next; i < end; i = next) {
        if (!(split_class_at(text, i, end, &next) & SPLIT_SPACE))
            break;
        last = i;
        line = is_line_end(text[i]) ? next : line;
    }
    if (lines && line > at)
        return line;
    return i < end && last > at ? last : i;
}

static size_t next_gpt2(const char *text, size_t at, size_t end) {
    const unsigned known = SPLIT_SPACE | SPLIT_LETTER | SPLIT_NUMBER;
    if (text[at] == '\'') {
        size_t n = contraction(text, at, end, false);
        if (n)
            return at + n;
    }
    size_t next, after;
    unsigned c = split_class_at(text, at, end, &next);
    if (text[at] == ' ' && next < end) {
        unsigned d = split_class_at(text, next, end, &after);
        if (d & SPLIT_SPACE)
            return spaces(text, at, end, false);
        c = d;
        next = after;
    }
    if (c & SPLIT_LETTER)
        return run_of(text, ascii_letters(text, next, end), end, SPLIT_LETTER);
    if (c & SPLIT_NUMBER)
        return run_of(text, next, end, SPLIT_NUMBER);
    if (c & SPLIT_SPACE)
        return spaces(text, at, end, false);
    return run_without(text, next, end, known);
}

// UPPER* LOWER+ contraction? or, unless `lower`, UPPER+ LOWER* contraction?, from `at`; `at` itself
// when there is no match. UPPER and LOWER share the letters without case and the marks: where
// nothing but UPPER follows, the first expression goes back to the last shared one.
static inline size_t word_by_case(const char *text, size_t at, size_t end, bool folded,
                                  bool lower) {
    size_t i = at, shared = at, stop;
    for (size_t next; i < end; i = next) {
        unsigned c = split_class_at(text, i, end, &next);
        if (!(c & SPLIT_UPPER))
            break;
        shared = c & SPLIT_LOWER ? next : shared;
    }
    stop = run_of(text, i, end, SPLIT_LOWER);
    if (stop == i && (shared > at || lower))
        stop = shared;
    if (folded && stop > at && stop < end && text[stop] == '\'')
        stop += contraction(text, stop, end, true);
    return stop;
}

static inline size_t word_of(const struct rules *r, const char *text, size_t at, size_t end,
                             bool lower) {
    return r->by_case ? word_by_case(text, at, end, r->folded, lower)
                      : run_of(text, ascii_letters(text, at, end), end, r->letters);
}

static inline size_t next_modern(const struct rules *r, const char *text, size_t at, size_t end) {
    const unsigned known = SPLIT_SPACE | SPLIT_NUMBER | SPLIT_LETTER | r->letters;
    size_t next, after;
    unsigned c = split_class_at(text, at, end, &next);
    if (!r->by_case && c & r->letters)
        return run_of(text, ascii_letters(text, next, end), end, r->letters);
    if (r->folded && !r->by_case && text[at] == '\'') {
        size_t n = contraction(text, at, end, true);
        if (n)
            return at + n;
    }
    // one character that is no letter, number or line end may lead a word
    if (!(c & (SPLIT_LETTER | SPLIT_NUMBER)) && !is_line_end(text[at]) && next < end) {
        // a mark could be the word itself, which comes before an upper-case word that it leads
        size_t stop = word_of(r, text, next, end, (c & SPLIT_MARK) != 0);
        if (stop > next)
            return stop;
    }
    if (r->by_case) {
        size_t stop = word_of(r, text, at, end, false);
        if (stop > at)
            return stop;
    }
    if (c & SPLIT_NUMBER) {
        for (unsigned n = 1; n < r->digits && next < end; n++, next = after)
            if (!(split_class_at(text, next, end, &after) & SPLIT_NUMBER))
                break;
        return next;
    }
    bool led = text[at] == ' ' && next < end && !(split_class_at(text, next, end, &after) & known);
    if (led || !(c & known)) {
        size_t stop = run_without(text, led ? after : next, end, known);
        while (!r->bare && stop < end &&
               (is_line_end(text[stop]) || (r->slash && text[stop] == '/')))
            stop++;
        return stop;
    }
    return spaces(text, at, end, true);
}

size_t split_next(enum split_kind kind, const char *text, size_t at, size_t end) {
    static const struct rules qwen2 = {SPLIT_LETTER, 1, false, true, false, false};
    static const struct rules qwen35 = {SPLIT_LETTER | SPLIT_MARK, 1, false, true, false, false};
    static const struct rules llama3 = {SPLIT_LETTER, 3, false, true, false, false};
    static const struct rules o200k = {SPLIT_LETTER, 3, true, true, true, false};
    static const struct rules tekken = {SPLIT_LETTER, 1, true, false, true, false};
    static const struct rules seed = {SPLIT_LETTER, 1, false, true, false, true};
    switch (kind) {
    case SPLIT_QWEN2:
        return next_modern(&qwen2, text, at, end);
    case SPLIT_QWEN35:
        return next_modern(&qwen35, text, at, end);
    case SPLIT_LLAMA3:
        return next_modern(&llama3, text, at, end);
    case SPLIT_O200K:
        return next_modern(&o200k, text, at, end);
    case SPLIT_TEKKEN:
        return next_modern(&tekken, text, at, end);
    case SPLIT_SEED:
        return next_modern(&seed, text, at, end);
    case SPLIT_GPT2:
    case SPLIT_KINDS:
        break;
    }
    return next_gpt2(text, at, end);
}

bool split_is_stable(const char *text, size_t len) {
    size_t at = 0;
    while (at < len) {
        uint64_t eight;
        if (len - at >= 8) {
            memcpy(&eight, text + at, 8);
            if (!(eight & 0x8080808080808080u)) {
                at += 8;
                continue;
            }
        }
        if (split_class_at(text, at, len, &at) & SPLIT_UNSTABLE)
            return false;
    }
    return true;
}
