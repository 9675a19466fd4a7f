"""A whole cluster of role processes on one machine: `khala up`, `down`, `status`.

The roles run as the very commands that a cluster of many machines runs, over the same wire.
"""
