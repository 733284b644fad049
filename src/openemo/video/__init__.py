"""Pictures and video: reading and writing."""
