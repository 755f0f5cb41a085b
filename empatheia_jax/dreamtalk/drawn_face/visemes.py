"""What a mouth does while it speaks: from phonemes with durations, or from the sound alone.

Both give the same actions of the lower face, as shares of whole actions at 25 frames per second, ready for
`expressions.perform`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from empatheia_jax.dreamtalk.drawn_face.layout import FRAMES_PER_SECOND

SPEECH_ACTIONS = ("jaw_open", "lips_stretch", "lips_round", "lips_press", "upper_lip_raise", "lower_lip_drop", "tongue")

# Per phoneme: jaw, stretch, round, press, upper lip, lower lip, tongue. Grouped as in the usual viseme charts.
_VISEMES = {
    "aɑæɐʌa": (0.75, 0.15, 0.0, 0.0, 0.25, 0.25, 0.1),
    "ɛeəɜɚɝᵊᵻɘ": (0.45, 0.30, 0.0, 0.0, 0.2, 0.2, 0.2),
    "iɪyjI": (0.22, 0.65, 0.0, 0.0, 0.2, 0.25, 0.2),
    "ɔoɒO": (0.55, -0.2, 0.60, 0.0, 0.1, 0.1, 0.0),
    "uʊwWQʉ": (0.22, -0.3, 0.90, 0.0, 0.1, 0.1, 0.0),
    "AY": (0.55, 0.30, 0.0, 0.0, 0.2, 0.2, 0.1),
    "pbm": (0.0, 0.0, 0.05, 1.0, 0.0, 0.0, 0.0),
    "fv": (0.10, 0.15, 0.0, 0.0, 0.30, -0.1, 0.0),
    "θð": (0.22, 0.15, 0.0, 0.0, 0.15, 0.15, 0.9),
    "szʦʣ": (0.12, 0.45, 0.0, 0.0, 0.25, 0.30, 0.1),
    "ʃʒʧʤ": (0.18, -0.2, 0.50, 0.0, 0.35, 0.30, 0.1),
    "tdnlɾɫTᵗ": (0.25, 0.20, 0.0, 0.0, 0.15, 0.15, 0.7),
    "kgŋxɡhʔqɣ": (0.30, 0.10, 0.0, 0.0, 0.10, 0.10, 0.1),
    "rɹʁɻʀ": (0.25, -0.1, 0.40, 0.0, 0.10, 0.10, 0.2),
}
_BY_PHONEME = {symbol: np.asarray(shape, np.float32) for symbols, shape in _VISEMES.items() for symbol in symbols}
_SILENCE = np.zeros(len(SPEECH_ACTIONS), np.float32)
_STRESS, _LENGTH = "ˈˌ", "ːˑʰʲ̃"


def from_phonemes(
    phonemes: Sequence[str], seconds: Sequence[float], frames: int | None = None
) -> dict[str, Float[np.ndarray, " frames"]]:
    """Actions of the mouth for IPA symbols and how long each lasts.

    The time of a stress mark is the next symbol's, that of a length mark the one's before it, as one hears them. Unknown symbols
    and punctuation are silence.
    Neighbouring shapes blend as speech does: each is held towards its middle and melts into the next over about 80 ms.
    """
    if len(phonemes) != len(seconds):
        raise ValueError(f"{len(phonemes)} phonemes and {len(seconds)} durations; one each is needed")
    shapes = [_BY_PHONEME.get(symbol, _SILENCE) for symbol in phonemes]
    for place in reversed(range(len(shapes))):
        if phonemes[place] in _STRESS:
            shapes[place] = shapes[place + 1] if place + 1 < len(shapes) else _SILENCE
    for place, symbol in enumerate(phonemes):
        if symbol in _LENGTH:
            shapes[place] = shapes[place - 1] if place else _SILENCE
    ends = np.cumsum(np.asarray(seconds, np.float64)) if len(seconds) else np.zeros(1)
    frames = round(float(ends[-1]) * FRAMES_PER_SECOND) if frames is None else frames
    # Sample finely, blend, then take the frames.
    fine = 8
    time = (np.arange(frames * fine) + 0.5) / (fine * FRAMES_PER_SECOND)
    index = np.searchsorted(ends, time, side="right")
    table = np.stack([*shapes, _SILENCE])
    track = table[np.minimum(index, len(shapes))]
    return _actions(_blur(track, 0.035 * fine * FRAMES_PER_SECOND)[fine // 2 :: fine][:frames])


def speech_level(wave: Float[np.ndarray, " samples"], rate: int = 16_000) -> float:
    """The loudness of the speech itself, pauses left out: the 90th percentile of the RMS over 25 ms."""
    step = rate // 40
    count = len(wave) // step
    if count == 0:
        return 0.0
    rms = np.sqrt(np.mean(np.square(wave[: count * step].reshape(count, step), dtype=np.float64), axis=1))
    return float(np.percentile(rms, 90))


def level(wave: Float[np.ndarray, " samples"], rate: int = 16_000) -> Float[np.ndarray, " samples"]:
    """The wave without offset, scaled to a speech level of 0.1. Silence (below about -80 dB) stays what it is."""
    wave = np.asarray(wave, np.float32)
    if wave.size == 0:
        return wave
    wave = wave - wave.mean()
    return wave * np.float32(0.1 / max(speech_level(wave, rate), 1e-4))


def from_audio(
    wave: Float[np.ndarray, " samples"], rate: int = 16_000, frames: int | None = None
) -> dict[str, Float[np.ndarray, " frames"]]:
    """Actions of the mouth for a sound at 16 kHz, so that any recording can be given a face.

    The jaw follows the loudness of the voice (80 Hz to 4 kHz, over 30 dB below the speech's own level) and opens wider where
    the first formant is high; the lips spread where the second formant is high and round where it is low, both read from
    shares of energy in bands; hissing shows the teeth; a short silence inside speech closes the lips.
    """
    if rate != 16_000:
        raise ValueError(f"the sound has {rate} samples per second; 16000 are needed")
    wave = level(wave, rate)
    frames = len(wave) * FRAMES_PER_SECOND // rate if frames is None else frames
    if frames == 0:
        return _actions(np.zeros((0, len(SPEECH_ACTIONS)), np.float32))
    hop, window = 160, 512
    count = frames * 4
    padded = np.pad(wave, (window // 2, window // 2 + max(0, count * hop - len(wave))))
    view = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][:count]
    power = np.abs(np.fft.rfft(view * np.hanning(window).astype(np.float32), axis=1)) ** 2 / window**2
    frequency = np.fft.rfftfreq(window, 1 / rate)

    def band(low: float, high: float) -> np.ndarray:
        return power[:, (frequency >= low) & (frequency < high)].sum(1) + 1e-12

    voice = band(80, 4000)
    # A sine of RMS r has r**2 / 2 * 0.375 in this spectrum's one side; broadband speech comes close to it.
    decibel = 10.0 * np.log10(voice / (0.1**2 * 0.1875))
    loud = np.clip((decibel + 28.0) / 28.0, 0.0, 1.15)
    first = band(550, 1150) / (band(180, 550) + band(550, 1150))
    second_high = band(1700, 3300) / (band(1700, 3300) + band(650, 1700))
    hiss = band(3800, 8000) / (band(3800, 8000) + band(180, 3000))
    voiced = loud * (1.0 - hiss)
    quiet = _blur(loud[:, None], 14.0)[:, 0]
    track = np.stack(
        [
            1.15 * voiced**1.3 * (0.45 + 0.75 * first),
            voiced * (1.5 * second_high - 0.25),
            voiced * np.clip(0.85 - 1.6 * first - 0.9 * second_high, 0.0, 1.0) * 1.3,
            np.clip(1.0 - loud / 0.22, 0.0, 1.0) * np.clip((quiet - 0.25) / 0.2, 0.0, 1.0) * 0.8,
            0.30 * loud * (0.5 + 0.5 * hiss),
            0.35 * loud * (0.5 + 0.5 * hiss),
            0.25 * voiced * second_high,
        ],
        1,
    )
    # Muscles are slow: about 35 ms of smoothing, then four steps to a frame.
    track = _blur(track.astype(np.float32), 3.0)
    return _actions(track[: frames * 4].reshape(frames, 4, -1).mean(1))


def _actions(track: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(track[:, i], dtype=np.float32) for i, name in enumerate(SPEECH_ACTIONS)}


def _blur(track: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing along time, with the ends held."""
    radius = int(np.ceil(3 * sigma))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps /= taps.sum()
    if len(track) == 0:
        return track
    padded = np.pad(track, ((radius, radius), (0, 0)), mode="edge")
    out = np.zeros(track.shape, np.float64)
    for i, tap in enumerate(taps):
        out += tap * padded[i : i + len(track)]
    return out.astype(np.float32)
