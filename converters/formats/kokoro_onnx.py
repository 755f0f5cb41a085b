"""Kokoro-82M's int8 ONNX file as float32 tensors under StyleTTS 2's key names.

Kokoro is StyleTTS 2's text encoder, PL-BERT, prosody predictor and iSTFTNet decoder, trained; its ONNX release was
quantised by onnxruntime: linear layers int8 with a scale per output column, convolutions uint8 per tensor, LSTMs int8 with a
scale per direction, embeddings int8 per tensor. A weight without a name of its own takes it from the path of the node that
consumes it. Weight norm is folded in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import numpy as np

from converters.formats.onnx_file import Graph, Node, read_onnx
from converters.formats.source import Source
from empatheia_jax.errors import UserError

_CONVOLUTIONS = ("ConvInteger", "Conv", "ConvTranspose")
_LSTM_OPS = ("DynamicQuantizeLSTM", "LSTM")


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
        readers[f"weight_ih_l0{suffix}"] = partial(matrix, inputs, direction)
        readers[f"weight_hh_l0{suffix}"] = partial(matrix, recurrent, direction)
        readers[f"bias_ih_l0{suffix}"] = partial(half, direction, 0)
        readers[f"bias_hh_l0{suffix}"] = partial(half, direction, 1)
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
            found[key] = partial(_dequantised, graph, table, scale, zero_point)
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
        graph = read_onnx(data, name)
        try:
            self._readers = tensors(graph)
            manifest = {
                key: {"shape": list(reader().shape), "dtype": "float32"} for key, reader in self._readers.items()
            }
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise UserError(f"{name} is an ONNX model, but not laid out as Kokoro's: {error!r}") from error
        if not any(key.startswith("predictor.") for key in self._readers):
            raise UserError(f"{name} is an ONNX model, but not Kokoro's: it has no prosody predictor")
        super().__init__(name, manifest)

    def read(self, key: str) -> np.ndarray:
        return np.ascontiguousarray(self._readers[key](), np.float32)
