"""Videos as users have them, made of clean clips, for `openemo data build`."""
