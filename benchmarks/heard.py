"""Does the answer hear and see how a thing is said? The same words, happy, sad and angry.

    python -m benchmarks.heard [--config=configs/quickstart.py] [--workdir=RUN] [--count=20] [--output=out/heard]

The last sentences of held-out dialogues of our corpus (a fixed seed draws them) are spoken and shown three times, by the voice
and the face that made the toy set, and answered with the recordings. The words are the same each time. Told: for how many of them
the named emotions are not all one, how many of the pairs of recordings get another of the 32 or of the 7, and how often the
emotion of the 7 is the one that was shown. `heard.json` holds every answer.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import random
import sys
from pathlib import Path

from tqdm import tqdm

from benchmarks.answers import SEED, load_config, wilson
from data_pipeline import corpus
from data_pipeline.toy.media import FPS, RATE, DrawnFace, SpeakerVoice
from empatheia_jax import assemble, settings
from empatheia_jax.conversation import labels
from empatheia_jax.dialogue.writer import Question, Writer, trained
from empatheia_jax.errors import main_guard
from empatheia_jax.files import write_json
from empatheia_jax.media.audio import write_wav
from empatheia_jax.media.video import VideoWriter
from empatheia_jax.runs.run import Run
from empatheia_jax.styletts2.speaker import Speaker

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
    config = settings.resolve(load_config(options.config))
    drawn = random.Random(SEED).sample(corpus.conversations("test"), options.count)
    options.output.mkdir(parents=True, exist_ok=True)
    voice = SpeakerVoice(Speaker.load(Path(config.networks.weights_dir) / config.networks.tts), config.networks.tts)
    writer = Writer.of(config, trained(config, Run(options.workdir)), assemble.towers(config))
    found = []
    for conversation in tqdm(drawn, desc="sentence"):
        turn = conversation.turns[-1]
        said, named = turn.history[-1], {}
        for feeling in FEELINGS:
            stem = options.output / f"{conversation.conversation_id}_{feeling}"
            media = record(stem, said, conversation.profile("speaker"), voice, DrawnFace(64), feeling)
            question = Question(turn.history, {said.index: media}, conversation.listener)
            named[feeling] = writer.write([question])[0].answer.speaker_emotion
        found.append({"said": said.text, "named": named})
        write_json(options.output / "heard.json", {"answers": found})
    results = counted([each["named"] for each in found])
    write_json(options.output / "heard.json", {"results": results, "answers": found})
    print(json.dumps(results, indent=1))
    return 0


def record(stem: Path, said, profile, voice, face, feeling: str) -> dict[str, Path]:
    """The recordings of one utterance: `STEM.wav` and `STEM.mp4`."""
    spoken = voice(said.text, profile, feeling, 1.0, SEED)
    _, pictures = face(spoken, profile, feeling, 1.0, SEED)
    paths = {"speech": stem.with_suffix(".wav"), "video": stem.with_suffix(".mp4")}
    write_wav(paths["speech"], spoken.samples, RATE)
    with VideoWriter(paths["video"], FPS, (face.size, face.size), audio=spoken.samples, audio_rate=RATE) as video:
        for batch in pictures:
            video.write(batch)
    return paths


@dataclasses.dataclass(frozen=True)
class Share:
    """Hits of a count, with Wilson's interval at 95 %."""

    hits: int
    of: int

    def told(self) -> dict[str, float]:
        """As figures."""
        share, low, high = wilson(self.hits, self.of)
        return {"hits": self.hits, "of": self.of, "share": share, "low": low, "high": high}


def counted(named: list[dict[str, str]]) -> dict[str, dict[str, float]]:
    """What the answers named, by feeling, one dict a sentence."""
    pairs = [(each[a], each[b]) for each in named for a, b in itertools.combinations(FEELINGS, 2)]
    other7 = sum(labels.emotion7(a) != labels.emotion7(b) for a, b in pairs)
    shown = sum(labels.emotion7(each[feeling]) == feeling for each in named for feeling in FEELINGS)
    shares = {
        "sentences_with_more_than_one_emotion": Share(sum(len(set(each.values())) > 1 for each in named), len(named)),
        "pairs_with_another_of_32": Share(sum(a != b for a, b in pairs), len(pairs)),
        "pairs_with_another_of_7": Share(other7, len(pairs)),
        "emotion_of_7_is_the_one_shown": Share(shown, len(named) * len(FEELINGS)),
    }
    return {name: share.told() for name, share in shares.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
