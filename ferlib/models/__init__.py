"""Chapter 2: the models, each beside its paper."""
