"""Measures Khala. `make bench` runs everything; each module with a `main` also runs alone: `python -m bench.NAME`."""
