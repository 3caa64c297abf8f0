"""Chapter 4: honest evaluation."""
