"""Chapter 5: honest evaluation."""
