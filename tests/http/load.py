"""A mixed load whose every answer is known: requests of all kinds, what a server without faults says to each, and
clients that compare. Used by test_isolate.py, tests/faults/run.py and bench/worker_*.py."""

import http.client
import json
import random
import threading
import time

MODELS = {"emb": "bert-mean-st6", "rank": "bert-cross-encoder", "cls": "bert-classifier", "tiny": "tiny_chat"}
WORDS = ("river stone market engine quiet window paper signal mountain harvest letter winter copper garden bridge "
         "memory shadow kitchen railway language theory ocean machine valley one two three four five").split()
SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12},
                                           "count": {"type": "integer"},
                                           "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 4}},
          "required": ["name", "count", "tags"], "additionalProperties": False}


def salad(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def encode_requests(rng, count):
    for i in range(count):
        texts = [salad(rng, rng.randint(1, 9)) for _ in range(rng.choice((1, 1, 1, 3, 8, 40)))]
        yield "embed", "/v1/embeddings", {"model": "emb", "encoding_format": "base64", "truncate": True, "input": texts}
        documents = [salad(rng, rng.randint(1, 6)) for _ in range(rng.choice((2, 5, 20)))]
        yield "rerank", "/v1/rerank", {"model": "rank", "query": salad(rng, 2), "documents": documents,
                                       "raw_scores": True}
        if i % 2:
            yield "classify", "/predict", {"model": "cls", "truncate": True, "inputs": [salad(rng, rng.randint(2, 9))]}
        else:
            yield "classify", "/v1/classify", {"model": "cls", "input": [salad(rng, rng.randint(2, 9))], "raw_scores": True}


def generate_requests(rng, count, tokens):
    for i in range(count):
        ask = {"model": "tiny", "messages": [{"role": "user", "content": salad(rng, rng.randint(1, 12))}],
               "max_tokens": tokens, "stream": True, "stream_options": {"include_usage": True}}
        yield "greedy", "/v1/chat/completions", {**ask, "temperature": 0, "ignore_eos": True}
        yield "seeded", "/v1/chat/completions", {**ask, "temperature": 1.0, "seed": i, "ignore_eos": True,
                                                 "logprobs": True, "top_logprobs": 2}
        yield "penalized", "/v1/completions", {"model": "tiny", "prompt": salad(rng, 6), "max_tokens": tokens,
                                               "temperature": 0.8, "seed": 100 + i, "frequency_penalty": 0.7,
                                               "presence_penalty": 0.2, "ignore_eos": True, "stream": True}
        yield "scored", "/v1/completions", {"model": "tiny", "prompt": salad(rng, 9), "max_tokens": tokens, "temperature": 0,
                                            "ignore_eos": True, "logprobs": 2, "stream": i % 2 == 0}
        yield "schema", "/v1/chat/completions", {
            **ask, "temperature": 0.7, "seed": 7 * i,
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}}
        yield "choices", "/v1/completions", {"model": "tiny", "prompt": salad(rng, 4), "max_tokens": tokens // 3,
                                             "temperature": 0.9, "seed": i, "n": 3, "ignore_eos": True}


def requests(seed=1, encode=24, generate=6, tokens=90):
    rng = random.Random(seed)
    return list(encode_requests(rng, encode)) + list(generate_requests(rng, generate, tokens))


class Broken(Exception):
    """An answer that is not whole, or not of the form that it says."""


def joined(body):
    """A stream's events, put together: what does not depend on where the chunks were cut."""
    text = body.decode()
    if not text.endswith("\n\n"):
        raise Broken(f"the stream is cut: {text[-120:]!r}")
    events = [e for e in text[:-2].split("\n\n") if not e.startswith(":")]
    if not events or events[-1] != "data: [DONE]" or events.count("data: [DONE]") != 1:
        raise Broken(f"the stream has no end, or more than one: {events[-1][-300:]!r}")
    choices, usage = {}, None
    for e in events[:-1]:
        if not e.startswith("data: "):
            raise Broken(f"no event: {e!r}")
        chunk = json.loads(e[6:])
        if "error" in chunk:
            raise Broken(f"an error in the stream: {chunk['error']}")
        usage = chunk.get("usage") or usage
        for c in chunk.get("choices", []):
            one = choices.setdefault(c["index"], {"text": "", "finish": None, "logprobs": []})
            one["text"] += c["text"] if "text" in c else c["delta"].get("content") or ""
            if c.get("finish_reason"):
                if one["finish"]:
                    raise Broken("a choice that ends twice")
                one["finish"] = c["finish_reason"]
            if c.get("logprobs"):
                one["logprobs"] += c["logprobs"].get("content") or c["logprobs"].get("token_logprobs") or []
    return {"choices": choices, "usage": counted(usage)}


def counted(usage):
    """Without what a cache happens to hold."""
    return {k: v for k, v in (usage or {}).items() if k != "prompt_tokens_details"}


def essence(request, status, data):
    """What must be the same in every answer to a request: all but ids, times and where a stream was cut."""
    if status != 200:
        raise Broken(f"{status} {data[:300]!r}")
    if request.get("stream"):
        return joined(data)
    whole = json.loads(data)
    if isinstance(whole, dict):
        for key in ("id", "created", "meta", "timings"):
            whole.pop(key, None)
        if "usage" in whole:
            whole["usage"] = counted(whole["usage"])
    return whole


class Client:
    """One keep-alive connection, or one for each request."""

    def __init__(self, port, timeout, keep=True):
        self.port, self.timeout, self.keep, self.c = port, timeout, keep, None
        self.computed = None  # x-compute-type of the last answer

    def ask(self, path, body):
        if not self.c:
            self.c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
        try:
            self.c.request("POST", path, body, {"Content-Type": "application/json"})
            r = self.c.getresponse()
            data = r.read()
            self.computed = r.getheader("x-compute-type")
            if r.getheader("Connection") == "close" or not self.keep:
                self.c.close()
                self.c = None
            return r.status, data
        except Exception:
            self.c.close()
            self.c = None
            raise


def expected(port, pool, timeout=120):
    """What this server, which has no faults, answers to each request; asked twice, for it must know its own mind."""
    c = Client(port, timeout)
    found = []
    for kind, path, body in pool:
        both = [essence(body, *c.ask(path, json.dumps(body))) for _ in range(2)]
        if both[0] != both[1]:
            raise Broken(f"{kind} {path}: two answers to one request: {difference(*both)}")
        found.append(both[0])
    return found


class Load:
    """Clients that ask in random order and compare until told to stop."""

    def __init__(self, port, pool, answers, clients=16, seed=1, timeout=120, keep=True):
        self.pool, self.answers, self.port, self.timeout, self.keep = pool, answers, port, timeout, keep
        self.encoded = [json.dumps(body) for _, _, body in pool]
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.asked = self.right = 0
        self.wrong = []  # (kind, what)
        self.ends = []   # when each answer was there, and how long it took
        self.kinds = {}
        self.threads = [threading.Thread(target=self.run, args=(random.Random(seed * 1000 + i),)) for i in range(clients)]
        for t in self.threads:
            t.start()

    def run(self, rng):
        c = Client(self.port, self.timeout, self.keep)
        while not self.stop.is_set():
            self.one(c, rng.randrange(len(self.pool)))

    def one(self, c, i):
        kind, path, body = self.pool[i]
        begin = time.monotonic()
        with self.lock:
            self.asked += 1
        try:
            got = essence(body, *c.ask(path, self.encoded[i]))
            self.compare(i, got, c.computed)
        except Exception as e:  # whatever it is, it is no right answer
            with self.lock:
                self.wrong.append((kind, f"{type(e).__name__}: {e}"[:600]))
            return
        end = time.monotonic()
        with self.lock:
            self.right += 1
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
            self.ends.append((end, end - begin))

    def compare(self, i, got, computed):
        if got != self.answers[i]:
            raise Broken(f"another answer: {difference(got, self.answers[i])}")

    def finish(self):
        self.stop.set()
        for t in self.threads:
            t.join()


def texts_of(answer):
    """What an answer says, without its numbers."""
    if isinstance(answer, dict):
        return {k: texts_of(v) for k, v in answer.items()}
    if isinstance(answer, list):
        return [texts_of(v) for v in answer]
    return None if isinstance(answer, float) else answer


def is_of(got, wants):
    """Whether each item and number of an answer is one of those that the devices give there."""
    if any(got == w for w in wants):
        return True
    if isinstance(got, dict):
        return all(isinstance(w, dict) and got.keys() == w.keys() for w in wants) and all(
            is_of(v, [w[k] for w in wants]) for k, v in got.items())
    if isinstance(got, list):
        return all(isinstance(w, list) and len(w) == len(got) for w in wants) and all(
            is_of(v, [w[i] for w in wants]) for i, v in enumerate(got))
    return False


class TwoDevices(Load):
    """The same where two devices answer: answers by the device's name. An answer that is one device's, as its head says,
    is what that one gives. A stream's head speaks of its beginning, and several rows may be of both: then each row
    and each token with its numbers is what one of the two gives. Their texts agree (agreeing), so a text that goes on
    on the other device behind some of its tokens is the same too."""

    def compare(self, i, got, computed):
        names = [n.strip() for n in computed.split(",")]
        stream = self.pool[i][2].get("stream")
        wants = [self.answers[n][i] for n in (self.answers if stream else names)]
        if not is_of(got, wants) if len(wants) > 1 else got != wants[0]:
            raise Broken(f"another answer of {computed}: {difference(got, wants[0])}")


def agreeing(pool, answers):
    """The requests whose texts are the same on all devices, and their answers by device: in f32 that is almost all."""
    kept = [i for i in range(len(pool)) if "input" in pool[i][2] or "query" in pool[i][2] or "inputs" in pool[i][2] or
            len({json.dumps(texts_of(a[i]), sort_keys=True) for a in answers.values()}) == 1]
    return [pool[i] for i in kept], {name: [a[i] for i in kept] for name, a in answers.items()}


def difference(got, want, at=""):
    if isinstance(got, dict) and isinstance(want, dict):
        for k in sorted(set(got) | set(want), key=str):
            if got.get(k) != want.get(k):
                return difference(got.get(k), want.get(k), f"{at}.{k}")
    if isinstance(got, list) and isinstance(want, list) and len(got) == len(want):
        for i, (a, b) in enumerate(zip(got, want)):
            if a != b:
                return difference(a, b, f"{at}[{i}]")
    return f"{at}: {str(got)[:150]!r}, and not {str(want)[:150]!r}"
