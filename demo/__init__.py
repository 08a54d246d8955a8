"""The refresh on a local cloud."""
