"""Generated README cards for datasets and models; a leaf that imports nothing of the other packages."""
