"""A live view of a running cluster in the terminal, from which its workers can be steered."""
