"""Where the repository lies, and the research data beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
"""never enters the repository; tests that need it skip where it is absent"""
DATA = ROOT / "tests" / "support" / "data"
