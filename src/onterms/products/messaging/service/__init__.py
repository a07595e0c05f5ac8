"""The use cases of the messaging room."""
