"""The use cases, split by noun: notices, their delivery, the operator's tasks."""
