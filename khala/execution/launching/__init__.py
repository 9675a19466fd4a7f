"""What runs in the zygote and the launchers: standard library only, single-threaded processes.

The executor imports `framing` and `archive` from here as well; nothing here may import khala.
"""
