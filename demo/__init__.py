"""Two nights of the refresh on a local cloud, told in a few lines."""
