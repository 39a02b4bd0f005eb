"""The former place of `generation.pipeline`: programs may go on importing from here."""

from generation.pipeline import MotionStream, MotionStreamer, MotionStreams

__all__ = ["MotionStream", "MotionStreamer", "MotionStreams"]
