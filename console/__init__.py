"""The operators' console on one's own machine."""
