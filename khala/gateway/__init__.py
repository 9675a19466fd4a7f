"""The HTTP front of a cluster: the API, the KV2-compatible API and the web site, over the public RPC."""
