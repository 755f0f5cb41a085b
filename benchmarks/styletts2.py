"""Speaking speed of the JAX networks beside the original PyTorch modules, same weights, float32, on CPU.

    git clone https://github.com/yl4579/StyleTTS2
    python -m converters.convert --source=kokoro --output=weights/kokoro
    python -m benchmarks.styletts2 --reference=StyleTTS2 [--phonemes=100] [--threads=1,2] [--repeats=5]

Both sides get Kokoro's weights with weight norm folded, the same tokens, style and durations, and make the same number of
samples; noise is drawn on both. One process per thread count, pinned to that many cores; the two sides take turns. Printed
are the median wall time, the real-time factor (computing time per second of speech; smaller is better), the process's CPU
time, which a shared machine disturbs less, and the roof: the operations that XLA counts in the programs with plain convolutions,
over the rate of one such convolution measured in the same process. (Ours multiply less, `nn.toom_cook`, and may pass it.)
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

RATE = 24000
SENTENCE = "ðə kwˈɪk bɹˈaʊn fˈɑːks dʒˈʌmps ˌoʊvɚ ðə lˈeɪzi dˈɔɡ, ænd wˈɔks slˈoʊli hˈoʊm θɹuː ðə ɹˈeɪn. "


def tokens_of(folder: Path, count: int) -> list[int]:
    """`count` phonemes of one sentence, repeated as needed, with a pad at both ends."""
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))["vocab"]
    ids = [vocabulary[symbol] for symbol in SENTENCE if symbol in vocabulary]
    return [0, *(ids * (count // len(ids) + 1))[:count], 0]


class TorchSide:
    """The original's modules, from a checkout, in inference form."""

    def __init__(self, checkout: Path, parameters: dict, config, threads: int):
        import torch
        from transformers import AlbertConfig, AlbertModel

        torch.set_num_threads(threads)
        self.torch = torch
        models, istftnet = self._import(checkout)
        b = config.bert
        self.nets = {
            "bert": AlbertModel(
                AlbertConfig(
                    vocab_size=b.vocab_size,
                    hidden_size=b.hidden_size,
                    num_attention_heads=b.num_attention_heads,
                    intermediate_size=b.intermediate_size,
                    max_position_embeddings=b.max_position_embeddings,
                    num_hidden_layers=b.num_hidden_layers,
                ),
                add_pooling_layer=False,
            ),
            "bert_encoder": torch.nn.Linear(b.hidden_size, config.hidden_dim),
            "text_encoder": models.TextEncoder(config.hidden_dim, 5, config.n_layer, config.n_token),
            "predictor": models.ProsodyPredictor(config.style_dim, config.hidden_dim, config.n_layer, config.max_dur),
            "decoder": istftnet.Decoder(config.hidden_dim, style_dim=config.style_dim),
        }
        for name, net in self.nets.items():
            for module in net.modules():
                with contextlib.suppress(ValueError):
                    torch.nn.utils.remove_weight_norm(module)
            prefix = f"{name}."
            state = {k.removeprefix(prefix): torch.from_numpy(v) for k, v in parameters.items() if k.startswith(prefix)}
            missing, unexpected = net.load_state_dict(state, strict=False)
            if unexpected or [key for key in missing if "position_ids" not in key]:
                raise SystemExit(f"{name} of {checkout} does not fit the weights: {missing} {unexpected}")
            net.eval()

    @staticmethod
    def _import(checkout: Path):
        """`models` and `Modules.istftnet`; packages that they import but these networks do not use may be absent."""
        unused = ("torchaudio", "torchaudio.functional", "munch", "einops_exts", "librosa")
        for name in [n for n in unused if importlib.util.find_spec(n.split(".")[0]) is None]:
            stub = types.ModuleType(name)
            stub.functional = stub.Munch = stub.rearrange_many = None
            sys.modules[name] = stub
        sys.path.insert(0, str(checkout))
        return importlib.import_module("models"), importlib.import_module("Modules.istftnet")

    def run(self, tokens, style, durations):
        torch, nets = self.torch, self.nets
        with torch.inference_mode():
            tokens = torch.tensor([tokens])
            lengths, mask = torch.tensor([tokens.shape[1]]), torch.zeros(tokens.shape, dtype=torch.bool)
            acoustic, prosodic = torch.from_numpy(style).chunk(2, -1)
            bert = nets["bert"](tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
            d = nets["predictor"].text_encoder(nets["bert_encoder"](bert).transpose(1, 2), prosodic, lengths, mask)
            logits = nets["predictor"].duration_proj(nets["predictor"].lstm(d)[0])
            torch.sigmoid(logits).sum(-1)
            repeats = torch.from_numpy(durations).long()
            en = d.repeat_interleave(repeats, 1).transpose(1, 2)
            f0, energy = nets["predictor"].F0Ntrain(en, prosodic)
            text = nets["text_encoder"](tokens, lengths, mask).repeat_interleave(repeats, 2)
            return nets["decoder"](text, f0, energy, acoustic).numpy()


class JaxSide:
    """Our networks, compiled for the sentence's lengths."""

    def __init__(self, model):
        import jax
        from flax import nnx

        graph, self.state = nnx.split(model)
        size = model.config.style_dim

        @jax.jit
        def encode(state, tokens, lengths, style):
            return nnx.merge(graph, state).encode(tokens, lengths, style[:, size:])

        @jax.jit
        def decode(state, encoded, index, style, key):
            noise = jax.random.normal(key, (1, 600 * len(index), 9))
            return nnx.merge(graph, state).vocode(encoded.text[:, index], encoded.states[:, index], style, noise).wave

        self.encode, self.decode, self.late = encode, decode, model.config.late
        self.key = jax.random.key(0)

    def durations(self, tokens, style):
        import numpy as np

        from empatheia_jax.styletts2.durations import whole_durations

        lengths = np.array([len(tokens)], np.int32)
        return whole_durations(self.encode(self.state, np.array([tokens]), lengths, style).durations[0])

    def run(self, tokens, style, durations):
        import numpy as np

        from empatheia_jax.styletts2.durations import frame_index

        encoded = self.encode(self.state, np.array([tokens]), np.array([len(tokens)], np.int32), style)
        index = frame_index(durations, late=self.late)
        return np.asarray(self.decode(self.state, encoded, index, style, self.key))

    def operations(self, tokens, style, durations) -> float:
        """Floating-point operations that XLA counts in the two programs."""
        import numpy as np

        from empatheia_jax.styletts2.durations import frame_index

        arguments = (self.state, np.array([tokens]), np.array([len(tokens)], np.int32), style)
        total = self.encode.lower(*arguments).compile().cost_analysis()["flops"]
        index = frame_index(durations, late=self.late)
        lowered = self.decode.lower(self.state, self.encode(*arguments), index, style, self.key)
        return total + lowered.compile().cost_analysis()["flops"]


def convolution_rate(repeats: int) -> float:
    """Operations per second of one plain convolution of the decoder's second stage."""
    import jax
    import jax.numpy as jnp

    x, kernel = jnp.ones((1, 16000, 128)), jnp.ones((7, 128, 128))
    run = jax.jit(
        lambda x, k: jax.lax.conv_general_dilated(x, k, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
    )
    run(x, kernel).block_until_ready()
    best = min(measure(lambda: run(x, kernel).block_until_ready())[0] for _ in range(repeats))
    return 2 * 16000 * 128 * 128 * 7 / best


def measure(run: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU) seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def child(options: argparse.Namespace) -> None:
    """Measures at one thread count; prints one JSON line."""
    cores = sorted(os.sched_getaffinity(0))[: options.child]
    os.sched_setaffinity(0, cores)
    import jax
    import numpy as np

    from converters import interpreter
    from converters.tables.styletts2_networks import table
    from empatheia_jax import weights
    from empatheia_jax.nn.platform import target_platform
    from empatheia_jax.styletts2.config import StyleTTS2Config
    from empatheia_jax.styletts2.model import StyleTTS2
    from empatheia_jax.styletts2.weight_norm import fold_weight_norm

    model = weights.restore(options.weights, StyleTTS2, StyleTTS2Config)
    keys = list(json.loads((options.weights / "source_manifest.json").read_text()))
    parameters = dict(interpreter.export(weights.flatten(model), table(model.config), keys))
    with np.load(options.weights / "voices.npz") as voices:
        style = voices[voices.files[0]][options.phonemes - 1].reshape(1, -1)
    tokens = tokens_of(options.weights, options.phonemes)
    ours = JaxSide(fold_weight_norm(model))
    durations = ours.durations(tokens, style)
    with target_platform("gpu"):  # of the definition: what a CPU computes below multiplies less (`nn.toom_cook`)
        operations = JaxSide(model).operations(tokens, style, durations)
    theirs = TorchSide(options.reference, parameters, model.config, options.child)
    sides = {"jax": ours, "pytorch": theirs}
    shapes = {name: side.run(tokens, style, durations).size for name, side in sides.items()}
    assert len(set(shapes.values())) == 1, shapes
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(options.repeats):
        for name, side in sides.items():
            times[name].append(measure(lambda side=side: side.run(tokens, style, durations)))
    seconds = shapes["jax"] / RATE
    roof = operations / convolution_rate(options.repeats)
    result = {"threads": options.child, "speech_s": seconds, "roof_s": roof, "jax_version": jax.__version__}
    for name, pairs in times.items():
        wall, cpu = (statistics.median(column) for column in zip(*pairs))
        result[name] = {"wall_s": wall, "cpu_s": cpu, "rtf": wall / seconds}
    print(json.dumps(result))


def main() -> int:
    parser = argparse.ArgumentParser("benchmarks.styletts2", description="Speaking speed beside PyTorch.")
    parser.add_argument("--reference", type=Path, required=True, help="checkout of yl4579/StyleTTS2")
    parser.add_argument("--weights", type=Path, default=Path("weights/kokoro"))
    parser.add_argument("--phonemes", type=int, default=100)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return 0
    print(
        f"{'threads':>7} {'side':8} {'wall s':>8} {'RTF':>7} {'CPU s':>8}   {options.phonemes} phonemes, float32, CPU"
    )
    for threads in options.threads.split(","):
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.styletts2", *sys.argv[1:], f"--child={threads}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:  # its reason is on stderr already
            return done.returncode
        found = json.loads(done.stdout.splitlines()[-1])
        for side in ("pytorch", "jax"):
            s = found[side]
            print(f"{threads:>7} {side:8} {s['wall_s']:8.3f} {s['rtf']:7.3f} {s['cpu_s']:8.3f}")
        print(f"{threads:>7} {'roof':8} {found['roof_s']:8.3f} {found['roof_s'] / found['speech_s']:7.3f}")
        ratio = found["pytorch"]["wall_s"] / found["jax"]["wall_s"]
        cpu = found["pytorch"]["cpu_s"] / found["jax"]["cpu_s"]
        print(
            f"{threads:>7} {found['speech_s']:.2f} s of speech; PyTorch / JAX: {ratio:.2f} by wall time, {cpu:.2f} by CPU time"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
