"""onnxruntime, without its telemetry. Whatever imports it, or a library that does, imports this first."""

from __future__ import annotations

import os

# At its import onnxruntime (1.32) looks its vendor's telemetry host up and writes a device id into the user's
# cache, unless this is set before. This is the first place where it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

__all__ = ["onnxruntime"]
