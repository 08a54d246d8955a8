"""AWS on this machine: for the demo, for rehearsing a stage's settings, and for the end-to-end tests.

One process serves moto's AWS with the gaps bridged that matter to this project; README.md lists the behaviour of AWS
that each module restores. ``python -m localcloud`` runs it; :class:`localcloud.client.LocalCloud` runs it from a
test. It is never deployed.
"""
