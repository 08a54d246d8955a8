"""From a clone to a real account: configure, deploy, check and destroy a stage. Never deployed."""
