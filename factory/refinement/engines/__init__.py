"""Ways to run a refiner over images, each in a file of its own; `factory.refinement.engines.choose` chooses."""
