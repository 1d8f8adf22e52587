"""What `--listen` serves over HTTP."""
