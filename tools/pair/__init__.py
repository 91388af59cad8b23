"""The bundled pair: its corpus, training, card and traces."""
