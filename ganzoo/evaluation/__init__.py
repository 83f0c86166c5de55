"""Measuring sets of images and generators: metrics, the extractors they need, and results that can be compared."""
