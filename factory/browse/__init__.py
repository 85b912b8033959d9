"""A page to look around in datasets, releases, reports and training runs; it changes nothing."""
