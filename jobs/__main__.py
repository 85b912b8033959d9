"""`python -m jobs`: the same as the program `simgan-factory`."""

from simgan_factory.__main__ import main

if __name__ == "__main__":
    main("python -m jobs")
