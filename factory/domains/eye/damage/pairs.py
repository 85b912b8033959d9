"""Refined images with their parents and labels, to be damaged."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.dataset.columns import lists_of

Images = NDArray[np.uint8]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Pairs:
    """N refined images in the order of their labels.

    Raises:
        ValueError: not (N, H, W) uint8 of one shape, or not a row of labels for each.
    """

    parent_NHW: Images  # noqa: N815
    refined_NHW: Images  # noqa: N815
    labels: pa.Table
    """rows of an index of eyes"""

    def __post_init__(self) -> None:
        for name, images_NHW in (("parent", self.parent_NHW), ("refined", self.refined_NHW)):
            if images_NHW.ndim != 3 or images_NHW.dtype != np.uint8:
                raise ValueError(
                    f"{name} images: expected (N, H, W) uint8, found {images_NHW.shape} "
                    f"{images_NHW.dtype}"
                )
        if self.parent_NHW.shape != self.refined_NHW.shape:
            raise ValueError(
                f"parents are {self.parent_NHW.shape}, refined images {self.refined_NHW.shape}"
            )
        if self.labels.num_rows != len(self.refined_NHW):
            raise ValueError(f"{len(self.refined_NHW)} images, {self.labels.num_rows} labels")
        if not len(self.refined_NHW):
            raise ValueError("no images to damage")

    def __len__(self) -> int:
        return len(self.refined_NHW)

    def take(self, rows: NDArray[np.integer]) -> Self:
        """Some of the pairs, in the given order."""
        labels = self.labels.take(pa.array(rows))
        return type(self)(self.parent_NHW[rows], self.refined_NHW[rows], labels)

    def numbers(self, column: str) -> Values:
        """A label as (N, ...), shaped like the column's lists.

        Raises:
            ValueError: the labels have no such column, or lack it in some rows.
        """
        if column not in self.labels.column_names:
            has = ", ".join(self.labels.column_names)
            raise ValueError(f"this damage needs the label {column}; the labels have {has}")
        num_null = self.labels[column].null_count
        if num_null:
            raise ValueError(
                f"this damage needs the label {column}, which {num_null} of {len(self)} rows lack; "
                "leave them out"
            )
        return np.array(lists_of(self.labels, column, column), np.float64)
