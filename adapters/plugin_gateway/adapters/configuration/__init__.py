"""The options of `run`: one table, read from flags, environment variables and a strict YAML file."""
