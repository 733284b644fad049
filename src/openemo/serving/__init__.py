"""The web page: makes videos for people without a terminal."""
