"""The renderer: mapping network, warping network, editing network, pictures and a film."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from converters.parity.networks.dreamtalk.vectors import (
    DENOISER,
    DESCRIPTOR,
    GREY_LEVEL,
    HIDDEN,
    PICTURE,
    Vectors,
    compiled,
    nchw,
    summaries,
)
from converters.parity.result import Result, left_out
from empatheia_jax.dreamtalk import motion, windows
from empatheia_jax.dreamtalk import renderer_layers as layers
from empatheia_jax.dreamtalk.renderer import to_uint8


def mapping(v: Vectors) -> Iterator[Result]:
    want, net = v.load("mapping_net"), v.renderer.mapping
    random = net(v.windows(want["windows_random"]))
    yield v.check("mapping_net", "descriptor_random", random[..., None], want["descriptor_random"], DENOISER)
    states = net.hidden(v.windows(want["windows"]))
    yield v.exact("mapping_net", "lens", [s.shape[1] for s in states], want["lens"])
    ends = states[0][:, np.asarray([0, -1])].transpose(0, 2, 1)
    yield v.check("mapping_net", "first_last_frame", ends, want["first_last_frame"], DESCRIPTOR)
    middle = v.cut("mapping_net", "after_encoder0_mid", states[1], ":, 4:5")[:, 0]
    yield v.check("mapping_net", "after_encoder0_mid", middle, want["after_encoder0_mid"], DESCRIPTOR)
    last = states[3].transpose(0, 2, 1)
    yield v.check("mapping_net", "after_encoder2", last, want["after_encoder2"], DESCRIPTOR)
    descriptor = states[3].mean(axis=1)[..., None]
    yield v.check("mapping_net", "descriptor", descriptor, want["descriptor"], DESCRIPTOR)


def small_pictures(v: Vectors) -> Iterator[Result]:
    file, want = "face_generator_small", v.load("face_generator_small")
    model = v.renderer
    got = compiled(model)(v.picture(want["source_uint8"]), v.windows(want["windows"]))
    fake, warp = nchw(got.image), nchw(got.warped)
    yield v.check(file, "flow_field", nchw(got.flow), want["flow_field"], PICTURE)
    for name, ours in {
        "warp_even": v.cut(file, "warp_even", warp, ":, :, ::4, ::4"),
        "warp_crop": v.cut(file, "warp_crop", warp, ":, :, 40:72, 40:72"),
        "fake_grid4": v.cut(file, "fake_grid4", fake, ":, :, ::4, ::4"),
        "fake_crop": v.cut(file, "fake_crop", fake, ":, :, 40:72, 40:72"),
        "fake_corner": v.cut(file, "fake_corner", fake, ":, :, -16:, -16:"),
    }.items():
        yield v.check(file, name, ours, want[name], PICTURE)
    yield from summaries(v, file, "fake", got.image, want, PICTURE)
    yield from summaries(v, file, "warp", got.warped, want, PICTURE)


def warping(v: Vectors) -> Iterator[Result]:
    file, want, net = "warping_net", v.load("warping_net"), v.renderer.warping
    source = v.picture(v.load("face_generator")["source_uint8"])
    descriptor = v.array(v.load("mapping_net")["descriptor"][..., 0])
    features_, levels = compiled(net, lambda net, *inputs: net.hourglass(*inputs))(source, descriptor)
    flow = net.flow_conv(jax.nn.leaky_relu(net.flow_norm(features_), net.slope))
    deformation = layers.flow_to_deformation(flow)
    warped = layers.warp(source, deformation)
    warp = nchw(warped)
    for name, ours in {
        "flow_field": nchw(flow),
        "deformation": deformation,
        "warp_grid8": v.cut(file, "warp_grid8", warp, ":, :, ::8, ::8"),
        "warp_crop": v.cut(file, "warp_crop", warp, ":, :, 96:160, 96:160"),
        "warp_corner": v.cut(file, "warp_corner", warp, ":, :, :24, :24"),
    }.items():
        yield v.check(file, name, ours, want[name], PICTURE)
    crop = v.cut(file, "hourglass_crop", nchw(features_), ":, ::16, 24:40, 24:40")
    bound = HIDDEN * float(want["hourglass_absmax"].max())
    yield v.check(file, "hourglass_crop", crop, want["hourglass_crop"], bound)
    yield v.exact(file, "warp_zeros", (warp == 0).sum(axis=(1, 2, 3)), want["warp_zeros"])
    for index, level in enumerate(levels):
        level = jnp.broadcast_to(level, (len(descriptor), *level.shape[1:]))
        yield from summaries(v, file, f"enc{index}", level, want, PICTURE)
    yield from summaries(v, file, "hourglass", features_, want, PICTURE)
    yield from summaries(v, file, "flow", flow, want, PICTURE)
    yield from summaries(v, file, "warp", warped, want, PICTURE)


def editing(v: Vectors) -> Iterator[Result]:
    file, want, net = "editing_net", v.load("editing_net"), v.renderer.editing
    whole = v.load("face_generator")
    descriptor = v.array(v.load("mapping_net")["descriptor"][..., 0])
    source = v.picture(whole["source_uint8"])
    small = source[v.cut_of(file, "small_in", ":, 64:128, 64:128")]
    ours = compiled(net)(small, small[:, ::-1], descriptor[:1])
    yield v.check(file, "small_out", nchw(ours), want["small_out"], PICTURE)

    warping_net = v.renderer.warping
    warped, _ = compiled(warping_net)(source, descriptor)
    skips = compiled(net, lambda net, *inputs: net.encode(*inputs))(source, warped)
    for index, level in enumerate(skips):
        yield from summaries(v, file, f"enc{index}", level, want, PICTURE)
    x = skips.pop()
    for place, level in enumerate(net.levels):
        number = len(net.levels) - 1 - place
        for block in level.residual:
            x = block(x, descriptor)
        yield from summaries(v, file, f"res{number}", x, want, PICTURE)
        x = level.enlarge(x)
        yield from summaries(v, file, f"up{number}", x, want, PICTURE)
        x = level.jump(skips.pop()) + x
        yield from summaries(v, file, f"merge{number}", x, want, PICTURE)


def pictures(v: Vectors) -> Iterator[Result]:
    file, want = "face_generator", v.load("face_generator")
    model = v.renderer
    render = compiled(model, lambda net, *inputs: net(*inputs).image)
    fake = render(v.picture(want["source_uint8"]), v.windows(want["windows"]))
    image = nchw(fake)
    for name, ours in {
        "fake_grid8": v.cut(file, "fake_grid8", image, ":, :, ::8, ::8"),
        "fake_crop": v.cut(file, "fake_crop", image, ":, :, 96:160, 96:160"),
        "fake_corner": v.cut(file, "fake_corner", image, ":, :, :24, :24"),
    }.items():
        yield v.check(file, name, ours, want[name], PICTURE)
    yield from summaries(v, file, "fake", fake, want, PICTURE)
    frames = np.asarray(to_uint8(fake)).astype(int)
    yield v.exact(file, "frames_uint8", frames, want["frames_uint8"], GREY_LEVEL)


def video(v: Vectors) -> Iterator[Result]:
    """Frames of a film. Which portrait it shows is found by its first frame."""
    file, want = "render_video", v.load("render_video")
    model = v.renderer
    radius = model.config.window_radius
    render = compiled(model, lambda net, *inputs: to_uint8(net(*inputs).image))

    def frames(source: np.ndarray, moves: np.ndarray, count: int | None = None) -> np.ndarray:
        slots = windows.motion_windows(moves, radius=radius)[:count]
        return np.asarray(render(v.picture(source), v.array(slots)))

    def grid(pictures: np.ndarray, name: str) -> np.ndarray:
        return v.cut(file, name, pictures, ":, ::4, ::4").astype(int)

    size = model.config.image_size
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in v.media_files("*.png", "*.jpg")]
    portraits = [picture for picture in pictures if picture.shape[:2] == (size, size)]
    if not portraits:
        yield left_out(f"{file}.npz", "frames", f"the media folder has no portrait of {size} x {size}")
        return

    def difference(picture: np.ndarray) -> float:
        first = grid(frames(picture, want["facemotion"], 1), "frames_grid4")
        return float(np.abs(first - want["frames_grid4"][:1].astype(int)).max())

    source = min(portraits, key=difference) if len(portraits) > 1 else portraits[0]
    moving = frames(source, want["facemotion"])
    yield v.exact(file, "frames_grid4", grid(moving, "frames_grid4"), want["frames_grid4"], GREY_LEVEL)
    yield v.exact(file, "frames_mean", moving.mean(axis=(1, 2)), want["frames_mean"], 1e-2)
    yield v.exact(file, "nomove_pose", motion.REST_POSE, want["nomove_pose"])
    width = want["facemotion"].shape[1] - len(want["nomove_pose"])
    still = frames(source, motion.with_pose(want["facemotion"][:, :width]))
    yield v.exact(file, "nomove_grid4", grid(still, "nomove_grid4"), want["nomove_grid4"], GREY_LEVEL)
