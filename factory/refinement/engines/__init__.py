"""Ways to run a refiner over images, one in each file; `engines.choose` picks one of them."""
