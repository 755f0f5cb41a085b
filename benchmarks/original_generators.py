"""Whether the original PyTorch modules of StyleTTS2, Kokoro and DreamTalk load our files strictly.

    python -m benchmarks.original_generators --parity=PARITY --folder=out/originals --styletts2=CHECKOUT
    python -m benchmarks.original_generators --parity=PARITY --folder=out/originals --dreamtalk=CHECKOUT
    python -m benchmarks.original_generators --parity=PARITY --folder=out/originals --kokoro=weights/kokoro

Needs what it is told of: a clone of yl4579/StyleTTS2 (and the packages munch, einops, einops-exts, torchaudio), a clone of
ali-vilab/dreamtalk (yacs), the package kokoro (`pip install --no-deps kokoro loguru`). Nothing of them is copied into this
repository. Seeded weights of every network, in both published configurations of StyleTTS2, go through a weights folder of
ours and out again in the originals' files; Kokoro's real weights do, too, and the original gives the reference's durations
with them. Every `load_state_dict` is strict.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_STYLETTS2 = """
import os, sys
sys.path[:] = [sys.argv[1]] + [path for path in sys.path if not os.path.isdir(path + "/empatheia_jax")]
import torch, yaml
from munch import Munch, munchify
import models
from transformers import AlbertConfig, AlbertModel

folder, known = sys.argv[2], sys.argv[3].split(",")
args = munchify(yaml.safe_load(open(folder + "/config.yml"))["model_params"])
plbert = yaml.safe_load(open(folder + "/plbert_config.yml"))["model_params"]
bert = AlbertModel(AlbertConfig(**plbert))
asr = {"input_dim": 80, "hidden_dim": 256, "n_token": args.n_token, "token_embedding_dim": 512, "n_layers": 6}
nets = models.build_model(args, models.ASRCNN(**asr), models.JDCNet(num_class=1, seq_len=192), bert)
state = torch.load(folder + "/epochs_2nd_exported.pth", weights_only=True)["net"]
for name in known:
    tensors = {key.removeprefix("module."): value for key, value in state[name].items()}
    nets[name].load_state_dict(tensors, strict=True)
print("strictly loaded:", ", ".join(known))
"""
_KOKORO = """
import importlib.util, sys, types
import numpy as np, torch, yaml

# The package's own start imports a phonemizer with its models; the network alone needs none of it.
package = types.ModuleType("kokoro")
package.__path__ = list(importlib.util.find_spec("kokoro").submodule_search_locations)
sys.modules["kokoro"] = package
from kokoro.model import KModel

folder, reference = sys.argv[1:3]
own = yaml.safe_load(open(folder + "/config.yml"))["model_params"]
bert = yaml.safe_load(open(folder + "/plbert_config.yml"))["model_params"]
config = {key: own[key] for key in ("n_token", "hidden_dim", "style_dim", "n_layer", "max_dur", "dropout", "n_mels")}
config |= {"vocab": {}, "text_encoder_kernel_size": 5, "plbert": {k: v for k, v in bert.items() if k != "vocab_size"}}
config["istftnet"] = {key: value for key, value in own["decoder"].items() if key != "type"}
plain, loaded = torch.nn.Module.load_state_dict, {}

def strictly(self, state, strict=True, assign=False):  # the original falls back on strict=False
    found = plain(self, state, strict=False, assign=assign)
    # Nothing reads BERT's pooler. Scale 1 and shift 0 of the instance norms are there for an exporter's sake.
    idle = {f"{n}.{p}" for n, m in self.named_modules() if isinstance(m, torch.nn.InstanceNorm1d) for p in ("weight", "bias")}
    lost = set(found.missing_keys) - idle - {"pooler.weight", "pooler.bias"}
    if lost or found.unexpected_keys:
        raise RuntimeError(f"missing {sorted(lost)}, unexpected {found.unexpected_keys}")
    loaded[type(self).__name__] = len(state)
    return found

torch.nn.Module.load_state_dict = strictly
torch.save(torch.load(folder + "/epochs_2nd_exported.pth", weights_only=True)["net"], folder + "/kokoro.pth")
model = KModel("ours", config, folder + "/kokoro.pth").eval()
stored = np.load(reference)
for voice in ("af_heart", "am_michael"):
    tokens, style = (torch.from_numpy(stored[f"{voice}.{name}"]) for name in ("tokens", "style"))
    audio, durations = model.forward_with_tokens(tokens, style)
    if durations.tolist() != stored[f"{voice}.float_dur"].tolist():
        raise SystemExit(f"{voice}: other durations than the reference")
print("strictly loaded:", ", ".join(f"{name} ({count} tensors)" for name, count in loaded.items()), "and spoken")
"""
_DREAMTALK = """
import importlib.util, os, sys, types
sys.path[:] = [sys.argv[1]] + [path for path in sys.path if not os.path.isdir(path + "/empatheia_jax")]
import torch

# Its helpers for photographs and films import these at their top; the networks use none of them.
for name in ("dlib", "cv2", "torchvision"):
    if importlib.util.find_spec(name) is None:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name + ".transforms"] = sys.modules[name].transforms = types.ModuleType("transforms")
from configs.default import get_cfg_defaults
from core.networks.diffusion_net import DiffusionNet
from core.networks.diffusion_util import NoisePredictor, VarianceSchedule

cfg, folder = get_cfg_defaults(), sys.argv[2]
schedule = cfg.DIFFUSION.SCHEDULE
schedule = VarianceSchedule(schedule.NUM_STEPS, schedule.BETA_1, schedule.BETA_T, schedule.MODE)
net = DiffusionNet(cfg=cfg, net=NoisePredictor(cfg), var_sched=schedule)
state = torch.load(folder + "/denoising_network.pth", weights_only=True)["model_state_dict"]
net.load_state_dict({key[9:]: value for key, value in state.items() if key[:9] == "diff_net."}, strict=True)

import yaml
from generators.face_model import FaceGenerator

conf = yaml.safe_load(open(sys.argv[1] + "/generators/renderer_conf.yaml"))
generator = FaceGenerator(**conf)
generator.load_state_dict(torch.load(folder + "/renderer.pt", weights_only=True)["net_G_ema"], strict=True)
print("strictly loaded: denoiser, renderer")
"""


def styletts2(parity: Path, name: str, folder: Path) -> Path:
    """The original's files of all its networks with the seeded weights; name: "libritts" or "ljspeech"."""
    from converters import interpreter
    from converters.parity.networks.styletts2.comparison import published_config, state_dict
    from converters.registry import find_conversion
    from converters.release import generators
    from converters.tables import styletts2_networks as tables
    from empatheia_jax import weights
    from empatheia_jax.styletts2.config import NETWORKS

    config = published_config(name)
    state = {
        f"net.{network}.{key}": value
        for network in NETWORKS
        for key, value in state_dict(parity / "styletts2", network, name, 0).items()
    }
    flat = interpreter.load(state, tables.table(config), find_conversion("styletts2").abstract(config))
    ours = weights.save(folder / f"{name}-weights", flat, config, "styletts2", {"source": "seeded"})
    return generators.write(ours, folder / name)


def dreamtalk(parity: Path, folder: Path) -> Path:
    """The original's files of denoiser and renderer with the seeded weights."""
    import numpy as np

    from converters import interpreter
    from converters.parity.seeded import seeded_state_dict
    from converters.registry import find_conversion
    from converters.release import generators
    from converters.tables import dreamtalk as tables
    from empatheia_jax import weights
    from empatheia_jax.dreamtalk import released
    from empatheia_jax.dreamtalk.model import KIND, DreamTalkConfig

    values = DreamTalkConfig(None, released.DENOISER, released.RENDERER, released.STILL_POSE)
    state = {}
    for part in ("denoiser", "renderer"):
        found = seeded_state_dict(json.loads((parity / "dreamtalk" / f"{part}.manifest.json").read_text()))
        if part == "denoiser":
            found |= dict(np.load(parity / "dreamtalk" / "denoiser_buffers.npz"))
        state |= {f"{part}/{key}": value for key, value in found.items()}
    flat = interpreter.load(state, tables.whole(values), find_conversion("dreamtalk").abstract(values))
    ours = weights.save(folder / "dreamtalk-weights", flat, values, KIND, {"source": "seeded"})
    return generators.write(ours, folder / "dreamtalk")


def _run(program: str, *arguments: str | Path, cwd: Path | None = None) -> str:
    """What a program prints, in a process of its own. Raises CalledProcessError where the original refuses our files."""
    command = [sys.executable, "-c", program, *(str(each) for each in arguments)]
    done = subprocess.run(command, check=True, cwd=cwd, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()[-1]


def load_in_styletts2(checkout: Path, files: Path, networks: Sequence[str]) -> str:
    """The modules of yl4579/StyleTTS2 load these networks strictly."""
    # From the repository's folder: it has a package `configs` as we do.
    return _run(_STYLETTS2, checkout.resolve(), files.resolve(), ",".join(networks), cwd=checkout)


def load_in_dreamtalk(checkout: Path, files: Path) -> str:
    """The modules of ali-vilab/dreamtalk load denoiser and renderer strictly."""
    return _run(_DREAMTALK, checkout.resolve(), files.resolve(), cwd=checkout)


def load_in_kokoro(files: Path, reference: Path) -> str:
    """hexgrad/kokoro loads its networks strictly and gives the durations of `kokoro_ref.npz`."""
    return _run(_KOKORO, files.resolve(), reference.resolve())


def main() -> int:
    parser = argparse.ArgumentParser("benchmarks.original_generators")
    parser.add_argument("--parity", type=Path, required=True, help="the reference vectors")
    parser.add_argument("--styletts2", type=Path, help="clone of yl4579/StyleTTS2")
    parser.add_argument("--dreamtalk", type=Path, help="clone of ali-vilab/dreamtalk")
    parser.add_argument("--kokoro", type=Path, help="weights folder; needs the package kokoro")
    parser.add_argument("--folder", type=Path, required=True, help="where to work")
    options = parser.parse_args()
    from converters.release import generators
    from empatheia_jax.styletts2.config import NETWORKS, SYNTHESIS

    if options.styletts2 is not None:
        for name in ("libritts", "ljspeech"):
            files = styletts2(options.parity, name, options.folder)
            print(f"StyleTTS2, {name}:", load_in_styletts2(options.styletts2, files, NETWORKS), flush=True)
    if options.kokoro is not None:
        files = generators.write(options.kokoro, options.folder / "kokoro")
        reference = options.parity / "kokoro" / "kokoro_ref.npz"
        print("Kokoro:", load_in_kokoro(files, reference), flush=True)
        if options.styletts2 is not None:
            known = [name for name in SYNTHESIS if name != "bert"]  # Kokoro's has no pooler
            print("StyleTTS2, Kokoro's weights:", load_in_styletts2(options.styletts2, files, known), flush=True)
    if options.dreamtalk is not None:
        files = dreamtalk(options.parity, options.folder)
        print("DreamTalk:", load_in_dreamtalk(options.dreamtalk, files), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
