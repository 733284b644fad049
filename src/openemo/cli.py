"""The command line. Heavy libraries load inside the commands that need them, so `--help` is instant."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Never

from openemo import __version__
from openemo.devices import DTYPES, find_device, find_dtype
from openemo.errors import ConfigError, OpenEmoError, OutputError
from openemo.evaluation import command
from openemo.training import STAGES
from openemo.weights_cli import add_weights

__all__ = ["main"]

EXIT_ERROR, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 130, 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for an error, 2 for wrong usage, 130 after Ctrl-C."""
    arguments = _parser().parse_args(argv)
    # So that a terminated run unwinds, and takes its half-written file with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    try:
        arguments.command(arguments)
    except OpenEmoError as error:
        print(f"openemo: error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("openemo: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Never:
        """One line, like every other error."""
        self.exit(EXIT_USAGE, f"openemo: error: {message}. Try `{self.prog} --help`.\n")


def _parser() -> _Parser:
    parser = _Parser(
        prog="openemo", description="One portrait and one voice in, a video of that person speaking out."
    )
    parser.add_argument("--version", action="version", version=f"openemo {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_animate(commands)

    demo = commands.add_parser("demo", help="animate the bundled portrait with the bundled voice")
    demo.add_argument("--out", type=Path, default=Path("out"), metavar="FOLDER", help="default: out")
    demo.set_defaults(command=_demo)

    train = commands.add_parser(
        "train", help="train one stage of the networks", description="Train one stage."
    )
    train.add_argument("stage", choices=STAGES)
    train.add_argument("recipe", type=Path, metavar="RECIPE.yaml")
    train.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes to the recipe")
    train.set_defaults(command=_train)

    _add_evaluate(commands)
    _add_assemble(commands)
    add_weights(commands)
    data = commands.add_parser("data", help="prepare training data").add_subparsers(
        required=True, metavar="COMMAND"
    )
    prepare = data.add_parser("prepare", help="turn a folder of videos into what training reads")
    prepare.add_argument("recipe", type=Path, metavar="RECIPE.yaml")
    prepare.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes to the recipe")
    prepare.set_defaults(command=_prepare)
    return parser


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="measure a model, or finished videos, against real clips",
        description="Animate the first frame of each clip with the clip's sound, measure it beside the real "
        "clip, and write a report. The same command again goes on where it stopped.",
    )
    command.add_evaluate_arguments(evaluate)
    evaluate.set_defaults(command=_evaluate)
    compare = commands.add_parser(
        "compare",
        help="which differences between two evaluations are beyond noise",
        description="Paired differences of two reports over the same clips, with intervals.",
    )
    command.add_compare_arguments(compare)
    compare.set_defaults(command=command.compare)


def _add_assemble(commands: Any) -> None:
    assemble = commands.add_parser(
        "assemble",
        help="make a checkpoint of trained networks",
        description="Write a checkpoint folder, of parts or on the base of another model.",
    )
    add = assemble.add_argument
    add("--networks", type=Path, required=True, help="export folder of a denoising stage")
    add("--base", metavar="MODEL", help="take all else from this model, a name or a folder")
    add("--autoencoder", type=Path, help="the exported autoencoder")
    add("--speech", type=Path, help="folder of the speech encoder")
    add("--face", type=Path, help="folder of the face networks")
    add("--audio", type=Path, help="exported sound layers in place of the networks' own, taught `like` them")
    add("-o", "--output", type=Path, required=True, metavar="FOLDER")
    add("--steps", type=int, help="denoising steps by default")
    add("--guidance", type=float, help="guidance scale by default")
    assemble.set_defaults(command=_assemble)


def _add_animate(commands: Any) -> None:
    animate = commands.add_parser(
        "animate",
        help="make a video from a portrait and a voice",
        description="Make a video of the person in PORTRAIT speaking or singing AUDIO, as long as AUDIO.",
    )
    add = animate.add_argument
    add(
        "portrait",
        type=Path,
        metavar="PORTRAIT",
        help="picture: JPEG, PNG, WebP, TIFF; photo, painting or drawing",
    )
    add("audio", type=Path, metavar="AUDIO", help="sound or video file")
    add("-o", "--output", type=Path, required=True, metavar="OUT.mp4", help="where the video goes")
    add(
        "--model",
        default="embedded",
        help='"embedded" (default), sd15, hallo, echomimic, echomimic-acc, a folder, or hub:owner/name',
    )
    add("--seed", type=int, default=0, help="same seed, same video (default: 0)")
    add("--steps", type=int, help="denoising steps (default: the model's)")
    add("--guidance", type=float, help="how strongly the voice drives; 1 is plain (default: the model's)")
    add(
        "--speed",
        type=float,
        help="head-rotation speed in rad/s: 0.1-1.0 speech, 1.0-1.3 song (default: the model's)",
    )
    add("--blinks", type=float, metavar="N", help="blinks per minute; 0 for none (default: the model's)")
    add("--lip-motion", type=float, metavar="X", help="how far the mouth moves; 1 is as the network says")
    add("--head-motion", type=float, metavar="X", help="how far the head moves; 1 is as people do, 0 still")
    add("--fps", help="frames per second, such as 25, 29.97 or 30000/1001 (default: the model's)")
    add(
        "--size",
        type=int,
        metavar="PX",
        help="side of the crop (default: 512), or longest side of the full frame (1920)",
    )
    add(
        "--frame",
        choices=("full", "crop"),
        default="full",
        help="whole picture (default), or the square around the face",
    )
    add("--face", type=int, metavar="N", help="which face, 0 the leftmost (default: the largest)")
    add(
        "--face-embedder",
        type=Path,
        metavar="MODEL.onnx",
        help="face recognition network that you bring, for models with identity layers (hallo)",
    )
    add("--device", default="cpu", help="cpu (default), cuda, cuda:1, mps")
    add("--dtype", choices=DTYPES, default="float32", help="number type of the networks (default: float32)")
    add(
        "--offload",
        choices=("none", "model", "sequential"),
        default="none",
        help="keep networks in main memory: one on the device at a time, or one layer (default: none)",
    )
    add("--attention-slice", type=int, metavar="N", help="frames per attention call: less memory, slower")
    add("--decode-frames", type=int, default=4, metavar="N", help="frames decoded together (default: 4)")
    animate.set_defaults(command=_animate)


def _animate(arguments: argparse.Namespace) -> None:
    from openemo.audio import read_audio
    from openemo.console import Stopwatch, print_notes, save_with_bar
    from openemo.video.images import read_image
    from openemo.video.writing import check_output_path

    # Everything that can be wrong and is cheap to see comes before the networks.
    watch = Stopwatch()
    output: Path = arguments.output
    check_output_path(output)
    portrait, audio = read_image(arguments.portrait), read_audio(arguments.audio)
    if output.exists() and any(output.samefile(given) for given in (arguments.portrait, arguments.audio)):
        raise OutputError("the output would replace the input", got=output, fix="Choose another name")

    from openemo.pipeline import EmoPipeline

    pipeline = EmoPipeline.from_pretrained(
        arguments.model,
        device=find_device(arguments.device),
        dtype=find_dtype(arguments.dtype),
        offload=arguments.offload,
        decode_frames=arguments.decode_frames,
    )
    pipeline.slice_attention(arguments.attention_slice)
    if arguments.face_embedder is not None:
        from openemo.face.identity import FaceEmbedder

        pipeline.face_embedder = FaceEmbedder.from_onnx(arguments.face_embedder)
    watch.loaded()
    animation = pipeline(
        portrait,
        audio,
        seed=arguments.seed,
        num_steps=arguments.steps,
        guidance_scale=arguments.guidance,
        speed=arguments.speed,
        blinks_per_minute=arguments.blinks,
        lip_motion=arguments.lip_motion,
        head_motion=arguments.head_motion,
        fps=arguments.fps,
        size_px=arguments.size,
        frame=arguments.frame,
        face_index=arguments.face,
    )
    print_notes(animation)
    save_with_bar(animation, output)
    size = f"{animation.width}x{animation.height}"
    print(f"{output}: {animation.duration_s:.2f} s of video, {animation.num_frames} frames, {size}")
    print(watch.summary(animation))


def _demo(arguments: argparse.Namespace) -> None:
    from openemo.demo import run

    run(arguments.out)


def _train(arguments: argparse.Namespace) -> None:
    from openemo import training

    _show_log()
    training.run(arguments.stage, arguments.recipe, arguments.overrides)


def _prepare(arguments: argparse.Namespace) -> None:
    from openemo import data

    _show_log()
    data.run(arguments.recipe, arguments.overrides)


def _show_log() -> None:
    """Long work reports line by line, on stderr."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


def _evaluate(arguments: argparse.Namespace) -> None:
    find_device(arguments.device)
    command.evaluate(arguments)


def _assemble(arguments: argparse.Namespace) -> None:
    from openemo.presets import EMBEDDED
    from openemo.training.assemble import assemble, assemble_on

    changes = {"num_steps": arguments.steps, "guidance_scale": arguments.guidance}
    parts = (arguments.autoencoder, arguments.speech, arguments.face)
    if (arguments.base is None) == (None in parts):
        raise ConfigError(
            "the checkpoint has no or several sources",
            got=f"{'a' if arguments.base else 'no'} base, {3 - parts.count(None)} of 3 parts",
            fix="Give --base, or all of --autoencoder, --speech and --face",
        )
    if arguments.base is not None and arguments.audio is not None:
        raise ConfigError(
            "other sound layers may need another speech encoder than the base's",
            got="--base and --audio",
            fix="Give --autoencoder, --speech and --face instead of --base",
        )
    if arguments.base is not None:
        assemble_on(arguments.base, arguments.networks, arguments.output, **changes)
        return
    assemble(
        arguments.networks,
        arguments.autoencoder,
        arguments.speech,
        arguments.face,
        arguments.output,
        EMBEDDED.override(**changes),
        audio=arguments.audio,
    )
