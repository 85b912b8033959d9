"""`cache/settled.json`: the looks at inputs after which nothing was left to plan."""

from schemas.base import Model, Sha256, Versioned


class SettledLook(Model):
    """A listing of one location of inputs, all of which are planned and built."""

    state: Sha256
    """of the plans and records of the dataset, and of what the run was asked"""
    listing: Sha256
    """of the inputs, in the order of the listing"""
    num_listed: int
    num_held: int
    """of them, inputs that are held back until there are more"""
    vanished: dict[str, str]
    """inputs that had vanished when their shard was built, and are not back: id to key"""


class SettledLooks(Versioned):
    """The last settled look at every location."""

    looks: dict[str, SettledLook]
