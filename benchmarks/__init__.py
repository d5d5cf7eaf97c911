"""What a machine takes for what we do: `make bench` runs every module in here, `make bench ARGS=name` one of them.

Timings are no tests: each module prints its figures and the conditions they were taken under, and always passes.
"""
