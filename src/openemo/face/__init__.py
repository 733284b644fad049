"""Finds faces and their landmarks, cuts the face out of the image and pastes frames back."""

from openemo.face.analyzer import Face, FaceAnalyzer, FaceBox, select_face
from openemo.face.crop import CropRegion, Paster
from openemo.face.landmarks import HeadPose, eye_opening, face_width_px, head_pose, mouth_opening

__all__ = [
    "CropRegion",
    "Face",
    "FaceAnalyzer",
    "FaceBox",
    "HeadPose",
    "Paster",
    "eye_opening",
    "face_width_px",
    "head_pose",
    "mouth_opening",
    "select_face",
]
