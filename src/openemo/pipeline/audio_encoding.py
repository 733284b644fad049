"""Step 2 of the pipeline: what the networks hear of a voice, and how many frames it lasts."""

from __future__ import annotations

from fractions import Fraction

from openemo.audio import Audio, SpeechFeatures
from openemo.audio.articulatory_features import ArticulatoryFeatures, check_encoder, hear_articulation
from openemo.config import PipelineConfig
from openemo.errors import AudioError
from openemo.pipeline.pretrained_pipeline import PretrainedPipeline
from openemo.timing import num_frames, parse_fps

__all__ = ["AudioEncodingMixin"]


class AudioEncodingMixin(PretrainedPipeline):
    """Step 2 of `EmoPipeline`: sound to speech features."""

    def num_frames(self, audio: Audio, fps: Fraction) -> int:
        """Frames of a video as long as the sound.

        Raises:
            AudioError: the sound is shorter than a frame.
        """
        length = num_frames(audio.num_samples, audio.sample_rate_hz, fps)
        if length == 0:
            raise AudioError(
                "the sound is shorter than a frame",
                got=f"{1000 * audio.duration_s:.1f} ms",
                expected=f"{float(500 / fps):.1f} ms or more at {float(fps):g} frames per second",
            )
        return length

    def encode_audio(
        self, audio: Audio, *, fps: Fraction | None = None, config: PipelineConfig | None = None
    ) -> SpeechFeatures:
        """Step 2. Speech features of the whole sound.

        Args:
            fps: of the video; None takes the checkpoint's.
        """
        config = config or self.config
        if self._offload is not None:  # the encoder uses the device of its weights
            self._offload.bring(self.speech_encoder.encoder)
        return self.speech_encoder.encode(
            audio, fps=fps or parse_fps(config.fps), clip_frames=config.clip_frames
        )

    def hear_articulation(
        self,
        speech: SpeechFeatures,
        num_frames: int,
        *,
        fps: Fraction | None = None,
        config: PipelineConfig | None = None,
    ) -> ArticulatoryFeatures | None:
        """Step 2, second part. What tongue and lips do, for `decode`; None for models that do not ask for it.

        Args:
            speech: from `encode_audio`. num_frames: of the video. fps: of the video.
        """
        config = config or self.config
        if not config.tongue and not config.lip_pressing:
            return None
        check_encoder(self.speech_encoder)
        heard = hear_articulation(speech, num_frames, fps or parse_fps(config.fps))
        return ArticulatoryFeatures(config.tongue * heard.tongue_F, config.lip_pressing * heard.shut_F)
