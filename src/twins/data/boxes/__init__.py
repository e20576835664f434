"""Images with objects: a box, a class and perhaps a mask each."""
