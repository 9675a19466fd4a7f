"""Durable tasks, epochs, files and tokens: one interface, MongoDB and an in-memory twin."""
