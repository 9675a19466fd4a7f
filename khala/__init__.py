"""Khala runs command-line tasks in parallel on a cluster of computers."""

__version__ = "0.1.0"
