"""Removing what is over from the store."""
