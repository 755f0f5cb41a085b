"""Whether llama.cpp says from a release's GGUF file what transformers says from its merged folder, token by token.

    python -m benchmarks.release_gguf --release=releases/quickstart [--prompts=8] [--tokens=24]

Needs the package `xllamacpp`, whose wheel holds llama.cpp. Both decode greedily from the same prompt's tokens; the language model
alone answers, without the fixed form. Both files hold the same numbers in bfloat16. Transformers multiplies them in float32, and
llama.cpp rounds what it multiplies them with to bfloat16, so the two may part where two tokens are about as good: the command
says how far apart transformers has their logits there. Exits with 1 where that is more than `NEAR`, where llama.cpp's text is not
that of its tokens, or where it reads the prompt's text as other tokens.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.release_parity import LISTENER, questions

NEAR = 0.25
"""Logits that rounding may bring out of order: bfloat16 keeps 8 bits, and these logits are below 40."""


def prompts(release: Path, count: int) -> list[list[int]]:
    """Tokens of dialogues, as the release's processor writes them."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(release, trust_remote_code=True)
    return [processor(each["history"], LISTENER)["input_ids"][0].tolist() for each in questions(count, {})]


def by_llama_cpp(file: Path, asked: list[list[int]], texts: list[str], tokens: int) -> list[dict[str, Any]]:
    """{"tokens", "text", "read"} of each greedy continuation; "read": how many tokens llama.cpp makes of the prompt's text."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.warmup = str(file), 4096, 1, False
    server = xllamacpp.Server(params)
    greedy = {"temperature": 0.0, "top_k": 1, "repeat_penalty": 1.0, "return_tokens": True, "cache_prompt": False}
    found = []
    for ids, text in zip(asked, texts):
        done = server.handle_completions({**greedy, "prompt": ids, "n_predict": tokens})
        read = server.handle_completions({**greedy, "prompt": text, "n_predict": 1})
        done, read = (json.loads(each) if isinstance(each, str | bytes) else each for each in (done, read))
        found.append({"tokens": done["tokens"], "text": done["content"], "read": read["tokens_evaluated"]})
    return found


def main() -> int:
    parser = argparse.ArgumentParser("benchmarks.release_gguf")
    parser.add_argument("--release", type=Path, required=True, help="with its parts merged and gguf")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=24)
    options = parser.parse_args()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    asked = prompts(options.release, options.prompts)
    tokenizer = AutoTokenizer.from_pretrained(options.release)
    texts = [tokenizer.decode(ids) for ids in asked]
    (file,) = (options.release / "gguf").glob("*.gguf")
    theirs = by_llama_cpp(file, asked, texts, options.tokens)
    model = AutoModelForCausalLM.from_pretrained(options.release / "merged", dtype="float32").eval()
    equal, compared, parted, wrong = 0, 0, [], []
    for number, (ids, other) in enumerate(zip(asked, theirs)):
        with torch.no_grad():  # our choice at every place of llama.cpp's answer, in one pass
            logits = model(torch.tensor([ids + other["tokens"]])).logits[0, len(ids) - 1 : -1]
        best = logits.argmax(-1)
        same = [int(a) == b for a, b in zip(best, other["tokens"])]
        equal, compared = equal + sum(same), compared + len(same)
        for place in (k for k, is_same in enumerate(same) if not is_same):
            gap = float(logits[place].max() - logits[place, other["tokens"][place]])
            parted.append({"prompt": number, "place": place, "gap": round(gap, 4)})
        if other["read"] != len(ids):
            wrong.append(f"prompt {number} is {len(ids)} tokens, and {other['read']} to llama.cpp")
        if other["text"].strip() != tokenizer.decode(other["tokens"], skip_special_tokens=True).strip():
            wrong.append(f"the text of prompt {number} is not that of its tokens")
    good = bool(compared) and not wrong and all(each["gap"] <= NEAR for each in parted)
    print(json.dumps({"prompts": len(asked), "tokens": compared, "equal": equal, "parted": parted, "wrong": wrong}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
