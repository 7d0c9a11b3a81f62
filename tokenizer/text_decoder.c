// See text_decoder.h.
#include "tokenizer/text_decoder.h"

#include "base/mem.h"
#include "tokenizer/byte_level.h"

#include <string.h>

enum err text_decoder_parse(const cJSON *json, struct text_decoder *out, struct errmsg *msg) {
    const char *type, *prefix;
    *out = (struct text_decoder){0};
    if (!json)
        return ERR_OK;
    enum err e = json_get_string(json, "type", NULL, &type, msg);
    if (e)
        return e;
    if (type && strcmp(type, "ByteLevel") == 0) {
        out->kind = DECODER_BYTE_LEVEL;
        return ERR_OK;
    }
    if (!type || strcmp(type, "WordPiece") != 0)
        return err_set(msg, ERR_UNSUPPORTED,
                       "decoder '%s' is not supported (supported: ByteLevel, WordPiece)",
                       type ? type : "");
    if (!json_get(json, "cleanup"))
        return err_set(msg, ERR_INVALID, "decoder needs 'cleanup'");
    e = json_get_bool(json, "cleanup", true, &out->cleanup, msg);
    if (!e)
        e = json_get_string(json, "prefix", NULL, &prefix, msg);
    if (e)
        return e;
    if (!prefix)
        return err_set(msg, ERR_INVALID, "decoder needs 'prefix'");
    out->kind = DECODER_WORDPIECE;
    out->prefix_len = strlen(prefix);
    out->prefix = mem_strndup(prefix, out->prefix_len);
    return out->prefix ? ERR_OK : err_set(msg, ERR_NOMEM, "no memory for the decoder");
}

void text_decoder_free(struct text_decoder *d) {
    mem_free(d->prefix);
    *d = (struct text_decoder){0};
}

void text_decoder_describe(const struct text_decoder *d, struct buf *out) {
    if (d->kind == DECODER_NONE)
        buf_puts(out, "none");
    else if (d->kind == DECODER_BYTE_LEVEL)
        buf_puts(out, "ByteLevel");
    else
        buf_printf(out, "WordPiece(prefix '%s', cleanup %d)", d->prefix, d->cleanup);
}

// Replaces in place every `from` by `to`, which is shorter, or as long when followed by itself.
static void replace(struct buf *b, const char *from, const char *to) {
    size_t from_len = strlen(from), to_len = strlen(to), put = 0;
    for (size_t i = 0; i < b->len;) {
        if (b->len - i >= from_len && memcmp(b->data + i, from, from_len) == 0) {
            memcpy(b->data + put, to, to_len);
            put += to_len;
            i += from_len;
        } else {
            b->data[put++] = b->data[i++];
        }
    }
    b->len = put;
}

void text_decoder_append(const struct text_decoder *d, const char *piece, size_t index,
                         struct buf *work, struct buf *out) {
    if (d->kind == DECODER_NONE) {
        buf_puts(out, index ? " " : "");
        buf_puts(out, piece);
        return;
    }
    if (d->kind == DECODER_BYTE_LEVEL) {
        size_t len = strlen(piece);
        if (buf_reserve(out, len)) {
            out->len += byte_level_decode(piece, len, out->data + out->len);
            out->data[out->len] = '\0';
        }
        return;
    }
    static const char *const rules[][2] = {{" .", "."},     {" ?", "?"},           {" !", "!"},
                                           {" ,", ","},     {" ' ", "'"},          {" n't", "n't"},
                                           {" 'm", "'m"},   {" do not", " don't"}, {" 's", "'s"},
                                           {" 've", "'ve"}, {" 're", "'re"}};
    buf_reset(work);
    if (index && strncmp(piece, d->prefix, d->prefix_len) == 0) {
        buf_puts(work, piece + d->prefix_len);
    } else {
        buf_puts(work, index ? " " : "");
        buf_puts(work, piece);
    }
    for (size_t i = 0; d->cleanup && !work->failed && i < sizeof rules / sizeof rules[0]; i++)
        replace(work, rules[i][0], rules[i][1]);
    if (work->failed)
        out->failed = true;
    else
        buf_append(out, work->data, work->len);
}
