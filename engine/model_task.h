// What a model is served for. Role: the word that all rooms of the engine have for it; model.h
// names it in texts. Thread rule: plain data.
#ifndef TRINE_ENGINE_MODEL_TASK_H
#define TRINE_ENGINE_MODEL_TASK_H

enum model_task { TASK_EMBED, TASK_RERANK, TASK_CLASSIFY, TASK_GENERATE, TASK_COUNT };

#endif
