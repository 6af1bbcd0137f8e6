"""``run_cluster.py bench``: load on a running cluster, and what came of it, in figures."""
