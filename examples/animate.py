"""A portrait and a voice to a video: the shortest program.

python examples/animate.py portrait.jpg voice.wav out.mp4
"""

import sys

from openemo import EmoPipeline

portrait, voice, output = sys.argv[1:]
pipeline = EmoPipeline.from_pretrained("embedded")
animation = pipeline(portrait, voice, seed=0)
animation.save(output, progress=lambda done, total: print(f"\r{done}/{total}", end="", flush=True))
print(
    f"\n{output}: {animation.duration_s:.2f} s, {animation.num_frames} frames", *animation.warnings, sep="\n"
)
