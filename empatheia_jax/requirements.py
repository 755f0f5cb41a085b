"""What a run needs beside its config: weights folders and a data set, and the command that gets each of them.

Nothing is loaded here; `assemble` builds the networks.
"""

from __future__ import annotations

from pathlib import Path

from empatheia_jax import weights
from empatheia_jax.errors import UserError
from empatheia_jax.settings import Experiment

MADE_UP = ("debug", "debug-chatglm3", "debug-flan-t5")
"""Names of networks that need no weights folder: tiny ones with made-up weights (`tiny`)."""
NETWORKS = {
    "llm": "the language model",
    "speech_encoder": "the speech encoder",
    "video_encoder": "the video encoder",
    "tts": "the speech generator",
    "talking_head": "the talking-head generator",
}
COMMANDS = {
    "smollm2-135m-instruct": "python -m converters.convert --source=smollm2 --output=weights/smollm2-135m-instruct",
    "kokoro": "python -m converters.convert --source=kokoro --output=weights/kokoro",
    "toy-hubert": "python -m empatheia_jax.training.towers --data=data/toy --output=weights",
    "toy-clip": "python -m empatheia_jax.training.towers --data=data/toy --output=weights",
    "drawn-face": "python -m empatheia_jax.training.drawn_face.export --output=weights/drawn-face",
    "styletts2-libritts": "python -m converters.convert --source=styletts2 --input=epochs_2nd_00020.pth "
    "--output=weights/styletts2-libritts (config.yml beside the checkpoint; see yl4579/StyleTTS2)",
    "dreamtalk": "python -m converters.convert --source=dreamtalk --input=FOLDER --output=weights/dreamtalk "
    "(the checkpoint is given out by its authors on request)",
}


def folder(config: Experiment, network: str) -> Path:
    """The weights folder of `config.networks.<network>`: below `weights_dir`, else among those that ship with the package."""
    name = config.networks[network]
    shipped = weights.SHIPPED / name
    own = Path(config.networks.weights_dir) / name
    return shipped if not own.exists() and (shipped / weights.CONFIG_FILE).is_file() else own


def is_debug(config: Experiment, network: str = "llm") -> bool:
    """Whether that network is a tiny made-up one."""
    return config.networks[network] in MADE_UP


def missing(config: Experiment, *, networks=tuple(NETWORKS), data: bool = True) -> list[str]:
    """One line per missing thing, with the command that gets it; empty when a run can start."""
    lines = []
    for network in networks:
        name, where = config.networks[network], folder(config, network)
        if is_debug(config, network) or (where / weights.CONFIG_FILE).is_file():
            continue
        command = COMMANDS.get(name, f"python -m converters.fetch {name} --convert")
        line = f"{NETWORKS[network]} {name} is missing (no {where}); get it with `{command}`"
        if line not in lines:
            lines.append(line)
    if data and config.data.path != "debug" and not Path(config.data.path).is_dir():
        if "toy" in config.data.path:
            command = f"python -m data_pipeline.toy --output={config.data.path}"
        else:
            command = "https://AvaMERG.github.io: ask its authors for the data set, then point --config.data.path at it"
        lines.append(f"the data set is missing (no {config.data.path}); get it with `{command}`")
    return lines


def require(config: Experiment, **what) -> None:
    """Raises `UserError` with every line of `missing`."""
    if lines := missing(config, **what):
        raise UserError.of(lines)
