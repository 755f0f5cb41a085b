"""Whether the original StyleTTS2 and DreamTalk repositories load our files strictly.

    python -m benchmarks.original_generators --styletts2=CHECKOUT --dreamtalk=CHECKOUT --parity=PARITY --folder=out/originals

Needs both repositories (yl4579/StyleTTS2, ali-vilab/dreamtalk) and their packages munch, einops, einops-exts, yacs, torchaudio.
Seeded weights of every network go through a weights folder of ours and out again in the originals' files; with `--kokoro=FOLDER`
Kokoro's weights do, too. Every `load_state_dict` is strict.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
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
_DREAMTALK = """
import os, sys
sys.path[:] = [sys.argv[1]] + [path for path in sys.path if not os.path.isdir(path + "/empatheia_jax")]
import torch
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


def seeded(parity: Path, folder: Path) -> tuple[Path, Path]:
    """Weights folders of StyleTTS2 (every network, LibriTTS configuration) and DreamTalk with the seeded weights."""
    import numpy as np

    from converters import interpreter
    from converters.parity.networks.styletts2.comparison import published_config, state_dict
    from converters.parity.seeded import seeded_state_dict
    from converters.registry import find_conversion
    from converters.tables import dreamtalk, styletts2
    from empatheia_jax import weights
    from empatheia_jax.dreamtalk import released
    from empatheia_jax.dreamtalk.model import KIND, DreamTalkConfig
    from empatheia_jax.styletts2.config import NETWORKS

    config = published_config("libritts")
    state = {
        f"net.{name}.{key}": value
        for name in NETWORKS
        for key, value in state_dict(parity / "styletts2", name, "libritts", 0).items()
    }
    conversion = find_conversion("styletts2")
    flat = interpreter.load(state, styletts2.table(config), conversion.abstract(config))
    voice = weights.save(folder / "styletts2-weights", flat, config, "styletts2", {"source": "seeded"})
    values = DreamTalkConfig(None, released.DENOISER, released.RENDERER, released.STILL_POSE)
    state = {}
    for part in ("denoiser", "renderer"):
        found = seeded_state_dict(json.loads((parity / "dreamtalk" / f"{part}.manifest.json").read_text()))
        if part == "denoiser":
            found |= dict(np.load(parity / "dreamtalk" / "denoiser_buffers.npz"))
        state |= {f"{part}/{key}": value for key, value in found.items()}
    flat = interpreter.load(state, dreamtalk.whole(values), find_conversion("dreamtalk").abstract(values))
    face = weights.save(folder / "dreamtalk-weights", flat, values, KIND, {"source": "seeded"})
    return voice, face


def main() -> int:
    parser = argparse.ArgumentParser("benchmarks.original_generators")
    parser.add_argument("--styletts2", type=Path, required=True)
    parser.add_argument("--dreamtalk", type=Path, required=True)
    parser.add_argument("--parity", type=Path, required=True)
    parser.add_argument("--kokoro", type=Path, help="weights folder")
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    from converters.release import generators
    from empatheia_jax.styletts2.config import NETWORKS, SYNTHESIS

    voice, face = seeded(options.parity, options.folder)
    jobs = [
        (_STYLETTS2, options.styletts2, generators.write(voice, options.folder / "speech"), ",".join(NETWORKS)),
        (_DREAMTALK, options.dreamtalk, generators.write(face, options.folder / "face"), ""),
    ]
    if options.kokoro is not None:
        folder = generators.write(options.kokoro, options.folder / "kokoro")
        jobs.append((_STYLETTS2, options.styletts2, folder, ",".join(n for n in SYNTHESIS if n != "bert")))
    for program, repository, folder, names in jobs:
        # From the repository's folder: it has a package `configs` as we do.
        command = [sys.executable, "-c", program, str(repository.resolve()), str(folder.resolve()), names]
        subprocess.run(command, check=True, cwd=repository)
    return 0


if __name__ == "__main__":
    sys.exit(main())
