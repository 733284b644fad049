"""Damage to settings: JSON and YAML that are well formed and mean something else, and texts that are not."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import yaml

from benchmarks.fuzzing.byte_mutations import Random, mutate_bytes, pick

__all__ = ["mutate_json", "mutate_tree", "mutate_yaml"]

_DEEP, _HUGE = "@deep@", "@huge@"
NAMES: Final = (
    "",
    "\x1b[2J\x1b[31mred",
    "line\nbreak\r",
    "nul\0",
    "../../../../etc/passwd",
    "/dev/zero",
    "~",
    "http://localhost/x",
    "a" * 300,
    "x" * 100_000,
    "%s%n{0}",
    "<script>alert(1)</script>",
    "| a | b |`",
    "\u202egnp.exe",
    "\ud800",
    "e\u0301\U0001f600",
    "-1",
    "nan",
    "__class__",
    "_target_",
    "auto_map",
)
_VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    7,
    100_000,
    2**31 - 1,
    2**31,
    2**32,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    10**400,
    0.0,
    -0.0,
    0.5,
    -1.5,
    1e-320,
    1e30,
    1e308,
    math.nan,
    math.inf,
    -math.inf,
    [],
    {},
    [[]],
    [None],
    [1, 2, 3, 4, 5, 6, 7],
    [0] * 5000,
    {"a": {"b": 1}},
    _DEEP,
    _HUGE,
    *NAMES,
)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Each container with each key or index in it."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            yield node, key
            if isinstance(node[key], (dict, list)):
                waiting.append(node[key])


def _similar(value: Any, rng: Random) -> Any:
    """A value of the same type, which checks of types let through."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return pick(rng, [0, -1, 1, value + 1, value - 1, -value, 3 * value, 10**5, 10**7, 2**31, 2**62])
    if isinstance(value, float):
        return pick(rng, [0.0, -value, 1e9 * value, 1e-9, 1e300, math.inf, math.nan])
    if isinstance(value, str):
        return pick(rng, [*NAMES, value + " ", value.upper(), value[:-1], value + value])
    if isinstance(value, list):
        return pick(rng, [value + value, value[:-1], value[::-1], value * 1000, [value], []])
    return {**value, "extra": 1} if isinstance(value, dict) else {}


def _other(rng: Random) -> Any:
    """Anything. A copy, because later changes may go into it."""
    return copy.deepcopy(pick(rng, _VALUES))


def _change_one(tree: Any, rng: Random) -> str:
    """Changes one place of a tree; returns what."""
    places = list(_places(tree))
    node, key = pick(rng, places)
    what = pick(rng, ["similar", "similar", "similar", "other", "other", "other", "delete", "add", "swap"])
    name = str(key)[:40]
    if what == "similar":
        node[key] = _similar(node[key], rng)
    elif what == "other":
        node[key] = _other(rng)
    elif what == "delete":
        del node[key]
    elif what == "add" and isinstance(node, dict):
        node[pick(rng, NAMES)] = _other(rng)
    else:
        other, there = pick(rng, places)
        node[key] = copy.deepcopy(other[there])
    return f"{what} {name!r}"


def mutate_tree(tree: Any, rng: Random) -> tuple[Any, str]:
    """A changed copy. The root itself is replaced now and then."""
    if rng.random() < 0.04 or not isinstance(tree, (dict, list)) or not tree:
        return _other(rng), "root"
    tree = copy.deepcopy(tree)
    whats = []
    for _ in range(int(rng.choice([1, 2, 3], p=[0.75, 0.15, 0.1]))):
        if tree:
            whats.append(_change_one(tree, rng))
    return tree, ", ".join(whats)


def _mutate_text(
    data: bytes, rng: Random, load: Callable[[bytes], Any], dump: Callable[[Any], str]
) -> tuple[bytes, str]:
    if rng.random() < 0.12:
        return mutate_bytes(data, rng)
    try:
        tree = load(data)
    except (ValueError, yaml.YAMLError, RecursionError):
        return mutate_bytes(data, rng)
    tree, what = mutate_tree(tree, rng)
    text = dump(tree)
    depth = pick(rng, [60, 1100, 200_000])
    deep = pick(rng, ["[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth])
    text = text.replace(f'"{_DEEP}"', deep).replace(f"'{_DEEP}'", deep)
    text = text.replace(f'"{_HUGE}"', "9" * 5000).replace(f"'{_HUGE}'", "9" * 5000)
    encoding = "utf-16" if rng.random() < 0.02 else "utf-8-sig" if rng.random() < 0.03 else "utf-8"
    return text.encode(encoding, "surrogatepass"), what


def mutate_json(data: bytes, rng: Random) -> tuple[bytes, str]:
    ascii_only = rng.random() < 0.5
    return _mutate_text(data, rng, json.loads, lambda tree: json.dumps(tree, ensure_ascii=ascii_only))


_YAML_TRAPS: Final = (
    "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(
        f"{n}: &{n} [{','.join('*' + 'abcdefghijk'[i] for _ in range(9))}]\n"
        for i, n in enumerate("bcdefghij")
    ),
    "steps: !!python/object/apply:os.getcwd []\n",
    "steps: &s [*s]\n",
    "&a steps: *a\n",
    "<<: 7\n",
    "<<: [1, 2]\n",
    "? [1, 2]\n: 3\n",
    "? {a: 1}\n: 3\n",
    "steps: 2026-99-99\n",
    "steps: 2026-02-30 25:61:61\n",
    "steps: 190:20:30:59:59:59\n",
    "steps: !!binary '////'\n",
    "steps: !!int 'x'\n",
    "steps: !!float ''\n",
    "steps: !!timestamp 'x'\n",
    "steps: !!set {1, 2}\n",
    "steps: !!omap [a: 1]\n",
    "steps: !!bool 'maybe'\n",
    "1: 2\n3.5: 4\nnull: 5\ntrue: 6\n",
    "--- 1\n--- 2\n",
    "%YAML 9.9\n---\nsteps: 1\n",
    "steps: 0x\n",
    "steps: 0b2\n",
    "steps: 0o9\n",
    "steps: 1_000_\n",
    "steps: .\n",
    "steps: _\n",
    "steps: -\n  - -\n",
    "steps: '\n",
)


def mutate_yaml(data: bytes, rng: Random) -> tuple[bytes, str]:
    if rng.random() < 0.15:
        trap = pick(rng, _YAML_TRAPS)
        whole = data.rstrip() + b"\n" + trap.encode() if rng.random() < 0.6 else trap.encode()
        return whole, f"trap {trap[:30]!r}"
    return _mutate_text(
        data, rng, yaml.safe_load, lambda tree: yaml.safe_dump(tree, allow_unicode=rng.random() < 0.5)
    )
