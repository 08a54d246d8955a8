"""The refresh on a local cloud, in a few lines."""
