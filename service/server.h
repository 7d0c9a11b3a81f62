// The life of the service: it opens the port, loads models, lets requests in, drains and closes.
// Role: the one place that puts scheduler, HTTP server, front pool and api together; all else in
// service/ knows service.h at most. Thread rule: one thread calls these, one after the other.
#ifndef TRINE_SERVICE_SERVER_H
#define TRINE_SERVICE_SERVER_H

#include "service/service.h"

// Opens the port (but for options->no_port) and starts the front; every route but livez answers 503
// until service_make_ready. On failure everything is closed again.
enum err service_open(struct service *s, const struct service_options *options,
                      struct errmsg *msg) MUST_CHECK;
// Has the engine load the models, in order, once their names are checked. The options' strings are
// copied. The engine is the service's from here on, until service_close.
enum err service_load_models(struct service *s, struct engine *engine,
                             const struct model_options *options, size_t n,
                             struct errmsg *msg) MUST_CHECK;
// Starts the engine, waits for its warm-up, and lets requests in.
enum err service_make_ready(struct service *s, struct errmsg *msg) MUST_CHECK;
// Ends a model while others are served, as engine_remove_model does; what front and metrics keep of
// it goes as well. The caller holds it. Any thread.
enum err service_remove_model(struct service *s, struct model *m, struct errmsg *msg) MUST_CHECK;
// readyz turns 503 and all else goes on for delay_us (half of timeout_us at most); then new
// connections are refused, and what comes on those that are there is answered. False: some was left
// when the time, delay included, was over.
bool service_drain(struct service *s, int64_t delay_us, int64_t timeout_us);
// Ends everything, drained or not. The engine has ended too then; it is the caller's to close.
void service_close(struct service *s);

#endif
