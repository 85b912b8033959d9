"""Measuring labels in pictures: where the iris is, and how far that can be trusted."""
