"""From records of clips to the report, on small examples."""

from __future__ import annotations

import json
import os
import re
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from html import escape
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from openemo.errors import ConfigError, InputError, OutputError, printable
from openemo.evaluation.benchmark_clips import Clip
from openemo.evaluation.jobs import HARNESS_VERSION, EvaluationSettings
from openemo.evaluation.metrics.confidence import jackknife
from openemo.evaluation.records import Measured, Record, read_record, write_record
from openemo.evaluation.report.comparison import compare, comparison_table
from openemo.evaluation.report.plots import curves_svg, intervals_svg
from openemo.evaluation.report.report import (
    Report,
    check_report_folder,
    figure,
    load_report,
    markdown,
    plain,
    save_report,
    save_text,
)
from openemo.evaluation.report.summary import summarise

SVG = "http://www.w3.org/2000/svg"
ROWS = ("real", "frozen", "mismatched", "silence", "model")
NAMES = ("a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4", "f.mp4")
R: dict[str, tuple[float, ...]] = {
    "real": (1.0,) * 6,
    "frozen": (0.0,) * 6,
    "mismatched": (0.1, 0.3, -0.1, 0.2, 0.05, 0.1),
    "silence": (0.1, -0.1, 0.05, 0.0, 0.1, 0.05),
    "model": (0.6, 0.5, 0.7, 0.4, 0.6, 0.5),
}
LAGS = (0.0, -1.0, 3.0, None, 1.0, 0.0)


def _record(values: dict[str, float | None]) -> Record:
    return Record(inputs={}, values=values, opening=[0.01, None, 0.03], fps=25.0)


def _measured(r: dict[str, tuple[float, ...]], seeds: tuple[int, ...] = (0,)) -> Measured:
    """Second and later seeds are 0.1 better each."""
    measured: Measured = {}
    for index, name in enumerate(NAMES):
        records = {}
        for row in ROWS:
            for seed in seeds if row in ("mismatched", "silence", "model") else (0,):
                values: dict[str, float | None] = {
                    "lip_r": r[row][index] + 0.1 * seed,
                    "lip_lag_frames": LAGS[index],
                }
                if row == "model":
                    values |= {"lip_spread": 0.02 + 0.01 * index, "silence_spread": 0.001 * index}
                records[row, seed] = _record(values)
        measured[Clip(Path(name), name * 8)] = records
    return measured


def _report(measured: Measured, seeds: tuple[int, ...] = (0,), title: str = "embedded") -> Report:
    return summarise(
        EvaluationSettings(Path("out"), ROWS, seeds=seeds),
        measured,
        {"bad.mp4": "no face found."},
        title=title,
        command="openemo evaluate --clips clips -o out",
        environment={"torch": "2"},
        sets={"model": {"fd_mobilenetv2": jackknife(12.0, [11.0, 13.0, 12.0, 12.0])}},
    )


def test_figures_are_means_over_clips() -> None:
    report = _report(_measured(R))
    model = report.summary["model"]
    assert model["lip_r"].value == pytest.approx(0.55)
    assert model["lip_r"].clips == 6
    assert model["lip_lag_within_1"].value == pytest.approx(4 / 5)
    assert model["lip_lag_within_1"].clips == 5
    assert model["silence_over_speech_spread"].value == pytest.approx(0.015 / 0.27)
    assert model["fd_mobilenetv2"].value == 12
    assert "silence_spread" not in report.summary["real"]
    assert report.column("model", "lip_r") == list(R["model"])
    assert report.seed_spread == {}
    assert list(report.clips) == list(NAMES)


def test_seeds_are_averaged_within_a_clip_before_anything_else() -> None:
    report = _report(_measured(R, (0, 1, 2)), (0, 1, 2))
    assert report.rows["model"]["a.mp4"]["lip_r"] == pytest.approx(0.7)
    assert report.summary["model"]["lip_r"].clips == 6  # more seeds make no interval narrower
    assert report.seed_spread["lip_r"] == pytest.approx(0.1)
    assert report.rows["real"]["a.mp4"]["lip_r"] == 1


def test_order_of_the_rows_is_stated() -> None:
    verdicts = {(c.higher, c.lower): c.verdict for c in _report(_measured(R)).order if c.metric == "lip_r"}
    assert set(verdicts.values()) == {"as expected"}
    assert len(verdicts) == 7
    swapped = R | {"mismatched": R["model"], "model": R["mismatched"]}
    verdicts = {(c.higher, c.lower): c.verdict for c in _report(_measured(swapped)).order}
    assert verdicts["model", "mismatched"] == "reversed"
    assert verdicts["model", "silence"] == "within noise"
    assert verdicts["real", "model"] == "as expected"


def test_report_survives_its_file(tmp_path: Path) -> None:
    report = _report(_measured(R))
    save_report(tmp_path / "report.json", report)
    assert load_report(tmp_path) == load_report(tmp_path / "report.json") == report
    assert json.loads((tmp_path / "report.json").read_text())["summary"]["model"]["lip_r"]["clips"] == 6


def test_files_that_are_not_reports_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"clips": []}')
    with pytest.raises(InputError, match=r"a.json is not a report; got harness_version: Field required"):
        load_report(tmp_path / "a.json")
    with pytest.raises(InputError, match="cannot be read"):
        load_report(tmp_path / "none.json")


def test_folders_that_cannot_be_written_are_found_first(tmp_path: Path) -> None:
    check_report_folder(tmp_path / "new" / "report")
    assert list((tmp_path / "new" / "report").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written to"):
        check_report_folder(tmp_path / "file")
    with pytest.raises(OutputError, match="cannot be written"):
        save_text(tmp_path / "none" / "report.md", "text")


def test_markdown_has_a_line_per_figure_and_says_what_was_left_out() -> None:
    text = markdown(_report(_measured(R)))
    (line,) = [line for line in text.splitlines() if line.startswith("| mouth opening, correlation |")]
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[1] == "1 [1, 1]"
    assert cells[5].startswith("0.55 [0.")
    assert cells[6] == "higher is better"
    assert "- bad.mp4: no face found." in text
    assert "as expected" in text
    assert "    openemo evaluate --clips clips -o out" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0.0, "0"),
        (0.61234, "0.612"),
        (1234.5, "1234"),
        (0.00004, "0.00004"),
        (-0.5, "-0.5"),
        (-1e-17, "0"),
    ],
)
def test_figures_are_short(value: float | None, shown: str) -> None:
    assert figure(value) == shown


def test_records_count_only_for_the_same_inputs(tmp_path: Path) -> None:
    path = tmp_path / "rows" / "model" / "a.json"
    record = Record(inputs={"clip": "1", "seed": 3, "voice": None}, values={"lip_r": None})
    write_record(path, record)
    assert read_record(path, record.inputs) == record
    assert read_record(path, record.inputs | {"seed": 4}) is None
    assert [found.name for found in path.parent.iterdir()] == ["a.json"]
    path.write_text(path.read_text()[:20])
    assert read_record(path, record.inputs) is None
    assert read_record(tmp_path / "none.json", record.inputs) is None


def test_differences_are_paired_and_judged_by_their_direction() -> None:
    better = R | {"model": tuple(value + 0.1 + 0.01 * i for i, value in enumerate(R["model"]))}
    first, second = _report(_measured(better), title="new"), _report(_measured(R), title="old")
    found = {difference.metric: difference for difference in compare(first, second)}
    assert found["lip_r"].difference.value == pytest.approx(0.125)
    assert found["lip_r"].verdict == "A better"
    assert found["lip_spread"].verdict == "within noise"
    assert "silence_over_speech_spread" not in found  # of the whole set, so nothing can be paired
    assert {d.metric: d.verdict for d in compare(second, first)}["lip_r"] == "B better"
    text = comparison_table(first, second, list(found.values()))
    assert text.startswith("A: new, seeds 0\nB: old")
    assert "| A better |" in text


def test_figures_that_should_be_near_the_real_ones_are_compared_by_distance() -> None:
    """Lags of about 3 and 0.5, and 0 in the real clip: the second is nearer."""
    reports = []
    for lag in (3.0, 0.5):
        measured = _measured(R)
        for index, records in enumerate(measured.values()):
            for (row, seed), record in list(records.items()):
                value = (lag + 0.1 * index) if row == "model" else 0.0
                records[row, seed] = record.model_copy(
                    update={"values": record.values | {"lip_lag_frames": value}}
                )
        reports.append(_report(measured))
    found = {difference.metric: difference for difference in compare(*reports)}
    assert found["lip_lag_frames"].difference.value == pytest.approx(2.5)
    assert found["lip_lag_frames"].verdict == "B better"


def test_reports_that_do_not_compare_are_refused() -> None:
    report = _report(_measured(R))
    with pytest.raises(ConfigError, match="different harness versions; got 2 and 3"):
        compare(report, report.model_copy(update={"harness_version": HARNESS_VERSION + 1}))
    other = report.model_copy(update={"clips": report.clips | {"b.mp4": "another file"}})
    with pytest.raises(ConfigError, match=r"different clips; got 1 that are not in both, such as b.mp4"):
        compare(report, other)


def _strokes(svg: str, colour: str) -> list[list[list[tuple[float, float]]]]:
    """The lines of one colour: each a list of runs of points."""
    paths = [
        e
        for e in ET.fromstring(svg).iter(f"{{{SVG}}}path")
        if f"stroke: var(--{colour}," in e.get("style", "")
    ]
    return [
        [
            [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", run)]
            for run in path.get("d", "").split("M")[1:]
        ]
        for path in paths
    ]


def test_curves_have_gaps_where_there_is_no_face() -> None:
    svg = curves_svg({"real": ([0.01, 0.02, None, 0.03, 0.01], 25.0), "model": ([0.02] * 10, 50.0)}, "a & b")
    (slow,), (fast,) = _strokes(svg, "real"), _strokes(svg, "subject")
    assert [len(run) for run in slow] == [2, 2]
    assert [len(run) for run in fast] == [10]
    # Both are 0.2 s long, so the frames of the faster one lie between the other's.
    assert slow[0][1] == fast[0][2]
    assert ET.fromstring(svg).get("aria-label") == "a & b"
    texts = [element.text for element in ET.fromstring(svg).iter(f"{{{SVG}}}text")]
    assert {"0.00", "0.03", "0 s", "0.15 s"} <= set(texts)


def test_bars_reach_from_low_to_high() -> None:
    svg = intervals_svg({"real": (1.0, 1.0, 1.0), "model": (0.5, 0.25, 0.75)}, "r", "model")
    ((bar,), *_) = _strokes(svg, "subject")
    (low, y), (high, _) = bar
    assert low < high
    (dot,) = [
        element
        for element in ET.fromstring(svg).iter(f"{{{SVG}}}use")
        if "var(--subject," in element.get("style", "")
    ]
    assert (float(dot.get("x", "")), float(dot.get("y", ""))) == pytest.approx(((low + high) / 2, y))


def test_plots_are_the_same_each_time_and_share_no_ids() -> None:
    bars = {"real": (1.0, 1.0, 1.0), "model": (0.5, 0.25, 0.75)}
    first, second = intervals_svg(bars, "r", "model"), intervals_svg(bars, "Sync-C", "model")
    assert intervals_svg(bars, "r", "model") == first
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert "<metadata" not in first


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_missing_libraries_are_found_before_the_work(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=rf"the report needs {library}\. .*openemo\[evaluate\]"):
        check_report_folder(tmp_path / "report")
    assert not (tmp_path / "report").exists()


HOSTILE = (
    "a|b.mp4",
    "`rm -rf`.mp4",
    "[click](http://example.com/x).mp4",
    "![](x).mp4",
    "<script>alert(1)</script>.mp4",
    "<img src=x onerror=alert(1)>.mp4",
    "*bold* _slanted_ ~~gone~~.mp4",
    "# heading.mp4",
    "two\nlines\r\n| a | b |\n|---|---|.mp4",
    "escape\x1b[31m\x07.mp4",
    "\u202egnp.exe\u2066.mp4",
    "www.example.com https://example.com me@example.com.mp4",
    "&lt;b&gt;.mp4",
    "not text \udcff.mp4",
    "back\\slash\\.mp4",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_clips_format_nothing(name: str, tmp_path: Path) -> None:
    """Rendered as Markdown, each name is its own text again, and nothing else."""
    measured = _measured(R)
    first, *others = measured
    renamed = replace(first, path=tmp_path / name)
    report = summarise(
        EvaluationSettings(Path("out"), ROWS),
        {renamed: measured[first]} | {other: measured[other] for other in others},
        {renamed.name: f"{name} cannot be read"},
        title=name,
        command=f"openemo evaluate --clips '{name}'",
        environment={"model": name},
        sets={},
    )
    save_report(tmp_path / "report.json", report)
    assert load_report(tmp_path) == report
    text = markdown(report)
    save_text(tmp_path / "report.md", text)
    assert all(line.isprintable() for line in text.split("\n"))
    assert not re.search(r"\w://|www\.|[^\\\\]@", re.sub(r"(?m)^    .*$", "", text))  # GitHub links them
    renderer = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    blocks = renderer.parse(text)
    tokens = [token for block in blocks for token in [block, *(block.children or ())]]
    kinds = [token.type for token in tokens]
    assert not {"html_inline", "html_block", "link_open", "image", "em_open", "strong_open", "s_open"} & {
        *kinds
    }
    assert {token.content for token in tokens if token.type == "code_inline"} == set(report.metrics)
    assert kinds.count("table_open") == 1
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h1"] + ["h2"] * 4
    shown = escape(" ".join(printable(name).split()))
    assert renderer.render(text).count(shown) >= 4  # title, file and reason, command, environment
    assert comparison_table(report, report, []).split("\n")[0].startswith(f"A: {plain(name)}, seeds")


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "nothing"},
        {"rows": {}},
        {"summary": {}},
        {"rows": {"model": {}, "real": {}}},
        {"metrics": {}},
        {"clips": {"other.mp4": "0"}},
    ],
)
def test_reports_whose_parts_do_not_belong_together(change: dict[str, object], tmp_path: Path) -> None:
    values = _report(_measured(R)).model_dump(mode="json") | change
    (tmp_path / "report.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="is not a report"):
        load_report(tmp_path)


def test_an_order_of_a_metric_that_the_report_lacks(tmp_path: Path) -> None:
    values = _report(_measured(R)).model_dump(mode="json")
    values["order"][0]["metric"] = "other"
    (tmp_path / "report.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="is not a report"):
        load_report(tmp_path)


def test_damaged_reports_and_pipes(tmp_path: Path) -> None:
    for content in (b"", b"[", b"[" * 100_000, b"\xff", b"7"):
        (tmp_path / "report.json").write_bytes(content)
        with pytest.raises(InputError):
            load_report(tmp_path)
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(InputError, match="cannot be read"):
        load_report(tmp_path / "pipe.json")
