"""Chapter 5: what the model looked at."""
