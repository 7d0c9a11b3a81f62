// See lexer.h.
#include "template/lexer.h"

#include "template/chars.h"

#include <string.h>

enum { STATE_ROOT, STATE_OUTPUT, STATE_BLOCK, STATE_RAW };

void lexer_start(struct lexer *lx, const char *label, const char *source, size_t len,
                 struct errmsg *msg) {
    *lx = (struct lexer){.source = source, .len = len, .line = 1, .line_starting = true};
    lx->label = label;
    lx->msg = msg;
}

static enum err fail(struct lexer *lx, const char *what) {
    return err_set(lx->msg, ERR_INVALID, "%s, line %u: %s", lx->label, lx->line, what);
}

bool lexer_token_is(const struct lexer_token *t, enum lexer_token_kind kind, const char *text) {
    return t->kind == kind && t->len == strlen(text) && memcmp(t->text, text, t->len) == 0;
}

static bool starts(const struct lexer *lx, size_t at, const char *word) {
    size_t n = strlen(word);
    return lx->len - at >= n && memcmp(lx->source + at, word, n) == 0;
}

static size_t skip_space(const struct lexer *lx, size_t at) {
    return at + chars_space_prefix(lx->source + at, lx->len - at);
}

static void advance(struct lexer *lx, size_t to) {
    for (size_t i = lx->at; i < to; i++)
        lx->line += lx->source[i] == '\n';
    if (to > lx->at)
        lx->line_starting = lx->source[to - 1] == '\n';
    lx->at = to;
}

// Where the word `word` ends when a tag of only that word begins at `at` (behind "{%"); else 0.
static size_t match_word_tag(const struct lexer *lx, size_t at, const char *word) {
    if (at < lx->len && (lx->source[at] == '-' || lx->source[at] == '+'))
        at++;
    at = skip_space(lx, at);
    if (!starts(lx, at, word))
        return 0;
    return skip_space(lx, at + strlen(word));
}

// Behind {% raw %}, whose end never takes the newline after it; 0 when it is another tag.
static size_t match_raw(const struct lexer *lx, size_t at) {
    size_t end = match_word_tag(lx, at + 2, "raw");
    if (!end)
        return 0;
    if (starts(lx, end, "-%}"))
        return skip_space(lx, end + 3);
    return starts(lx, end, "%}") ? end + 2 : 0;
}

// Behind a tag's end of two characters ("%}" or "#}") with its sign; 0 when none is here.
static size_t match_end(const struct lexer *lx, size_t at, const char *end) {
    bool minus = starts(lx, at, "-"), plus = starts(lx, at, "+");
    if (!starts(lx, at + (minus || plus), end))
        return 0;
    at += 2u + (minus || plus);
    if (minus)
        return skip_space(lx, at);
    return !plus && starts(lx, at, "\n") ? at + 1 : at;
}

static size_t match_endraw(const struct lexer *lx, size_t at) {
    size_t end = match_word_tag(lx, at + 2, "endraw");
    return end ? match_end(lx, end, "%}") : 0;
}

// The data before a tag that begins at `tag` with the sign behind its two characters.
static void trim_data(const struct lexer *lx, size_t tag, struct lexer_token *out) {
    const char *s = lx->source + lx->at;
    size_t len = tag - lx->at;
    char sign = tag + 2 < lx->len ? lx->source[tag + 2] : '\0';
    if (sign == '-') {
        len -= chars_space_suffix(s, len);
    } else if (sign != '+' && lx->source[tag + 1] != '{') {
        size_t line = len;
        while (line > 0 && s[line - 1] != '\n')
            line--;
        if ((line > 0 || lx->line_starting) &&
            chars_space_prefix(s + line, len - line) == len - line)
            len = line;
    }
    *out = (struct lexer_token){TOKEN_DATA, s, len, lx->line};
}

static size_t find_tag(const struct lexer *lx, size_t at) {
    for (; at + 1 < lx->len; at++)
        if (lx->source[at] == '{' && memchr("{%#", lx->source[at + 1], 3))
            return at;
    return lx->len;
}

// At a comment's "{#": goes behind it.
static enum err skip_comment(struct lexer *lx) {
    size_t at = lx->at + 2;
    if (at < lx->len && (lx->source[at] == '-' || lx->source[at] == '+'))
        at++;
    for (; at < lx->len; at++) {
        size_t end = match_end(lx, at, "#}");
        if (end) {
            advance(lx, end);
            return ERR_OK;
        }
    }
    return fail(lx, "a comment does not end");
}

static enum err next_raw(struct lexer *lx, struct lexer_token *out) {
    for (size_t at = lx->at; at < lx->len; at++) {
        size_t end = starts(lx, at, "{%") ? match_endraw(lx, at) : 0;
        if (!end)
            continue;
        trim_data(lx, at, out);
        advance(lx, end);
        lx->state = STATE_ROOT;
        return ERR_OK;
    }
    return fail(lx, "a raw block does not end");
}

static enum err next_root(struct lexer *lx, struct lexer_token *out) {
    size_t tag = find_tag(lx, lx->at);
    if (tag > lx->at) {
        if (tag == lx->len)
            *out = (struct lexer_token){TOKEN_DATA, lx->source + lx->at, tag - lx->at, lx->line};
        else
            trim_data(lx, tag, out);
        advance(lx, tag);
        // what the tag strips it sees in the text before it only
        return ERR_OK;
    }
    if (lx->source[tag + 1] == '#') {
        enum err e = skip_comment(lx);
        *out = (struct lexer_token){TOKEN_DATA, lx->source + lx->at, 0, lx->line};
        return e;
    }
    size_t raw = lx->source[tag + 1] == '%' ? match_raw(lx, tag) : 0;
    if (raw) {
        advance(lx, raw);
        lx->state = STATE_RAW;
        return next_raw(lx, out);
    }
    bool output = lx->source[tag + 1] == '{';
    *out = (struct lexer_token){output ? TOKEN_OUTPUT_BEGIN : TOKEN_BLOCK_BEGIN, lx->source + tag,
                                2, lx->line};
    size_t at = tag + 2;
    if (at < lx->len && (lx->source[at] == '-' || lx->source[at] == '+'))
        at++;
    advance(lx, at);
    lx->state = output ? STATE_OUTPUT : STATE_BLOCK;
    lx->open = 0;
    return ERR_OK;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_word(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

// Behind digits with single underscores between them; `at` itself when there is none.
static size_t skip_digits(const struct lexer *lx, size_t at) {
    size_t end = at;
    while (at < lx->len && is_digit(lx->source[at])) {
        end = ++at;
        if (at < lx->len && lx->source[at] == '_')
            at++;
    }
    return end;
}

static size_t match_float(const struct lexer *lx, size_t at) {
    if (at > 0 && lx->source[at - 1] == '.')
        return 0;
    size_t whole = skip_digits(lx, at), end = whole;
    if (whole == at)
        return 0;
    if (starts(lx, whole, ".")) {
        size_t fraction = skip_digits(lx, whole + 1);
        if (fraction > whole + 1)
            end = fraction;
    }
    if (end < lx->len && (lx->source[end] == 'e' || lx->source[end] == 'E')) {
        size_t digits = end + 1;
        if (digits < lx->len && (lx->source[digits] == '+' || lx->source[digits] == '-'))
            digits++;
        size_t exponent = skip_digits(lx, digits);
        if (exponent > digits)
            return exponent;
    }
    return end > whole ? end : 0;
}

static enum err take_string(struct lexer *lx, struct lexer_token *out) {
    char quote = lx->source[lx->at];
    for (size_t at = lx->at + 1; at < lx->len; at++) {
        if (lx->source[at] == '\\') {
            at++;
        } else if (lx->source[at] == quote) {
            *out = (struct lexer_token){TOKEN_STRING, lx->source + lx->at + 1, at - lx->at - 1,
                                        lx->line};
            advance(lx, at + 1);
            return ERR_OK;
        }
    }
    return fail(lx, "a string does not end");
}

static enum err take_number(struct lexer *lx, struct lexer_token *out) {
    const char *s = lx->source + lx->at;
    size_t end = match_float(lx, lx->at);
    if (!end) {
        if (s[0] == '0' && lx->at + 1 < lx->len && memchr("bBoOxX", s[1], 6))
            return err_set(lx->msg, ERR_UNSUPPORTED,
                           "%s, line %u: integers are written in decimal here", lx->label,
                           lx->line);
        end = skip_digits(lx, lx->at);
        if (s[0] == '0') // 0, 00 and 0_0 are one token, 01 is two
            for (size_t i = lx->at; i < end; i++)
                if (lx->source[i] != '0' && lx->source[i] != '_')
                    return fail(lx, "a decimal integer may not begin with 0");
        *out = (struct lexer_token){TOKEN_INTEGER, s, end - lx->at, lx->line};
    } else {
        *out = (struct lexer_token){TOKEN_FLOAT, s, end - lx->at, lx->line};
    }
    advance(lx, end);
    return ERR_OK;
}

static enum err take_operator(struct lexer *lx, struct lexer_token *out) {
    static const char *const doubles[] = {"//", "**", "==", "!=", ">=", "<="};
    size_t n = 0;
    for (size_t i = 0; i < sizeof doubles / sizeof doubles[0] && !n; i++)
        if (starts(lx, lx->at, doubles[i]))
            n = 2;
    char c = lx->source[lx->at];
    if (!n && strchr("+-*/%~[](){}><=.:|,;", c) && c)
        n = 1;
    if (!n)
        return err_set(lx->msg, ERR_INVALID, "%s, line %u: unexpected character '%c'", lx->label,
                       lx->line, c);
    if (strchr("([{", c))
        lx->open++;
    else if (strchr(")]}", c)) {
        if (!lx->open)
            return err_set(lx->msg, ERR_INVALID, "%s, line %u: unexpected '%c'", lx->label,
                           lx->line, c);
        lx->open--;
    }
    *out = (struct lexer_token){TOKEN_OPERATOR, lx->source + lx->at, n, lx->line};
    advance(lx, lx->at + n);
    return ERR_OK;
}

static enum err next_inside(struct lexer *lx, struct lexer_token *out) {
    advance(lx, skip_space(lx, lx->at));
    if (lx->at == lx->len)
        return fail(lx, "the template ends within a tag");
    if (!lx->open) {
        size_t end = 0;
        if (lx->state == STATE_BLOCK)
            end = match_end(lx, lx->at, "%}");
        else if (starts(lx, lx->at, "-}}"))
            end = skip_space(lx, lx->at + 3);
        else if (starts(lx, lx->at, "}}"))
            end = lx->at + 2;
        if (end) {
            *out =
                (struct lexer_token){lx->state == STATE_BLOCK ? TOKEN_BLOCK_END : TOKEN_OUTPUT_END,
                                     lx->source + lx->at, 2, lx->line};
            advance(lx, end);
            lx->state = STATE_ROOT;
            return ERR_OK;
        }
    }
    char c = lx->source[lx->at];
    if (is_digit(c))
        return take_number(lx, out);
    if (is_word(c)) {
        size_t end = lx->at;
        while (end < lx->len && is_word(lx->source[end]))
            end++;
        *out = (struct lexer_token){TOKEN_NAME, lx->source + lx->at, end - lx->at, lx->line};
        advance(lx, end);
        return ERR_OK;
    }
    if ((unsigned char)c >= 0x80)
        return err_set(lx->msg, ERR_UNSUPPORTED,
                       "%s, line %u: names outside ASCII are not supported", lx->label, lx->line);
    if (c == '\'' || c == '"')
        return take_string(lx, out);
    return take_operator(lx, out);
}

enum err lexer_next(struct lexer *lx, struct lexer_token *out) {
    if (lx->state == STATE_RAW)
        return next_raw(lx, out);
    if (lx->state != STATE_ROOT)
        return next_inside(lx, out);
    if (lx->at == lx->len) {
        *out = (struct lexer_token){TOKEN_END, lx->source + lx->at, 0, lx->line};
        return ERR_OK;
    }
    return next_root(lx, out);
}
