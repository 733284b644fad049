"""The command line: exit codes, one-line errors, no half-written files, and a fast `--help`."""

from __future__ import annotations

import inspect
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from openemo import __version__, data, training
from openemo.audio import Audio, read_audio
from openemo.cli.animate import animate as animate_command
from openemo.cli.evaluate import evaluate
from openemo.cli.main import app, main
from openemo.cli.train import assemble, average, prepare, train
from openemo.evaluation.jobs import EvaluationSettings
from openemo.pipeline import EmoPipeline
from openemo.training import assemble as assembling
from openemo.training import averaging
from openemo.video.images import write_image
from openemo.video.video_reader import probe, read_frames
from openemo.video.video_writer import VideoWriter

Run = Callable[..., int]


@pytest.fixture
def animate(tiny_dir: Path, portrait_path: Path, voice_path: Path, tmp_path: Path) -> Run:
    """`openemo animate` on the demo's portrait and voice with the tiny model; arguments replace or add."""

    def run(
        *options: str, portrait: object = portrait_path, audio: object = voice_path, output: object = None
    ) -> int:
        target = tmp_path / "out.mp4" if output is None else output
        files = ["animate", *map(str, (portrait, audio)), "-o", str(target)]
        return main([*files, "--model", str(tiny_dir), "--engine", "torch", *options])

    return run


@pytest.fixture
def short_voice(tmp_path: Path) -> Path:
    """0.48 s of stereo sound at 44.1 kHz, as the sound track of a video."""
    path = tmp_path / "voice.mov"
    samples = np.random.default_rng(5).normal(0, 0.1, (2, 21_168)).astype(np.float32).clip(-1, 1)
    with VideoWriter(path, fps=Fraction(25), width=34, height=26, audio=Audio(samples, 44_100)) as writer:
        for _ in range(12):
            writer.write(np.zeros((26, 34, 3), np.uint8))
    return path


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("openemo: error: ")
    return lines[0]


def test_help_is_fast_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from openemo.cli.main import main; main(sys.argv[1:]);"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    heavy = {"torch", "diffusers", "transformers", "cv2", "av", "onnxruntime", "numpy", "scipy"}
    for command, expected in ([], "animate"), (["animate"], "--lip-motion"), (["weights"], "upgrade"):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        shown = subprocess.run(
            [sys.executable, "-c", code, *command, "--help"], capture_output=True, text=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert expected in shown.stdout
        assert not heavy & set(shown.stderr.split())
        # Processor time, because a busy machine makes any command wait.
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


COMMANDS = (
    *("", "animate", "live", "batch", "demo", "evaluate", "compare", "train", "average", "assemble"),
    *("data", "data build", "data prepare"),
    *("weights", *(f"weights {name}" for name in ("list", "pull", "import", "combine", "verify", "upgrade"))),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_terminal(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Option names that do not fit are cut with an ellipsis."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*command.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Usage: openemo {command}".rstrip() in shown
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"openemo {__version__}\n"


def test_main_runs_in_any_thread(capsys: pytest.CaptureFixture[str]) -> None:
    """Python allows signal handlers in the main thread only."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(main, ["--version"]).result() == 0
        assert pool.submit(main, ["weights", "verify", "nowhere"]).result() == 1


@pytest.mark.parametrize(
    ("command", "called", "renamed"),
    [
        (animate_command, EmoPipeline.__call__, {}),
        (animate_command, EmoPipeline.from_pretrained, {"name_or_folder": "model"}),
        (evaluate, EvaluationSettings, {}),
        (train, training.run, {}),
        (average, averaging.average, {}),
        (assemble, assembling.assemble, {}),
        (assemble, assembling.assemble_on, {}),
        (prepare, data.run, {}),
    ],
)
def test_options_have_the_names_of_the_arguments(
    command: Callable[..., None], called: Callable[..., object], renamed: dict[str, str]
) -> None:
    """Defaults agree, too, where both sides take the same type."""
    options, arguments = inspect.signature(command).parameters, inspect.signature(called).parameters
    hidden = {"self", "verify", "config", "changes", "limits"}  # animate has fields of the limits
    # A program may change weights after loading them, which compiled networks would not see.
    differing = {"engine"}
    for name, argument in arguments.items():
        if name in hidden:
            continue
        option = options[renamed.get(name, name)]
        is_same_type = option.default is not None and isinstance(option.default, type(argument.default))
        if is_same_type and name not in differing:
            assert option.default == argument.default
        assert (option.default is option.empty) <= (argument.default is argument.empty)


def test_animate(animate: Run, short_voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        animate("--size-px", "96", "--framing", "crop", "--fps", "30", "--steps", "1", audio=short_voice) == 0
    )
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height, info.fps, info.num_frames, info.has_audio) == (
        96,
        96,
        Fraction(30),
        14,
        True,
    )
    assert len(list(read_frames(tmp_path / "out.mp4"))) == 14  # 0.48 s x 30 = 14.4
    assert read_audio(tmp_path / "out.mp4").num_samples == 21_168
    captured = capsys.readouterr()
    assert "out.mp4: 0.47 s of video, 14 frames, 96x96\n" in captured.out
    assert "s per second of video\n" in captured.out
    assert captured.err == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "voice.mov"]


@pytest.mark.parametrize("name", ["out.webm", "out.gif", "frames/%05d.png"])
def test_a_portrait_without_its_background(
    animate: Run,
    portrait_path: Path,
    short_voice: Path,
    tmp_path: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut = Image.open(portrait_path).convert("RGB").resize((320, 320))
    cut.putalpha(Image.radial_gradient("L").resize((320, 320)).point(lambda level: 255 if level < 180 else 0))
    cut.save(tmp_path / "cut.png")
    settings = {"portrait": tmp_path / "cut.png", "audio": short_voice, "output": tmp_path / name}
    assert animate("--transparent", "--steps", "1", **settings) == 0
    captured = capsys.readouterr()
    assert f"{tmp_path / name}: 0.48 s of video, 12 frames, 320x320\n" in captured.out
    note = "openemo: note: the sound is left out, because this kind of file has none\n"
    unsigned = "openemo: note: no signed credentials: a .webm file has no place for them\n"
    assert captured.err == (unsigned if name == "out.webm" else note)
    if name == "out.webm":
        assert read_audio(tmp_path / name).num_samples > 0
    else:
        first = tmp_path / ("frames/00001.png" if "png" in name else name)
        with Image.open(first) as frame:
            opacity = np.asarray(frame.convert("RGBA"))[..., 3]
        assert (opacity[0, 0], opacity[160, 160]) == (0, 255)


def test_no_transparency_is_found_before_the_networks_are_loaded(
    animate: Run, portrait_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for given, message in (
        ({"output": tmp_path / "out.mp4"}, "a .mp4 video has no transparency"),
        ({"output": tmp_path / "out.webm"}, "nothing of the portrait is transparent"),
    ):
        assert animate("--transparent", "--model", "nowhere", **given) == 1
        assert message in error_of(capsys)
        assert list(tmp_path.iterdir()) == []


def test_a_drawn_seed_is_printed(animate: Run, short_voice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--size-px", "64", "--framing", "crop", "--steps", "1", "--fps", "2"]
    assert animate(*options, "--seed", "-1", audio=short_voice) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("seed "))
    assert 0 <= int(line.removeprefix("seed ")) < 2**63


@pytest.mark.parametrize("seeds", ["0,-1", "-2", "9223372036854775808"])
def test_a_report_has_fixed_seeds(seeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--clips", str(tmp_path), "-o", str(tmp_path / "a"), "--seeds", seeds]) == 1
    assert "seed" in error_of(capsys)


def test_several_faces_are_said(
    animate: Run, portrait_path: Path, short_voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = np.asarray(Image.open(portrait_path).resize((300, 300)))
    write_image(tmp_path / "two.png", np.concatenate([one, one], axis=1))
    settings = {"portrait": tmp_path / "two.png", "audio": short_voice}
    assert animate("--steps", "1", **settings) == 0
    assert "openemo: note: 2 faces were found; the largest is animated" in capsys.readouterr().err
    assert animate("--steps", "1", "--face-index", "1", **settings) == 0
    assert capsys.readouterr().err == ""
    assert animate("--face-index", "2", **settings) == 1
    assert "no face with this number; got 2; expected 0 to 1" in error_of(capsys)


def test_bad_inputs_get_one_line_and_leave_nothing(
    animate: Run, portrait_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "empty").write_bytes(b"")
    (inputs / "text").write_text("not a picture, not a sound\n" * 50)
    (inputs / "cut.jpg").write_bytes(portrait_path.read_bytes()[:20_000])
    write_image(inputs / "blank.png", np.full((200, 300, 3), 127, np.uint8))
    write_image(inputs / "small.png", np.asarray(Image.open(portrait_path).resize((64, 64))))
    folder = tmp_path / "out"
    folder.mkdir()
    for given, message in (
        ({"portrait": inputs / "missing.jpg"}, "missing.jpg"),
        ({"portrait": inputs / "empty"}, "is empty"),
        ({"portrait": inputs / "text"}, "is not an image"),
        ({"portrait": inputs / "cut.jpg"}, "truncated"),
        ({"portrait": inputs}, "inputs"),
        ({"portrait": inputs / "blank.png"}, "no face found"),
        ({"portrait": inputs / "small.png"}, "too small"),
        ({"audio": inputs / "missing.wav"}, "missing.wav"),
        ({"audio": inputs / "empty"}, "is empty"),
        ({"audio": inputs / "text"}, "cannot be read as sound"),
        ({"audio": portrait_path}, "sound"),
    ):
        assert animate(**{"output": folder / "out.mp4"} | given) == 1
        assert message in error_of(capsys)
        assert list(folder.iterdir()) == []


def test_bad_outputs_are_found_first(
    animate: Run, portrait_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start_s = time.process_time()
    for output, message in (
        (tmp_path / "missing" / "out.mp4", "there is no folder"),
        (tmp_path / "out.avi", "unknown kind of video file"),
        (tmp_path, "unknown kind of video file"),
    ):
        assert animate(output=output, portrait="not looked at") == 1
        assert message in error_of(capsys)
    assert time.process_time() - start_s < 2


def test_input_is_not_overwritten(
    animate: Run, short_voice: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = short_voice.read_bytes()
    assert animate(audio=short_voice, output=short_voice) == 1
    assert "would replace the input" in error_of(capsys)
    assert short_voice.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "`num_inference_steps`"),
        (["--fps", "1000"], "frame rate is out of range"),
        (["--size-px", "3"], "size is out of range"),
        (["--seed", "-2"], "seed is out of range; got -2"),
        (["--seed", "9223372036854775808", "--model", "nowhere"], "seed is out of range"),
        (["--model", "nowhere"], "no such model"),
        (["--device", "cuda:99"], "device cannot be used; got 'cuda:99'"),
        (["--device", "toaster"], "device cannot be used; got 'toaster'"),
    ],
)
def test_wrong_values_exit_1(
    animate: Run, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert animate(*options) == 1
    assert message in error_of(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["animate", "a.jpg", "b.wav"],
        ["animate", "a.jpg", "b.wav", "-o", "c.mp4", "--steps", "many"],
        ["animate", "a.jpg", "b.wav", "-o", "c.mp4", "--framing", "half"],
        ["animate", "a.jpg", "b.wav", "-o", "c.mp4", "--face", "0"],
        ["evaluate", "--clips", "a", "-o", "b", "--model", "embedded", "--videos", "c"],
        ["weights"],
        ["weights", "import", "sdxl", "a", "-o", "b"],
        ["train", "everything", "recipe.yaml"],
    ],
)
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "--help" in error_of(capsys)


@pytest.fixture
def failing_command(monkeypatch: pytest.MonkeyPatch) -> str:
    """A command of the program with a mistake in it."""
    monkeypatch.setattr(app, "registered_commands", list(app.registered_commands))

    @app.command("fail")
    def fail() -> None:
        raise ZeroDivisionError("two\nlines")

    return "fail"


def test_an_unforeseen_error_is_one_line(failing_command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([failing_command]) == 1
    line = error_of(capsys)
    assert line.startswith("openemo: error: unexpected ZeroDivisionError: two lines. ")
    assert "--debug" in line


@pytest.mark.parametrize("fill", [lambda: bytearray(2**62), lambda: torch.empty(2**50, dtype=torch.uint8)])
def test_too_little_memory_is_no_mistake_of_ours(
    fill: Callable[[], object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "registered_commands", [*app.registered_commands])
    app.command("fill")(lambda: fill() and None)
    assert main(["fill"]) == 1
    assert error_of(capsys).startswith("openemo: error: there is too little memory; got ")


def test_python_without_docstrings_is_named(tmp_path: Path) -> None:
    done = shell(f"openemo weights verify {tmp_path}", PYTHONOPTIMIZE="2")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("openemo: error: Python runs without docstrings")


def test_a_working_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    done = shell(f"mkdir {tmp_path}/gone && cd {tmp_path}/gone && rmdir ../gone && openemo weights list")
    assert done.returncode == 1
    assert done.stderr.startswith("openemo: error: the working folder is gone")


@pytest.mark.parametrize(
    "arguments", [["weights", "import", "sd15", "x" * 300, "-o", "out"], ["train", "x" * 100_000, "r.yaml"]]
)
def test_endless_words_get_a_short_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) > 0
    line = error_of(capsys)
    assert "unexpected" not in line
    assert len(line) < 2000


def test_debug_shows_where_an_unforeseen_error_happened(
    failing_command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--debug", failing_command]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert 'raise ZeroDivisionError("two' in shown
    assert main(["--debug", "weights", "verify", str(tmp_path / "missing")]) == 1  # a foreseen one
    assert "Traceback" not in error_of(capsys)


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run in bash, where `openemo` is the program; a pipe has the exit code of its first failing part."""
    start = f'set -o pipefail; openemo() {{ "{sys.executable}" -m openemo "$@"; }}; '
    return subprocess.run(
        ["bash", "-c", start + command], capture_output=True, text=True, env=os.environ | environment
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_is_no_error(unbuffered: str) -> None:
    """The reader has gone before anything is printed."""
    run = shell("openemo weights list | exec 0<&-", PYTHONUNBUFFERED=unbuffered)
    assert (run.returncode, run.stderr) == (0, "")


def test_closed_streams_are_no_error() -> None:
    run = shell("openemo weights list >&- 2>&-; echo $?; openemo dance 2>&-; echo $?")
    assert (run.stdout, run.stderr) == ("0\n2\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_under_stdout_is_one_line() -> None:
    run = shell("openemo weights list > /dev/full")
    assert run.returncode == 1
    assert run.stderr == "openemo: error: what was printed cannot be written; got No space left on device.\n"


def test_closed_streams_leave_their_numbers_to_nobody(tmp_path: Path) -> None:
    """A file that is opened later must not get the number of stderr, to which libraries write."""
    code = (
        "import sys; from openemo.cli.streams import forgiving_streams\n"
        f"with forgiving_streams(), open({str(tmp_path / 'a')!r}, 'w') as file: assert file.fileno() > 2"
    )
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} <&- 2>&-"
    assert subprocess.run(["bash", "-c", command]).returncode == 0


def test_names_in_any_script_are_printed_in_any_encoding(tmp_path: Path) -> None:
    """A name of a file that this terminal cannot show, on stdout and on stderr."""
    code = (
        "import sys; from openemo.cli.main import app, main; app.command('say')(lambda: print(sys.argv[1]));"
    )
    for encoding, shown in (("cp1252", r"\u7f8e.mp4"), ("utf-8", "\u7f8e.mp4")):
        run = subprocess.run(
            [sys.executable, "-c", code + "sys.exit(main(['say']))", "\u7f8e.mp4"],
            capture_output=True,
            encoding=encoding,
            env=os.environ | {"PYTHONIOENCODING": encoding},
        )
        assert (run.returncode, run.stdout.strip(), run.stderr) == (0, shown, "")
    run = shell("openemo \u7f8e", PYTHONIOENCODING="cp1252:strict")
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert r"\u7f8e" in run.stderr


@pytest.mark.slow
def test_a_video_is_no_failure_because_nobody_reads_of_it(
    tiny_dir: Path, portrait_path: Path, short_voice: Path, tmp_path: Path
) -> None:
    output = tmp_path / "\u7f8e.mp4"
    options = ("--model", tiny_dir, "--framing", "crop", "--size-px", "64", "--steps", "1", "--fps", "2")
    command = ["openemo", "animate", portrait_path, short_voice, "-o", output, *options]
    run = shell(f"{shlex.join(map(str, command))} 2>&1 | exec 0<&-", PYTHONIOENCODING="cp1252:strict")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert probe(output).num_frames == 1


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_run_leaves_no_file(
    tiny_dir: Path, portrait_path: Path, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    voice = tmp_path / "inputs.mov"
    silence = Audio(np.zeros((1, 16_000 * 40), np.float32), 16_000)
    with VideoWriter(voice, fps=Fraction(1), width=16, height=16, audio=silence) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    folder = tmp_path / "out"
    folder.mkdir()
    command: list[str | Path] = [sys.executable, "-m", "openemo", "animate", portrait_path, voice]
    process = subprocess.Popen(
        [*command, "-o", folder / "out.mp4", "--model", tiny_dir, "--framing", "crop"],
        stderr=subprocess.PIPE,
        text=True,
        # A shell ignores Ctrl-C in what it starts in the background, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline_s = time.monotonic() + 120
    seen: set[Path] = set()
    # A file seen twice is the video. The early check of the output makes one that is gone at once.
    while not seen & (seen := set(folder.iterdir())):
        assert process.poll() is None
        assert time.monotonic() < deadline_s
        time.sleep(0.3)
    process.send_signal(sent)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in shown
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_no_more_space(tiny_dir: Path, portrait_path: Path, short_voice: Path, tmp_path: Path) -> None:
    """A limit on the size of files acts like a full disk: the same write fails."""
    command: list[str | Path] = [sys.executable, "-m", "openemo", "animate", portrait_path, short_voice]
    run = subprocess.run(
        [*command, "-o", tmp_path / "out.mp4", "--model", tiny_dir, "--framing", "crop", "--size-px", "128"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, 4_000)),
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert "cannot be written" in run.stderr
    assert list(tmp_path.iterdir()) == [short_voice]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--motion-from", "nowhere.mp4"), "there is no video file nowhere.mp4"),
        (("--motion-style-from", __file__), "cannot be read as video"),
        (("--motion-style-from", __file__, "--no-sandbox"), "cannot be read as video"),
        (("--motion-from", ""), "no video file is named; got an empty name"),
        (("--emotion", "0:joy"), "the emotion is unknown"),
        (("--emotion", ""), "the emotion is unknown"),
    ],
)
def test_wrong_clips_and_emotions_are_said_before_a_model_is_loaded(
    animate: Run, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert animate(*options, "--model", "no-such-model") == 1
    assert message in error_of(capsys)
