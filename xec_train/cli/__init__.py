"""The ``xec-train`` command line."""
