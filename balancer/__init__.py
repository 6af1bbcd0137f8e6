"""A fault-tolerant balancer: requests survive the death of the worker that holds them."""
