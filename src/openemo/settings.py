"""Settings from files and command lines: strict, immutable, with errors that name the wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from openemo.errors import ConfigError
from openemo.files import read_bounded

__all__ = ["StrictModel", "WrongSetting", "load_recipe", "parse_override", "wrong_setting"]


_MOST_RECIPE_BYTES = 200_000


class StrictModel(BaseModel):
    """Base of all settings: unknown keys are errors, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Recipe = TypeVar("Recipe", bound=StrictModel)


class WrongSetting(NamedTuple):
    """The first wrong setting of a ValidationError.

    Attributes:
        name: with dots between levels; "" where the whole is wrong.
        got: its value.
        expected: what it may be, as the end of "expected ...".
        is_unknown: there is no such setting.
    """

    name: str
    got: Any
    expected: str
    is_unknown: bool


def wrong_setting(error: ValidationError) -> WrongSetting:
    """What to tell a user of the first thing that is wrong."""
    first = error.errors()[0]
    message = first["msg"]
    for opening in ("Input should be ", "Value error, "):
        message = message.removeprefix(opening)
    return WrongSetting(
        ".".join(str(part) for part in first["loc"]),
        first["input"],
        message[:1].lower() + message[1:],
        first["type"] == "extra_forbidden",
    )


def load_recipe(kind: type[Recipe], path: Path, overrides: list[str]) -> Recipe:
    """Reads a YAML recipe; `overrides` are "key=value" strings, values in YAML.

    Raises:
        ConfigError: unreadable, unknown or wrong keys.
    """
    try:
        values = _parse(read_bounded(path, _MOST_RECIPE_BYTES).decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the recipe {path} cannot be read",
            got=str(error) or type(error).__name__,
            fix="Give the path of a YAML file",
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"the recipe {path} is not a mapping", got=type(values).__name__, expected="key: value lines"
        )
    try:
        return kind.model_validate(values | dict(parse_override(override) for override in overrides))
    except ValidationError as error:
        wrong = wrong_setting(error)
        raise ConfigError(
            f"the recipe {path} has a wrong setting `{wrong.name}`",
            got=wrong.got,
            expected=wrong.expected,
            fix=f"Settings of this recipe: {', '.join(kind.model_fields)}",
        ) from error


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, which could stand for endless values, and without keys that are there twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("recipes have no aliases")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        values: dict[Any, Any] = super().construct_mapping(node, deep)
        if len(values) < len(node.value):
            raise yaml.YAMLError("a key is there twice")
        return values


def _parse(text: str) -> Any:
    """Raises ValueError."""
    try:
        return yaml.load(text, _PlainLoader)  # noqa: S506 - a subclass of the safe one
    except Exception as error:  # of dates and numbers that are none, of deep nesting, and YAML's own
        reason = str(error) if isinstance(error, (yaml.YAMLError, ValueError)) else type(error).__name__
        raise ValueError(f"no YAML: {reason}") from error


def parse_override(text: str) -> tuple[str, Any]:
    """Name and value of "key=value". Raises ConfigError."""
    key, separator, value = text.partition("=")
    if not separator:
        raise ConfigError("an override is not a setting", got=text, expected="key=value, as in steps=100")
    try:
        return key, _parse(value)
    except ValueError as error:
        raise ConfigError("an override has no YAML value", got=text, expected="key=value") from error
