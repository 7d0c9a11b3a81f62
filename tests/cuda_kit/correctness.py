"""Every operation of the device and every golden model on the card, against the same bars as on the CPU."""

import json
import os

import kit

# The most telling first: memory and order, then products, attention, models, and what is drawn.
FIRST = ["test_gpu_rows", "test_gpu_linear", "test_gpu_device", "test_embeddings", "test_decoder", "test_gpu_attention",
         "test_gpu_paged", "test_gpu_draw_steps"]
SMALL = {"test_gpu_rows", "test_gpu_rope", "test_gpu_norms", "test_classifiers"}  # of a kit that proves itself
LIMIT = 100


def names():
    _, said, _ = kit.run([kit.program("gpu-tests")], 10, kit.environment())
    found = [n for n in said.split() if n.startswith("test_")]
    return sorted(found, key=lambda n: (FIRST.index(n) if n in FIRST else len(FIRST), n))


def main(part, small):
    all_names = names()
    if not all_names:
        part.row("gpu-tests", failed=1, words="it lists no tests")
        return
    if kit.emulated():
        part.skip("trine-gpu --probe", "there is no card to ask")
    elif kit.program("trine-gpu"):
        status, said, seconds = kit.run([kit.program("trine-gpu"), "--probe"], 30, kit.environment())
        part.figures["probe"] = said[:4000]
        try:
            reason = json.loads(said).get("reason")
        except ValueError:
            reason = said[:300]
        part.row("trine-gpu --probe", int(status == 0), int(status != 0), 0, seconds, str(reason) if status else "")
    else:
        part.skip("trine-gpu --probe", "not in this build")
    chosen = [n for n in all_names if not small or n in SMALL]
    # A test's reference is computed by one core: the card serves several meanwhile.
    at_once = max(1, min(6, (os.cpu_count() or 2) // 2))
    kit.run_all(part, [(n, [kit.program("gpu-tests"), n], LIMIT, {"TRINE_TEST_DEVICE": "gpu"}) for n in chosen], at_once)
