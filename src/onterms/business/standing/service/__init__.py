"""The use cases: blocks set and lifted, and the cache that the send path asks."""
