// text-embeddings-inference's routes that are not reranking or classification. Source followed:
// huggingface/text-embeddings-inference router/src/http/{server,types}.rs.
// Thread rule: as request.h.
#ifndef TRINE_SERVICE_API_TEI_H
#define TRINE_SERVICE_API_TEI_H

#include "service/api/request.h"

// /embed_sparse; / and /invocations, which take any of TEI's bodies; /tokenize; /decode.
api_prepare_fn api_tei_embed_sparse, api_tei_any, api_tei_tokenize, api_tei_decode;

#endif
