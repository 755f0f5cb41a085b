"""What a run needs beside its config: weights, a data set, faces, packages, room on disk; and the command that gets each.

Nothing is loaded here; `assemble` builds the networks. Every line names the key of the config that asks for what is missing.
What the stages need of the data set and the feature cache is in `data_pipeline.requirements`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from empatheia_jax import tiny, weights
from empatheia_jax.conversation import labels
from empatheia_jax.conversation.expression import NEUTRAL
from empatheia_jax.dreamtalk import photo, portrait
from empatheia_jax.encoders.towers import wrong_layer
from empatheia_jax.errors import UserError
from empatheia_jax.files import named, read_json_object
from empatheia_jax.media.audio import read_audio
from empatheia_jax.media.image import read_portrait
from empatheia_jax.parallel.mesh import mesh_shape
from empatheia_jax.settings import Experiment
from empatheia_jax.styletts2 import phonemes
from empatheia_jax.styletts2.joins import SAMPLE_RATE
from empatheia_jax.styletts2.reference import prepare_reference

PICTURES = (".png", ".jpg", ".jpeg")
PROFILES = 24
"""Ages × genders × tones: a folder of faces may have a portrait for each."""

MADE_UP = ("debug", "debug-chatglm3", "debug-flan-t5")
"""Names of networks that need no weights folder: tiny ones with made-up weights (`tiny`)."""
NETWORKS = {
    "llm": "the language model",
    "speech_encoder": "the speech encoder",
    "video_encoder": "the video encoder",
    "tts": "the speech generator",
    "talking_head": "the talking-head generator",
}
FETCHED = (
    "vicuna-7b-v1.5",
    "chatglm3-6b",
    "flan-t5-xxl",
    "hubert-base-ls960",
    "hubert-large-ls960-ft",
    "clip-vit-large-patch14-336",
    "wav2vec2-large-xlsr-53-english",
)
"""Releases that `converters.fetch` brings and converts."""
COMMANDS = {
    "smollm2-135m-instruct": "python -m converters.convert --source=smollm2 --output={folder}",
    "kokoro": "python -m converters.convert --source=kokoro --output={folder}",
    "toy-hubert": "python -m empatheia_jax.training.towers --data=data/toy --output={root}",
    "toy-clip": "python -m empatheia_jax.training.towers --data=data/toy --output={root}",
    "drawn-face": "python -m empatheia_jax.training.drawn_face.export --output={folder}",
    "styletts2-libritts": "python -m converters.convert --source=styletts2 --input=epochs_2nd_00020.pth --output={folder}",
    "dreamtalk": "python -m converters.convert --source=dreamtalk --input=FOLDER --output={folder}",
}
"""What makes the weights folder of a name; of every other name, a conversion of the user's own checkpoint."""
REMARKS = {
    "styletts2-libritts": "its config.yml lies beside the checkpoint; see yl4579/StyleTTS2",
    "dreamtalk": "the checkpoint is given out by its authors on request",
}


def folder(config: Experiment, network: str) -> Path:
    """The weights folder of `config.networks.<network>`: below `weights_dir`, else among those that ship with the package."""
    name = config.networks[network]
    shipped = weights.SHIPPED / name
    own = Path(config.networks.weights_dir) / name
    return shipped if not own.exists() and (shipped / weights.CONFIG_FILE).is_file() else own


def adapter_folder(config: Experiment) -> Path:
    """The weights folder of `config.networks.adapter`: below `weights_dir`, else the path itself."""
    own = Path(config.networks.weights_dir) / config.networks.adapter
    return own if own.exists() else Path(config.networks.adapter)


def is_debug(config: Experiment, network: str = "llm") -> bool:
    """Whether that network is a tiny made-up one."""
    return config.networks[network] in MADE_UP


def command_for(where: Path) -> str:
    """The command that makes the weights folder `where`, as a shell takes it."""
    if where.name in FETCHED:  # it takes no path: its weights folder lies below the root
        root = "" if where.parent == weights.root() else f"{weights.ROOT_VARIABLE}={shlex.quote(str(where.parent))} "
        return f"{root}python -m converters.fetch {where.name} --convert"
    form = COMMANDS.get(where.name, "python -m converters.convert --input=CHECKPOINT --output={folder}")
    return form.format(folder=shlex.quote(str(where)), root=shlex.quote(str(where.parent)))


def missing(config: Experiment, *, networks: Sequence[str] = tuple(NETWORKS), data: bool = True) -> list[str]:
    """One line per missing folder, with its key and the command that gets it; empty when nothing is missing. `data`: for a
    training, which also needs its data set and one thing to begin from.
    """
    lines = []
    for network in networks:
        name, where = config.networks[network], folder(config, network)
        if is_debug(config, network) or (where / weights.CONFIG_FILE).is_file():
            continue
        remark = f" ({REMARKS[name]})" if name in REMARKS else ""
        lines.append(
            f"networks.{network}={name}: {NETWORKS[network]} is missing (no {where}); get it with `{command_for(where)}`{remark}"
        )
    if config.networks.adapter and not (adapter_folder(config) / weights.CONFIG_FILE).is_file():
        lines.append(
            f"networks.adapter={config.networks.adapter}: no weights folder of an adapter there; make it with `python -m "
            f"converters.convert --source=peft --base={shlex.quote(str(folder(config, 'llm')))} --input=ADAPTER "
            f"--output={shlex.quote(str(adapter_folder(config)))}`"
        )
    if "video_encoder" in networks and "video" in config.data.modalities:
        lines += _video_layer(config)
    if config.start:
        try:
            weights.open_start(config.start)
        except UserError as error:
            lines.append(str(error))
    if data and config.start and config.networks.adapter:
        lines.append(
            f"start={config.start} and networks.adapter={config.networks.adapter} both say what the training begins from, and "
            'the first would replace the second; leave networks.adapter out, or begin from it alone with --config.start=""'
        )
    if data and config.data.path != "debug" and not Path(config.data.path).is_dir():
        if "toy" in config.data.path:
            command = f"`python -m data_pipeline.toy --output={shlex.quote(config.data.path)}`"
        else:
            command = "https://AvaMERG.github.io: ask its authors for the data set, then point --config.data.path at it"
        lines.append(f"data.path={config.data.path}: the data set is missing (no such folder); get it with {command}")
    return lines


def _video_layer(config: Experiment) -> list[str]:
    where = folder(config, "video_encoder") / weights.CONFIG_FILE
    if is_debug(config, "video_encoder"):
        layers = tiny.CLIP.layers
    else:
        try:
            layers = weights.describe(where.parent)["config"]["layers"]
        except (UserError, KeyError, TypeError):  # missing or damaged, which is said where it is read
            return []
    wrong = wrong_layer(config.networks.video_layer, layers) if isinstance(layers, int) else ""
    return [wrong] if wrong else []


def require(config: Experiment, *, networks: Sequence[str] = tuple(NETWORKS), data: bool = True) -> None:
    """Raises `UserError` with every line of `missing`."""
    if lines := missing(config, networks=networks, data=data):
        raise UserError.of(lines)


def unwritable(folder: Path, key: str) -> list[str]:
    """A line where nothing can be written below a folder, which need not exist yet. `key`: what named it, "--workdir" say."""
    try:
        existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        if not existing.is_dir():
            return [f"{key}={folder}: {existing} is a file; expected a folder"]
        # The longest name that a run puts into its folder has about 100 characters, in four folders below each other.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.stat(folder / ("n" * 100) / ("n" * 100))
        with tempfile.TemporaryFile(dir=existing):
            return []
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        name = str(folder) if len(str(folder)) < 100 else f"{str(folder)[:100]}…"
        return [f"{key}={name}: nothing can be written there ({reason}); choose another folder"]


def writable(folder: str | os.PathLike, key: str) -> Path:
    """A folder to write into. Raises `UserError`, before anything is computed, where that cannot be done."""
    if lines := unwritable(Path(folder), key):
        raise UserError.of(lines)
    return Path(folder)


def batches(config: Experiment, devices: int) -> list[str]:
    """A line for each stage of the schedule whose batch does not lie evenly on this many devices, or for a mesh that does not."""
    try:
        data, fsdp, _ = mesh_shape(*config.mesh.sizes, devices)
    except UserError as error:
        return [f"mesh: {error}"]
    lines = []
    for stage in config.schedule:
        shards, batch, accumulation = data * fsdp, config[stage].batch, config[stage].accumulation
        unit = shards * accumulation
        if batch % shards:
            lines.append(
                f"{stage}.batch={batch}: does not divide over data×fsdp = {data}×{fsdp} devices; set "
                f"--config.{stage}.batch={-(-batch // unit) * unit}"
            )
    return lines


def idle_devices(config: Experiment, devices: int) -> list[str]:
    """A line for each stage whose micro-batches do not divide over the devices: every device then computes all of their rows."""
    if batches(config, devices):
        return []
    data, fsdp, _ = mesh_shape(*config.mesh.sizes, devices)
    lines = []
    for stage in config.schedule:
        batch, accumulation = config[stage].batch, config[stage].accumulation
        if batch // accumulation % (data * fsdp):
            lines.append(
                f"{stage}.accumulation={accumulation}: micro-batches of {batch // accumulation} rows do not divide over "
                f"data×fsdp = {data}×{fsdp} devices, so each computes all rows; set --config.{stage}.accumulation="
                f"{max(1, batch // (data * fsdp))} or less, or a larger batch"
            )
    return lines


def device_counts(config: Experiment, counts: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256)) -> list[int]:
    """Those of `counts` devices on which every stage of the schedule can train."""
    return [count for count in counts if not batches(config, count) and not idle_devices(config, count)]


def faces(config: Experiment) -> list[str]:
    """What is wrong with the folder of faces: portraits that cannot be cut out, or style clips that are not there."""
    where = Path(config.networks.faces)
    if config.networks.faces == "drawn":
        return []
    key = f"networks.faces={where}"
    if not where.is_dir():
        return [
            f"{key}: no such folder; put default.png (a frontal portrait) and neutral.mat (a 3DMM style clip) there, or take the "
            "drawn faces: --config.networks.faces=drawn"
        ]
    lines = []
    pictures = [path for path in sorted(where.iterdir()) if path.suffix.lower() in PICTURES]
    own = sum(named(where, [f"{profile}{ending}" for ending in PICTURES]) is not None for profile in range(PROFILES))
    if not any(path.stem.lower() == "default" for path in pictures) and own < PROFILES:
        lines.append(f"{key}: no default.png and {own} of {PROFILES} portraits; add default.png")
    if not any(path.suffix.lower() == ".mat" for path in where.iterdir()):
        lines.append(
            f"{key}: no style clip, so the face speaks in no particular style; add neutral.mat (3DMM coefficients of a speaking "
            "face)"
        )
    for path in pictures:
        try:
            picture = read_portrait(path)
            if picture.shape[0] == picture.shape[1]:
                portrait.prepare(picture, 256, crop=False)
            else:
                photo.prepare(picture, 256, path.name)
        except UserError as error:
            lines.append(f"{key}: {path.name}: {error}")
    return lines


def recordings_of(profile: int) -> list[str]:
    """Names of a profile's reference recording in `networks.voices`, in the order in which they are looked for."""
    return [f"{stem}{ending}" for stem in (profile, "default") for ending in (".wav", ".flac", ".mp3")]


def voices(config: Experiment) -> list[str]:
    """What a reply lacks of voices: reference recordings that are not there or cannot be used, or where weights need them."""
    if not config.networks.voices:
        return _no_voices(config)
    where = Path(config.networks.voices)
    key = f"networks.voices={where}"
    if not where.is_dir():
        return [
            f"{key}: no such folder; put default.wav (some seconds of one person's speech) there, or <profile id>.wav for "
            f"each of the {PROFILES} profiles"
        ]
    found = {profile: named(where, recordings_of(profile)) for profile in range(PROFILES)}
    lines = []
    if lacking := [profile for profile, path in found.items() if path is None]:
        lines.append(
            f"{key}: no default.wav, and no recording for {len(lacking)} of {PROFILES} profiles ({lacking[0]}.wav, say); add "
            "default.wav"
        )
    for path in sorted({path for path in found.values() if path is not None}):
        try:
            prepare_reference(read_audio(path, SAMPLE_RATE))
        except UserError as error:
            lines.append(f"{key}: {path.name}: {error}")
    return lines


def _no_voices(config: Experiment) -> list[str]:
    where = folder(config, "tts")
    if is_debug(config, "tts") or not (where / weights.CONFIG_FILE).is_file() or (where / "voices.npz").is_file():
        return []
    network = read_json_object(where / weights.CONFIG_FILE, "the config of a speech generator").get("config")
    draws = isinstance(network, dict) and not network.get("multispeaker") and "diffusion" in network.get("networks", ())
    trained = any("sac" in config.losses(stage) for stage in config.schedule) or bool(config.start)
    share = config.decoding.style_blend
    if draws or share == 1 or (share is None and trained):
        return []
    return [
        f"networks.tts={config.networks.tts}: these weights have no table of voices, and a reply takes its voice from them "
        "(decoding.style_blend is below 1, or no stage trains L_sac); set --config.networks.voices to a folder of reference "
        "recordings (<profile id>.wav or default.wav)"
    ]


def style_clip(config: Experiment) -> list[str]:
    """A line where the face cannot show what `decoding.style_clip` names."""
    clip, where = config.decoding.style_clip, Path(config.networks.faces)
    if not clip or clip in (*labels.EMOTIONS_7, NEUTRAL):
        return []
    key = f"decoding.style_clip={clip}"
    if config.networks.faces == "drawn":
        return [f"{key}: the drawn faces have no such clip; expected one of {', '.join((*labels.EMOTIONS_7, NEUTRAL))}"]
    if where.is_dir() and named(where, [f"{clip}.mat"]) is None:
        return [f"{key}: networks.faces={where} has no {clip}.mat"]
    return []


def packages(config: Experiment) -> list[str]:
    """What is not installed that the networks need: a phonemizer for the speech generator."""
    makers = (phonemes.Gruut, phonemes.Espeak)
    if is_debug(config, "tts") or any(all(map(importlib.util.find_spec, maker.modules)) for maker in makers):
        return []
    return [f"networks.tts={config.networks.tts}: no phonemizer is installed; run `pip install 'empatheia-jax[demo]'`"]


def disk(config: Experiment, workdir: Path) -> list[str]:
    """A line where the checkpoints of the schedule will not fit on the disk of the run's folder, by an estimate of their size."""
    need = sum(checkpoint_bytes(config, stage) * (config.keep_checkpoints + 1) for stage in config.schedule)
    key = f"keep_checkpoints={config.keep_checkpoints}: the checkpoints"
    return room(need, workdir, key, "keep fewer, or choose another --workdir")


def room(need: int, where: Path, key: str, otherwise: str) -> list[str]:
    """A line where that many bytes are not free on the disk of a folder, which need not exist yet.

    Args:
      need: bytes.
      where: the folder.
      key: what takes them, with the key of the config that says so.
      otherwise: what a user can do beside freeing space.
    """
    existing = next(path for path in (where.absolute(), *where.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    if free >= need:
        return []
    return [
        f"{key} take about {need / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free at {existing}; free some space, {otherwise}"
    ]


def checkpoint_bytes(config: Experiment, stage: str) -> int:
    """About how large one checkpoint of a stage is: what trains in float32, two moments of Adam, and a moving average."""
    bridge, adapters = config.bridge, config.lora
    attention, feed_forward = 4 * bridge.width**2, 2 * bridge.width * bridge.mlp
    block = bridge.layers * ((attention + feed_forward) + (2 * attention + feed_forward))
    pairs = {"all": 1, "modality": 2, "none": 4}[bridge.sharing]
    hidden, layers = (64, 2) if is_debug(config) else (4096, 32)
    parts = {
        "emp": 2 * adapters.rank * hidden * len(adapters.targets) * layers + 100 * hidden,
        "ccl": 2 * block * (bridge.content_kind == "vae") + 4 * hidden * bridge.width,
        "sac": 2 * block * pairs * (bridge.style_kind == "vae") + 2 * hidden * bridge.width,
    }
    copies = 3 + bool(config[stage].ema)
    return 4 * copies * sum(parts[loss] for loss in config.losses(stage))
