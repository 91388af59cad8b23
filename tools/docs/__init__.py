"""The book, the gallery, the slides, and the notebooks they are made from."""
