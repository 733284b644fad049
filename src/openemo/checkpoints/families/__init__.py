"""Published checkpoints of EMO's relatives: which of their tensors is which of ours."""

from openemo.checkpoints.families.keymap import KeyMap, split

__all__ = ["KeyMap", "split"]
