"""What breaks a study: kills under a running sweep, what may be killed, and what the records must then be."""
