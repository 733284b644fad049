"""The training stages: each says what is trained, and gives the loss of a batch."""
