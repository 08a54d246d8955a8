"""Measure the application's cost and speed against a floor: the shortest script that does the same."""
