// What is loaded and how it is doing: models, info, probes. All answered on the socket thread.
// Thread rule: as request.h.
#ifndef TRINE_SERVICE_API_INFO_H
#define TRINE_SERVICE_API_INFO_H

#include "service/api/request.h"

api_prepare_fn api_root, api_models, api_model, api_tei_info, api_livez, api_readyz;

#endif
