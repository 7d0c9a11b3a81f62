// The node clients against a running service: openai, cohere-ai, and the AI SDK with its providers.
//
//     node run.mjs URL KEY      the service has the models that tests/clients/run.py starts it with
//
// Closing line: "N passed, N failed"; the exit code tells the truth.
import { createCohere } from '@ai-sdk/cohere';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { embed, embedMany, generateObject, generateText, rerank, streamText, tool } from 'ai';
import { CohereClient, CohereClientV2 } from 'cohere-ai';
import OpenAI from 'openai';
import { z } from 'zod';

const [url, key] = process.argv.slice(2);
const DIM = 384;
const HELLO = 'Hello there, friend!';
const QUERY = 'What is a giant panda?';
const PASSAGES = ['hi', 'The giant panda is a bear species endemic to China.', 'Paris is in France.'];
const WEATHER = { city: 'Oslo', days: 2 };
const tally = { passed: 0, failed: 0 };

function check(ok, what, detail) {
    ok ? tally.passed++ : tally.failed++;
    if (!ok) console.error(`run.mjs: FAILED: ${what}`, detail ?? '');
    return ok;
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const like = (a, b) => a.length === b.length && a.every((x, i) => Math.abs(x - b[i]) <= 1e-6);

// Runs one client's tests; what is thrown there is one failure, and the others still run.
async function section(name, run) {
    try {
        await run();
    } catch (e) {
        check(false, `${name} runs to its end`, e);
    }
}

await section('openai', async () => {
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
    const r = await client.embeddings.create({ model: 'emb', input: PASSAGES }); // base64 on the wire
    check(r.data.length === 3 && r.data[0].embedding.length === DIM, 'openai: embeddings', r.usage);
    const f = await client.embeddings.create({ model: 'emb', input: PASSAGES, encoding_format: 'float' });
    check(like(f.data[1].embedding, r.data[1].embedding), 'openai: float is base64');
    const hi = { model: 'tiny', messages: [{ role: 'user', content: 'hi' }], temperature: 0 };
    const chat = await client.chat.completions.create(hi);
    check(chat.choices[0].message.content === HELLO, 'openai: chat', chat);
    let text = '';
    for await (const c of await client.chat.completions.create({ ...hi, stream: true }))
        text += c.choices[0]?.delta?.content ?? '';
    check(text === HELLO, 'openai: streamed', text);
    const helper = await client.chat.completions.stream(hi).finalChatCompletion();
    check(helper.choices[0].message.content === HELLO, 'openai: the stream helper', helper);
    const models = [];
    for await (const m of client.models.list()) models.push(m.id);
    check(models.includes('emb') && models.includes('tiny'), 'openai: models', models);
    const error = await client.embeddings.create({ model: 'nope', input: 'a' }).catch((e) => e);
    check(error instanceof OpenAI.NotFoundError && error.code === 'model_not_found', 'openai: an unknown model', error);
});

await section('cohere-ai', async () => {
    const v2 = new CohereClientV2({ token: key, environment: url });
    const r = await v2.rerank({ model: 'rr', query: QUERY, documents: PASSAGES, topN: 2 });
    check(r.results.length === 2 && r.results[0].index === 1 && r.results[0].relevanceScore > 0.9, 'cohere-ai: v2 rerank', r);
    const e = await v2.embed({ model: 'emb', texts: PASSAGES, inputType: 'search_document', embeddingTypes: ['float', 'int8'] });
    check(e.embeddings.float.length === 3 && e.embeddings.int8[0].length === DIM, 'cohere-ai: v2 embed');
    const v1 = new CohereClient({ token: key, environment: url });
    const r1 = await v1.rerank({ model: 'rr', query: QUERY, documents: PASSAGES, returnDocuments: true });
    check(r1.results[0].document.text === PASSAGES[1], 'cohere-ai: v1 rerank', r1);
});

// Of one provider: chat, stream, a tool's call, an object by a schema.
async function generates(name, provider) {
    const model = provider('tiny');
    const r = await generateText({ model, prompt: 'hi', temperature: 0, maxRetries: 0 });
    check(r.text === HELLO && r.finishReason === 'stop' && r.usage.outputTokens > 0, `${name}: generateText`, r.text);
    const stream = streamText({ model, prompt: 'hi', temperature: 0, maxRetries: 0 });
    let text = '';
    for await (const piece of stream.textStream) text += piece;
    check(text === HELLO && (await stream.finishReason) === 'stop', `${name}: streamText`, text);
    const weather = tool({
        description: 'Tells the weather.',
        inputSchema: z.object({ city: z.string(), days: z.number().int() }),
    });
    const called = await generateText({ model, prompt: 'weather', temperature: 0, maxRetries: 0, tools: { weather }, maxOutputTokens: 150 });
    check(called.toolCalls.length === 1 && same(Object.keys(called.toolCalls[0].input).sort(), Object.keys(WEATHER)), `${name}: a tool's call`, called.toolCalls);
    const object = await generateObject({
        model: provider('gen'), prompt: 'Name a colour, as JSON.', temperature: 0, maxRetries: 0, maxOutputTokens: 200,
        schema: z.object({ colour: z.string(), dark: z.boolean() }),
    });
    check(typeof object.object.colour === 'string' && typeof object.object.dark === 'boolean', `${name}: generateObject`, object.object);
}

async function embeds(name, model) {
    const many = await embedMany({ model, values: PASSAGES, maxRetries: 0 });
    const one = await embed({ model, value: PASSAGES[1], maxRetries: 0 });
    check(many.embeddings.length === 3 && many.embeddings[0].length === DIM, `${name}: embedMany`);
    check(like(one.embedding, many.embeddings[1]), `${name}: embed`);
}

await section('@ai-sdk/openai', async () => {
    const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: key });
    await generates('@ai-sdk/openai', (id) => openai.chat(id));
    await embeds('@ai-sdk/openai', openai.embedding('emb'));
});

await section('@ai-sdk/openai-compatible', async () => {
    const compatible = createOpenAICompatible({ name: 'trine', baseURL: `${url}/v1`, apiKey: key, supportsStructuredOutputs: true, includeUsage: true });
    await generates('@ai-sdk/openai-compatible', (id) => compatible.chatModel(id));
    const completed = await generateText({ model: compatible.completionModel('gen'), prompt: 'Once upon a time', temperature: 0, maxOutputTokens: 8, maxRetries: 0 });
    check(completed.text.length > 0, '@ai-sdk/openai-compatible: completionModel', completed.text);
    await embeds('@ai-sdk/openai-compatible', compatible.embeddingModel('emb'));
});

await section('@ai-sdk/cohere', async () => {
    const cohere = createCohere({ baseURL: `${url}/v2`, apiKey: key });
    await embeds('@ai-sdk/cohere', cohere.embedding('emb'));
    const ranked = await rerank({ model: cohere.reranking('rr'), query: QUERY, documents: PASSAGES, topN: 2, maxRetries: 0 });
    check(ranked.ranking.length === 2 && ranked.ranking[0].originalIndex === 1 && ranked.ranking[0].score > 0.9, '@ai-sdk/cohere: rerank', ranked.ranking);
});

console.log(`${tally.passed} passed, ${tally.failed} failed`);
process.exit(tally.failed || !tally.passed ? 1 : 0);
