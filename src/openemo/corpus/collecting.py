"""All clips of a build together: people, duplicates, splits, shards, and what the report counts."""

from __future__ import annotations

import base64
import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from openemo.corpus.build_folder import BuildFolder
from openemo.corpus.build_settings import BuildSettings
from openemo.corpus.clip_filters import CLIP_FILTERS, SET_REASONS
from openemo.corpus.duplicates import find_duplicates
from openemo.corpus.people import People, Split, group_splits
from openemo.corpus.shard_packing import facts_of, pack, read_packed, write_index
from openemo.files import whole_file

__all__ = ["Corpus", "collect"]

_EXAMPLES: Final = 16  # pictures for each reason
_KEPT_EXAMPLES: Final = 60
SPLITS: Final[tuple[Split, ...]] = ("train", "val")
EARLIER: Final = "left out by an earlier run"
_DUPLICATE, _OTHER_SPLIT = SET_REASONS


@dataclass(slots=True)
class _Kept:
    """A clip that its filters kept."""

    name: str
    source: str
    record: Path
    number: int
    seconds: float
    identity: NDArray[np.float16]
    sound_print: NDArray[np.uint16]
    split: Split | None = None
    person: int = -1


@dataclass(slots=True)
class Corpus:
    """What is there, for the report.

    Attributes:
        sources, quarantined: files, and those that could not be read with the reason.
        read_s, faces_s, short_s, cpu_s: of what was read: seconds of it, seconds of faces in it, seconds of
            faces in stretches that are too short, processor seconds.
        clips, seconds: by the first reason to leave them out; "" for those that are kept. failed: clips by
            each reason that they have.
        scores: values of each score. shifts: clips by the frames by which sound and picture were apart.
        licences: files by licence.
        examples: small JPEGs and captions, by reason.
        people: clips of each person. split_s, split_people: seconds and people of each split.
        shards: their number. packed: clips that this run packed.
    """

    sources: int = 0
    quarantined: list[tuple[str, str]] = field(default_factory=list)
    read_s: float = 0.0
    faces_s: float = 0.0
    short_s: float = 0.0
    cpu_s: float = 0.0
    clips: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    scores: dict[str, array[float]] = field(default_factory=lambda: defaultdict(lambda: array("f")))
    shifts: Counter[int] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    people: Counter[int] = field(default_factory=Counter)
    split_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    split_people: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    shards: int = 0
    packed: int = 0

    def measure(self, clip: dict[str, Any]) -> None:
        """Counts the scores of any clip."""
        for one in CLIP_FILTERS:
            value = clip["scores"].get(one.score)
            if value is not None:
                self.scores[one.score].append(value)
        if clip["scores"].get("shift_frames") is not None:
            self.shifts[int(clip["scores"]["shift_frames"])] += 1

    def leave_out(self, reasons: list[str], clip: dict[str, Any]) -> None:
        """Counts a clip that is left out: once for its first reason, and for each reason it has."""
        self.clips[reasons[0]] += 1
        self.seconds[reasons[0]] += float(clip["stop_s"] - clip["start_s"])
        for reason in reasons:
            self.failed[reason] += 1
            self._show(reason, clip)

    def count(self, reason: str, clip: _Kept) -> None:
        """Counts a clip that its own filters kept."""
        if reason:
            self.leave_out([reason], _record(clip))
            return
        self.clips[""] += 1
        self.seconds[""] += clip.seconds
        self.people[clip.person] += 1
        self.split_s[clip.split or ""] += clip.seconds
        self.split_people[clip.split or ""].add(clip.person)
        if len(self.examples[""]) < _KEPT_EXAMPLES:
            self._show("", _record(clip), f"person {clip.person}")

    def _show(self, reason: str, clip: dict[str, Any], said: str | None = None) -> None:
        examples = self.examples[reason]
        if clip["thumbnail"] and len(examples) < (_EXAMPLES if reason else _KEPT_EXAMPLES):
            examples.append((clip["thumbnail"], said or _value(reason, clip)))


def _value(reason: str, clip: dict[str, Any]) -> str:
    """The score for which a clip was left out."""
    for one in CLIP_FILTERS:
        if one.reason == reason:
            value = clip["scores"].get(one.score)
            return "none" if value is None else f"{value:.3g} {one.unit}".strip()
    return ""


def collect(folder: BuildFolder, settings: BuildSettings) -> Corpus:
    """Packs what is new, and writes the index and the list of files that could not be read."""
    corpus = Corpus()
    packed = {one.facts["name"]: one.facts for one in read_packed(folder)}
    clips = sorted(_read_records(folder, corpus), key=lambda clip: (clip.name not in packed, clip.name))
    reasons = _settle(clips, packed, settings)
    new: list[_Kept] = []
    for clip, reason in zip(clips, reasons, strict=True):
        if clip.name not in packed and not reason and not _part_path(folder, clip).exists():
            reason = EARLIER
        corpus.count(reason, clip)
        if clip.name not in packed and not reason:
            new.append(clip)
    for split in SPLITS:
        ours = ((_facts(clip), _part_path(folder, clip)) for clip in new if clip.split == split)
        corpus.packed += pack(ours, split, folder, settings.shard_mb)
    _remove_parts(folder)
    write_index(folder)
    corpus.shards = sum(1 for _ in folder.shards.glob("*.tar"))
    with whole_file(folder.root / "quarantine.jsonl") as file:
        for name, reason in corpus.quarantined:
            file.write(json.dumps({"source": name, "reason": reason}).encode() + b"\n")
    return corpus


def _settle(clips: list[_Kept], packed: dict[str, dict[str, Any]], settings: BuildSettings) -> list[str]:
    """Sets person and split of each clip. Returns why it is left out, "" where it is not.

    Args:
        clips: those that are packed first.
    """
    people = People(settings.max_same_person)
    num_packed = sum(clip.name in packed for clip in clips)
    for clip in clips[:num_packed]:
        clip.person, clip.split = packed[clip.name]["person"], packed[clip.name]["split"]
    identities = np.array([clip.identity for clip in clips], np.float64).reshape(-1, 128)
    people.add_known(identities[:num_packed], [clip.person for clip in clips[:num_packed]])
    for clip, person in zip(clips[num_packed:], people.assign(identities[num_packed:]), strict=True):
        clip.person = person
    copies = find_duplicates(
        [clip.sound_print for clip in clips], [clip.person for clip in clips], settings.max_same_sound
    )
    reasons = [_DUPLICATE if index in copies and index >= num_packed else "" for index in range(len(clips))]
    rest = [clip for clip, reason in zip(clips, reasons, strict=True) if not reason]
    splits = group_splits(
        [clip.person for clip in rest],
        [clip.source for clip in rest],
        [clip.split for clip in rest],
        settings.val_share,
    )
    for clip, split in zip(rest, splits, strict=True):
        clip.split = split
    return [
        reason or ("" if clip.split is not None else _OTHER_SPLIT)
        for clip, reason in zip(clips, reasons, strict=True)
    ]


def _read_records(folder: BuildFolder, corpus: Corpus) -> Iterator[_Kept]:
    """Clips that their filters kept, one record in memory at a time; counts all others."""
    for path in sorted(folder.records.glob("*/*.json")):
        record = json.loads(path.read_bytes())
        if "clips" not in record:
            corpus.sources += 1
            corpus.licences[record["licence"]] += 1
            if record["error"]:
                corpus.quarantined.append((record["source"], record["error"]))
            continue
        corpus.cpu_s += record["cpu_s"]
        if record["error"]:
            start_s, stop_s = record["span_s"]
            name = f"{record['source']}, {start_s:.0f} to {stop_s:.0f} s"
            corpus.quarantined.append((name, record["error"]))
            continue
        corpus.read_s += record["scanned_s"]
        corpus.faces_s += record["faces_s"]
        corpus.short_s += record["short_s"]
        for number, clip in enumerate(record["clips"]):
            corpus.measure(clip)
            if clip["reasons"]:
                corpus.leave_out(clip["reasons"], clip)
            else:
                yield _Kept(
                    name=clip["name"],
                    source=clip["source"],
                    record=path,
                    number=number,
                    seconds=clip["stop_s"] - clip["start_s"],
                    identity=np.frombuffer(base64.b64decode(clip["identity"]), np.float16),
                    sound_print=np.frombuffer(base64.b64decode(clip["sound_print"]), np.uint16),
                )


def _record(clip: _Kept) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(clip.record.read_bytes())["clips"][clip.number]
    return found


def _facts(clip: _Kept) -> dict[str, Any]:
    return {**facts_of(_record(clip)), "person": clip.person, "split": clip.split}


def _part_path(folder: BuildFolder, clip: _Kept) -> Path:
    key, _, part = clip.record.stem.rpartition("-")
    return folder.part_clips(key, int(part))


def _remove_parts(folder: BuildFolder) -> None:
    """Of finished parts: what is kept of them is in a shard. Those without a record will be made again."""
    for path in (folder.root / "parts").glob("*/*.tar"):
        if (folder.records / path.parent.name / f"{path.stem}.json").exists():
            path.unlink()
