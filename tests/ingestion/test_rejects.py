"""Reasons of rejected inputs: alike ones are counted together, and stay readable."""

import pytest

from factory.ingestion.rejects import reason_class


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("look_vec has length 0.934, not 1: (1, 2)", "look_vec has length #, not #"),
        (
            "label is not JSON (unexpected character: line 1 column 7 (char 6))",
            "label is not JSON (unexpected character: line # column # (char #))",
        ),
        (
            "image does not decode (broken data: 3 bytes): found (1, 2)",
            "image does not decode (broken data: # bytes)",
        ),
        ('iris_2d: expected "(x, y, ...)", found "(1, 2"', "iris_#d"),
        ("gaze: 3 points: 2.5 apart", "gaze: # points: # apart"),
        ("cut off (in the middle: 7", "cut off (in the middle: #"),
        ("picture of 30x20 px is too small", "picture of #x# px is too small"),
    ],
)
def test_a_class_of_reasons_never_ends_inside_parentheses(reason: str, expected: str) -> None:
    assert reason_class(reason, "reject") == expected


def test_a_filter_names_its_range() -> None:
    reason = "gaze yaw outside -40..40 deg"
    assert reason_class(reason, "filtered") == reason
