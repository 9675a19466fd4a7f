"""Measures Khala. `make bench` runs it all; each module with a `main` runs alone: `python -m bench.NAME`."""
