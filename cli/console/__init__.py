"""The console: a stage's state and its actions as pages on the operator's own machine."""
