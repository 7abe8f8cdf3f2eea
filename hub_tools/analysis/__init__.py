"""Measures over published rows, and the pictures and tables made of them."""
