"""The dashboard: a process of its own that shows the cluster to browsers and to Prometheus."""
