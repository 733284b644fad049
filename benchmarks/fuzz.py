"""Feeds damaged and absurd files to every reader. Each must be read, or refused in one clear line.

    python benchmarks/fuzz.py --inputs 10000 -o out/fuzz
    python benchmarks/fuzz.py --targets pictures sounds --inputs 500 --seed 20000 -o out/fuzz
    python benchmarks/fuzz.py --replay pictures:17 -o out/fuzz

An input is made from its target and its seed alone. It is read in a process with its own folders, under
limits of time and memory. A bug is an error that is not one of openemo's, or no line for a terminal; a
process that dies; too much time or memory; a file that stays behind. The exit code is 1 if there is any.

The output folder gets the tables (report.md), every bug with its traceback (bugs.json), and the inputs that
are bugs (kept/TARGET-SEED). Linux only, because peaks of memory are read from /proc.

No library does the damage. Hypothesis draws values for a function and minimises them, but in one process,
which a segmentation fault or an endless loop ends; atheris needs a Python and libraries built with clang.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

# For the parts of this program, and for the tiny networks of the tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.fuzzing.planted import PLANTED
from benchmarks.fuzzing.targets import TARGETS
from benchmarks.fuzzing.workers import BUGS, Case, Limits, Outcome, run_cases, target_of

KINDS = ("success", "clear error", *BUGS)


def plan(targets: list[str], inputs: int, seed: int) -> Iterator[Case]:
    """Cases of all targets in turns, by their shares, until there are `inputs`."""
    shares = np.array([target_of(name).share for name in targets])
    counts = np.ceil(inputs * shares / shares.sum()).astype(int)
    cases = [Case(name, seed + i) for name, count in zip(targets, counts, strict=True) for i in range(count)]
    order = np.random.default_rng(seed).permutation(len(cases))
    return (cases[index] for index in order[:inputs])


def write_wholes(targets: list[str], folder: Path) -> Path:
    """The whole inputs of the targets, from which all others are made."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in targets:
        target_of(name).sources(folder / name)
    return folder


def until(cases: Iterator[Case], end: float) -> Iterator[Case]:
    for case in cases:
        if time.monotonic() > end:
            return
        yield case


def check_wholes(targets: list[str], wholes: Path, output: Path, limits: Limits, num_workers: int) -> None:
    """Raises RuntimeError if a target refuses all its whole inputs: then damaged ones would tell nothing.

    Some are refused on purpose, such as pictures of rare formats.
    """
    cases = (Case(name, -1 - i) for name in targets for i, _ in enumerate((wholes / name).iterdir()))
    outcomes = list(run_cases(cases, wholes, output, limits, num_workers))
    read = {outcome.case.target for outcome in outcomes if outcome.kind == "success"}
    for outcome in outcomes:
        if outcome.kind in BUGS or outcome.case.target not in read:
            raise RuntimeError(f"a whole input is not read: {describe([outcome])}")


def table(outcomes: list[Outcome]) -> str:
    """Counts by target and class."""
    counts = Counter((outcome.case.target, outcome.kind) for outcome in outcomes)
    names = list(dict.fromkeys(sorted(outcome.case.target for outcome in outcomes)))
    lines = [
        "| target | inputs | " + " | ".join(KINDS) + " | slowest | most memory |",
        "|---|" + "---|" * (len(KINDS) + 3),
    ]
    for name in [*names, "all"]:
        own = [outcome for outcome in outcomes if name in ("all", outcome.case.target)]
        cells = [
            sum(counts[outcome, kind] for outcome in (names if name == "all" else [name])) for kind in KINDS
        ]
        slowest, most = max(o.seconds for o in own), max(o.memory_mb for o in own)
        lines.append(
            f"| {name} | {len(own)} | {' | '.join(map(str, cells))} | {slowest:.1f} s | {most:.0f} MB |"
        )
    return "\n".join(lines)


def groups(outcomes: list[Outcome]) -> list[list[Outcome]]:
    """Bugs of one cause each, the most frequent first."""
    found: dict[tuple[str, ...], list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.kind in BUGS:
            # Two readers of one damage are two causes; two values in one message are one.
            name = outcome.message.split(":")[0][:40] if outcome.kind == "raw exception" else ""
            key = (outcome.kind, name, outcome.place.split(" < ")[-1])
            found.setdefault(key, []).append(outcome)
    return sorted(found.values(), key=lambda group: -len(group))


def describe(group: list[Outcome]) -> str:
    first = group[0]
    targets = ", ".join(sorted({outcome.case.target for outcome in group}))
    message = " ".join(first.message.split())[:200].encode("unicode_escape").decode()
    return (
        f"{len(group)} x {first.kind} in {targets}\n  {message}\n  at {first.place or 'an unknown place'}\n"
        f"  {' '.join(str(outcome.case) for outcome in group[:4])}   {first.what[:120]}"
    )


def report(outcomes: list[Outcome], output: Path, seconds: float) -> int:
    """Prints and writes all; the exit code."""
    found = groups(outcomes)
    lines = [
        table(outcomes),
        "",
        f"{len(outcomes)} inputs in {seconds:.0f} s, {len(found)} causes of bugs",
        "",
    ]
    lines += [describe(group) + "\n" for group in found]
    text = "\n".join(lines)
    (output / "report.md").write_text(text, encoding="utf-8")
    bugs = [asdict(outcome) for outcome in outcomes if outcome.kind in BUGS]
    (output / "bugs.json").write_text(json.dumps(bugs, indent=1), encoding="utf-8")
    sys.stdout.write(text)
    return int(bool(found))


def replay(case: Case, output: Path, limits: Limits) -> int:
    """One input again, with all that is known about it."""
    wholes = write_wholes([case.target], output / "wholes")
    outcome = next(run_cases(iter([case]), wholes, output, limits, 1))
    sys.stdout.write(
        f"{describe([outcome])}\n{outcome.seconds:.2f} s, {outcome.memory_mb:.0f} MB\n{outcome.details}\n"
    )
    if outcome.kind in BUGS:
        sys.stdout.write(f"input: {output / 'kept' / f'{case.target}-{case.seed}'}\n")
    return int(outcome.kind in BUGS)


def self_test(output: Path) -> int:
    """Whether every planted bug is found as what it is."""
    wholes = write_wholes(list(PLANTED), output / "wholes")
    cases = (Case(name, seed) for seed in range(2) for name in PLANTED)
    wrong = [
        f"{outcome.case} is {outcome.kind!r}, not {PLANTED[outcome.case.target][1]!r}: {outcome.message}\n"
        for outcome in run_cases(cases, wholes, output, Limits(seconds=2, memory_mb=800), 2)
        if outcome.kind != PLANTED[outcome.case.target][1]
    ]
    sys.stdout.write("".join(wrong) or f"all {len(PLANTED)} planted readers were classed as what they are\n")
    return int(bool(wrong))


def _case(text: str) -> Case:
    name, _, seed = text.rpartition(":")
    if name not in TARGETS or not seed.removeprefix("-").isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not TARGET:SEED")
    return Case(name, int(seed))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000, help="how many, all targets together")
    parser.add_argument("--seed", type=int, default=0, help="of the first input; the others follow")
    parser.add_argument(
        "--targets",
        nargs="+",
        choices=tuple(TARGETS),
        default=list(TARGETS),
        metavar="TARGET",
        help=", ".join(TARGETS),
    )
    parser.add_argument(
        "--time-limit", type=float, default=float("inf"), metavar="S", help="of the whole run"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="for one input")
    parser.add_argument("--memory-mb", type=int, default=2000, help="for one input")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--replay", type=_case, metavar="TARGET:SEED", help="only this input")
    parser.add_argument("--self-test", action="store_true", help="look for planted bugs")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    output: Path = arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    limits = Limits(arguments.seconds, arguments.memory_mb)
    if arguments.self_test:
        return self_test(output)
    if arguments.replay is not None:
        return replay(arguments.replay, output, limits)
    wholes = write_wholes(arguments.targets, output / "wholes")
    check_wholes(arguments.targets, wholes, output, limits, arguments.workers)
    start = time.monotonic()
    cases = until(plan(arguments.targets, arguments.inputs, arguments.seed), start + arguments.time_limit)
    outcomes: list[Outcome] = []
    try:
        for outcome in run_cases(cases, wholes, output, limits, arguments.workers):
            outcomes.append(outcome)
    finally:  # also of a run that was stopped
        code = report(outcomes, output, time.monotonic() - start) if outcomes else 0
    return code


if __name__ == "__main__":
    sys.exit(main())
