"""Chapter 3: recipes, the frozen-feature cache and the training loop."""
