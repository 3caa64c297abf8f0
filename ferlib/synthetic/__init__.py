"""Synthetic faces: parameters, geometry, surface, drawing and rendering."""
