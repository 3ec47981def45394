"""From a folder of images that nobody has labeled to a labeled dataset, by swiping."""

__version__ = "0.1.0"
