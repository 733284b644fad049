"""Says that a video was made by this program: an invisible mark in its frames, and signed credentials."""
