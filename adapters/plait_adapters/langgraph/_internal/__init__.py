"""How the public modules work. Nothing in here is promised to anybody."""
