"""Does the answer hear and see how a thing is said? The same words, happy, sad and angry.

    python -m benchmarks.heard [--config=configs/quickstart.py] [--workdir=RUN] [--count=20] [--output=out/heard]

The last sentences of held-out dialogues of our corpus (a fixed seed draws them) are spoken and shown three times, by the voice
and the face that made the toy set, and answered with the recordings. The words are the same each time. Told: for how many of them
the named emotions are not all one, how many of the pairs of recordings get another of the 32 or of the 7, and how often the
emotion of the 7 is the one that was shown. `heard.json` holds every answer.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import configs
from benchmarks.answers import SEED, wilson
from data_pipeline import corpus
from data_pipeline.toy.media import DrawnFace, SpeakerVoice, film
from empatheia_jax import assemble, settings
from empatheia_jax.conversation import labels
from empatheia_jax.dialogue.trained_model import trained
from empatheia_jax.dialogue.writer import Question, Writer
from empatheia_jax.errors import main_guard
from empatheia_jax.files import write_json
from empatheia_jax.runs.run import Run

FEELINGS = ("happy", "sad", "angry")


@main_guard
def main(argv: list[str]) -> int:
    """Records, asks, counts, prints and writes."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.heard", description=__doc__.split("\n")[0])
    options.add_argument("--config", type=Path, default=Path("configs/quickstart.py"))
    options.add_argument("--workdir", type=Path, default=Path("runs/none"), help="without a run the start answers")
    options.add_argument("--count", type=int, default=20, help="sentences")
    options.add_argument("--output", type=Path, default=Path("out/heard"))
    options = options.parse_args(argv)
    config = settings.resolve(configs.load(options.config))
    drawn = random.Random(SEED).sample(corpus.conversations("test"), options.count)
    options.output.mkdir(parents=True, exist_ok=True)
    voice = SpeakerVoice(assemble.speaker(config), config.networks.tts)
    writer = Writer.of(config, trained(config, Run(options.workdir)), assemble.towers(config))
    found = []
    for conversation in tqdm(drawn, desc="sentence"):
        turn = conversation.turns[-1]
        said, named = (
            turn.history[-1],
            {"": writer.write([Question(turn.history, listener=conversation.listener)])[0].answer},
        )
        for feeling in FEELINGS:
            stem = options.output / f"{conversation.conversation_id}_{feeling}"
            media = {"speech": stem.with_suffix(".wav"), "video": stem.with_suffix(".mp4")}
            profile = conversation.profile("speaker")
            film(media["speech"], media["video"], said.text, profile, voice, DrawnFace(64), feeling, 1.0, seed=SEED)
            question = Question(turn.history, {said.index: media}, conversation.listener)
            named[feeling] = writer.write([question])[0].answer
        own = labels.emotion7(labels.emotion32(turn.chain.speaker_emotion, strict=True)) if turn.chain else ""
        found.append({"said": said.text, "own": own, "named": {k: each.speaker_emotion for k, each in named.items()}})
        write_json(options.output / "heard.json", {"answers": found})
    results = counted(found)
    write_json(options.output / "heard.json", {"results": results, "answers": found})
    print(json.dumps(results, indent=1))
    return 0


def counted(found: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Hits, counts and shares with Wilson's interval.

    Args:
      found: one dict a sentence: `own`, the dialogue's emotion of the 7, and `named`, what the answers named, by feeling; by ""
        in the answer without recordings.
    """
    answers = [each["named"] for each in found]
    pairs = [(each[a], each[b]) for each in answers for a, b in itertools.combinations(FEELINGS, 2)]
    other7 = sum(labels.emotion7(a) != labels.emotion7(b) for a, b in pairs)
    shown = sum(labels.emotion7(each[feeling]) == feeling for each in answers for feeling in FEELINGS)
    known = [(each["own"], each["named"]) for each in found if each["own"] in FEELINGS]
    hits = {
        "sentences_with_more_than_one_emotion": (
            sum(len({each[f] for f in FEELINGS}) > 1 for each in answers),
            len(answers),
        ),
        "pairs_with_another_of_32": (sum(a != b for a, b in pairs), len(pairs)),
        "pairs_with_another_of_7": (other7, len(pairs)),
        "emotion_of_7_is_the_one_shown": (shown, len(answers) * len(FEELINGS)),
        "own_emotion_of_7_without_recordings": (
            sum(labels.emotion7(each[""]) == own for own, each in known),
            len(known),
        ),
        "own_emotion_of_7_where_it_is_shown": (
            sum(labels.emotion7(each[own]) == own for own, each in known),
            len(known),
        ),
    }
    return {
        name: {"hits": hit, "of": of, **dict(zip(("share", "low", "high"), wilson(hit, of)))}
        for name, (hit, of) in hits.items()
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
