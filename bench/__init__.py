"""What the application costs and how fast it is, beside a floor: the shortest script that does the same."""
