"""AWS on this machine, for the demo, for rehearsing a stage's settings, and for the end-to-end tests.

One process serves moto's AWS, with the gaps filled that matter to this project. README.md lists the behaviour of
AWS that each module restores. ``python -m localcloud`` runs it, and so does :class:`localcloud.client.LocalCloud` in
tests. It is never deployed.
"""
