"""Distill-MOS against the same equations in PyTorch, by way of the converter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from converters import convert
from converters.tables import distillmos
from empatheia_jax import weights
from evaluation import distill_mos
from evaluation.distill_mos import DistillMos, DistillMosConfig, Judge

CHANNELS, POSITIONS, WIDTH, HEADS, LAYERS = (4, 4, 6, 6, 8, 8), 8, 16, 8, 2
SAMPLES = 2 * POSITIONS * 160


class Head(torch.nn.Module):
    """What the file calls `transformer_pool_attn`."""

    def __init__(self, features):
        super().__init__()
        self.norm_input, self.norm_trans = torch.nn.BatchNorm1d(features), torch.nn.BatchNorm1d(WIDTH)
        self.transformer = torch.nn.Module()
        self.transformer.norm = torch.nn.BatchNorm1d(features)
        self.transformer.linear_proj = torch.nn.Linear(features, WIDTH)
        self.transformer.position_encoding = torch.nn.Module()
        self.transformer.position_encoding.register_buffer("pe", torch.randn(1, POSITIONS, WIDTH))
        layer = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, batch_first=True)
        self.transformer.transformer_encoder = torch.nn.TransformerEncoder(layer, LAYERS)
        self.pool = torch.nn.Module()
        self.pool.linear1 = torch.nn.Linear(WIDTH, 2 * WIDTH)
        self.pool.linear2, self.pool.linear3 = torch.nn.Linear(2 * WIDTH, 1), torch.nn.Linear(WIDTH, 1)

    def forward(self, x):  # (N, features, T)
        x = self.transformer.norm(self.norm_input(x)).transpose(1, 2)
        x = self.transformer.linear_proj(x) + self.transformer.position_encoding.pe
        x = self.norm_trans(self.transformer.transformer_encoder(x).transpose(1, 2)).transpose(1, 2)
        share = torch.softmax(self.pool.linear2(functional.relu(self.pool.linear1(x))), 1)
        return torch.sigmoid(self.pool.linear3((share * x).sum(1)))[:, 0]


class Original(torch.nn.Module):
    """The network of the released file, in small."""

    def __init__(self):
        super().__init__()
        steps, sizes = [], (2, *CHANNELS)
        for i, (before, after) in enumerate(zip(sizes, sizes[1:])):
            stride = (2 if i else 1, 2 if i == len(CHANNELS) - 1 else 1)
            steps += [torch.nn.Conv2d(before, after, 3, stride, (0, 1)), torch.nn.LeakyReLU(0.1)]
        self.cnn = torch.nn.Module()
        self.cnn.cnn = torch.nn.Sequential(*steps)
        self.transformer_pool_attn = Head(4 * CHANNELS[-1])

    def forward(self, x):
        x = functional.pad(x / (x.abs().amax(1, keepdim=True) + 1e-8), (80, 80), mode="reflect")
        x = torch.stft(x, 320, 160, window=torch.hann_window(320), center=False, return_complex=True)
        x = torch.polar(x.abs() ** 0.3, x.angle())
        x = self.cnn.cnn(torch.view_as_real(x).permute(0, 3, 1, 2))
        return 1 + 4 * self.transformer_pool_attn(x.flatten(1, 2))


@pytest.fixture(scope="module")
def original():
    torch.manual_seed(0)
    made = Original()
    for each in made.modules():
        if isinstance(each, torch.nn.BatchNorm1d):
            each.running_mean.normal_()
            each.running_var.uniform_(0.5, 2)
    with torch.no_grad():
        for each in made.parameters():
            if each.ndim > 1:
                each.mul_(2)  # as PyTorch makes them, the opinion hardly depends on the sound
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def folder(original, tmp_path_factory):
    place = tmp_path_factory.mktemp("distillmos")
    torch.save({"model": original.state_dict(), "step": 7}, place / "distill_mos_v7.pt")
    # The source's name is not given: the file is known by its tensors.
    assert convert.main([f"--input={place}/distill_mos_v7.pt", f"--output={place}/weights"]) == 0
    return place / "weights"


def test_opinions_equal_those_of_the_equations_in_pytorch(original, folder):
    network = weights.restore(folder, DistillMos, DistillMosConfig, kind=distill_mos.KIND)
    assert network.config == DistillMosConfig(CHANNELS, POSITIONS, WIDTH, LAYERS) and network.config.samples == SAMPLES
    judge, rng = Judge(network), np.random.default_rng(1)
    for count in (SAMPLES, SAMPLES - 900, SAMPLES + 1, SAMPLES + 20_000):
        wave = (0.1 * rng.standard_normal(count)).astype(np.float32)
        theirs = original(torch.tensor(np.stack(judge.parts(wave)))).mean()
        assert judge(wave) == pytest.approx(float(theirs), abs=1e-5)
    assert len(judge.parts(np.zeros(SAMPLES + 20_000))) == 3
    assert abs(judge(wave) - judge(np.cumsum(wave))) > 0.01


def test_a_weights_folder_goes_back_to_the_released_file(original, folder, tmp_path):
    (conversion,) = distillmos.CONVERSIONS
    convert.to_release(conversion, folder, tmp_path / "out")
    found = torch.load(tmp_path / "out" / "distill_mos_v7.pt", weights_only=True)["model"]
    ours = original.state_dict()
    assert {name for name in ours if name not in found} == {
        name for name in ours if name.endswith("num_batches_tracked")
    }
    assert all(torch.equal(found[name], ours[name]) for name in found)
