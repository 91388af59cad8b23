"""The bundled files: prompts, traces and their checksums."""
