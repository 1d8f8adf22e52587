"""`run --record` and `plugin-gateway replay`: a conversation as a file, and its other side played again."""
