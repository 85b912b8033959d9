"""The options of jobs which are of eyes alone."""

from factory.domains.eye.pupil.finder import PupilFinder
from factory.measures.looks.settings import LookSettings
from schemas.base import Model


class EyeMeasuringOptions(Model):
    """How refined eyes are measured."""

    finder: PupilFinder = PupilFinder()
    """eyes: the pupil finder; its eye width is that of the dataset's card"""


class EyeValidationOptions(Model):
    """How the looks of refined eyes are compared with real ones."""

    looks: LookSettings = LookSettings()
    """eyes: how far looks are from those of real images"""
