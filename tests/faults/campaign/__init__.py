"""The fault campaign: a seeded stream goes through a fleet of `watch` processes while things die, and every exposed count is held against
an oracle that shares no code with `monitor`.

A round is one seed: `rounds` drives it, `stream` makes what is sent, `oracle` says what has to come out, `fleet` and `scrapes` run and read
the daemons, `faults` trouble them, `checks` judge. `python -m tests.faults` runs many.
"""
