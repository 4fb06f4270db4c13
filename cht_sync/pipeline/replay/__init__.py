"""Reading files again: which ones there are, how far each was read, and their lines."""
