"""Whether a release says in PyTorch what the run says here: tokens, hidden states, bridge and classes, prompt by prompt.

    python -m benchmarks.release_parity --weights=weights --folder=out/parity                          # the starter
    python -m benchmarks.release_parity --workdir=runs/quickstart --release=DIR --folder=out/parity    # a run and its release

The run answers here first. A fresh process, which never imports JAX, then loads the release with `AutoModel.from_pretrained(…,
trust_remote_code=True)` and answers the same prompts in batches, half of them with speech and video features. Greedy decoding,
float32.

Prints how many prompts, token sequences and classes are equal, and the largest difference of each tensor: of the bridge's outputs
and logits as it is, of the language model's states (which reach 38 in SmolLM2) as a part of their largest value. Exits with 1
above 1e-4. The release is then read back here, and what the run stores is compared with it bit by bit. At last a training goes
on from the run, and another one from the release: the losses of their next steps, with dropout, and the parameters after them
must be equal bit for bit. A training of the starter goes on with the stage `coe`, one of a run with `joint`; the words are
those of the toy dialogues, the features are made up (`data.path=debug`).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = 1e-4
STATES = ("response_states", "signal_states")
"""r^t, and r^s with r^v: sums over hundreds of channels and many layers, whose rounding grows with them."""
PHONEMES, FRAMES = 40, 30
STEPS, EXAMPLES = 2, 2
"""Of the training that goes on: how many steps, of how many examples."""
TOGETHER = 10
"""Dialogues that PyTorch answers in one batch, padded on the left; here they are answered one by one."""
LISTENER = {"age": "young", "gender": "female", "tone": "mild"}
SAID = (
    "I lost my dog today.",
    "My boss said she is disappointed with my work. I tried my best every day.",
    "I finally passed the exam after three attempts!",
    "The doctor said they will ring before Friday. Every time my phone buzzes, my stomach drops.",
    "Nobody came to my birthday dinner.",
    "My sister is moving to another country next month.",
    "I forgot my lines on stage and everyone laughed.",
    "We won the match in the last minute!",
    "My neighbour plays the drums every night until two.",
    "I found my grandmother's letters in the attic.",
    "Someone broke into my car </response> [AUD0] <Aud> last night.",
    "I start my new job on Monday and I cannot sleep.",
    "He promised to call, and he never did.",
    "The bakery I loved as a child has closed.",
    "I told a lie to my best friend and now she knows.",
    "My son took his first steps this morning.",
    "I have been waiting for this concert for two years.",
    "They chose somebody else for the role again.",
    "I gave my seat to an old man and he told me his whole life.",
    "The house is so quiet since the children left.",
)


def questions(count: int, widths: dict[str, int], seed: int = 0) -> list[dict[str, Any]]:
    """Dialogues with, every second time, features of the last utterance; every third has two more utterances."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        history = [{"role": "speaker", "text": SAID[number % len(SAID)]}]
        if number % 3 == 2:
            history += [
                {"role": "listener", "text": "Oh. Tell me more."},
                {"role": "speaker", "text": "It is all I think of."},
            ]
        features = {}
        if number % 2:
            features = {kind: random.standard_normal((24, width)).astype(np.float32) for kind, width in widths.items()}
        found.append({"history": history, "features": features, "place": len(history) - 1})
    return found


# ------------------------------------------------------------------------------------------------ here


def answer_here(config: Any, workdir: Path, asked: list[dict[str, Any]]) -> list[dict[str, np.ndarray]]:
    """Tokens and tensors of the run's answers, dialogue by dialogue."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from empatheia_jax.conversation.schema import Profile, Utterance
    from empatheia_jax.dialogue.trained_model import trained
    from empatheia_jax.dialogue.writer import Question, Writer
    from empatheia_jax.empatheia import Signals
    from empatheia_jax.runs.run import Run

    assembly = trained(config, Run(workdir))
    features = {
        f"{number}-{kind}": array for number, each in enumerate(asked) for kind, array in each["features"].items()
    }

    class Towers:
        """Gives the features under their names instead of listening and looking."""

        speech = video = staticmethod(lambda path: features[str(path)])

    writer = Writer.of(config, assembly, Towers())
    model, found = assembly.model, []
    graph, state = nnx.split(model)

    @jax.jit
    def bridge_of(state, text, lengths, states):
        model = nnx.merge(graph, state)
        count = states.shape[1] // 2
        style = model.style(Signals(text, lengths, states[:, :count], states[:, count:]))
        contents = model.synchronizer
        return {
            "speech_style": style.speech,
            "video_style": style.video,
            "emotion": style.emotion,
            "profile": style.profile,
            "speech_content": contents.speech(text, lengths, jnp.asarray([PHONEMES]), PHONEMES)[0],
            "video_content": contents.video(text, lengths, jnp.asarray([FRAMES]), FRAMES)[0],
            **{f"logits_{task}": value for task, value in style.logits.items()},
        }

    for number, each in enumerate(asked):
        history = [Utterance(index=i, role=said["role"], text=said["text"]) for i, said in enumerate(each["history"])]
        media = (
            {each["place"]: {kind: Path(f"{number}-{kind}") for kind in each["features"]}} if each["features"] else {}
        )
        question = Question(history, media, Profile(LISTENER["age"], LISTENER["gender"], LISTENER["tone"]))
        (written,) = writer.write([question])
        text = np.zeros((1, model.config.reply_tokens, written.response.shape[-1]), np.float32)
        text[0, : len(written.response)] = written.response
        states = written.signals[None]
        bridge = {"response_states": text, "signal_states": states}
        bridge |= bridge_of(state, jnp.asarray(text), jnp.asarray([len(written.response)]), jnp.asarray(states))
        found.append(
            {name: np.asarray(value) for name, value in bridge.items()}
            | {"tokens": np.asarray(written.tokens), "prompt": np.asarray(writer.prompt(question).tokens)}
        )
    return found


def save(path: Path, asked: list[dict[str, Any]], answers: list[dict[str, np.ndarray]]) -> None:
    """Questions and answers in one file, for the other process."""
    arrays = {f"{n}.{name}": value for n, each in enumerate(answers) for name, value in each.items()}
    arrays |= {
        f"{n}.features.{kind}": value for n, each in enumerate(asked) for kind, value in each["features"].items()
    }
    said = json.dumps([{key: each[key] for key in ("history", "place")} for each in asked])
    np.savez(path, asked=np.frombuffer(said.encode(), np.uint8), **arrays)


def comes_back(config: Any, workdir: Path, release: Path) -> dict[str, int]:
    """Of the leaves that the run (or, where it has none, the starter) stores: how many, and how many of them `release` gives
    back bit for bit.
    """
    from converters.release import import_run
    from empatheia_jax import weights
    from empatheia_jax.runs import checkpoint
    from empatheia_jax.runs.run import Run

    run, kept = Run(workdir), {}
    for stage in run.trained_stages():
        kept |= checkpoint.load_trainable(run.stage_folder(stage))
    kept = kept or weights.open_start(config.start).leaves()
    found = import_run.read(release)
    same = sum(path in found and found[path].tobytes() == np.asarray(value).tobytes() for path, value in kept.items())
    return {"leaves": len(kept), "bit_identical": same}


def goes_on(config: Any, workdir: Path, release: Path, folder: Path) -> dict[str, Any]:
    """The next losses of a training that goes on from a run (or from the starter), and of one that goes on from its release.

    parameters: how many are trained on; bit_identical: how many of them are equal after the steps.
    """
    import jax

    from converters.convert import to_weights
    from converters.registry import find_conversion
    from converters.release import import_run
    from data_pipeline import loader
    from empatheia_jax import assemble
    from empatheia_jax.parallel.mesh import batch_part, local_mesh
    from empatheia_jax.runs.run import Run
    from empatheia_jax.training import partition, schedule, stages

    run, mesh = Run(workdir), local_mesh(1, 1, 1)
    stage = "joint" if run.trained_stages() else "coe"
    small = dataclasses.replace(config[stage], batch=EXAMPLES, accumulation=1)
    data = dataclasses.replace(config.data, path="debug", workers=0)
    config = dataclasses.replace(config, **{stage: small}, data=data)
    if run.trained_stages():
        first = second = config
        again = import_run.run(release, folder / "run-of-the-release")
    else:
        place = to_weights(find_conversion("empatheia"), release, folder / "of-the-release", overwrite=True)
        networks = dataclasses.replace(config.networks, adapter=str(place.absolute()))
        first, second, again = config, dataclasses.replace(config, networks=networks, start=""), run
    step, batches, found = None, [], []
    for each, source in ((first, run), (second, again)):
        assembly = assemble.empatheia(each, mesh)
        source.load_into(assembly.model)
        cut = partition.split(assembly.model, stages.TRAINABLE[stage])
        if step is None:
            step = schedule.build_step(config, stage, cut, mesh)
            stream = loader.make(config, stage, "train", assembly.tokenizer, assembly.widths, batch_part(mesh))
            batches = [step.place_batch(next(stream)) for _ in range(STEPS)]
        state, frozen, losses = step.init(cut.trainable, config.seed), step.place_frozen(cut.frozen), []
        for batch in batches:
            state, metrics = step(state, frozen, batch)
            losses.append(float(metrics["loss"]))
        found.append((losses, jax.device_get(state.trainable)))
        del assembly, cut, state, frozen
    (losses, trained), (others, again_trained) = found
    same = sum(trained[path].tobytes() == again_trained[path].tobytes() for path in trained)
    said = {"stage": stage, "losses": losses, "losses_from_the_release": others}
    return {**said, "parameters": len(trained), "bit_identical": same}


# ------------------------------------------------------------------------------------------------ in PyTorch


def _features(stored: Any, asked: list[dict[str, Any]], number: int, kind: str) -> dict[int, np.ndarray]:
    """{place in the history: features} of one question."""
    name = f"{number}.features.{kind}"
    return {asked[number]["place"]: stored[name]} if name in stored else {}


def compare(release: Path, base: Path, path: Path) -> dict[str, Any]:
    """Answers the questions of `path` with the release in PyTorch: how far each of its tensors lies from ours."""
    import torch
    from transformers import AutoModel, AutoProcessor

    torch.set_num_threads(1)  # on busy cores its threads wait for each other, at full load
    stored = np.load(path)
    asked = json.loads(stored["asked"].tobytes())
    model = AutoModel.from_pretrained(release, trust_remote_code=True, base=str(base))
    processor = AutoProcessor.from_pretrained(release, trust_remote_code=True)
    worst: dict[str, float] = {}
    equal = {"prompt": 0, "tokens": 0, "classes": 0}
    for first in range(0, len(asked), TOGETHER):
        numbers = range(first, min(first + TOGETHER, len(asked)))
        given = {kind: [_features(stored, asked, number, kind) for number in numbers] for kind in ("speech", "video")}
        inputs = processor([asked[number]["history"] for number in numbers], [LISTENER] * len(numbers), **given)
        reply = model.generate(**inputs, processor=processor)
        with torch.no_grad():
            style = model.style(reply.speech_states, reply.video_states, reply.state_lengths)
            found = {
                "response_states": reply.response_states,
                "signal_states": torch.cat([reply.speech_states, reply.video_states], 1),
                "speech_style": style.speech,
                "video_style": style.video,
                "emotion": style.emotion,
                "profile": style.profile,
                "speech_content": model.speech_content(reply.response_states, reply.response_lengths, PHONEMES),
                "video_content": model.video_content(reply.response_states, reply.response_lengths, FRAMES),
                **{f"logits_{task}": value for task, value in style.logits.items()},
            }
        for row, number in enumerate(numbers):
            for name, value in found.items():
                ours = stored[f"{number}.{name}"]
                far = float(np.abs(value[row : row + 1].numpy() - ours).max())
                if name in STATES:
                    far /= max(1.0, float(np.abs(ours).max()))
                worst[name] = max(worst.get(name, 0.0), far)
            prompt = inputs["input_ids"][row][inputs["attention_mask"][row] > 0].tolist()
            equal["prompt"] += prompt == stored[f"{number}.prompt"].tolist()
            equal["tokens"] += reply.tokens[row] == stored[f"{number}.tokens"].tolist()
            equal["classes"] += all(
                int(value[row].argmax()) == int(stored[f"{number}.logits_{task}"].argmax())
                for task, value in style.logits.items()
            )
        print(f"answered {numbers[-1] + 1} of {len(asked)} in PyTorch: {equal}", file=sys.stderr, flush=True)
    return {"prompts": len(asked), "equal": equal, "worst": worst, "jax_imported": "jax" in sys.modules}


def passes(found: dict[str, Any]) -> bool:
    """Whether everything is equal, within the tolerance for what is computed in float32."""
    exact = all(count == found["prompts"] for count in found["equal"].values())
    return exact and max(found["worst"].values()) <= TOLERANCE and not found["jax_imported"]


def in_a_fresh_process(release: Path, base: Path, path: Path) -> dict[str, Any]:
    """`compare` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.release_parity", "--compare", str(release), str(base), str(path)]
    own = {**os.environ, "HF_MODULES_CACHE": str(path.parent / "modules")}  # the release's code is copied there
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, stdin=subprocess.DEVNULL, env=own)
    return json.loads(done.stdout.splitlines()[-1])


# ------------------------------------------------------------------------------------------------ the command


def configuration(weights_folder: Path, workdir: Path) -> Any:
    """The config of a run, or the quickstart's with the starter where there is no run; greedy."""
    from configs import quickstart
    from empatheia_jax.runs import fit
    from empatheia_jax.settings import resolve

    values = quickstart.get_config()
    values.networks.weights_dir = str(weights_folder)
    config = fit.as_trained(resolve(values), workdir, ("networks.weights_dir",))
    return dataclasses.replace(config, decoding=dataclasses.replace(config.decoding, temperature=0.0))


def base_folder(config: Any, output: Path) -> Path:
    """The frozen base as transformers reads it."""
    from converters.convert import to_release
    from converters.registry import find_conversion
    from empatheia_jax import requirements, weights

    if not output.exists():
        source = requirements.folder(config, "llm")
        to_release(find_conversion(weights.describe(source)["provenance"]["source"]), source, output)
    return output


def main() -> int:
    parser = argparse.ArgumentParser("benchmarks.release_parity")
    parser.add_argument("--compare", nargs=3, type=Path, help=argparse.SUPPRESS)
    parser.add_argument(
        "--weights", type=Path, default=Path("weights"), help="the folder of smollm2-135m-instruct and kokoro"
    )
    parser.add_argument("--workdir", type=Path, help="a trained run (default: the starter alone)")
    parser.add_argument("--release", type=Path, help="its release (default: it is exported)")
    parser.add_argument("--folder", type=Path, required=True, help="where to work")
    parser.add_argument("--prompts", type=int, default=20)
    if "--compare" in sys.argv:  # the process without JAX
        release, base, path = map(Path, sys.argv[sys.argv.index("--compare") + 1 :])
        print(json.dumps(compare(release, base, path)))
        return 0
    options = parser.parse_args()
    from converters.release import export
    from empatheia_jax import assemble

    options.folder.mkdir(parents=True, exist_ok=True)
    workdir = options.workdir or options.folder / "no-run"
    config = configuration(options.weights, workdir)
    release = options.release or options.folder / "release"
    if not release.exists():
        export.run(config, workdir, release, "")
    sizes = assemble.widths(config)
    asked = questions(options.prompts, {"speech": sizes.speech, "video": sizes.video})
    began = time.monotonic()
    save(options.folder / "answers.npz", asked, answer_here(config, workdir, asked))
    here = time.monotonic() - began
    base = base_folder(config, options.folder / "base")
    found = in_a_fresh_process(release, base, options.folder / "answers.npz")
    print(json.dumps(found), file=sys.stderr, flush=True)
    back, then = comes_back(config, workdir, release), goes_on(config, workdir, release, options.folder)
    done = passes(found) and back["leaves"] == back["bit_identical"]
    done = done and then["losses"] == then["losses_from_the_release"] and then["parameters"] == then["bit_identical"]
    found |= {"seconds_here": round(here, 1), "comes_back": back, "goes_on": then, "passes": done}
    print(json.dumps(found, indent=1))
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
