"""Published checkpoints of EMO's relatives: which of their tensors is which of ours."""
