"""Measures of looks: how alike two sets of grey images look, with 95 % intervals."""
