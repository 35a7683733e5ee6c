"""One command per module, as Django looks for them."""
