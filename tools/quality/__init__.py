"""How well the tests hold: faults put in, versions at both ends, logits by family and format."""
