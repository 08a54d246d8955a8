"""The operator's side: the client of the deployed API, and the console."""
