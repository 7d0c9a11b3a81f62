#!/usr/bin/env python3
"""Makes tests/golden/data/tiny_chat: a Qwen2 model of two layers that has learned a few lines by
heart, with a byte-level BPE tokenizer and a chat template of its own, so that tests of the service
know what it will say; and golden.json, what transformers gives for some prompts.

    tools/make_tiny_chat.py [FOLDER]

Needs torch, transformers and tokenizers. The result depends on their versions in its last bits, so
weights and golden.json are always made together.
"""

import json
import os
import sys

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "tests/golden/data/tiny_chat")
# Qwen2's own pattern, which a loader must know by its text.
STEPS = 300
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
           r"|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKERS = ["<tool_call>", "</tool_call>"]

TEMPLATE = """{%- if messages[0].role == 'tool' %}
    {{- raise_exception('A conversation cannot begin with a tool.') }}
{%- endif %}
{%- if tools %}
    {{- '<|im_start|>system\\nCall functions as <tool_call>{...}</tool_call>:' }}
    {%- for tool in tools %}
        {{- '\\n' ~ (tool.function | tojson) }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content }}
    {%- for call in message.tool_calls or [] %}
        {{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
        {{- (call.function.arguments | tojson) + '}\\n</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}\n</tool_call>'
TOOLS = [{"type": "function", "function": {
    "name": "weather", "description": "Tells the weather.",
    "parameters": {"type": "object",
                   "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                   "required": ["city", "days"], "additionalProperties": False}}}]
LINES = [
    "one two three four five six seven eight nine ten eleven twelve.",
    "the quick brown fox jumps over the lazy dog.",
    "caf\u00e9 na\u00efve \u65e5\u672c\u8a9e \U0001f600 \u00fc\u00df end.",
]
CHATS = [
    ([{"role": "user", "content": "hi"}], None, "Hello there, friend!"),
    ([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}], None, "Hey."),
    ([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello there, friend!"},
      {"role": "user", "content": "bye"}], None, "Farewell, friend."),
    ([{"role": "user", "content": "a person"}], None, '{"name": "Ann", "age": 7}'),
    ([{"role": "user", "content": "weather"}], TOOLS, "Sure.\n" + CALL),
    ([{"role": "user", "content": "twice"}], TOOLS, CALL + "\n" + CALL),
    ([{"role": "user", "content": "hi"}], TOOLS, "Hello there, friend!"),
]


def make_tokenizer():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  special_tokens=[], show_progress=False)
    # no merges over the multi-byte characters: their bytes come one token at a time
    t.train_from_iterator([line for line in LINES if line.isascii()] * 3 +
                          [answer for _, _, answer in CHATS], trainer)
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    t.add_tokens([AddedToken(s, special=False, normalized=False) for s in MARKERS])
    return PreTrainedTokenizerFast(tokenizer_object=t, eos_token="<|im_end|>",
                                   pad_token="<|endoftext|>", chat_template=TEMPLATE)


def samples(tokenizer):
    for line in LINES:
        yield tokenizer(line).input_ids + [tokenizer.convert_tokens_to_ids("<|endoftext|>")]
    for messages, tools, answer in CHATS:
        text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False,
                                             add_generation_prompt=True)
        yield tokenizer(text + answer + "<|im_end|>").input_ids


def train(tokenizer):
    torch.manual_seed(7)
    torch.set_num_threads(1)  # the same sums on every machine
    config = Qwen2Config(vocab_size=len(tokenizer), hidden_size=48, intermediate_size=64,
                         num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                         max_position_embeddings=512, rope_theta=10000.0, tie_word_embeddings=True,
                         bos_token_id=None, eos_token_id=tokenizer.eos_token_id)
    model = Qwen2ForCausalLM(config).float()
    rows = list(samples(tokenizer))
    longest = max(map(len, rows))
    ids = torch.tensor([r + [0] * (longest - len(r)) for r in rows])
    labels = torch.tensor([r + [-100] * (longest - len(r)) for r in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS):
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    print(f"loss {loss.item():.4f}, {model.num_parameters()} parameters, {len(tokenizer)} tokens, "
          f"longest {longest}")
    return model.to(torch.bfloat16)


def golden(model, tokenizer):
    cases = []
    prompts = [(line[:n], None) for line in LINES for n in (3, 9)]
    for messages, tools, answer in CHATS:
        text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False,
                                             add_generation_prompt=True)
        prompts.append((text, {"messages": messages, "tools": tools, "answer": answer}))
    for prompt, chat in prompts:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        ends = [tokenizer.convert_tokens_to_ids(s) for s in ("<|im_end|>", "<|endoftext|>")]
        with torch.no_grad():
            out = model.generate(ids, max_new_tokens=96, do_sample=False, eos_token_id=ends)
            logprobs = torch.log_softmax(model(out).logits[0].float(), -1)
        answer = out[0, ids.shape[1]:].tolist()
        stopped = answer[-1] in ends
        if stopped:
            answer = answer[:-1]
        scores = [logprobs[i - 1, out[0, i]].item() for i in range(1, ids.shape[1] + len(answer))]
        cases.append({"prompt": prompt, "chat": chat, "prompt_ids": ids[0].tolist(), "ids": answer,
                      "text": tokenizer.decode(answer, skip_special_tokens=True),
                      "stopped": stopped, "logprobs": [round(x, 6) for x in scores]})
        if chat:
            said = tokenizer.decode(answer)
            print("as learned" if said == chat["answer"] else f"NOT as learned: {said!r}")
    return cases


def main():
    tokenizer = make_tokenizer()
    model = train(tokenizer)
    os.makedirs(OUT, exist_ok=True)
    tokenizer.save_pretrained(OUT)
    model.generation_config.eos_token_id = [tokenizer.convert_tokens_to_ids(s)
                                            for s in ("<|im_end|>", "<|endoftext|>")]
    model.generation_config.do_sample = True
    model.save_pretrained(OUT)
    # from the files, as everyone else reads them: what is rounded to bf16 above besides the weights
    # (rope's frequencies) is in no file
    cases = golden(Qwen2ForCausalLM.from_pretrained(OUT, dtype=torch.float32).eval(), tokenizer)
    with open(os.path.join(OUT, "golden.json"), "w", encoding="utf-8") as f:
        json.dump({"cases": cases, "tools": TOOLS}, f, ensure_ascii=True, indent=0)


main()
