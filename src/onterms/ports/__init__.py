"""Protocol classes that lower floors promise and upper floors use."""
