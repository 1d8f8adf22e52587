"""The sub-commands of `plugin-gateway`: one file or folder each."""
