"""Reading releases: one sample, or all of them in a seeded order that ranks and workers share."""
