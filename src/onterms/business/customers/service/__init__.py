"""The use cases, split by noun: sign-up, customers, relations, end users with incidents, assignments."""
