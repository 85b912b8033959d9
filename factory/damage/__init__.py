"""Damage of known kind and size, planted in refined images to see whether validation notices."""
