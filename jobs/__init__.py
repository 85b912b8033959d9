"""One file per command; `simgan-factory` lists them in these groups."""

GROUPS = {
    "Make data": ("simulate", "ingest", "content"),
    "Train": ("train", "ablate", "estimator"),
    "Refine": ("refine",),
    "Check": ("validate", "power", "evaluate", "turing"),
    "Release": ("publish", "night"),
    "Look after": ("browse", "describe", "verify", "gc", "repair", "expire", "upgrade", "metrics"),
    "Try everything": ("demo",),
    "Older names of `estimator KIND`": ("gaze", "joints", "landmarks"),
}
"""title -> names of job files, each in the order in which people use them"""
