// config.json: both transformers' spellings, ranges, labels, and what is refused by name (FAULTS
// 50, 54).
#include "base/fault.h"
#include "base/json.h"
#include "tests/unit/test_weights_files.h"
#include "weights/model_config.h"

static enum err parse(const char *text, struct model_config *c, struct errmsg *msg) {
    *msg = (struct errmsg){0};
    return model_config_parse("config.json", text, strlen(text), c, msg);
}

static void refused(const char *text, enum err want, const char *part) {
    struct model_config c;
    struct errmsg msg;
    enum err e = parse(text, &c, &msg);
    CHECK_ERROR(e, want, msg, part);
    CHECK(strncmp(msg.text, "config.json: ", 13) == 0);
    CHECK(!c.label_names && c.labels == 0);
}

static void test_bert(void) {
    struct model_config c;
    struct errmsg msg;
    CHECK_OK(parse("{\"architectures\":[\"BertModel\"],\"model_type\":\"bert\",\"hidden_size\":36,"
                   "\"num_hidden_layers\":2,\"num_attention_heads\":3,\"intermediate_size\":50,"
                   "\"vocab_size\":100,\"max_position_embeddings\":64,\"type_vocab_size\":1,"
                   "\"layer_norm_eps\":1e-5,\"hidden_act\":\"gelu_new\",\"pad_token_id\":7,"
                   "\"position_embedding_type\":\"absolute\",\"torch_dtype\":\"float32\"}",
                   &c, &msg),
             msg);
    CHECK(c.arch == MODEL_ARCH_BERT && !c.classification && c.labels == 0);
    CHECK_STR(c.architecture, "BertModel");
    CHECK(c.hidden == 36 && c.layers == 2 && c.heads == 3 && c.ffn == 50 && c.vocab == 100);
    CHECK(c.max_positions == 64 && c.type_vocab == 1);
    CHECK(c.norm_eps == 1e-5f && c.activation == ACTIVATION_GELU_TANH);
    model_config_free(&c);
    // what transformers leaves out has its defaults; no architectures: the model type says it
    CHECK_OK(parse("{\"model_type\":\"bert\",\"architectures\":null}", &c, &msg), msg);
    CHECK(c.hidden == 768 && c.layers == 12 && c.heads == 12 && c.ffn == 3072 && c.vocab == 30522);
    CHECK(c.max_positions == 512 && c.type_vocab == 2 && c.norm_eps == 1e-12f);
    CHECK(c.activation == ACTIVATION_GELU);
    model_config_free(&c);
}

static void test_distilbert(void) {
    struct model_config c;
    struct errmsg msg;
    CHECK_OK(parse("{\"architectures\":[\"DistilBertForMaskedLM\"],\"dim\":48,\"n_layers\":3,"
                   "\"n_heads\":4,\"hidden_dim\":96,\"activation\":\"relu\",\"vocab_size\":50,"
                   "\"sinusoidal_pos_embds\":true,\"dtype\":\"float16\"}",
                   &c, &msg),
             msg);
    CHECK(c.arch == MODEL_ARCH_DISTILBERT && !c.classification && c.type_vocab == 0);
    CHECK(c.hidden == 48 && c.layers == 3 && c.heads == 4 && c.ffn == 96 && c.vocab == 50);
    CHECK(c.activation == ACTIVATION_RELU && c.norm_eps == 1e-12f);
    model_config_free(&c);
    CHECK_OK(parse("{\"model_type\":\"distilbert\",\"hidden_size\":60,\"num_attention_heads\":5,"
                   "\"num_hidden_layers\":1}",
                   &c, &msg),
             msg);
    CHECK(c.hidden == 60 && c.heads == 5 && c.layers == 1);
    CHECK_STR(c.architecture, "DistilBertModel");
    model_config_free(&c);
}

#define CLASSIFIER "{\"architectures\":[\"BertForSequenceClassification\"],"

static void test_labels(void) {
    struct model_config c;
    struct errmsg msg;
    CHECK_OK(parse(CLASSIFIER "\"id2label\":{\"1\":\"no\",\"0\":\"yes\",\"2\":\"\"}}", &c, &msg),
             msg);
    CHECK(c.classification && c.labels == 3);
    CHECK_STR(c.label_names[0], "yes");
    CHECK_STR(c.label_names[1], "no");
    CHECK_STR(c.label_names[2], "");
    model_config_free(&c);
    CHECK_OK(parse(CLASSIFIER "\"num_labels\":1}", &c, &msg), msg);
    CHECK_INT(c.labels, 1);
    CHECK_STR(c.label_names[0], "LABEL_0");
    model_config_free(&c);
    CHECK_OK(parse("{\"architectures\":[\"DistilBertForSequenceClassification\"]}", &c, &msg), msg);
    CHECK_INT(c.labels, 2);
    CHECK_STR(c.label_names[1], "LABEL_1");
    model_config_free(&c);
    // where both are there id2label counts; a label may be a number
    CHECK_OK(parse(CLASSIFIER "\"num_labels\":5,\"label2id\":{\"0\":0,\"-1.5\":1,\"x\":2},"
                              "\"id2label\":{\"0\":0,\"1\":-1.5,\"2\":\"x\"}}",
                   &c, &msg),
             msg);
    CHECK_INT(c.labels, 3);
    CHECK_STR(c.label_names[0], "0");
    CHECK_STR(c.label_names[1], "-1.5");
    CHECK_STR(c.label_names[2], "x");
    model_config_free(&c);
    refused(CLASSIFIER "\"id2label\":{\"0\":\"x\",\"2\":\"y\"}}", ERR_INVALID,
            "'id2label' has the key '2', not 0 to 1");
    refused(CLASSIFIER "\"id2label\":{\"0\":\"x\",\"01\":\"y\"}}", ERR_INVALID, "key '01'");
    refused(CLASSIFIER "\"id2label\":{\"0\":\"x\",\"-1\":\"y\"}}", ERR_INVALID, "key '-1'");
    refused(CLASSIFIER "\"id2label\":{\"0\":\"x\",\"one\":\"y\"}}", ERR_INVALID, "key 'one'");
    refused(CLASSIFIER "\"id2label\":{\"0\":[4]}}", ERR_INVALID,
            "'id2label' names neither a string nor a number for 0");
    refused(CLASSIFIER "\"id2label\":{}}", ERR_INVALID, "at least one label");
    refused(CLASSIFIER "\"num_labels\":0}", ERR_INVALID, "'num_labels' is 0");
}

// Other tasks' heads: the body is BERT's, and what becomes of it is for the folder to say.
static void test_other_heads(void) {
    struct model_config c;
    struct errmsg msg;
    CHECK_OK(parse("{\"architectures\":[\"BertForPreTraining\"]}", &c, &msg), msg);
    CHECK(!c.classification && !c.head_is_other);
    CHECK_OK(parse("{\"architectures\":[\"BertForQuestionAnswering\"]}", &c, &msg), msg);
    CHECK(!c.classification && c.head_is_other && c.arch == MODEL_ARCH_BERT && c.labels == 0);
    CHECK_OK(parse("{\"architectures\":[\"DistilBertForTokenClassification\"]}", &c, &msg), msg);
    CHECK(!c.classification && c.head_is_other && c.arch == MODEL_ARCH_DISTILBERT);
}

static void scores_are(const char *text, enum model_scores want) {
    struct model_config c;
    struct errmsg msg;
    CHECK_OK(parse(text, &c, &msg), msg);
    CHECK_INT(c.scores, want);
    model_config_free(&c);
}

static void test_scores(void) {
    scores_are(CLASSIFIER "\"num_labels\":3}", MODEL_SCORES_SOFTMAX);
    scores_are(CLASSIFIER "\"num_labels\":3,\"problem_type\":null}", MODEL_SCORES_SOFTMAX);
    scores_are(CLASSIFIER "\"num_labels\":1}", MODEL_SCORES_SIGMOID);
    scores_are(CLASSIFIER "\"problem_type\":\"multi_label_classification\"}", MODEL_SCORES_SIGMOID);
    scores_are(CLASSIFIER "\"problem_type\":\"single_label_classification\"}",
               MODEL_SCORES_SOFTMAX);
    scores_are(CLASSIFIER "\"problem_type\":\"single_label_classification\",\"num_labels\":1}",
               MODEL_SCORES_SIGMOID);
    scores_are(CLASSIFIER "\"problem_type\":\"regression\",\"num_labels\":1}", MODEL_SCORES_LOGITS);
    scores_are(CLASSIFIER "\"problem_type\":\"regression\"}", MODEL_SCORES_LOGITS);
    refused(CLASSIFIER "\"problem_type\":\"ranking\"}", ERR_UNSUPPORTED,
            "problem_type 'ranking' is not supported (multi_label_classification, ");
    refused(CLASSIFIER "\"problem_type\":1}", ERR_INVALID, "'problem_type'");
}

#define BERT "{\"architectures\":[\"BertModel\"],"

static void test_refused(void) {
    refused("[]", ERR_INVALID, "not a JSON object");
    refused("{", ERR_INVALID, "config.json: ");
    refused("{}", ERR_INVALID, "neither 'architectures' nor 'model_type'");
    refused("{\"architectures\":\"BertModel\"}", ERR_INVALID, "must be an array of strings");
    refused("{\"architectures\":[\"RobertaModel\"],\"model_type\":\"roberta\"}", ERR_UNSUPPORTED,
            "architecture 'RobertaModel' is not supported (BertModel, BertForMaskedLM, "
            "BertForSequenceClassification, DistilBertModel, ");
    refused("{\"architectures\":[\"bertmodel\"]}", ERR_UNSUPPORTED, "'bertmodel'");
    refused("{\"architectures\":[\"BertModel\"],\"model_type\":\"roberta\"}", ERR_UNSUPPORTED,
            "model_type 'roberta' contradicts the architecture 'BertModel', which is of 'bert'");
    refused("{\"architectures\":[\"DistilBertModel\"],\"model_type\":\"bert\"}", ERR_UNSUPPORTED,
            "model_type 'bert' contradicts the architecture 'DistilBertModel'");
    refused("{\"model_type\":\"t5\"}", ERR_UNSUPPORTED,
            "model_type 't5' is not supported (bert, distilbert are)");
    refused(BERT "\"position_embedding_type\":\"relative_key\"}", ERR_UNSUPPORTED,
            "'position_embedding_type' is 'relative_key', which is not supported (absolute is)");
    refused(BERT "\"hidden_act\":\"mish\"}", ERR_UNSUPPORTED,
            "hidden_act 'mish' is not supported (gelu, ");
    refused("{\"model_type\":\"distilbert\",\"activation\":\"x\"}", ERR_UNSUPPORTED,
            "activation 'x' is not supported");
    refused(BERT "\"is_decoder\":true}", ERR_UNSUPPORTED, "'is_decoder'");
    refused(BERT "\"add_cross_attention\":true}", ERR_UNSUPPORTED, "'add_cross_attention'");
    refused(BERT "\"quantization_config\":{}}", ERR_UNSUPPORTED, "'quantization_config'");
    refused(BERT "\"pruned_heads\":{\"0\":[1]}}", ERR_UNSUPPORTED, "'pruned_heads'");
    refused(BERT "\"hidden_size\":0}", ERR_INVALID, "'hidden_size' is 0, outside 1 to 65536");
    refused(BERT "\"hidden_size\":-4}", ERR_INVALID, "'hidden_size' is -4");
    refused(BERT "\"hidden_size\":1e9}", ERR_INVALID, "'hidden_size' is 1000000000");
    refused(BERT "\"hidden_size\":\"36\"}", ERR_INVALID, "'hidden_size' must be an integer");
    refused(BERT "\"hidden_size\":36.5}", ERR_INVALID, "'hidden_size' must be an integer");
    refused(BERT "\"num_attention_heads\":7}", ERR_INVALID,
            "7 attention heads do not divide the hidden size 768");
    refused(BERT "\"num_hidden_layers\":0}", ERR_INVALID, "'num_hidden_layers' is 0");
    refused(BERT "\"intermediate_size\":99999999}", ERR_INVALID, "'intermediate_size'");
    refused(BERT "\"vocab_size\":0}", ERR_INVALID, "'vocab_size'");
    refused(BERT "\"max_position_embeddings\":0}", ERR_INVALID, "'max_position_embeddings'");
    refused(BERT "\"type_vocab_size\":0}", ERR_INVALID, "'type_vocab_size'");
    refused(BERT "\"layer_norm_eps\":0}", ERR_INVALID, "'layer_norm_eps'");
}

static void test_folder(void) {
    struct temp_folder t = temp_new();
    struct model_config c;
    struct errmsg msg = {0};
    CHECK_ERROR(model_config_load(t.path, &c, &msg), ERR_NOT_FOUND, msg, "/config.json: ");
    temp_text(&t, "config.json", CLASSIFIER "\"id2label\":{\"0\":\"a\",\"1\":\"b\"}}");
    long n = 0;
    for (enum err e = ERR_NOMEM; e != ERR_OK && n < 1000;) {
        fault_arm(FAULT_ALLOC, ++n, false);
        e = model_config_load(t.path, &c, &msg);
        fault_disarm();
        if (e)
            CHECK_ERROR(e, ERR_NOMEM, msg, "");
        else
            CHECK_INT(c.labels, 2);
        model_config_free(&c); // after an error too
    }
    CHECK(n > 8 && n < 1000);
    temp_free(&t);
}

int main(void) {
    json_init();
    test_bert();
    test_distilbert();
    test_labels();
    test_other_heads();
    test_scores();
    test_refused();
    test_folder();
    return check_done();
}
