"""Reading and writing of images and video files."""
