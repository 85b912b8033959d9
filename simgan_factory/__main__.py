"""The program `simgan-factory`, of which every job is a command.

It is in a package of the distribution's own name, which no other package has, so that it can say
where another one takes the place of `jobs`, `cluster`, `factory` or `schemas`.
"""

import runpy
from importlib import import_module
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1]


def main(program: str = "simgan-factory") -> None:
    """Run the command that the arguments of the process name, and exit.

    Args:
        program: how it was started, for usage lines and advice.
    """
    # By its path, because the name `cluster` may be another package's.
    runpy.run_path(str(FOLDER / "cluster" / "job" / "packages.py"))["require_own_packages"]()
    menu, jobs = import_module("cluster.job.menu"), import_module("jobs")
    menu.run_menu(program, jobs.GROUPS, FOLDER / "jobs")


if __name__ == "__main__":
    main("python -m simgan_factory")
