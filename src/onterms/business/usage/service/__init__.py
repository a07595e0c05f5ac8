"""What the usage room does."""
