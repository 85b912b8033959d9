"""How large a picture may be, which its header says before memory is taken for its pixels."""

from factory.images.png import UndecodableError

MAX_PICTURE_PX = 64_000_000
"""pictures with more pixels are refused before they are decoded"""


def check_size(height: int, width: int) -> None:
    """Raise `UndecodableError` for a picture without pixels, or with too many."""
    if not 0 < height * width <= MAX_PICTURE_PX:
        raise UndecodableError(
            f"a picture of {width}x{height} px; 1 to {MAX_PICTURE_PX / 1e6:g} million pixels are "
            "decoded"
        )
