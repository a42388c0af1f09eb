"""A run's whole history as one JSON document, to be proven anywhere and read into another Holdfast."""
