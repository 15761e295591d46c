"""Shows the health of the whole."""
