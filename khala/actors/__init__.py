"""The cast: each file one actor, a thin shell that feeds events to the core and performs effects."""
