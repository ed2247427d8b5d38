"""What turns a configuration into a finished run, whatever the recipe."""
