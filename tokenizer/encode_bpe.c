// Text to ids by byte-level BPE. Most texts go to the split pattern as they are: when the
// normalizer is NFC or nothing, and no character of the text could change, the text is its own
// normal form. See tokenizer.h.
#include "base/utf8.h"
#include "tokenizer/encode.h"

#include <string.h>

// Encodes the words of text[0..len). Its byte i came from align[i]; without align it is byte i of
// the original text.
struct encode_source {
    struct encode_job *job;
    const char *text;
    size_t len;
    const struct token_span *align; // NULL: the original itself
};

// A part of a character gets the span of the whole one, as in Hugging Face.
static inline struct token_span span_of(const struct encode_source *s, size_t begin, size_t end) {
    if (s->align)
        return (struct token_span){s->align[begin].begin, s->align[end - 1].end};
    while (begin > 0 && utf8_is_tail(s->text[begin]))
        begin--;
    while (end < s->len && utf8_is_tail(s->text[end]))
        end++;
    return (struct token_span){(uint32_t)begin, (uint32_t)end};
}

#define AHEAD 8 // a word's place in the cache is on its way for so many words

struct words {
    const struct encode_source *source;
    struct bpe_word ahead[AHEAD];
    size_t taken, done;
};

static enum err push_word(struct words *words) {
    const struct encode_source *s = words->source;
    struct encode_job *j = s->job;
    struct bpe_work *w = &j->s->bpe;
    const struct bpe_word *word = &words->ahead[words->done++ % AHEAD];
    size_t begin = (size_t)(word->s - s->text);
    enum err e = bpe_encode(&j->t->bpe, w, word);
    for (size_t i = 0; i < w->count && !e; i++) {
        const struct bpe_piece *p = &w->pieces[i];
        struct token_span span = span_of(s, begin + p->begin, begin + p->end);
        if (j->t->postprocess.trim_offsets) {
            const char *piece = vocab_piece(j->t->vocab, p->id);
            e = encode_push_trimmed(j, p->id, piece, strlen(piece), span);
        } else {
            e = encode_push(j->out, p->id, span);
        }
    }
    return e;
}

static enum err take_word(void *context, size_t begin, size_t end) {
    struct words *words = context;
    const struct encode_source *s = words->source;
    enum err e = words->taken - words->done == AHEAD ? push_word(words) : ERR_OK;
    words->ahead[words->taken++ % AHEAD] =
        bpe_word_of(s->job->s->bpe.cache, s->text + begin, end - begin);
    return e;
}

static enum err walk_words(const struct encode_source *s, size_t begin, size_t end) {
    struct words words = {.source = s};
    enum err e =
        pretokenizer_walk(&s->job->t->pretokenizer, s->text, begin, end, take_word, &words);
    while (words.done < words.taken && !e)
        e = push_word(&words);
    return e;
}

// Puts a space before the text, with the span of the text's first character.
static enum err walk_prefixed(struct encode_source *s, size_t begin, size_t end) {
    struct normal *n = &s->job->s->prefixed;
    normal_clear(n);
    if (!normal_reserve(n, end - begin + 1))
        return ERR_NOMEM;
    n->text[0] = ' ';
    memcpy(n->text + 1, s->text + begin, end - begin);
    for (size_t i = begin, stop; i < end; i = stop) {
        for (stop = i + 1; stop < end && utf8_is_tail(s->text[stop]);)
            stop++;
        struct token_span span = span_of(s, i, stop);
        for (size_t k = i; k < stop; k++)
            n->align[1 + k - begin] = s->align ? s->align[k] : span;
    }
    n->align[0] = n->align[1];
    n->len = end - begin + 1;
    struct encode_source prefixed = {s->job, n->text, n->len, n->align};
    return walk_words(&prefixed, 0, n->len);
}

static enum err walk(struct encode_source *s, size_t begin, size_t end) {
    const struct pretokenizer *p = &s->job->t->pretokenizer;
    if (p->add_prefix_space && s->text[begin] != ' ')
        return walk_prefixed(s, begin, end);
    return walk_words(s, begin, end);
}

// Finds the added tokens that are looked for in normalized text, and encodes what lies between
// them.
static enum err walk_added(struct encode_source *s, size_t begin, size_t end) {
    struct encode_job *j = s->job;
    struct added_splits *splits = &j->s->normalized;
    enum err e = added_tokens_split(&j->t->added, &j->t->added.normalized, s->text + begin,
                                    end - begin, splits);
    for (size_t i = 0; i < splits->count && !e; i++) {
        const struct added_split *split = &splits->items[i];
        size_t from = begin + split->begin, to = begin + split->end;
        if (split->token)
            e = encode_push_trimmed(j, split->token->id, s->text + from, to - from,
                                    span_of(s, from, to));
        else
            e = walk(s, from, to);
    }
    return e;
}

enum err encode_bpe(struct encode_job *j, size_t begin, size_t end) {
    const struct tokenizer *t = j->t;
    struct encode_source s = {j, j->text.bytes, j->text.len, NULL};
    if (t->normalizer.count &&
        !(t->stable_nfc && split_is_stable(j->text.bytes + begin, end - begin))) {
        struct normal *n = &j->s->normal;
        normal_set(n, j->text.bytes, begin, end);
        enum err e = n->failed ? ERR_NOMEM : normalizer_apply(&t->normalizer, n, &j->s->normalizer);
        if (e)
            return e;
        s = (struct encode_source){j, n->text, n->len, n->align};
        begin = 0;
        end = n->len;
    }
    if (begin == end)
        return ERR_OK;
    return t->added.normalized.nodes ? walk_added(&s, begin, end) : walk(&s, begin, end);
}
