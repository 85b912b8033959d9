"""How looks are measured."""

from typing import Annotated

from pydantic import Field

from factory.measures.two_sample import MIN_IMAGES
from schemas.base import Model


class FeatureTraining(Model):
    """A small network and its training. The defaults take a minute on one core."""

    num_features: Annotated[int, Field(gt=0)] = 48
    """number of features that the network gives"""
    num_steps: Annotated[int, Field(gt=0)] = 150
    """number of optimiser steps"""
    num_images: Annotated[int, Field(gt=1)] = 32
    """number of images of a step"""
    num_looks: Annotated[int, Field(gt=1)] = 4
    """number of looks of each image in a step; one of them is the image unchanged"""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """the highest learning rate; a one-cycle schedule rises to it and falls again"""
    temperature: Annotated[float, Field(gt=0)] = 0.2
    """of the softmax in the loss"""
    max_shift_px: Annotated[int, Field(ge=0)] = 2
    """each view of an instance is shifted at random by at most this, in x and in y"""
    seed: Annotated[int, Field(ge=0)] = 0
    """of the initial weights, batches and looks"""


class LookSettings(Model):
    """How looks are measured. The defaults take some minutes on one core, half of them for the
    training of the features."""

    num_images: Annotated[int, Field(ge=MIN_IMAGES)] = 1500
    """most images of each compared set; half of the real images are a further limit"""
    num_rounds: Annotated[int, Field(ge=10)] = 100
    """rounds of the jackknife that gives the intervals"""
    features: FeatureTraining = FeatureTraining()
    copy_percentile: Annotated[float, Field(gt=0, lt=100)] = 1.0
    """percentile of the distances from each real image to its nearest other real image; a refined
    image that is nearer than this to a real one counts as a copy of it"""
    num_closest: Annotated[int, Field(ge=0)] = 8
    """how many of the closest pairs of a refined and a real image the result names"""
    seed: Annotated[int, Field(ge=0)] = 0
    """of the halves of the real images, the choice of images and the rounds"""
