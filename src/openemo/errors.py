"""The exceptions of openemo. Messages say what is wrong, what was got, what was expected and how to fix it.

OpenEmoError
    InputError
        ImageError
        AudioError
        FaceError
        ConfigError
    OutputError
    CheckpointError
    TrainingError
        NonFiniteLossError
"""

from __future__ import annotations

__all__ = [
    "AudioError",
    "CheckpointError",
    "ConfigError",
    "FaceError",
    "ImageError",
    "InputError",
    "NonFiniteLossError",
    "OpenEmoError",
    "OutputError",
    "TrainingError",
    "printable",
]

_LONGEST = 600  # characters of one clause


class OpenEmoError(Exception):
    """Base of all errors that openemo raises on purpose.

    Args:
        what: what is wrong; one clause without a full stop ("no face found in portrait.jpg").
        got: what was found, where `what` does not say it.
        expected: what would have been right.
        fix: what the user can do; one sentence.
    """

    def __init__(
        self,
        what: str,
        *,
        got: object | None = None,
        expected: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.what = what
        self.got = got
        self.expected = expected
        self.fix = fix
        clauses = [_short(what)]
        if got is not None:
            clauses.append(f"got {_short(str(got))}")
        if expected is not None:
            clauses.append(f"expected {_short(expected)}")
        message = "; ".join(clauses) + "."
        if fix is not None:
            message += f" {fix.rstrip('.')}."
        super().__init__(printable(message))


class InputError(OpenEmoError):
    """Something the user gave cannot be used."""


class ImageError(InputError):
    """An image is missing, unreadable, truncated or unsuitable."""


class AudioError(InputError):
    """Audio is missing, unreadable, empty or too short."""


class FaceError(InputError):
    """No usable face: none was found, it is too small or turned away, or the chosen one does not exist."""


class ConfigError(InputError):
    """A setting, recipe or argument is unknown, out of range, or contradicts another one."""


class OutputError(OpenEmoError):
    """The result cannot be written."""


class CheckpointError(OpenEmoError):
    """Weights are missing, damaged, or do not fit the network."""


class TrainingError(OpenEmoError):
    """Training cannot start or continue."""


class NonFiniteLossError(TrainingError):
    """The loss became NaN or infinite; the update was not applied."""


def _short(text: str) -> str:
    text = printable(text)  # longer than before
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def printable(text: str) -> str:
    """The text with all that a terminal would act on escaped: control characters, bidirectional overrides,
    lone surrogates. Names of files and tensors come from others. Line feeds and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" else sign.encode("unicode_escape").decode()
        for sign in text
    )
