"""The README's moving picture: a video -> a small animated WebP that loops.

openemo demo -o out
python examples/make_readme_animation.py out/demo.mp4 docs/images/demo.webp
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from openemo.video.video_reader import probe, read_frames


def make_animation(video: Path, output: Path, *, width_px: int, every: int, quality: int) -> None:
    """Keep one frame in `every`, scale to `width_px`, loop for ever. WebP has no sound."""
    fps = float(probe(video).fps)
    pictures = [Image.fromarray(frame) for frame in read_frames(video)][::every]
    height_px = round(width_px * pictures[0].height / pictures[0].width)
    small = [picture.resize((width_px, height_px), Image.Resampling.LANCZOS) for picture in pictures]
    small[0].save(
        output,
        save_all=True,
        append_images=small[1:],
        duration=round(1000 * every / fps),
        loop=0,
        quality=quality,
        method=6,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a small looping WebP of a video.")
    parser.add_argument("video", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--width-px", type=int, default=360, help="default: 360")
    parser.add_argument("--every", type=int, default=1, help="keep one frame in so many (default: 1)")
    parser.add_argument("--quality", type=int, default=70, help="0 to 100 (default: 70)")
    given = parser.parse_args()
    make_animation(
        given.video, given.output, width_px=given.width_px, every=given.every, quality=given.quality
    )
    print(f"{given.output}: {given.output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
