"""Records, statistics and the stability report. Pure functions of the records: no torch, no Ray."""
