"""Everything that is cached for the life of the server: open stores and, for Live, the model."""
