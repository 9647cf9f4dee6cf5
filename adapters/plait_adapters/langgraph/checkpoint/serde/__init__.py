"""How what is in a checkpoint becomes bytes: see :mod:`.jsonplus`, :mod:`.encrypted`."""
