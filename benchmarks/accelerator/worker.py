"""The process of one side: reads names of rows from standard input, measures each, answers with one line of JSON.

python -m benchmarks.accelerator.worker --side=ours [--tiny] [--parity=FOLDER] [--profiles=FOLDER]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

from benchmarks.accelerator import profile, timing
from benchmarks.accelerator.sizes import FULL, TINY, Sizes
from benchmarks.accelerator.timing import Measurement


def ours(name: str, sizes: Sizes, folder: Path) -> tuple[Measurement, dict]:
    """One row of our side, and what else it found."""
    from benchmarks.accelerator import checks, language, media

    if name == "card":
        return checks.card(sizes)
    if name.startswith("decode_"):
        rows = int(name.split("_")[1])
        return language.decode(sizes, rows, packed=name.endswith("int8")), {}
    if name.startswith("parity_"):
        return checks.parity(folder, name.removeprefix("parity_")), {}
    half = max(1, sizes.batch // 2)
    calls = {
        "attention": lambda: checks.fused_attention(sizes),
        "bfloat16": lambda: checks.bfloat16(sizes),
        "stages_debug": lambda: checks.four_stages(sizes),
        "processes": lambda: checks.two_processes(sizes),
        "lora": lambda: language.train(sizes, "coe", sizes.batch, sizes.length),
        "lora_dots": lambda: language.train(sizes, "coe", sizes.batch, sizes.length, remat="dots"),
        "lora_packed": lambda: language.train(sizes, "coe", 1, sizes.packed, segments=language.SEGMENTS, remat="dots"),
        "lora_int8": lambda: language.train(sizes, "coe", sizes.batch, sizes.length, packed=True),
        "joint": lambda: language.train(sizes, "joint", half, sizes.length),
        "content": lambda: language.train(sizes, "content", sizes.batch, sizes.length),
        "style": lambda: language.train(sizes, "style", sizes.batch, sizes.length),
        "prefill": lambda: language.prefill(sizes),
        "prefill_int8": lambda: language.prefill(sizes, packed=True),
        "hubert": lambda: media.hubert(sizes),
        "clip": lambda: media.clip(sizes),
        "speech": lambda: media.speech(sizes),
        "motion": lambda: media.motion(sizes),
        "render": lambda: media.render(sizes),
        "reply": lambda: media.reply(sizes),
    }
    return calls[name](), {}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", choices=("ours", "pytorch"), required=True)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--parity", type=Path, required=True)
    parser.add_argument("--profiles", type=Path, help="where the time of our side's calls goes, a text for each row")
    options = parser.parse_args()
    sizes = TINY if options.tiny else FULL
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed goes to the log
    side = None
    for line in sys.stdin:
        name, reply = line.strip(), {}
        try:
            if options.side == "ours":
                with tempfile.TemporaryDirectory() as traces:
                    timing.Profiles.folder = Path(traces) if options.profiles else None
                    found, more = ours(name, sizes, options.parity)
                    reply = {"measurement": found.as_dict(), **more}
                    if options.profiles:
                        profile.write(Path(traces), options.profiles / f"{name}.txt")
            else:
                from benchmarks.accelerator import theirs

                side = side or theirs.Torch(sizes)
                reply = {"measurement": theirs.measure(side, name).as_dict()}
        except ModuleNotFoundError as error:
            reply = {"measurement": Measurement(left_out=f"{error.name} is not installed").as_dict()}
        except Exception as error:
            traceback.print_exc()
            first = (str(error).strip().splitlines() or [""])[0][:200]
            reply = {"measurement": Measurement(left_out=f"{type(error).__name__}: {first}").as_dict(), "failed": True}
        gc.collect()
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
