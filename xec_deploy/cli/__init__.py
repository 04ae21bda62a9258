"""The command lines; each command in a module of its own."""
