"""Labelling photos of one's own."""
