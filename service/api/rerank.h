// Reranking in the dialects of Jina, Cohere (v1 and v2) and text-embeddings-inference.
// Thread rule: as request.h.
#ifndef TRINE_SERVICE_API_RERANK_H
#define TRINE_SERVICE_API_RERANK_H

#include "service/api/request.h"

// /v1/rerank; /rerank, which is TEI's when the body has `texts`; /v2/rerank; TEI's alone.
api_prepare_fn api_rerank_v1, api_rerank_either, api_rerank_v2, api_rerank_tei;

#endif
