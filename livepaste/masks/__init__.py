"""Masks by name."""
