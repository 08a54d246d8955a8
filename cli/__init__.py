"""`aurora-refresh`, the command line: configure, deploy, check and operate a stage. Never deployed."""
