"""Networks that only measuring needs. They turn frames and sound into embeddings; metrics score those."""
