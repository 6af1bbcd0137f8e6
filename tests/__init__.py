"""Every promise of the project has its test here."""
