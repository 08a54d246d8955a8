"""AWS on this machine: for the demo, for rehearsing a stage's settings, and for the end-to-end tests.

One process serves moto's AWS with the gaps bridged that matter to this project; every module here is named
for the behaviour of AWS it restores. ``python -m localcloud`` runs it; :class:`localcloud.client.LocalCloud`
runs it from a test. It is never deployed.
"""
