"""A seeded world around the real core: clients, workers and faults in virtual time.

``python -m tests.simulation --seed 7`` replays the seed 7 and prints what happened.
"""
