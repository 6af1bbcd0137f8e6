"""Every decision of the balancer, in pure code: told the time, touching nothing.

The law: the same events at the same times always give the same actions.
"""
