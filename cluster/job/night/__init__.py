"""A night: from new renders to a release, and whom to tell where there is none."""
