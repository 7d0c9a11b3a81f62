// Classification: /v1/classify (ours, as vLLM's) and TEI's /predict.
// Thread rule: as request.h.
#ifndef TRINE_SERVICE_API_CLASSIFY_H
#define TRINE_SERVICE_API_CLASSIFY_H

#include "service/api/request.h"

// api_tei_predict_nested answers a list of lists even for one input, which is what
// huggingface_hub's text_classification takes apart.
api_prepare_fn api_classify, api_tei_predict, api_tei_predict_nested;

#endif
