"""Ground: the folder of a hub's files beside its database (docs/protocol.md, section 6)."""
