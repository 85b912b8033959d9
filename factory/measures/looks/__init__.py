"""How alike two sets of grey images look, measure by measure, with intervals."""
