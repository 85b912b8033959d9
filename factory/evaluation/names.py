"""Names of files and folders for what users name freely: variants, arms, test sets."""


def file_name_of(*names: str) -> str:
    """`no-history-global-d` for `no history, global D`; several names become one."""
    spaced = ("".join(c if c.isalnum() else " " for c in name.lower()) for name in names)
    return "-".join(" ".join(spaced).split())
