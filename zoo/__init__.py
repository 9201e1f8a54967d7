"""Pre-trained models by name (`-mf zoo:persona/…`). Installs as `parlai_persona.zoo`."""
