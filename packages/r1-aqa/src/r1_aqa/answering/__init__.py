"""Ask a finished model questions about audio."""
