// GET /metrics. Role: writes what is counted, here and in the scheduler, the HTTP server and the
// front pool, as text for Prometheus; it counts nothing itself. Thread rule: as request.h.
#ifndef TRINE_SERVICE_API_EXPOSITION_H
#define TRINE_SERVICE_API_EXPOSITION_H

#include "service/api/request.h"

api_prepare_fn api_metrics;

#endif
