"""How well our synchronisation network tells sound that belongs to a mouth from sound that does not.

    python benchmarks/sync_accuracy.py --clips ../shared/data/grid/others
    python benchmarks/sync_accuracy.py --clips ../shared/data/grid/others --network runs/sync/model

The clips must be real and in sync, of 70 frames or more. The figures of the shipped network are in its
[card](../src/openemo/evaluation/networks/weights/sync/README.md).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from openemo.evaluation.benchmark_clips import find_clips
from openemo.evaluation.metrics.sync_own import MAX_SHIFT_FRAMES, score_distances, shift_distances
from openemo.evaluation.networks.own_sync_network import OwnSyncNetwork, SyncEmbeddings
from openemo.evaluation.observation import Observer

Floats = NDArray[np.floating]
_WINDOW_MEANS = (1, 3, 5, 9, 15, 25)
# Nearer shifts share sound with the right one, so they are no clear negatives.
_LEAST_WRONG_SHIFT = 5


def area_under_curve(in_sync: Floats, out_of_sync: Floats) -> float:
    """Probability that a distance in sync is smaller than one out of sync (ROC AUC; ties count half)."""
    ranks = rankdata(np.concatenate([out_of_sync, in_sync]))
    count = len(in_sync)
    least = count * (count + 1) / 2
    return 1 - float((ranks[len(out_of_sync) :].sum() - least) / (count * len(out_of_sync)))


def sync_accuracy(clips: Sequence[SyncEmbeddings]) -> dict[str, float]:
    """Figures of real clips in sync, each of at least 70 frames. Chance is 1/31 (exact) and 3/31 (within 1).

    clip_*: of whole clips. windows_N_*: offsets of every run of N windows.
    auc_shifted: single windows in sync against windows whose sound is 5 to 15 frames off.
    auc_other: single windows in sync against windows with the next clip's sound.
    auc_clip_other: `in_step` of whole clips against that with the next clip's sound.
    """
    distances = [shift_distances(clip) for clip in clips]
    scores = [score_distances(rows) for rows in distances]
    offsets = np.array([score.offset_frames for score in scores])
    result = {
        "clips": float(len(clips)),
        "clip_exact": float(np.mean(offsets == 0)),
        "clip_within_1": float(np.mean(np.abs(offsets) <= 1)),
        "clip_confidence": float(np.mean([score.confidence for score in scores])),
        "clip_distance": float(np.mean([score.distance for score in scores])),
        "clip_in_step": float(np.mean([score.in_step for score in scores])),
    }
    stretches = np.concatenate(distances)
    for count in _WINDOW_MEANS:
        found = np.concatenate([_found_shifts(stretch, count) for stretch in stretches])
        result[f"windows_{count}_exact"] = float(np.mean(found == 0))
        result[f"windows_{count}_within_1"] = float(np.mean(np.abs(found) <= 1))
    swapped = [shift_distances(_with_sound_of(clip, clips[i - 1])) for i, clip in enumerate(clips)]
    swapped_scores = [score_distances(rows) for rows in swapped]
    shifts = np.abs(np.arange(-MAX_SHIFT_FRAMES, MAX_SHIFT_FRAMES + 1))
    right = _finite(stretches[..., MAX_SHIFT_FRAMES])
    return result | {
        "auc_shifted": area_under_curve(right, _finite(stretches[..., shifts >= _LEAST_WRONG_SHIFT])),
        "auc_other": area_under_curve(right, _finite(np.concatenate(swapped)[..., MAX_SHIFT_FRAMES])),
        "auc_clip_other": area_under_curve(
            -np.array([score.in_step for score in scores]),
            -np.array([score.in_step for score in swapped_scores]),
        ),
        "clip_confidence_other": float(np.mean([score.confidence for score in swapped_scores])),
        "clip_in_step_other": float(np.mean([score.in_step for score in swapped_scores])),
    }


def _finite(values: Floats) -> Floats:
    return np.asarray(values[np.isfinite(values)])


def _found_shifts(distances: Floats, count: int) -> Floats:
    """The best shift of every run of `count` windows that all show a face."""
    runs = np.lib.stride_tricks.sliding_window_view(distances, count, axis=0).mean(-1)
    runs = runs[np.isfinite(runs[:, 0])]
    return np.asarray(runs.argmin(1) - MAX_SHIFT_FRAMES)


def _with_sound_of(clip: SyncEmbeddings, other: SyncEmbeddings) -> SyncEmbeddings:
    length = min(len(clip.pictures), len(other.sound))
    return SyncEmbeddings(clip.pictures[:length], other.sound[:length], clip.seen[:length])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder of real clips in sync")
    parser.add_argument("--network", type=Path, help="folder of a trained network (default: the shipped one)")
    arguments = parser.parse_args()
    network, observer = OwnSyncNetwork.from_pretrained(arguments.network), Observer.from_pretrained()
    embedded = [network.embed(observer.file(clip.path)) for clip in find_clips(arguments.clips)]
    figures = sync_accuracy([embeddings for embeddings in embedded if embeddings is not None])
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
