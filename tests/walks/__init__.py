"""Random walks through the core's ways in, watched by books that are kept from outside."""
